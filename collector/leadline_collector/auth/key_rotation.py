"""The life of an agent's key after its enrolment: rotated by the agent, confirmed by its first use, ended by the admin.

Rule 1: the key that asks for its successor stays good until the successor was used, so a lost answer locks nobody out.
Rule 2: every change is in the audit, in the same transaction, and holds from the next request on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from leadline.clock import Clock
from leadline.wire import control
from leadline.wire.admin import RevokedAnswer
from leadline_collector.auth import key_store, signatures, signing_key_store
from leadline_collector.auth.failure_limit import FailureLimit
from leadline_collector.auth.secrets import Kind, new_secret, secret_id, sha256_of
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import Act, Event
from leadline_collector.db.transactions import Store
from leadline_collector.errors import NotFoundError, SignatureError
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import Numbered

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotation:
    """Gives agents new keys."""

    store: Store
    clock: Clock
    #: How long a new key is valid; None for a key without an end.
    key_ttl_s: int | None
    #: Limits how many refused signatures of one agent the audit log records.
    refusal_limit: FailureLimit

    def rotate(self, agent: Numbered, sha256: bytes, request: control.RotateRequest) -> control.EnrolAnswer:
        """Return a new key for the agent whose request key has this digest; register its new signing key, if any."""
        now_s = self.clock.wall_ns() // NS_PER_S
        try:
            return _rotated(self.store, agent, sha256, request, now_s, self.key_ttl_s)
        except SignatureError as error:
            signatures.record_refusal(self.store, self.refusal_limit, agent, error.detail, now_s)
            raise


def _rotated(
    store: Store, agent: Numbered, sha256: bytes, request: control.RotateRequest, now_s: int, ttl_s: int | None
) -> control.EnrolAnswer:
    key = new_secret(Kind.AGENT_KEY)
    expires_at_s = None if ttl_s is None else now_s + ttl_s
    detail = {"key": secret_id(sha256_of(key)), "replaces": secret_id(sha256)}
    detail |= signatures.named(request.signing_key)
    with store.write() as writer:
        signatures.register(writer, agent.id, agent.name, request, now_s)
        key_store.add_key(writer.connection, agent.id, sha256_of(key), now_s, expires_at_s, sha256)
        audit_log.record(writer.connection, _by_agent(agent, now_s, Event.KEY_ROTATED, detail))
    log.info("key rotated", extra={"agent": agent.name} | detail)
    return control.EnrolAnswer(
        agent=agent.name,
        site=agent.site,
        key=key,
        expires_at_s=expires_at_s,
        issued_at_s=now_s,
        signing_key=request.signing_key,
    )


def confirm(store: Store, clock: Clock, agent: Numbered, sha256: bytes) -> None:
    """The first use of a key: the one it replaces ends here."""
    now_s = clock.wall_ns() // NS_PER_S
    with store.write() as writer:
        replaced = key_store.use_key(writer.connection, sha256, now_s)
        if replaced is not None:
            detail = {"key": secret_id(replaced), "by": secret_id(sha256)}
            audit_log.record(writer.connection, _by_agent(agent, now_s, Event.KEY_REPLACED, detail))


def revoke(store: Store, clock: Clock, name: str) -> RevokedAnswer:
    """End every key of an agent, those it signs with too; 404 for a name that never was one."""
    now_s = clock.wall_ns() // NS_PER_S
    with store.write() as writer:
        agent_id = mesh_store.load_agent_ids(writer.connection, [name]).get(name)
        if agent_id is None:
            raise NotFoundError(f"no mesh ever had an agent {name!r}")
        revoked = key_store.revoke_keys(writer.connection, agent_id, now_s)
        signing = signing_key_store.retire_all(writer.connection, agent_id, now_s)
        detail = {"keys": revoked, "signing_keys": signing}
        audit_log.record(
            writer.connection,
            Act(at_s=now_s, who=audit_log.ADMIN, what=Event.KEYS_REVOKED, subject=name, detail=detail),
        )
    log.warning("keys revoked", extra={"agent": name, "keys": revoked, "signing_keys": signing})
    return RevokedAnswer(revoked=revoked)


def _by_agent(agent: Numbered, now_s: int, event: Event, detail: dict[str, str]) -> Act:
    return Act(at_s=now_s, who=f"agent {agent.name}", what=event, subject=agent.name, detail=detail)
