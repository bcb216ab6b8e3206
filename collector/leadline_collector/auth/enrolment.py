"""One-time tokens, the agent keys they are exchanged for, and the administrator's key."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from leadline.clock import Clock
from leadline.errors import ConfigError
from leadline.wire import control
from leadline.wire.admin import RevocationResult
from leadline_collector.auth import key_store, signatures
from leadline_collector.auth.failure_limit import FailureRateLimiter
from leadline_collector.auth.secrets import SecretKind, generate_secret, get_secret_id, hash_secret
from leadline_collector.config import ADMIN_KEY_VARIABLE, CollectorConfig, read_key_digest
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import AuditAction, AuditEvent
from leadline_collector.db.transactions import Store, WriteTransaction
from leadline_collector.errors import (
    CollectorError,
    InvalidRequestError,
    NotFoundError,
    TooManyAttemptsError,
    UnauthenticatedError,
)
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
ADMIN_KEY_FILE = "admin.key"
#: Key of a rate limit that counts all clients together.
ALL_CLIENTS = ""
#: Refused enrolments recorded in the audit log per minute; the process log has all of them.
AUDITED_REFUSALS_MAX = 120


def create_token(store: Store, clock: Clock, request: control.TokenRequest) -> control.TokenResponse:
    """Create a token with which one agent of the site can enrol; raise InvalidRequestError for an unknown site."""
    token = generate_secret(SecretKind.TOKEN)
    now_s = clock.wall_ns() // NS_PER_S
    expires_at_s = now_s + request.ttl_s
    detail = {"token": get_secret_id(hash_secret(token)), "expires_at_s": expires_at_s}
    event = AuditEvent(
        at_s=now_s, actor=audit_log.ACTOR_ADMIN, action=AuditAction.TOKEN_CREATED, subject=request.site, detail=detail
    )
    with store.write() as writer:
        if not key_store.add_token(writer.connection, hash_secret(token), request.site, now_s, expires_at_s):
            raise InvalidRequestError(f"site: no mesh has a site {request.site!r}; apply it first", path="site")
        audit_log.add_event(writer.connection, event)
    log.info("token created", extra={"site": request.site} | detail)
    return control.TokenResponse(token=token, site=request.site, expires_at_s=expires_at_s)


def revoke_token(store: Store, clock: Clock, token_id: str) -> RevocationResult:
    """Revoke an unused token; raise NotFoundError if no valid token has this id."""
    now_s = clock.wall_ns() // NS_PER_S
    with store.write() as writer:
        revoked = key_store.revoke_token(writer.connection, token_id, now_s)
        if not revoked:
            raise NotFoundError(f"no unused token {token_id}: `leadline token list` shows all tokens")
        audit_log.add_event(
            writer.connection,
            AuditEvent(at_s=now_s, actor=audit_log.ACTOR_ADMIN, action=AuditAction.TOKEN_REVOKED, subject=token_id),
        )
    log.warning("token revoked", extra={"token": token_id})
    return RevocationResult(revoked=revoked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Exchanges one-time tokens for agent keys."""

    store: Store
    clock: Clock
    #: Lifetime of a new key; None for a key that does not expire.
    key_ttl_s: int | None
    #: Limits failed enrolments of each client.
    peer_limit: FailureRateLimiter
    #: Limits how many refused enrolments of all clients the audit log records, so that strangers cannot fill the disk.
    refusal_limit: FailureRateLimiter

    def enrol(self, request: control.EnrolRequest, peer: str) -> control.EnrolResponse:
        """Return a key for an agent; use up the token unless the request is refused.

        Raise TooManyAttemptsError for a client that failed too often.
        """
        wait_s = self.peer_limit.retry_after_s(peer)
        if wait_s:
            raise TooManyAttemptsError(f"too many failed enrolments: wait {wait_s} s", retry_after_s=wait_s)
        try:
            answer = _redeem_token(self.store, request, peer, self.clock.wall_ns() // NS_PER_S, self.key_ttl_s)
        except CollectorError:
            self.peer_limit.record_failure(peer)
            raise
        log.info("agent enrolled", extra={"agent": answer.agent, "site": answer.site, "peer": peer})
        return answer

    def record_refusal(self, request: control.EnrolRequest, peer: str, status: int) -> None:
        """Write a refused enrolment to the log and, within the limit, to the audit log.

        ``status`` is the HTTP status of the response.
        """
        log.warning("enrolment refused", extra={"peer": peer, "status": status})
        if self.refusal_limit.retry_after_s(ALL_CLIENTS):
            return
        self.refusal_limit.record_failure(ALL_CLIENTS)
        detail = {"status": status, "token": get_secret_id(hash_secret(request.token))}
        event = AuditEvent(
            at_s=self.clock.wall_ns() // NS_PER_S,
            actor=f"peer {peer}",
            action=AuditAction.ENROLMENT_REFUSED,
            subject=request.agent or "",
            detail=detail,
        )
        with self.store.write() as writer:
            audit_log.add_event(writer.connection, event)


def _redeem_token(
    store: Store, request: control.EnrolRequest, client_address: str, now_s: int, ttl_s: int | None
) -> control.EnrolResponse:
    key = generate_secret(SecretKind.AGENT_KEY)
    expires_at_s = None if ttl_s is None else now_s + ttl_s
    token = hash_secret(request.token)
    with store.write() as writer:
        site = key_store.redeem_token(writer.connection, token, now_s)
        if site is None:
            raise UnauthenticatedError("this token is not valid: unknown, used, revoked or expired")
        agent_name = _select_agent(writer, site, request.agent)
        agent_id = mesh_store.load_agent_ids(writer.connection, [agent_name])[agent_name]
        signatures.register_enrolled_key(writer, agent_id, agent_name, request.signing_key, now_s)
        key_store.add_key(writer.connection, agent_id, hash_secret(key), now_s, expires_at_s, None)
        detail = {
            "token": get_secret_id(token),
            "key": get_secret_id(hash_secret(key)),
            "peer": client_address,
            "site": site,
        }
        detail |= signatures.format_audit_detail(request.signing_key)
        audit_log.add_event(
            writer.connection,
            AuditEvent(
                at_s=now_s,
                actor=f"agent {agent_name}",
                action=AuditAction.AGENT_ENROLLED,
                subject=agent_name,
                detail=detail,
            ),
        )
    return control.EnrolResponse(
        agent=agent_name,
        site=site,
        key=key,
        expires_at_s=expires_at_s,
        issued_at_s=now_s,
        signing_key=request.signing_key,
    )


def _select_agent(writer: WriteTransaction, site: str, requested_name: str | None) -> str:
    """Return the agent of the site to enrol; raise InvalidRequestError if the name is ambiguous or not of the site."""
    active_mesh = mesh_service.load_active_mesh(writer)
    names = [agent.name for agent in active_mesh[1].agents if agent.site == site] if active_mesh else []
    if requested_name is None and len(names) == 1:
        return names[0]
    if requested_name in names:
        return requested_name
    hint = "name one with --agent" if requested_name is None else f"it has no agent {requested_name!r}"
    raise InvalidRequestError(f"agent: site {site!r} has {', '.join(names) or 'no agents'}; {hint}", path="agent")


def ensure_admin_key(store: Store, clock: Clock, config: CollectorConfig) -> None:
    """Set the administrator's key from its file, or create a key if there is no file and no key in the database.

    The file is ``admin_key_file``, or else ``ADMIN_KEY_FILE`` in the data directory. Its key replaces every other.
    """
    now_s = clock.wall_ns() // NS_PER_S
    path = config.admin_key_file or config.data_dir / ADMIN_KEY_FILE
    if config.admin_key_file or path.exists():
        sha256 = read_key_digest(ADMIN_KEY_VARIABLE, path)
        with store.write() as writer:
            _set_admin_key(writer, sha256, now_s)
        return
    with store.write() as writer:
        if not key_store.has_admin_key(writer.connection):
            _set_admin_key(writer, _create_key_file(path), now_s)
            log.warning("administrator key created", extra={"file": str(path)})


def _set_admin_key(writer: WriteTransaction, sha256: bytes, now_s: int) -> None:
    if key_store.set_admin_key(writer.connection, sha256, now_s):
        event = AuditEvent(
            at_s=now_s,
            actor=audit_log.ACTOR_COLLECTOR,
            action=AuditAction.ADMIN_KEY_CHANGED,
            subject=get_secret_id(sha256),
        )
        audit_log.add_event(writer.connection, event)


def _create_key_file(path: Path) -> bytes:
    key = generate_secret(SecretKind.ADMIN_KEY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError("--data-dir", f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{key}\n")
        file.flush()
        os.fsync(descriptor)
    return hashlib.sha256(key.encode()).digest()
