"""A batch on its way in, seen from the door: counted when it is stored, put into the audit when its name is taken."""

from __future__ import annotations

import msgspec

from leadline.wire import batch as wire
from leadline_collector.auth import signatures
from leadline_collector.db.audit_log import Act, Event
from leadline_collector.db.engine import StoreBusyError, StoreUnavailableError
from leadline_collector.http.app_state import Service
from leadline_collector.http.problems import ProblemError
from leadline_collector.http.roles import Enrolled
from leadline_collector.ingest.service import US_PER_S, ingest


def take(
    service: Service, agent: Enrolled, body: bytes, encoding: str, signature: str, received_at_us: int
) -> wire.Ack:
    """Store a batch and acknowledge it; ProblemError says why not. ``received_at_us`` is when the body was there."""
    try:
        signed = signatures.check(service, agent, body, signature) if agent.signs else None
        edges_us = service.metrics.rtts.edges_us()
        done = ingest(service.store, agent, body, encoding, received_at_us, signed, edges_us)
    except ProblemError as refused:
        if refused.status == 409:
            _record_conflict(service, agent, refused)
        raise
    except StoreBusyError:
        raise
    except StoreUnavailableError as error:
        service.storing.failed(str(error))
        raise
    service.storing.worked()
    service.hearing.delivered(agent.id, received_at_us // US_PER_S)
    service.metrics.acknowledged(done.windows, done.samples, size=len(body), duplicate=done.ack.duplicate)
    if not done.ack.duplicate:
        service.metrics.rtts.add(agent.site, done.ack.mesh_version, done.counts, edges_us)
    return msgspec.structs.replace(done.ack, key_expires_at_s=agent.key_expires_at_s)


def _record_conflict(service: Service, agent: Enrolled, refused: ProblemError) -> None:
    """Its own transaction: the one that found the conflict changed nothing and is gone."""
    act = Act(
        at_s=service.now_s(),
        who=f"agent {agent.name}",
        what=Event.BATCH_CONFLICT,
        subject=agent.name,
        detail=dict(refused.members),
    )
    with service.store.write() as writer:
        writer.record(act)
