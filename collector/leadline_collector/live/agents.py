"""Brings ``agent_now`` up to date: what the journal has of every agent of the mesh, and what its requests said.

Rule 1: a request only notes in memory (``Heard``); a minute's notes are written at once, so no POST costs a write.
Rule 2: each collector knows of its own requests only, so what is stored stays until somebody heard something newer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from leadline.wire import headers
from leadline.wire.headers import Backlog
from leadline_collector.db.transactions import Reader, Store
from leadline_collector.live import store as live_store
from leadline_collector.live.store import AHEAD_S_MAX, AgentNow, Sealed
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store

#: Agents with a row: those of the largest fleet ten times over.
AGENTS_MAX = 10_000
#: Rows are written every minute: what was said before the last but one has been written by now.
FRESH_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What an agent said of itself; None where it did not."""

    #: When its last batch was stored, or known to be; None if none was.
    batch_at_s: int | None = None
    #: When it last said one of the others.
    said_at_s: int = 0
    version: str | None = None
    backlog: Backlog | None = None


class Hearing:
    """What this process heard of agents since it was started. Safe for several threads."""

    def __init__(self) -> None:
        self._of: dict[int, Heard] = {}
        self._guard = threading.Lock()

    def said(self, src_id: int, now_s: int, user_agent: str, spool: str) -> None:
        """A request of the agent came with these headers; what is malformed is passed over."""
        version, backlog = headers.agent_version(user_agent), headers.backlog(spool)
        if version is None and backlog is None:
            return
        with self._guard:
            known = self._of.get(src_id, Heard())
            self._of[src_id] = replace(known, said_at_s=now_s, version=version, backlog=backlog)

    def delivered(self, src_id: int, now_s: int) -> None:
        """A batch of the agent is in the store."""
        with self._guard:
            self._of[src_id] = replace(self._of.get(src_id, Heard()), batch_at_s=now_s)

    def all(self) -> Mapping[int, Heard]:
        """Everything, as of now."""
        with self._guard:
            return dict(self._of)


def bring_up(store: Store, now_s: int, hearing: Hearing) -> int:
    """Write a row for every agent of the mesh in force, and remove the others'; how many there are."""
    heard = hearing.all()
    with store.read() as reader:
        before = live_store.agents(reader.connection)
        src_ids = _in_force(reader)
        sealed = live_store.newest_batches(reader.connection, src_ids)
    rows = [_row(src_id, before.get(src_id), sealed.get(src_id), heard.get(src_id), now_s) for src_id in src_ids]
    with store.write() as writer:
        live_store.put_agents(writer.connection, rows)
        live_store.remove_agents(writer.connection, before.keys() - set(src_ids))
    return len(rows)


def _in_force(reader: Reader) -> list[int]:
    found = mesh_service.in_force(reader)
    names = [] if found is None else [agent.name for agent in found[1].agents[:AGENTS_MAX]]
    return sorted(mesh_store.load_agent_ids(reader.connection, names).values())


def _row(src_id: int, before: AgentNow | None, sealed: Sealed | None, heard: Heard | None, now_s: int) -> AgentNow:
    version, backlog = _said(before, heard)
    return AgentNow(
        src_id=src_id,
        heard_at=max(_times(before, sealed, heard, now_s), default=None),
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


def _times(before: AgentNow | None, sealed: Sealed | None, heard: Heard | None, now_s: int) -> Iterator[int]:
    """When batches came, as everybody knows it; without times of a clock that was far ahead."""
    times = (
        before.heard_at if before else None,
        sealed.received_at if sealed else None,
        heard.batch_at_s if heard else None,
    )
    return (t for t in times if t is not None and t <= now_s + AHEAD_S_MAX)


def _said(before: AgentNow | None, heard: Heard | None) -> tuple[str | None, Backlog | None]:
    """The version and the backlog: as they were said here since the row was written, else as the row has them."""
    if heard is not None and heard.said_at_s and (before is None or heard.said_at_s >= before.updated_at - FRESH_S):
        return heard.version, heard.backlog
    if before is None:
        return None, None
    values = before.spool_batches, before.spool_bytes, before.spool_bytes_max
    if any(value is None for value in values):
        return before.version, None
    batches, size, size_max = (value or 0 for value in values)
    return before.version, Backlog(batches=batches, bytes=size, bytes_max=size_max)
