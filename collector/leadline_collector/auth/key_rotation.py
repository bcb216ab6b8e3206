"""Rotation, first use and revocation of agent keys.

Rule 1: the old key stays valid until the first use of its successor, so a lost response does not lock the agent out.
Rule 2: the transaction of a change writes it to the audit log; it takes effect with the next request.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from leadline.clock import Clock
from leadline.wire import control
from leadline.wire.admin import RevocationResult
from leadline_collector.auth import key_store, signatures, signing_key_store
from leadline_collector.auth.failure_limit import FailureRateLimiter
from leadline_collector.auth.secrets import SecretKind, generate_secret, get_secret_id, hash_secret
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import AuditAction, AuditEvent
from leadline_collector.db.transactions import Store
from leadline_collector.errors import NotFoundError, SignatureError
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import NamedId

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotation:
    """Issues new keys to agents."""

    store: Store
    clock: Clock
    #: Lifetime of a new key; None for a key that does not expire.
    key_ttl_s: int | None
    #: Limits how many refused signatures of one agent the audit log records.
    refusal_limit: FailureRateLimiter

    def rotate(self, agent: NamedId, sha256: bytes, request: control.KeyRotationRequest) -> control.EnrolResponse:
        """Return a key that replaces the one with this digest; register the agent's new signing key, if any."""
        now_s = self.clock.wall_ns() // NS_PER_S
        try:
            return _store_rotation(self.store, agent, sha256, request, now_s, self.key_ttl_s)
        except SignatureError as error:
            signatures.record_refusal(self.store, self.refusal_limit, agent, error.detail, now_s)
            raise


def _store_rotation(
    store: Store, agent: NamedId, key_sha256: bytes, request: control.KeyRotationRequest, now_s: int, ttl_s: int | None
) -> control.EnrolResponse:
    key = generate_secret(SecretKind.AGENT_KEY)
    expires_at_s = None if ttl_s is None else now_s + ttl_s
    detail = {"key": get_secret_id(hash_secret(key)), "replaces": get_secret_id(key_sha256)}
    detail |= signatures.format_audit_detail(request.signing_key)
    with store.write() as writer:
        signatures.register_rotated_key(writer, agent.id, agent.name, request, now_s)
        key_store.add_key(writer.connection, agent.id, hash_secret(key), now_s, expires_at_s, key_sha256)
        audit_log.add_event(writer.connection, _build_agent_event(agent, now_s, AuditAction.KEY_ROTATED, detail))
    log.info("key rotated", extra={"agent": agent.name} | detail)
    return control.EnrolResponse(
        agent=agent.name,
        site=agent.site,
        key=key,
        expires_at_s=expires_at_s,
        issued_at_s=now_s,
        signing_key=request.signing_key,
    )


def confirm_first_use(store: Store, clock: Clock, agent: NamedId, key_sha256: bytes) -> None:
    """Record the first use of a key and revoke the key it replaces."""
    now_s = clock.wall_ns() // NS_PER_S
    with store.write() as writer:
        replaced = key_store.confirm_first_use(writer.connection, key_sha256, now_s)
        if replaced is not None:
            detail = {"key": get_secret_id(replaced), "by": get_secret_id(key_sha256)}
            audit_log.add_event(writer.connection, _build_agent_event(agent, now_s, AuditAction.KEY_REPLACED, detail))


def revoke_agent_keys(store: Store, clock: Clock, name: str) -> RevocationResult:
    """Revoke every key and signing key of an agent; raise NotFoundError for an unknown agent."""
    now_s = clock.wall_ns() // NS_PER_S
    with store.write() as writer:
        agent_id = mesh_store.load_agent_ids(writer.connection, [name]).get(name)
        if agent_id is None:
            raise NotFoundError(f"no mesh ever had an agent {name!r}")
        revoked = key_store.revoke_keys(writer.connection, agent_id, now_s)
        retired = signing_key_store.retire_all_keys(writer.connection, agent_id, now_s)
        detail = {"keys": revoked, "signing_keys": retired}
        audit_log.add_event(
            writer.connection,
            AuditEvent(
                at_s=now_s, actor=audit_log.ACTOR_ADMIN, action=AuditAction.KEYS_REVOKED, subject=name, detail=detail
            ),
        )
    log.warning("keys revoked", extra={"agent": name, "keys": revoked, "signing_keys": retired})
    return RevocationResult(revoked=revoked)


def _build_agent_event(agent: NamedId, now_s: int, event: AuditAction, detail: dict[str, str]) -> AuditEvent:
    return AuditEvent(at_s=now_s, actor=f"agent {agent.name}", action=event, subject=agent.name, detail=detail)
