"""Single probes of paths, one hour at a time, exactly as the window statistics were computed from them.

Rule 1: a compacted hour comes from its chunk, a dirty one from the journal (``raw_chunks``). So every minute is read
from one source, and several batches of a minute are merged as at ingest.
Rule 2: an hour is one short transaction of the caller. A long export never keeps a snapshot open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import Connection, Select, exists, func, select

from leadline.model import Window
from leadline_collector.db.tables import chunk, mark_hour, rollup_hour, window_stat
from leadline_collector.journal import store as journal_store
from leadline_collector.rollup import chunk_store, raw_chunks
from leadline_collector.rollup.hour_reader import build_path_condition
from leadline_collector.rollup.raw_codec import Chunk
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.dirty_hours import HOUR_S

#: A path: the ids of its agent and its target.
PathKey: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWindows:
    """What is stored of the windows of some paths in a period, apart from their single probes."""

    #: Windows of compacted hours have statistics and no chunk.
    has_deleted_probes: bool
    has_simulated: bool


def load_hours(
    connection: Connection, src_ids: Collection[int], dst_ids: Collection[int], start_s: int, end_s: int
) -> list[int]:
    """Return the hours that overlap [start_s, end_s) and may have windows of these paths, by time."""
    first_s = start_s - start_s % HOUR_S
    dirty = {mark.hour_s for mark in dirty_hours.load_dirty_hours(connection, first_s, end_s, src_ids)}
    column = rollup_hour.c
    query = select(column.t).where(build_path_condition(column, src_ids, dst_ids, first_s, end_s)).distinct()
    return sorted(dirty | set(connection.execute(query).scalars()))


def load_hour_probes(
    connection: Connection, src_ids: Collection[int], dst_ids: Mapping[str, int], hour_s: int
) -> dict[PathKey, list[Window]]:
    """Return the windows of these paths in an hour, by path; ``dst_ids`` maps target names to ids.

    A path without single probes is left out: it has no windows, they are simulated, or retention deleted the probes.
    """
    chunks = chunk_store.load_path_chunks(connection, src_ids, dst_ids.values(), hour_s)
    for src_id in _find_journal_agents(connection, src_ids, dst_ids.values(), hour_s, chunks):
        by_target = raw_chunks.build_hour_chunks(connection, src_id, hour_s, dst_ids)
        chunks |= {(src_id, dst_id): path_chunk for dst_id, path_chunk in by_target.items()}
    return {key: path_chunk.to_windows(hour_s) for key, path_chunk in chunks.items()}


def _find_journal_agents(
    connection: Connection,
    src_ids: Collection[int],
    dst_ids: Collection[int],
    hour_s: int,
    chunks: Mapping[PathKey, Chunk],
) -> Iterator[int]:
    """Yield the agents with an hour to read from the journal: it is dirty, or its chunk is missing."""
    dirty = {mark.src_id for mark in dirty_hours.load_dirty_hours(connection, hour_s, hour_s + 1, src_ids)}
    compacted = _load_compacted_targets(connection, src_ids, dst_ids, hour_s)
    for src_id in src_ids:
        is_chunk_missing = any((src_id, dst_id) not in chunks for dst_id in compacted[src_id])
        if src_id in dirty or (
            # The raw RTTs may have a shorter retention than the journal.
            is_chunk_missing and journal_store.has_bodies_between(connection, src_id, hour_s, hour_s + HOUR_S)
        ):
            yield src_id


def _load_compacted_targets(
    connection: Connection, src_ids: Collection[int], dst_ids: Collection[int], hour_s: int
) -> defaultdict[int, set[int]]:
    """Return the targets with a rollup of the hour, by agent."""
    column, targets = rollup_hour.c, defaultdict[int, set[int]](set)
    query = select(column.src_id, column.dst_id).where(
        column.src_id.in_(src_ids), column.dst_id.in_(dst_ids), column.t == hour_s
    )
    for src_id, dst_id in connection.execute(query):
        targets[src_id].add(dst_id)
    return targets


def load_stored_windows(
    connection: Connection, src_ids: Collection[int], dst_ids: Collection[int], start_s: int, end_s: int
) -> StoredWindows:
    """Return what is stored of the windows of these paths in [start_s, end_s), whole hours."""
    hour, window = rollup_hour.c, window_stat.c
    hours = select(hour.t).where(build_path_condition(hour, src_ids, dst_ids, start_s, end_s))
    windows = select(window.t).where(build_path_condition(window, src_ids, dst_ids, start_s, end_s))
    has_chunk = exists().where(chunk.c.src_id == hour.src_id, chunk.c.dst_id == hour.dst_id, chunk.c.t == hour.t)
    is_dirty = exists().where(mark_hour.c.src_id == hour.src_id, mark_hour.c.t == hour.t)
    return StoredWindows(
        has_deleted_probes=_has_row(connection, hours.where(hour.simulated.is_(False), ~has_chunk, ~is_dirty)),
        has_simulated=_has_row(connection, hours.where(hour.simulated.is_(True)))
        or _has_row(connection, windows.where(window.epoch.is_(None))),
    )


def load_oldest_chunk_s(connection: Connection, src_ids: Collection[int], dst_ids: Collection[int]) -> int | None:
    """Return the start of the oldest chunk of these paths; None without a chunk."""
    # One query per path: the database finds the smallest key of each in the index.
    times = [
        connection.execute(
            select(func.min(chunk.c.t)).where(chunk.c.src_id == src_id, chunk.c.dst_id == dst_id)
        ).scalar_one()
        for src_id in src_ids
        for dst_id in dst_ids
    ]
    return min((t for t in times if t is not None), default=None)


def _has_row(connection: Connection, query: Select[tuple[int]]) -> bool:
    return connection.execute(query.limit(1)).first() is not None
