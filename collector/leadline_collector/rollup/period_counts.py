"""Exact state counts of site pairs over a period: from ``tally_day`` and ``tally_hour``, for dirty hours from windows.

A month is some thirty rows of ``tally_day`` per pair and the hours around them. Minutes before the first and after the
last whole hour, and dirty hours, are evaluated from the windows of ``hour_reader``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, Table, and_, case, func, or_, select

from leadline.evaluation import Criterion, WindowCause, WindowState
from leadline.model import WINDOW_S
from leadline_collector.db.fetch_arrays import fetch_int_rows
from leadline_collector.db.tables import COUNT_COLUMNS, agent, rollup_hour, site, tally_day, tally_hour, target
from leadline_collector.mesh.registry import Registry
from leadline_collector.rollup import (
    first_windows,
    hour_reader,
    profile_revisions,
    state_counts,
    window_codec,
)
from leadline_collector.rollup.hour_reader import HourBlock
from leadline_collector.rollup.window_codec import MINUTES_PER_HOUR
from leadline_collector.time_range import TimeRange
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.dirty_hours import DAY_S, HOUR_S
from leadline_verdict.pair import FIRST_GAP_MAX
from leadline_verdict.series import MISSING
from leadline_verdict.states import CAUSES_BY_CODE, STATES_BY_CODE

#: [start, end) in epoch seconds.
Interval: TypeAlias = tuple[int, int]
#: Agent, target, start of a window, and the window (``window_codec.pack_latest_windows``).
_LatestWindowRow: TypeAlias = tuple[int, int, int, bytes]
#: (source site, destination site).
PairIds: TypeAlias = tuple[int, int]

#: Windows read at once if there are no counts: 50 paths take 25 MB.
_READ_S_MAX = 7 * DAY_S


@dataclass(slots=True, kw_only=True)
class PairCounts:
    """Counts of a pair over a period; all windows outside ``counts`` are unknown in both cases."""

    #: In the order of ``COUNT_COLUMNS``.
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(COUNT_COLUMNS), np.int64))
    #: Smallest RTT; None without a reply.
    min_us: int | None = None
    simulated: bool = False
    #: Smallest number of scheduled probes of a window; None without a window.
    expected_min: int | None = None
    #: Start of the first window if the pair was not measured at the start of the period; None otherwise.
    measured_since_s: int | None = None
    #: Start of the latest window; None without windows. The next four fields are of that minute.
    latest_t: int | None = None
    latest_p50_us: int | None = None
    latest_p95_us: int | None = None
    #: State and cause in the worst case.
    latest_state: WindowState = WindowState.UNKNOWN
    latest_cause: WindowCause | None = None
    #: Paths with a window in the period: (src_id, dst_id).
    paths: set[tuple[int, int]] = field(default_factory=set)

    @property
    def known_count(self) -> int:
        """Number of known windows."""
        return int(self.counts[:3].sum())

    def add_counts(self, counts: NDArray[np.int64], min_us: int, *, simulated: bool, expected_min: int) -> None:
        """Add a part of the period; ``min_us`` is MISSING without a reply, ``expected_min`` if it is not stored."""
        self.counts += counts
        self.min_us = _min_known(self.min_us, min_us)
        self.expected_min = _min_known(self.expected_min, expected_min)
        self.simulated = self.simulated or simulated


def _min_known(known: int | None, value: int) -> int | None:
    if value == MISSING:
        return known
    return value if known is None else min(known, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadPlan:
    """Sources of the parts of a period: ``tally_day``, ``tally_hour`` and windows."""

    days: tuple[Interval, ...]
    hours: tuple[Interval, ...]
    #: Each is a part of one hour, or whole hours.
    windows: tuple[Interval, ...]


def count_pairs(
    connection: Connection, registry: Registry, source_ids: Collection[int], profile: str, period: TimeRange
) -> Mapping[PairIds, PairCounts]:
    """Return the counts of every pair from these sites with a window in the period.

    Raise ConfigError for an unknown profile.
    """
    revision = profile_revisions.find_complete_revision(connection, profile)
    criteria = profile_revisions.get_criteria(profile)
    pairs: defaultdict[PairIds, PairCounts] = defaultdict(PairCounts)
    plans = _build_read_plans(connection, registry, source_ids, period, is_counted=revision is not None)
    for plan, site_ids in plans.items():
        if revision is not None:
            for table, intervals in ((tally_day, plan.days), (tally_hour, plan.hours)):
                if intervals:
                    _add_stored_counts(connection, pairs, _build_sum_query(table, revision.id, site_ids, intervals))
        src_ids = [src_id for site_id in site_ids for src_id in registry.agents_by_site.get(site_id, ())]
        for interval in plan.windows:
            _add_windows(connection, pairs, registry, src_ids, criteria, interval)
    _add_latest_windows(connection, pairs, registry, source_ids, criteria, period)
    _set_first_windows(connection, pairs, period)
    return pairs


def _build_read_plans(
    connection: Connection, registry: Registry, source_ids: Iterable[int], period: TimeRange, *, is_counted: bool
) -> Mapping[_ReadPlan, list[int]]:
    """Return the source sites by read plan; nearly always all sites have the same plan."""
    first_day_s = period.start_s - period.start_s % DAY_S
    hours_by_site: defaultdict[int, set[int]] = defaultdict(set)
    days_by_site: defaultdict[int, set[int]] = defaultdict(set)
    for mark in dirty_hours.load_dirty_hours(connection, first_day_s, period.end_s):
        site_id = registry.site_by_agent[mark.src_id]
        days_by_site[site_id].add(mark.hour_s - mark.hour_s % DAY_S)
        if mark.watermark_s < mark.hour_s + HOUR_S:
            hours_by_site[site_id].add(mark.hour_s)
    for day_s, site_id in dirty_hours.load_dirty_days(connection, first_day_s, period.end_s):
        days_by_site[site_id].add(day_s)
    plans: defaultdict[_ReadPlan, list[int]] = defaultdict(list)
    for site_id in source_ids:
        if is_counted:
            plan = _build_read_plan(period, hours_by_site[site_id], days_by_site[site_id])
        else:
            plan = _ReadPlan(days=(), hours=(), windows=tuple(_iter_uncovered(period.start_s, period.end_s, [])))
        plans[plan].append(site_id)
    return plans


def _build_read_plan(period: TimeRange, dirty_hours_s: Collection[int], dirty_days_s: Collection[int]) -> _ReadPlan:
    start_s, end_s = period.start_s, period.end_s
    days = [t for t in range(_round_up(start_s, DAY_S), end_s - DAY_S + 1, DAY_S) if t not in dirty_days_s]
    hours_in_days = {hour_s for day_s in days for hour_s in range(day_s, day_s + DAY_S, HOUR_S)}
    whole_hours = [t for t in range(_round_up(start_s, HOUR_S), end_s - HOUR_S + 1, HOUR_S) if t not in hours_in_days]
    hours = [t for t in whole_hours if t not in dirty_hours_s]
    covered = sorted([*_join_intervals(days, DAY_S), *_join_intervals(hours, HOUR_S)])
    return _ReadPlan(
        days=_join_intervals(days, DAY_S),
        hours=_join_intervals(hours, HOUR_S),
        windows=tuple(_iter_uncovered(start_s, end_s, covered)),
    )


def _round_up(t: int, step_s: int) -> int:
    return -(-t // step_s) * step_s


def _join_intervals(times: Sequence[int], length_s: int) -> tuple[Interval, ...]:
    """Return intervals of this length that start at ``times`` (ascending), adjacent ones joined."""
    intervals: list[Interval] = []
    for t in times:
        if intervals and intervals[-1][1] == t:
            intervals[-1] = (intervals[-1][0], t + length_s)
        else:
            intervals.append((t, t + length_s))
    return tuple(intervals)


def _iter_uncovered(start_s: int, end_s: int, covered: Sequence[Interval]) -> Iterator[Interval]:
    """Yield the parts of [start_s, end_s) that are not covered, split at whole hours."""
    part_s = start_s
    for first_s, last_s in [*covered, (end_s, end_s)]:
        while part_s < first_s:
            hour_end_s = part_s - part_s % HOUR_S + HOUR_S
            whole_s = (first_s - part_s) // HOUR_S * HOUR_S if part_s % HOUR_S == 0 else 0
            until_s = part_s + min(whole_s, _READ_S_MAX) if whole_s else min(first_s, hour_end_s)
            yield part_s, until_s
            part_s = until_s
        part_s = max(part_s, last_s)


def _build_sum_query(
    table: Table, revision_id: int, site_ids: Collection[int], intervals: Sequence[Interval]
) -> Select[Any]:
    """Return the query of one row per pair.

    The columns are source, destination, counts, smallest RTT or MISSING, 1 if simulated, and the smallest number of
    scheduled probes or MISSING.
    """
    column = table.c
    return (
        select(
            column.source_id,
            column.destination_id,
            *(func.sum(column[name]) for name in COUNT_COLUMNS),
            func.coalesce(func.min(column.min_us), MISSING),
            func.max(case((column.simulated, 1), else_=0)),
            func.coalesce(func.min(column.expected_min), MISSING),
        )
        .where(
            column.source_id.in_(site_ids),
            column.rule_id == revision_id,
            # Excludes nothing, but lets the database use the whole key and read rows in the order of the groups.
            column.destination_id.in_(select(site.c.id)),
            or_(*(and_(column.t >= first_s, column.t < end_s) for first_s, end_s in intervals)),
        )
        .group_by(column.source_id, column.destination_id)
    )


def _add_stored_counts(connection: Connection, pairs: defaultdict[PairIds, PairCounts], query: Select[Any]) -> None:
    rows = fetch_int_rows(connection, query)
    for row, counts in zip(rows.tolist(), rows[:, 2:-3], strict=True):
        source_id, destination_id, *_, min_us, simulated, expected_min = row
        pairs[source_id, destination_id].add_counts(
            counts, min_us, simulated=bool(simulated), expected_min=expected_min
        )


def _add_windows(
    connection: Connection,
    pairs: defaultdict[PairIds, PairCounts],
    sites: Registry,
    src_ids: Sequence[int],
    criteria: Sequence[Criterion],
    interval: Interval,
) -> None:
    start_s, end_s = interval
    hour_s = start_s - start_s % HOUR_S
    hours = hour_reader.load_hours(connection, src_ids, hour_s, _round_up(end_s, HOUR_S))
    is_part = end_s - start_s < HOUR_S
    minutes = (
        slice((start_s - hour_s) // WINDOW_S, (end_s - hour_s) // WINDOW_S) if is_part else slice(MINUTES_PER_HOUR)
    )
    pair_hours = state_counts.evaluate_pair_hours(hours, criteria, sites.site_by_agent, sites.site_by_target, minutes)
    counts = state_counts.count_states(pair_hours)
    for row, (source_id, destination_id, _) in enumerate(pair_hours.keys):
        pairs[source_id, destination_id].add_counts(
            counts[row],
            int(pair_hours.min_us[row]),
            simulated=bool(pair_hours.simulated[row]),
            expected_min=int(pair_hours.expected_min[row]),
        )
    _update_latest(pairs, sites, hours, pair_hours, minutes)


def _update_latest(
    pairs: defaultdict[PairIds, PairCounts],
    sites: Registry,
    hours: HourBlock,
    pair_hours: state_counts.PairHours,
    minutes: slice,
) -> None:
    """Add the paths with windows, and set the latest window of each pair if it is later than the present one."""
    has_window = hour_reader.is_present(hours)[:, minutes]
    first, length = minutes.indices(MINUTES_PER_HOUR)[0], has_window.shape[1]
    last_minutes = np.where(has_window.any(axis=1), length - 1 - has_window[:, ::-1].argmax(axis=1), -1)
    row_by_key = {key: row for row, key in enumerate(pair_hours.keys)}
    p50_us, p95_us = (hours.get_column(name)[:, minutes] for name in ("p50_us", "p95_us"))
    for index in np.flatnonzero(last_minutes >= 0).tolist():
        src_id, dst_id, hour_s = hours.keys[index]
        pair_ids = sites.site_by_agent[src_id], sites.site_by_target[dst_id]
        pair, minute = pairs[pair_ids], int(last_minutes[index])
        pair.paths.add((src_id, dst_id))
        t = hour_s + (first + minute) * WINDOW_S
        if pair.latest_t is None or t > pair.latest_t:
            pair.latest_t, pair.latest_p50_us, pair.latest_p95_us = t, None, None
            row = row_by_key[*pair_ids, hour_s]
            pair.latest_state = STATES_BY_CODE[pair_hours.worst_case[row, minute]]
            pair.latest_cause = CAUSES_BY_CODE[pair_hours.causes[row, minute]]
        if t == pair.latest_t:
            pair.latest_p50_us = _max_us(pair.latest_p50_us, int(p50_us[index, minute]))
            pair.latest_p95_us = _max_us(pair.latest_p95_us, int(p95_us[index, minute]))


def _max_us(max_us: int | None, value_us: int) -> int | None:
    if value_us == MISSING:
        return max_us
    return value_us if max_us is None else max(max_us, value_us)


def _add_latest_windows(
    connection: Connection,
    pairs: defaultdict[PairIds, PairCounts],
    sites: Registry,
    source_ids: Collection[int],
    criteria: Sequence[Criterion],
    period: TimeRange,
) -> None:
    """Add the paths with windows in whole hours, and the latest window of pairs without windows so far."""
    first_s, last_s = _round_up(period.start_s, HOUR_S), period.end_s - period.end_s % HOUR_S - HOUR_S
    if first_s > last_s:
        return
    rows = _load_latest_windows(connection, _build_hour_query(source_ids, sites, last_s))
    # Nearly always the last hour has all paths. Agents with fewer paths are searched path by path.
    incomplete = {src_id for site_id in source_ids for src_id in sites.agents_by_site.get(site_id, ())}
    incomplete -= {
        src_id
        for src_id, count in Counter(row[0] for row in rows).items()
        if count >= _count_possible_paths(sites, src_id)
    }
    if incomplete:
        rows += _load_latest_windows(connection, _build_last_hour_query(incomplete, first_s, last_s))
    later_rows = []
    for row in rows:
        src_id, dst_id, t, _ = row
        pair = pairs[sites.site_by_agent[src_id], sites.site_by_target[dst_id]]
        pair.paths.add((src_id, dst_id))
        if pair.latest_t is None or pair.latest_t < t:
            later_rows.append(row)
    _update_from_latest_windows(pairs, sites, later_rows, criteria)


def _count_possible_paths(sites: Registry, src_id: int) -> int:
    """Return the number of paths that an agent can have."""
    return sites.target_count - sites.target_count_by_site.get(sites.site_by_agent[src_id], 0)


def _update_from_latest_windows(
    pairs: defaultdict[PairIds, PairCounts],
    sites: Registry,
    rows: Sequence[_LatestWindowRow],
    criteria: Sequence[Criterion],
) -> None:
    """Set the latest windows of pairs; each row is treated as an hour of one minute."""
    _, block = window_codec.unpack_latest_windows([row[3] for row in rows])
    hours = HourBlock(keys=[row[:3] for row in rows], values=block, simulated=np.zeros(len(rows), bool))
    pair_hours = state_counts.evaluate_pair_hours(hours, criteria, sites.site_by_agent, sites.site_by_target, slice(1))
    _update_latest(pairs, sites, hours, pair_hours, slice(1))


def _load_latest_windows(connection: Connection, query: Select[Any]) -> list[_LatestWindowRow]:
    """Load agent, target, start of the window and the window; the rows of the query have the start of the hour."""
    result = connection.execute(query)
    rows = result.cursor.fetchall()
    result.close()
    minutes, _ = window_codec.unpack_latest_windows([row[3] for row in rows])
    return [
        (row[0], row[1], row[2] + minute * WINDOW_S, row[3]) for row, minute in zip(rows, minutes.tolist(), strict=True)
    ]


def _set_first_windows(connection: Connection, pairs: Mapping[PairIds, PairCounts], period: TimeRange) -> None:
    """Set ``measured_since_s`` of young pairs."""
    candidates = [
        pair for pair in pairs.values() if pair.paths and period.window_count - pair.known_count >= FIRST_GAP_MAX
    ]
    first_windows_s = first_windows.find_first_windows(connection, {path for pair in candidates for path in pair.paths})
    for pair in candidates:
        first_s = min((first_windows_s[path] for path in pair.paths if path in first_windows_s), default=period.start_s)
        if first_s >= period.start_s + FIRST_GAP_MAX * WINDOW_S:
            pair.measured_since_s = first_s


_LATEST_WINDOW_QUERY = select(rollup_hour.c.src_id, rollup_hour.c.dst_id, rollup_hour.c.t, rollup_hour.c.latest)


def _build_hour_query(source_ids: Collection[int], sites: Registry, hour_s: int) -> Select[Any]:
    src_ids = [src_id for site_id in source_ids for src_id in sites.agents_by_site.get(site_id, ())]
    return _LATEST_WINDOW_QUERY.where(
        hour_reader.build_path_condition(rollup_hour.c, src_ids, None, hour_s, hour_s + 1)
    )


def _build_last_hour_query(src_ids: Collection[int], start_s: int, end_s: int) -> Select[Any]:
    """Return the query of the last rollup of each path of these agents in [start_s, end_s): one key lookup per path."""
    row = rollup_hour.alias().c
    last_t = select(func.max(row.t)).where(
        row.src_id == agent.c.id, row.dst_id == target.c.id, row.t >= start_s, row.t < end_s
    )
    paths = (
        select(agent.c.id.label("src_id"), target.c.id.label("dst_id"), last_t.scalar_subquery().label("t"))
        .select_from(agent.join(target, agent.c.site_id != target.c.site_id))
        .where(agent.c.id.in_(src_ids))
        .subquery()
    )
    return _LATEST_WINDOW_QUERY.join_from(
        paths,
        rollup_hour,
        and_(
            rollup_hour.c.src_id == paths.c.src_id,
            rollup_hour.c.dst_id == paths.c.dst_id,
            rollup_hour.c.t == paths.c.t,
        ),
    )
