"""Compaction: chunks, rollups and state counts of the hours or the day of a site, computed from its windows.

Rule 1: an hour is computed from one snapshot of the database and written only if its marks are unchanged since then. So
it can be repeated or killed at any point.
Rule 2: one process at a time works on a site (``Store.try_lock``); ingest waits only for the commit of the result.
Rule 3: an hour that is not over is compacted without chunks, for fast reading, and stays marked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, or_, select

from leadline_collector.db.tables import chunk, rollup_hour, tally_day, tally_hour, window_stat
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.mesh import registry
from leadline_collector.mesh.registry import Registry
from leadline_collector.rollup import (
    hour_reader,
    path_rollups,
    profile_revisions,
    raw_chunks,
    state_counts,
    window_codec,
)
from leadline_collector.rollup.hour_reader import HourBlock, PathHourKey
from leadline_collector.rollup.latency_p95 import fill_latency_p95
from leadline_collector.rollup.path_rollups import COUNTER_COLUMNS, PathHour, RollupRow
from leadline_collector.rollup.profile_revisions import ProfileRevision
from leadline_collector.rollup.raw_codec import Chunk
from leadline_collector.rollup.state_counts import PairHours
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.dirty_hours import DAY_S, HOUR_S, DirtyHour
from leadline_verdict.series import COLUMNS, MISSING

#: Time after the end of an hour for its last windows to arrive: agents seal after 16 s and send at once.
SETTLE_S = 120
#: First key of the advisory lock of a site's compaction; the second is the site.
SITE_LOCK = 53235467


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactedRows:
    """New rows by table; they replace those with the same key."""

    chunks: Sequence[RollupRow] = ()
    rollup_hours: Sequence[RollupRow] = ()
    tally_hours: Sequence[RollupRow] = ()


def compact_hours(store: Store, source_id: int, hours_s: Sequence[int], now_s: int) -> bool:
    """Compact hours of one day of a site; return False if there was nothing to do or it has to be tried again."""
    with store.try_lock(SITE_LOCK, source_id) as is_ours:
        if not is_ours:
            return False
        with store.read() as reader:
            marks = dirty_hours.load_site_dirty_hours(reader.connection, source_id, hours_s)
            rows = _compute_hour_rows(reader, source_id, marks, now_s) if marks else CompactedRows()
        store.ensure_partitions(hours_s)
        return bool(marks) and _write_hours(store, source_id, marks, rows, now_s)


def is_settled(hour_s: int, now_s: int) -> bool:
    """Return True if all windows of an hour have had time to arrive."""
    return hour_s + HOUR_S + SETTLE_S <= now_s


def _write_hours(store: Store, source_id: int, marks: Sequence[DirtyHour], rows: CompactedRows, now_s: int) -> bool:
    with store.write() as writer:
        if not dirty_hours.is_unchanged(writer.connection, marks):
            return False
        writer.replace_rows(chunk, rows.chunks)
        writer.replace_rows(rollup_hour, rows.rollup_hours)
        writer.replace_rows(tally_hour, rows.tally_hours)
        day_s = marks[0].hour_s - marks[0].hour_s % DAY_S
        dirty_hours.mark_day_dirty(writer.connection, source_id, day_s)
        dirty_hours.clear_dirty_hours(writer.connection, [mark for mark in marks if is_settled(mark.hour_s, now_s)])
        dirty_hours.advance_watermark(writer.connection, [mark for mark in marks if not is_settled(mark.hour_s, now_s)])
        return True


def _compute_hour_rows(
    reader: ReadTransaction, source_id: int, marks: Sequence[DirtyHour], now_s: int
) -> CompactedRows:
    connection, sites = reader.connection, registry.load_registry(reader.connection)
    settled = {(mark.src_id, mark.hour_s): is_settled(mark.hour_s, now_s) for mark in marks}
    windows = _load_windows(connection, sites.agents_by_site[source_id], marks)
    chunks = {
        key: path_chunk
        for (src_id, hour_s), is_over in settled.items()
        if is_over
        for key, path_chunk in _build_chunks(connection, src_id, hour_s, sites).items()
    }
    for index, key in enumerate(windows.keys):
        if key in chunks:
            fill_latency_p95(windows.values[index], chunks[key])
    paths = windows.select([index for index, key in enumerate(windows.keys) if (key[0], key[2]) in settled])
    return CompactedRows(
        chunks=[(*key, path_chunk.encode()) for key, path_chunk in chunks.items()],
        rollup_hours=_build_rollup_rows(connection, paths, chunks),
        tally_hours=[
            row
            for revision in profile_revisions.load_current_revisions(connection)
            for row in build_count_rows(windows, revision, sites)
        ],
    )


def _load_windows(connection: Connection, src_ids: Collection[int], marks: Sequence[DirtyHour]) -> HourBlock:
    """Load every path of the site in the dirty hours; for marked agents from the rows of the whole hour."""
    hours_s = sorted({mark.hour_s for mark in marks})
    windows = hour_reader.load_packed_hours(connection, src_ids, hours_s[0], hours_s[-1] + HOUR_S)
    for first_s, end_s in _iter_contiguous_hours(hours_s):
        dirty_src_ids = {mark.src_id for mark in marks if first_s <= mark.hour_s < end_s}
        windows = hour_reader.overlay_windows(
            windows, hour_reader.load_window_rows(connection, dirty_src_ids, None, first_s, end_s)
        )
    return windows.select([index for index, key in enumerate(windows.keys) if key[2] in hours_s])


def _iter_contiguous_hours(hours_s: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield runs of consecutive hours as [first, end)."""
    first_s = hours_s[0]
    for hour_s, later_s in zip_longest(hours_s, hours_s[1:]):
        if later_s != hour_s + HOUR_S:
            yield first_s, hour_s + HOUR_S
            first_s = later_s


def _build_chunks(connection: Connection, src_id: int, hour_s: int, sites: Registry) -> dict[PathHourKey, Chunk]:
    chunks = raw_chunks.build_hour_chunks(connection, src_id, hour_s, sites.target_ids)
    return {(src_id, dst_id, hour_s): path_chunk for dst_id, path_chunk in chunks.items()}


def _build_rollup_rows(
    connection: Connection, paths: HourBlock, chunks: Mapping[PathHourKey, Chunk]
) -> list[RollupRow]:
    # A chunk with every window counts the same as ``window_stat``, which may have lost rows by retention.
    complete_keys = {
        key for index, key in enumerate(paths.keys) if _is_complete_chunk(chunks.get(key), paths.values[index])
    }
    counters = _load_counters(connection, [key for key in paths.keys if key not in complete_keys])
    packed, latest = window_codec.pack_hours(paths.values), window_codec.pack_latest_windows(paths.values)
    return [
        path_rollups.build_hour_row(
            PathHour(
                key=key,
                windows=paths.values[index],
                packed=packed[index],
                latest=latest[index],
                counters=chunks[key].compute_counters() if key in complete_keys else counters.get(key, _ZERO_COUNTERS),
                simulated=bool(paths.simulated[index]),
                chunk=chunks.get(key),
            )
        )
        for index, key in enumerate(paths.keys)
    ]


def _is_complete_chunk(path_chunk: Chunk | None, windows: NDArray[np.int32]) -> bool:
    return path_chunk is not None and len(path_chunk.minutes) == int((windows[COLUMNS.index("expected")] > 0).sum())


_ZERO_COUNTERS = (0,) * len(COUNTER_COLUMNS)


def _load_counters(connection: Connection, keys: Sequence[PathHourKey]) -> dict[PathHourKey, tuple[int, ...]]:
    """Return duplicates and failures of each path and hour; those without any are left out."""
    if not keys:
        return {}
    column = window_stat.c
    hour = (column.t - column.t % HOUR_S).label("hour")
    src_ids, hours_s = {key[0] for key in keys}, {key[2] for key in keys}
    query = (
        select(column.src_id, column.dst_id, hour, *(func.sum(column[name]) for name in COUNTER_COLUMNS))
        .where(
            hour_reader.build_path_condition(column, src_ids, None, min(hours_s), max(hours_s) + HOUR_S),
            or_(column.received < column.expected, column.duplicates > 0),
        )
        .group_by(column.src_id, column.dst_id, hour)
    )
    return {(row[0], row[1], row[2]): tuple(int(count) for count in row[3:]) for row in connection.execute(query)}


def build_count_rows(windows: HourBlock, revision: ProfileRevision, registry: Registry) -> list[RollupRow]:
    """Return the rows of ``tally_hour`` of these hours, which must include all agents of a site."""
    pairs = state_counts.evaluate_pair_hours(
        windows,
        revision.criteria,
        registry.site_by_agent,
        registry.site_by_target,
        imported_agents=registry.imported_agents,
    )
    state_strings = state_counts.format_state_strings(pairs.worst_case, pairs.causes)
    return [(*row, states) for row, states in zip(_build_pair_rows(pairs, revision), state_strings, strict=True)]


def _build_pair_rows(pairs: PairHours, revision: ProfileRevision) -> list[RollupRow]:
    """Return the columns that ``tally_hour`` and ``tally_day`` share."""
    columns = zip(
        pairs.keys,
        state_counts.count_states(pairs).tolist(),
        _list_values(pairs.min_us),
        pairs.simulated.tolist(),
        pairs.imported.tolist(),
        _list_values(pairs.expected_min),
        strict=True,
    )
    return [
        (source_id, revision.id, destination_id, t, *counts, min_us, simulated, imported, expected_min)
        for (source_id, destination_id, t), counts, min_us, simulated, imported, expected_min in columns
    ]


def _list_values(column: NDArray[np.int32]) -> list[int | None]:
    return [None if value == MISSING else value for value in column.tolist()]


def compact_day(store: Store, source_id: int, day_s: int) -> bool:
    """Compact a complete day of a site; return False if hours of it are dirty or it has to be tried again."""
    with store.try_lock(SITE_LOCK, source_id) as is_ours:
        if not is_ours:
            return False
        with store.read() as reader:
            sites = registry.load_registry(reader.connection)
            src_ids = sites.agents_by_site[source_id]
            if dirty_hours.load_dirty_hours(reader.connection, day_s, day_s + DAY_S, src_ids):
                return False
            windows = hour_reader.load_hours(reader.connection, src_ids, day_s, day_s + DAY_S)
            revisions = profile_revisions.load_current_revisions(reader.connection)
            rows = [row for revision in revisions for row in build_day_count_rows(windows, revision, sites, day_s)]
        with store.write() as writer:
            writer.replace_rows(tally_day, rows)
            dirty_hours.clear_dirty_day(writer.connection, source_id, day_s)
        return True


def build_day_count_rows(
    windows: HourBlock, revision: ProfileRevision, registry: Registry, day_s: int
) -> list[RollupRow]:
    """Return the rows of ``tally_day`` of the hours of one day."""
    pairs = state_counts.evaluate_pair_hours(
        windows,
        revision.criteria,
        registry.site_by_agent,
        registry.site_by_target,
        imported_agents=registry.imported_agents,
    )
    return _build_pair_rows(state_counts.combine_day(pairs, day_s), revision)
