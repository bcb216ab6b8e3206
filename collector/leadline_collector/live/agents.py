"""Brings ``agent_now`` up to date: what the journal has of every agent of the mesh, and what its requests said.

Rule 1: a request only notes in memory (``Heard``); a minute's notes are written at once, so no POST costs a write.
Rule 2: each collector knows of its own requests only, so what is stored stays until somebody heard something newer.
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

#: Agents with a row: those of the largest fleet ten times over.
AGENTS_MAX = 10_000
#: Rows are written every minute: what was said before the last but one has been written by now.
REPORT_S_MAX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """What an agent said of itself; None where it did not."""

    #: When its last batch was stored, or known to be; None if none was.
    last_batch_at_s: int | None = None
    #: When it last said one of the others.
    reported_at_s: int = 0
    version: str | None = None
    backlog: SpoolBacklog | None = None


class ReportCache:
    """What this process heard of agents since it was started. Safe for several threads."""

    def __init__(self) -> None:
        self._report_by_agent: dict[int, AgentReport] = {}
        self._lock = threading.Lock()

    def record_report(self, src_id: int, now_s: int, user_agent: str, spool: str) -> None:
        """A request of the agent came with these headers; what is malformed is passed over."""
        version, backlog = headers.parse_agent_version(user_agent), headers.parse_backlog(spool)
        if version is None and backlog is None:
            return
        with self._lock:
            known = self._report_by_agent.get(src_id, AgentReport())
            self._report_by_agent[src_id] = replace(known, reported_at_s=now_s, version=version, backlog=backlog)

    def record_batch(self, src_id: int, now_s: int) -> None:
        """A batch of the agent is in the store."""
        with self._lock:
            self._report_by_agent[src_id] = replace(
                self._report_by_agent.get(src_id, AgentReport()), last_batch_at_s=now_s
            )

    def get_reports(self) -> Mapping[int, AgentReport]:
        """Everything, as of now."""
        with self._lock:
            return dict(self._report_by_agent)


def refresh_agents(store: Store, now_s: int, report_cache: ReportCache) -> int:
    """Write a row for every agent of the mesh in force, and remove the others'; how many there are."""
    heard = report_cache.get_reports()
    with store.read() as reader:
        before = live_store.load_agents(reader.connection)
        src_ids = _load_active_agent_ids(reader)
        sealed = live_store.load_newest_batches(reader.connection, src_ids)
    rows = [_build_row(src_id, before.get(src_id), sealed.get(src_id), heard.get(src_id), now_s) for src_id in src_ids]
    with store.write() as writer:
        live_store.upsert_agents(writer.connection, rows)
        live_store.delete_agents(writer.connection, before.keys() - set(src_ids))
    return len(rows)


def _load_active_agent_ids(reader: ReadTransaction) -> list[int]:
    found = mesh_service.load_active_mesh(reader)
    names = [] if found is None else [agent.name for agent in found[1].agents[:AGENTS_MAX]]
    return sorted(mesh_store.load_agent_ids(reader.connection, names).values())


def _build_row(
    src_id: int, before: AgentNowRow | None, sealed: NewestBatch | None, heard: AgentReport | None, now_s: int
) -> AgentNowRow:
    version, backlog = _select_report(before, heard)
    return AgentNowRow(
        src_id=src_id,
        heard_at=max(_iter_batch_times(before, sealed, heard, now_s), default=None),
        latest_t=sealed.latest_t if sealed else None,
        version=version,
        spool_batches=backlog.batches if backlog else None,
        spool_bytes=backlog.bytes if backlog else None,
        spool_bytes_max=backlog.bytes_max if backlog else None,
        clock_offset_us=sealed.clock_offset_us if sealed else None,
        clock_offset_error_us=sealed.clock_offset_error_us if sealed else None,
        ntp_synchronised=sealed.ntp_synchronised if sealed else None,
        updated_at=now_s,
    )


def _iter_batch_times(
    before: AgentNowRow | None, sealed: NewestBatch | None, heard: AgentReport | None, now_s: int
) -> Iterator[int]:
    """When batches came, as everybody knows it; without times of a clock that was far ahead."""
    times = (
        before.heard_at if before else None,
        sealed.received_at if sealed else None,
        heard.last_batch_at_s if heard else None,
    )
    return (t for t in times if t is not None and t <= now_s + CLOCK_AHEAD_S_MAX)


def _select_report(before: AgentNowRow | None, heard: AgentReport | None) -> tuple[str | None, SpoolBacklog | None]:
    """The version and the backlog: as they were said here since the row was written, else as the row has them."""
    if (
        heard is not None
        and heard.reported_at_s
        and (before is None or heard.reported_at_s >= before.updated_at - REPORT_S_MAX)
    ):
        return heard.version, heard.backlog
    if before is None:
        return None, None
    values = before.spool_batches, before.spool_bytes, before.spool_bytes_max
    if any(value is None for value in values):
        return before.version, None
    batches, size, size_max = (value or 0 for value in values)
    return before.version, SpoolBacklog(batches=batches, bytes=size, bytes_max=size_max)
