"""Refresh of ``agent_now``: the newest batch of every agent of the mesh, and the status its requests report.

Rule 1: a request only updates memory (``ReportCache``); the reports of a minute are written together, so that a POST
costs no extra write.
Rule 2: a collector knows only its own requests, so a stored report stays until a collector has a newer one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from leadline.wire import headers
from leadline.wire.headers import SpoolBacklog
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.live import store as live_store
from leadline_collector.live.store import CLOCK_AHEAD_S_MAX, AgentNowRow, NewestBatch
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store

#: Agents with a row: ten times the largest fleet.
AGENTS_MAX = 10_000
#: Rows are written every minute: a report older than two minutes has been written.
REPORT_S_MAX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """Status that an agent reported in request headers; None for values that it did not report."""

    #: Time of its last acknowledged batch; None without one.
    last_batch_at_s: int | None = None
    #: Time of the last report of version or backlog; 0 without one.
    reported_at_s: int = 0
    version: str | None = None
    backlog: SpoolBacklog | None = None


class ReportCache:
    """Reports that this process received from agents since its start. Safe for several threads."""

    def __init__(self) -> None:
        self._report_by_agent: dict[int, AgentReport] = {}
        self._lock = threading.Lock()

    def record_report(self, src_id: int, now_s: int, user_agent: str, spool: str) -> None:
        """Record the headers of an agent's request; ignore malformed values."""
        version, backlog = headers.parse_agent_version(user_agent), headers.parse_backlog(spool)
        if version is None and backlog is None:
            return
        with self._lock:
            report = self._report_by_agent.get(src_id, AgentReport())
            self._report_by_agent[src_id] = replace(report, reported_at_s=now_s, version=version, backlog=backlog)

    def record_batch(self, src_id: int, now_s: int) -> None:
        """Record that a batch of the agent was stored, or was a duplicate."""
        with self._lock:
            self._report_by_agent[src_id] = replace(
                self._report_by_agent.get(src_id, AgentReport()), last_batch_at_s=now_s
            )

    def get_reports(self) -> Mapping[int, AgentReport]:
        """Return a copy of the reports by agent id."""
        with self._lock:
            return dict(self._report_by_agent)


def refresh_agents(store: Store, now_s: int, report_cache: ReportCache) -> int:
    """Upsert the rows of all agents of the active mesh, delete the others; return the row count."""
    reports = report_cache.get_reports()
    with store.read() as reader:
        old_rows = live_store.load_agents(reader.connection)
        src_ids = _load_active_agent_ids(reader)
        batches = live_store.load_newest_batches(reader.connection, src_ids)
    rows = [
        _build_row(src_id, old_rows.get(src_id), batches.get(src_id), reports.get(src_id), now_s) for src_id in src_ids
    ]
    with store.write() as writer:
        live_store.upsert_agents(writer.connection, rows)
        live_store.delete_agents(writer.connection, old_rows.keys() - set(src_ids))
    return len(rows)


def _load_active_agent_ids(reader: ReadTransaction) -> list[int]:
    active_mesh = mesh_service.load_active_mesh(reader)
    names = [] if active_mesh is None else [agent.name for agent in active_mesh[1].agents[:AGENTS_MAX]]
    return sorted(mesh_store.load_agent_ids(reader.connection, names).values())


def _build_row(
    src_id: int, old_row: AgentNowRow | None, newest_batch: NewestBatch | None, report: AgentReport | None, now_s: int
) -> AgentNowRow:
    version, backlog = _select_report(old_row, report)
    return AgentNowRow(
        src_id=src_id,
        heard_at=max(_iter_batch_times(old_row, newest_batch, report, now_s), default=None),
        latest_t=newest_batch.latest_t if newest_batch else None,
        version=version,
        spool_batches=backlog.batches if backlog else None,
        spool_bytes=backlog.bytes if backlog else None,
        spool_bytes_max=backlog.bytes_max if backlog else None,
        clock_offset_us=newest_batch.clock_offset_us if newest_batch else None,
        clock_offset_error_us=newest_batch.clock_offset_error_us if newest_batch else None,
        ntp_synchronised=newest_batch.ntp_synchronised if newest_batch else None,
        updated_at=now_s,
    )


def _iter_batch_times(
    old_row: AgentNowRow | None, newest_batch: NewestBatch | None, report: AgentReport | None, now_s: int
) -> Iterator[int]:
    """Yield the known arrival times of the last batch; omit times of a clock that was far ahead."""
    times = (
        old_row.heard_at if old_row else None,
        newest_batch.received_at if newest_batch else None,
        report.last_batch_at_s if report else None,
    )
    return (t for t in times if t is not None and t <= now_s + CLOCK_AHEAD_S_MAX)


def _select_report(old_row: AgentNowRow | None, report: AgentReport | None) -> tuple[str | None, SpoolBacklog | None]:
    """Return version and backlog: from the report if it is newer than the row, or else from the row."""
    if (
        report is not None
        and report.reported_at_s
        and (old_row is None or report.reported_at_s >= old_row.updated_at - REPORT_S_MAX)
    ):
        return report.version, report.backlog
    if old_row is None:
        return None, None
    values = old_row.spool_batches, old_row.spool_bytes, old_row.spool_bytes_max
    if any(value is None for value in values):
        return old_row.version, None
    batches, size, size_max = (value or 0 for value in values)
    return old_row.version, SpoolBacklog(batches=batches, bytes=size, bytes_max=size_max)
