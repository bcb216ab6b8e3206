"""Ingest of agents' batches and of imported batches: signature check, storage, counters, audit of conflicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from leadline.clock import Clock
from leadline.wire.batch import Ack
from leadline_collector.auth import signatures
from leadline_collector.auth.failure_limit import FailureRateLimiter
from leadline_collector.auth.key_store import AuthenticatedAgent
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import AuditAction, AuditEvent
from leadline_collector.db.engine import StoreBusyError, StoreUnavailableError
from leadline_collector.db.transactions import Store
from leadline_collector.errors import ConflictError
from leadline_collector.ingest import imports
from leadline_collector.ingest.batch_store import US_PER_S, ingest_batch
from leadline_collector.ingest.imports import ImportOrigin
from leadline_collector.ingest.rtt_counters import RttCounters
from leadline_collector.ingest.write_health import WriteHealth
from leadline_collector.journal.store import BatchSignature
from leadline_collector.live.agents import ReportCache
from leadline_collector.mesh.store import ActiveTargetCache


class BatchCounters(Protocol):
    """Counts acknowledged batches, for ``/metrics``."""

    def record_ack(self, windows: int, samples: int, *, byte_count: int, is_duplicate: bool) -> None:
        """Count one batch; a duplicate adds no windows and no samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestService:
    """Accepts batches. Safe for several threads."""

    store: Store
    clock: Clock
    #: Limits how many refused signatures of one agent the audit log records.
    refusal_limit: FailureRateLimiter
    counters: BatchCounters
    rtt_counters: RttCounters
    write_health: WriteHealth
    reports: ReportCache
    active_targets: ActiveTargetCache = field(default_factory=ActiveTargetCache)

    def accept(self, agent: AuthenticatedAgent, body: bytes, encoding: str, signature: str, received_at_us: int) -> Ack:
        """Store a batch and return its acknowledgement; raise a CollectorError if it is refused.

        ``received_at_us`` is when the last byte of the body arrived, in microseconds since 1970.
        """
        try:
            batch_signature = self._check_signature(agent, body, signature) if agent.requires_signature else None
            edges_us = self.rtt_counters.get_edges_us()
            result = ingest_batch(
                self.store,
                agent,
                body,
                encoding,
                received_at_us,
                batch_signature,
                edges_us,
                active_targets=self.active_targets,
            )
        except ConflictError as error:
            self._record_conflict(agent, error)
            raise
        except StoreBusyError:
            raise
        except StoreUnavailableError as error:
            self.write_health.record_failure(str(error))
            raise
        self.write_health.record_success()
        self.reports.record_batch(agent.id, received_at_us // US_PER_S)
        is_duplicate = result.ack.duplicate
        self.counters.record_ack(
            result.window_count, result.slot_count, byte_count=len(body), is_duplicate=is_duplicate
        )
        if not is_duplicate:
            self.rtt_counters.add_windows(agent.site, result.ack.mesh_version, result.counts, edges_us)
        return msgspec.structs.replace(result.ack, key_expires_at_s=agent.key_expires_at_s)

    def accept_import(
        self, received_at_us: int, body: bytes, encoding: str, origin: ImportOrigin, *, check: bool
    ) -> Ack:
        """Store an imported batch, or only check it, and return its acknowledgement."""
        result = imports.store_import(
            self.store, self.active_targets, received_at_us, body, encoding, origin, check=check
        )
        if not check:
            self.counters.record_ack(
                result.windows, result.samples, byte_count=len(body), is_duplicate=result.ack.duplicate
            )
        return result.ack

    def _check_signature(self, agent: AuthenticatedAgent, body: bytes, header: str) -> BatchSignature:
        return signatures.verify_batch_signature(self.store, self.refusal_limit, agent, body, header, self._now_s())

    def _record_conflict(self, agent: AuthenticatedAgent, error: ConflictError) -> None:
        """Write the conflict to the audit log in a separate transaction: that of the batch was rolled back."""
        event = AuditEvent(
            at_s=self._now_s(),
            actor=f"agent {agent.name}",
            action=AuditAction.BATCH_CONFLICT,
            subject=agent.name,
            detail=dict(error.members),
        )
        with self.store.write() as writer:
            audit_log.add_event(writer.connection, event)

    def _now_s(self) -> int:
        return self.clock.wall_ns() // 1_000_000_000
