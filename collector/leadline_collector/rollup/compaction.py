"""From windows to what is kept for months: the chunks, rollups and tallies of one site's hours or day.

Rule 1: everything of an hour is computed from one moment of the database, and written only if its marks are still what
they were in that moment. So doing it twice, or being killed in between, changes nothing.
Rule 2: one process at a time works on a site (``Store.turn``); ingest never waits for the computing, only for the
commit of its result.
Rule 3: an hour that is not over is compacted for the matrix's sake, without chunks, and stays marked.
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
from leadline_collector.rollup.path_rollups import COUNTER_COLUMNS, PathHour, RollupRow
from leadline_collector.rollup.profile_revisions import ProfileRevision
from leadline_collector.rollup.raw_codec import Chunk
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.dirty_hours import DAY_S, HOUR_S, DirtyHour
from leadline_verdict.series import COLUMNS, MISSING

#: The last minute of an hour is sealed 16 s after its end and sent at once.
SETTLE_S = 120
#: First key of the advisory lock of a site's compaction; the second is the site.
SITE_LOCK = 53235467


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactedRows:
    """What is written in place of what was there, by table."""

    chunks: Sequence[RollupRow] = ()
    rollup_hours: Sequence[RollupRow] = ()
    tally_hours: Sequence[RollupRow] = ()


def compact_hours(store: Store, source_id: int, hours_s: Sequence[int], now_s: int) -> bool:
    """Compact hours of one day of a site; False if there was nothing to do, or if it has to be tried again."""
    with store.try_lock(SITE_LOCK, source_id) as is_ours:
        if not is_ours:
            return False
        with store.read() as reader:
            found = dirty_hours.load_site_dirty_hours(reader.connection, source_id, hours_s)
            rows = _compute_hour_rows(reader, source_id, found, now_s) if found else CompactedRows()
        store.ensure_partitions(hours_s)
        return bool(found) and _write_hours(store, source_id, found, rows, now_s)


def is_settled(hour_s: int, now_s: int) -> bool:
    """True when everything of an hour has had time to arrive."""
    return hour_s + HOUR_S + SETTLE_S <= now_s


def _write_hours(store: Store, source_id: int, found: Sequence[DirtyHour], rows: CompactedRows, now_s: int) -> bool:
    with store.write() as writer:
        if not dirty_hours.is_unchanged(writer.connection, found):
            return False
        writer.replace_rows(chunk, rows.chunks)
        writer.replace_rows(rollup_hour, rows.rollup_hours)
        writer.replace_rows(tally_hour, rows.tally_hours)
        day_s = found[0].hour_s - found[0].hour_s % DAY_S
        dirty_hours.mark_day_dirty(writer.connection, source_id, day_s)
        dirty_hours.clear_dirty_hours(writer.connection, [mark for mark in found if is_settled(mark.hour_s, now_s)])
        dirty_hours.advance_watermark(writer.connection, [mark for mark in found if not is_settled(mark.hour_s, now_s)])
        return True


def _compute_hour_rows(
    reader: ReadTransaction, source_id: int, found: Sequence[DirtyHour], now_s: int
) -> CompactedRows:
    connection, known = reader.connection, registry.load_registry(reader.connection)
    marked = {(mark.src_id, mark.hour_s): is_settled(mark.hour_s, now_s) for mark in found}
    windows = _load_windows(connection, known.agents_by_site[source_id], found)
    chunks = {
        key: raw
        for (src_id, hour_s), over in marked.items()
        if over
        for key, raw in _build_chunks(connection, src_id, hour_s, known).items()
    }
    paths = windows.select([number for number, key in enumerate(windows.keys) if (key[0], key[2]) in marked])
    return CompactedRows(
        chunks=[(*key, raw.encode()) for key, raw in chunks.items()],
        rollup_hours=_build_rollup_rows(connection, paths, chunks),
        tally_hours=[
            row
            for rule in profile_revisions.load_current_revisions(connection)
            for row in build_tally_rows(windows, rule, known)
        ],
    )


def _load_windows(connection: Connection, src_ids: Collection[int], found: Sequence[DirtyHour]) -> HourBlock:
    """Every path of the site in the marked hours: of agents that are marked from rows, from the start of the hour."""
    hours_s = sorted({mark.hour_s for mark in found})
    windows = hour_reader.load_packed_hours(connection, src_ids, hours_s[0], hours_s[-1] + HOUR_S)
    for first_s, end_s in _iter_contiguous_hours(hours_s):
        marked = {mark.src_id for mark in found if first_s <= mark.hour_s < end_s}
        windows = hour_reader.overlay_windows(
            windows, hour_reader.load_window_rows(connection, marked, None, first_s, end_s)
        )
    return windows.select([number for number, key in enumerate(windows.keys) if key[2] in hours_s])


def _iter_contiguous_hours(hours_s: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Hours in a row as [first, end)."""
    first_s = hours_s[0]
    for hour_s, later_s in zip_longest(hours_s, hours_s[1:]):
        if later_s != hour_s + HOUR_S:
            yield first_s, hour_s + HOUR_S
            first_s = later_s


def _build_chunks(connection: Connection, src_id: int, hour_s: int, known: Registry) -> dict[PathHourKey, Chunk]:
    found = raw_chunks.build_hour_chunks(connection, src_id, hour_s, known.target_ids)
    return {(src_id, dst_id, hour_s): raw for dst_id, raw in found.items()}


def _build_rollup_rows(
    connection: Connection, paths: HourBlock, chunks: Mapping[PathHourKey, Chunk]
) -> list[RollupRow]:
    # A chunk of every window has counted what ``window_stat`` has: the rows may be gone already where data is late.
    whole = {key for number, key in enumerate(paths.keys) if _is_complete_chunk(chunks.get(key), paths.values[number])}
    counters = _load_counters(connection, [key for key in paths.keys if key not in whole])
    packed, latest = window_codec.pack_hours(paths.values), window_codec.pack_latest_windows(paths.values)
    return [
        path_rollups.build_hour_row(
            PathHour(
                key=key,
                windows=paths.values[number],
                packed=packed[number],
                latest=latest[number],
                counters=chunks[key].compute_counters() if key in whole else counters.get(key, _ZERO_COUNTERS),
                simulated=bool(paths.simulated[number]),
                chunk=chunks.get(key),
            )
        )
        for number, key in enumerate(paths.keys)
    ]


def _is_complete_chunk(raw: Chunk | None, windows: NDArray[np.int32]) -> bool:
    return raw is not None and len(raw.minutes) == int((windows[COLUMNS.index("expected")] > 0).sum())


_ZERO_COUNTERS = (0,) * len(COUNTER_COLUMNS)


def _load_counters(connection: Connection, keys: Sequence[PathHourKey]) -> dict[PathHourKey, tuple[int, ...]]:
    """Failures and duplicates of each path and hour; most have none and are left out."""
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


def build_tally_rows(windows: HourBlock, revision: ProfileRevision, registry: Registry) -> list[RollupRow]:
    """The rows of ``tally_hour`` of these hours, all of the agents of one site or several."""
    pairs = state_counts.evaluate_pair_hours(
        windows, revision.criteria, registry.site_by_agent, registry.site_by_target
    )
    counted = state_counts.count_states(pairs.worst_case, pairs.best_case).tolist()
    least_us = [None if value == MISSING else value for value in pairs.min_us.tolist()]
    states = state_counts.format_state_strings(pairs.worst_case)
    return [
        (source_id, revision.id, destination_id, hour_s, *of_pair, least, simulated, letters)
        for (source_id, destination_id, hour_s), of_pair, least, simulated, letters in zip(
            pairs.keys, counted, least_us, pairs.simulated.tolist(), states, strict=True
        )
    ]


def compact_day(store: Store, source_id: int, day_s: int) -> bool:
    """Compact a day of a site that is over; False if hours of it still wait, or if it has to be tried again."""
    with store.try_lock(SITE_LOCK, source_id) as is_ours:
        if not is_ours:
            return False
        with store.read() as reader:
            known = registry.load_registry(reader.connection)
            if dirty_hours.load_dirty_hours(reader.connection, day_s, day_s + DAY_S, known.agents_by_site[source_id]):
                return False
            windows = hour_reader.load_hours(reader.connection, known.agents_by_site[source_id], day_s, day_s + DAY_S)
            wanted = profile_revisions.load_current_revisions(reader.connection)
            rows = [row for rule in wanted for row in build_day_tally_rows(windows, rule, known, day_s)]
        with store.write() as writer:
            writer.replace_rows(tally_day, rows)
            dirty_hours.clear_dirty_day(writer.connection, source_id, day_s)
        return True


def build_day_tally_rows(
    windows: HourBlock, revision: ProfileRevision, registry: Registry, day_s: int
) -> list[RollupRow]:
    """The rows of ``tally_day`` of the hours of one day."""
    pairs = state_counts.evaluate_pair_hours(
        windows, revision.criteria, registry.site_by_agent, registry.site_by_target
    )
    whole = state_counts.combine_day(pairs, day_s)
    counted = state_counts.count_states(whole.worst_case, whole.best_case).tolist()
    return [
        (source_id, revision.id, destination_id, day_s, *of_pair, None if least == MISSING else least, simulated)
        for (source_id, destination_id, _), of_pair, least, simulated in zip(
            whole.keys, counted, whole.min_us.tolist(), whole.simulated.tolist(), strict=True
        )
    ]
