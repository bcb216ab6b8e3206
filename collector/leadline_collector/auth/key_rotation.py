"""The life of an agent's key after its enrolment: rotated by the agent, confirmed by its first use, ended by the admin.

Rule 1: the key that asks for its successor stays good until the successor was used, so a lost answer locks nobody out.
Rule 2: every change is in the audit, in the same transaction, and holds from the next request on.
"""

from __future__ import annotations

import logging

from leadline.clock import Clock
from leadline.wire import batch as wire
from leadline.wire.admin import RevokedAnswer
from leadline_collector.auth import key_store, signatures, signing_key_store
from leadline_collector.auth.secrets import Kind, new_secret, secret_id, sha256_of
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import Act, Event
from leadline_collector.db.transactions import Numbered, Store
from leadline_collector.http.app_state import Service
from leadline_collector.http.problems import ProblemError

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
FORBIDDEN = 403


def rotate(service: Service, agent: Numbered, sha256: bytes, request: wire.RotateRequest) -> wire.EnrolAnswer:
    """A new key for the agent that asks with the key of this digest, and the signing key it brings."""
    try:
        return _rotated(service, agent, sha256, request)
    except ProblemError as problem:
        if problem.status == FORBIDDEN:
            signatures.record_refusal(service, agent, problem.detail)
        raise


def _rotated(service: Service, agent: Numbered, sha256: bytes, request: wire.RotateRequest) -> wire.EnrolAnswer:
    key = new_secret(Kind.AGENT_KEY)
    now_s, ttl_s = service.now_s(), service.config.key_ttl_s
    expires_at_s = None if ttl_s is None else now_s + ttl_s
    detail = {"key": secret_id(sha256_of(key)), "replaces": secret_id(sha256)}
    detail |= signatures.named(request.signing_key)
    with service.store.write() as writer:
        signatures.register(writer, agent.id, agent.name, request, now_s)
        key_store.add_key(writer.connection, agent.id, sha256_of(key), now_s, expires_at_s, sha256)
        writer.record(_by_agent(agent, now_s, Event.KEY_ROTATED, detail))
    log.info("key rotated", extra={"agent": agent.name} | detail)
    return wire.EnrolAnswer(
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
            writer.record(_by_agent(agent, now_s, Event.KEY_REPLACED, detail))


def revoke(store: Store, clock: Clock, name: str) -> RevokedAnswer:
    """End every key of an agent, those it signs with too; 404 for a name that never was one."""
    now_s = clock.wall_ns() // NS_PER_S
    with store.write() as writer:
        agent_id = writer.agent_ids([name]).get(name)
        if agent_id is None:
            raise ProblemError(404, f"no mesh ever had an agent {name!r}")
        revoked = key_store.revoke_keys(writer.connection, agent_id, now_s)
        signing = signing_key_store.retire_all(writer.connection, agent_id, now_s)
        detail = {"keys": revoked, "signing_keys": signing}
        writer.record(Act(at_s=now_s, who=audit_log.ADMIN, what=Event.KEYS_REVOKED, subject=name, detail=detail))
    log.warning("keys revoked", extra={"agent": name, "keys": revoked, "signing_keys": signing})
    return RevokedAnswer(revoked=revoked)


def _by_agent(agent: Numbered, now_s: int, event: Event, detail: dict[str, str]) -> Act:
    return Act(at_s=now_s, who=f"agent {agent.name}", what=event, subject=agent.name, detail=detail)
