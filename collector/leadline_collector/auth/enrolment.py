"""One-time tokens, the keys agents get for them, and the administrator's key."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from leadline.clock import Clock
from leadline.errors import ConfigError
from leadline.wire import control
from leadline.wire.admin import RevokedAnswer
from leadline_collector.auth import key_store, signatures
from leadline_collector.auth.failure_limit import FailureLimit
from leadline_collector.auth.secrets import Kind, new_secret, secret_id, sha256_of
from leadline_collector.config import ADMIN_KEY_VARIABLE, CollectorConfig, key_digest
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import Act, Event
from leadline_collector.db.transactions import Store, Writer
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
#: All peers together, where a limit counts them so.
ANYBODY = ""
#: Refused enrolments a minute that are put into the audit; the log has them all.
REFUSALS_RECORDED_MAX = 120


def create_token(store: Store, clock: Clock, request: control.TokenRequest) -> control.TokenAnswer:
    """A token with which one agent of a site can enrol; 422 for a site no mesh has."""
    token = new_secret(Kind.TOKEN)
    now_s = clock.wall_ns() // NS_PER_S
    expires_at_s = now_s + request.ttl_s
    detail = {"token": secret_id(sha256_of(token)), "expires_at_s": expires_at_s}
    act = Act(at_s=now_s, who=audit_log.ADMIN, what=Event.TOKEN_CREATED, subject=request.site, detail=detail)
    with store.write() as writer:
        if not key_store.add_token(writer.connection, sha256_of(token), request.site, now_s, expires_at_s):
            raise InvalidRequestError(f"site: no mesh has a site {request.site!r}; apply the mesh first", path="site")
        audit_log.record(writer.connection, act)
    log.info("token created", extra={"site": request.site} | detail)
    return control.TokenAnswer(token=token, site=request.site, expires_at_s=expires_at_s)


def revoke_token(store: Store, clock: Clock, token_id: str) -> RevokedAnswer:
    """End a token that nobody used yet; 404 if there is none of this id that is still good."""
    now_s = clock.wall_ns() // NS_PER_S
    with store.write() as writer:
        revoked = key_store.revoke_token(writer.connection, token_id, now_s)
        if not revoked:
            raise NotFoundError(f"no token {token_id} waits to be used: `leadline token list` shows all")
        audit_log.record(
            writer.connection, Act(at_s=now_s, who=audit_log.ADMIN, what=Event.TOKEN_REVOKED, subject=token_id)
        )
    log.warning("token revoked", extra={"token": token_id})
    return RevokedAnswer(revoked=revoked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Exchanges one-time tokens for agent keys."""

    store: Store
    clock: Clock
    #: How long a new key is valid; None for a key without an end.
    key_ttl_s: int | None
    #: Failed enrolments of each peer.
    peer_limit: FailureLimit
    #: Refused enrolments of all peers together that the audit log records, so strangers cannot fill the disk.
    refusal_limit: FailureLimit

    def enrol(self, request: control.EnrolRequest, peer: str) -> control.EnrolAnswer:
        """Return a key for an agent; the token is used up unless the request is refused.

        TooManyAttemptsError for a peer that failed too often.
        """
        wait_s = self.peer_limit.wait_s(peer)
        if wait_s:
            raise TooManyAttemptsError(f"too many failed enrolments: wait {wait_s} s", retry_after_s=wait_s)
        try:
            answer = _enrolled(self.store, request, peer, self.clock.wall_ns() // NS_PER_S, self.key_ttl_s)
        except CollectorError:
            self.peer_limit.failed(peer)
            raise
        log.info("agent enrolled", extra={"agent": answer.agent, "site": answer.site, "peer": peer})
        return answer

    def record_refusal(self, request: control.EnrolRequest, peer: str, status: int) -> None:
        """Write a refused enrolment to the log and, within the limit, to the audit log.

        ``status`` is the HTTP status of the response.
        """
        log.warning("enrolment refused", extra={"peer": peer, "status": status})
        if self.refusal_limit.wait_s(ANYBODY):
            return
        self.refusal_limit.failed(ANYBODY)
        detail = {"status": status, "token": secret_id(sha256_of(request.token))}
        act = Act(
            at_s=self.clock.wall_ns() // NS_PER_S,
            who=f"peer {peer}",
            what=Event.ENROLMENT_REFUSED,
            subject=request.agent or "",
            detail=detail,
        )
        with self.store.write() as writer:
            audit_log.record(writer.connection, act)


def _enrolled(
    store: Store, request: control.EnrolRequest, peer: str, now_s: int, ttl_s: int | None
) -> control.EnrolAnswer:
    key = new_secret(Kind.AGENT_KEY)
    expires_at_s = None if ttl_s is None else now_s + ttl_s
    token = sha256_of(request.token)
    with store.write() as writer:
        site = key_store.use_token(writer.connection, token, now_s)
        if site is None:
            raise UnauthenticatedError("this token is not valid: unknown, used, revoked or expired")
        name = _agent_of(writer, site, request.agent)
        agent_id = mesh_store.load_agent_ids(writer.connection, [name])[name]
        signatures.register_first(writer, agent_id, name, request.signing_key, now_s)
        key_store.add_key(writer.connection, agent_id, sha256_of(key), now_s, expires_at_s, None)
        detail = {"token": secret_id(token), "key": secret_id(sha256_of(key)), "peer": peer, "site": site}
        detail |= signatures.named(request.signing_key)
        audit_log.record(
            writer.connection,
            Act(at_s=now_s, who=f"agent {name}", what=Event.AGENT_ENROLLED, subject=name, detail=detail),
        )
    return control.EnrolAnswer(
        agent=name,
        site=site,
        key=key,
        expires_at_s=expires_at_s,
        issued_at_s=now_s,
        signing_key=request.signing_key,
    )


def _agent_of(writer: Writer, site: str, wanted: str | None) -> str:
    """The agent of the site that enrols; 422 if the request leaves a choice or names another site's."""
    found = mesh_service.in_force(writer)
    names = [agent.name for agent in found[1].agents if agent.site == site] if found else []
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return wanted
    problem = "name one with --agent" if wanted is None else f"{wanted!r} is none of them"
    raise InvalidRequestError(f"agent: site {site!r} has {', '.join(names) or 'no agents'}; {problem}", path="agent")


def prepare_admin_key(store: Store, clock: Clock, config: CollectorConfig) -> None:
    """See to it that there is an administrator's key.

    A key file, given or in the data directory, holds the only key. Without one, a key is made if the database has none.
    """
    now_s = clock.wall_ns() // NS_PER_S
    path = config.admin_key_file or config.data_dir / ADMIN_KEY_FILE
    if config.admin_key_file or path.exists():
        sha256 = key_digest(ADMIN_KEY_VARIABLE, path)
        with store.write() as writer:
            _set_admin_key(writer, sha256, now_s)
        return
    with store.write() as writer:
        if not key_store.has_admin_key(writer.connection):
            _set_admin_key(writer, _make_key_file(path), now_s)
            log.warning("made the administrator's key", extra={"file": str(path)})


def _set_admin_key(writer: Writer, sha256: bytes, now_s: int) -> None:
    if key_store.set_admin_key(writer.connection, sha256, now_s):
        act = Act(at_s=now_s, who=audit_log.COLLECTOR, what=Event.ADMIN_KEY_CHANGED, subject=secret_id(sha256))
        audit_log.record(writer.connection, act)


def _make_key_file(path: Path) -> bytes:
    key = new_secret(Kind.ADMIN_KEY)
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
