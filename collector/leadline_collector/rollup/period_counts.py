"""What pairs of sites came to over any period, exactly: from tallies where nothing is marked, from windows elsewhere.

A month is some thirty rows of ``tally_day`` a pair and the hours around them. The minutes before the first whole hour
and after the last, and those that were not compacted yet, are judged on the spot (``blocks``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, Table, and_, case, func, or_, select

from leadline.evaluation import Criterion, WindowState
from leadline.model import WINDOW_S
from leadline_collector.db.fetch_arrays import fetch_int_rows
from leadline_collector.db.tables import COUNT_COLUMNS, agent, rollup_hour, site, tally_day, tally_hour, target
from leadline_collector.mesh.registry import Registry
from leadline_collector.rollup import (
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
from leadline_verdict.series import MISSING
from leadline_verdict.states import STATES_BY_CODE

#: [start, end) in epoch seconds.
Interval: TypeAlias = tuple[int, int]
#: Agent, target, start of a window, and the window (``hour_windows.pack_latest``).
_LatestWindowRow: TypeAlias = tuple[int, int, int, bytes]
#: (source site, destination site).
PairIds: TypeAlias = tuple[int, int]

#: Whole hours read at once where no tally helps: 50 paths of them take 25 MB.
_READ_S_MAX = 7 * DAY_S


@dataclass(slots=True, kw_only=True)
class PairCounts:
    """A pair over a period; what ``counts`` leaves of the period's windows is unknown in both readings."""

    #: In the order of ``COUNT_COLUMNS``.
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(COUNT_COLUMNS), np.int64))
    #: The shortest round trip; None without a reply.
    min_us: int | None = None
    simulated: bool = False
    #: Start of the latest window; None without any. The next three are of that minute.
    latest_t: int | None = None
    latest_p50_us: int | None = None
    latest_p95_us: int | None = None
    #: As measured, which is the pessimistic reading.
    latest_state: WindowState = WindowState.UNKNOWN
    #: Paths with a window in the period.
    paths: set[tuple[int, int]] = field(default_factory=set)

    def add_counts(self, counts: NDArray[np.int64], min_us: int, *, simulated: bool) -> None:
        """Add part of the period; ``min_us`` NONE without a reply."""
        self.counts += counts
        if min_us != MISSING:
            self.min_us = min_us if self.min_us is None else min(self.min_us, min_us)
        self.simulated = self.simulated or simulated


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadPlan:
    """Where the parts of a period are read from."""

    days: tuple[Interval, ...]
    hours: tuple[Interval, ...]
    #: Each within an hour, or of whole hours.
    windows: tuple[Interval, ...]


def count_pairs(
    connection: Connection, registry: Registry, source_ids: Collection[int], profile: str, period: TimeRange
) -> Mapping[PairIds, PairCounts]:
    """Every pair from these sites with a window in the period; ConfigError for an unknown profile."""
    rule = profile_revisions.find_complete_revision(connection, profile)
    criteria = profile_revisions.get_criteria(profile)
    pairs: defaultdict[PairIds, PairCounts] = defaultdict(PairCounts)
    for plan, sites in _build_read_plans(connection, registry, source_ids, period, is_counted=rule is not None).items():
        if rule is not None:
            for table, spans in ((tally_day, plan.days), (tally_hour, plan.hours)):
                _add_tallies(connection, pairs, _build_sum_query(table, rule.id, sites, spans) if spans else None)
        agents = [src_id for site in sites for src_id in registry.agents_by_site.get(site, ())]
        for span in plan.windows:
            _add_windows(connection, pairs, registry, agents, criteria, span)
    _add_latest_windows(connection, pairs, registry, source_ids, criteria, period)
    return pairs


def _build_read_plans(
    connection: Connection, registry: Registry, source_ids: Iterable[int], period: TimeRange, *, is_counted: bool
) -> Mapping[_ReadPlan, list[int]]:
    """The source sites by what has to be read of them: nearly always the same of all."""
    first_day_s = period.start_s - period.start_s % DAY_S
    lagging: defaultdict[int, set[int]] = defaultdict(set)
    unsure: defaultdict[int, set[int]] = defaultdict(set)
    for mark in dirty_hours.load_dirty_hours(connection, first_day_s, period.end_s):
        site = registry.site_by_agent[mark.src_id]
        unsure[site].add(mark.hour_s - mark.hour_s % DAY_S)
        if mark.watermark_s < mark.hour_s + HOUR_S:
            lagging[site].add(mark.hour_s)
    for day_s, site in dirty_hours.load_dirty_days(connection, first_day_s, period.end_s):
        unsure[site].add(day_s)
    plans: defaultdict[_ReadPlan, list[int]] = defaultdict(list)
    for site in source_ids:
        plan = _build_read_plan(period, lagging[site], unsure[site]) if is_counted else _build_window_plan(period)
        plans[plan].append(site)
    return plans


def _build_read_plan(period: TimeRange, lagging: Collection[int], unsure: Collection[int]) -> _ReadPlan:
    start_s, end_s = period.start_s, period.end_s
    days = [t for t in range(_round_up(start_s, DAY_S), end_s - DAY_S + 1, DAY_S) if t not in unsure]
    in_days = {hour_s for day_s in days for hour_s in range(day_s, day_s + DAY_S, HOUR_S)}
    whole = [t for t in range(_round_up(start_s, HOUR_S), end_s - HOUR_S + 1, HOUR_S) if t not in in_days]
    hours = [t for t in whole if t not in lagging]
    covered = sorted([*_join_intervals(days, DAY_S), *_join_intervals(hours, HOUR_S)])
    return _ReadPlan(
        days=_join_intervals(days, DAY_S),
        hours=_join_intervals(hours, HOUR_S),
        windows=tuple(_iter_uncovered(start_s, end_s, covered)),
    )


def _build_window_plan(period: TimeRange) -> _ReadPlan:
    return _ReadPlan(days=(), hours=(), windows=tuple(_iter_uncovered(period.start_s, period.end_s, [])))


def _round_up(t: int, step_s: int) -> int:
    return -(-t // step_s) * step_s


def _join_intervals(times: Sequence[int], length_s: int) -> tuple[Interval, ...]:
    """Times, ascending, as spans of that length, neighbours joined."""
    spans: list[Interval] = []
    for t in times:
        if spans and spans[-1][1] == t:
            spans[-1] = (spans[-1][0], t + length_s)
        else:
            spans.append((t, t + length_s))
    return tuple(spans)


def _iter_uncovered(start_s: int, end_s: int, covered: Sequence[Interval]) -> Iterator[Interval]:
    """What of [start_s, end_s) is not covered, cut at whole hours."""
    at_s = start_s
    for first_s, last_s in [*covered, (end_s, end_s)]:
        while at_s < first_s:
            hour_end_s = at_s - at_s % HOUR_S + HOUR_S
            whole_s = (first_s - at_s) // HOUR_S * HOUR_S if at_s % HOUR_S == 0 else 0
            until_s = at_s + min(whole_s, _READ_S_MAX) if whole_s else min(first_s, hour_end_s)
            yield at_s, until_s
            at_s = until_s
        at_s = max(at_s, last_s)


def _build_sum_query(table: Table, rule_id: int, sites: Collection[int], spans: Sequence[Interval]) -> Select[Any]:
    """One row a pair: source, destination, counts, least RTT or NONE, whether some of it is simulated."""
    column = table.c
    return (
        select(
            column.source_id,
            column.destination_id,
            *(func.sum(column[name]) for name in COUNT_COLUMNS),
            func.coalesce(func.min(column.min_us), MISSING),
            func.max(case((column.simulated, 1), else_=0)),
        )
        .where(
            column.source_id.in_(sites),
            column.rule_id == rule_id,
            # Said so that the key is used to its end, and rows come in the order they are grouped in.
            column.destination_id.in_(select(site.c.id)),
            or_(*(and_(column.t >= first_s, column.t < end_s) for first_s, end_s in spans)),
        )
        .group_by(column.source_id, column.destination_id)
    )


def _add_tallies(connection: Connection, pairs: defaultdict[PairIds, PairCounts], query: Select[Any] | None) -> None:
    if query is None:
        return
    found = fetch_int_rows(connection, query)
    for (source_id, destination_id, *_, least_us, simulated), counts in zip(
        found.tolist(), found[:, 2:-2], strict=True
    ):
        pairs[source_id, destination_id].add_counts(counts, least_us, simulated=bool(simulated))


def _add_windows(
    connection: Connection,
    pairs: defaultdict[PairIds, PairCounts],
    known: Registry,
    src_ids: Sequence[int],
    criteria: Sequence[Criterion],
    span: Interval,
) -> None:
    hour_s = span[0] - span[0] % HOUR_S
    found = hour_reader.load_hours(connection, src_ids, hour_s, _round_up(span[1], HOUR_S))
    is_part = span[1] - span[0] < HOUR_S
    minutes = (
        slice((span[0] - hour_s) // WINDOW_S, (span[1] - hour_s) // WINDOW_S) if is_part else slice(MINUTES_PER_HOUR)
    )
    judged = state_counts.evaluate_pair_hours(found, criteria, known.site_by_agent, known.site_by_target, minutes)
    counted = state_counts.count_states(judged.worst_case, judged.best_case)
    for number, (source_id, destination_id, _) in enumerate(judged.keys):
        pairs[source_id, destination_id].add_counts(
            counted[number], int(judged.min_us[number]), simulated=bool(judged.simulated[number])
        )
    _update_latest(pairs, known, found, judged, minutes)


def _update_latest(
    pairs: defaultdict[PairIds, PairCounts],
    known: Registry,
    found: HourBlock,
    judged: state_counts.PairHours,
    minutes: slice,
) -> None:
    """Note the paths that have windows, and the latest window of each pair if none is known that is later."""
    there = hour_reader.is_present(found)[:, minutes]
    first, length = minutes.indices(MINUTES_PER_HOUR)[0], there.shape[1]
    last = np.where(there.any(axis=1), length - 1 - there[:, ::-1].argmax(axis=1), -1)
    rows = {key: number for number, key in enumerate(judged.keys)}
    p50_us, p95_us = (found.get_column(name)[:, minutes] for name in ("p50_us", "p95_us"))
    for number in np.flatnonzero(last >= 0).tolist():
        src_id, dst_id, hour_s = found.keys[number]
        pair_ids = known.site_by_agent[src_id], known.site_by_target[dst_id]
        pair, minute = pairs[pair_ids], int(last[number])
        pair.paths.add((src_id, dst_id))
        t = hour_s + (first + minute) * WINDOW_S
        if pair.latest_t is None or t > pair.latest_t:
            pair.latest_t, pair.latest_p50_us, pair.latest_p95_us = t, None, None
            pair.latest_state = STATES_BY_CODE[judged.worst_case[rows[*pair_ids, hour_s], minute]]
        if t == pair.latest_t:
            pair.latest_p50_us = _max_us(pair.latest_p50_us, int(p50_us[number, minute]))
            pair.latest_p95_us = _max_us(pair.latest_p95_us, int(p95_us[number, minute]))


def _max_us(known_us: int | None, value_us: int) -> int | None:
    if value_us == MISSING:
        return known_us
    return value_us if known_us is None else max(known_us, value_us)


def _add_latest_windows(
    connection: Connection,
    pairs: defaultdict[PairIds, PairCounts],
    known: Registry,
    source_ids: Collection[int],
    criteria: Sequence[Criterion],
    period: TimeRange,
) -> None:
    """Paths that have windows in whole hours, and the latest of pairs that had none in what was read so far."""
    first_s, last_s = _round_up(period.start_s, HOUR_S), period.end_s - period.end_s % HOUR_S - HOUR_S
    if first_s > last_s:
        return
    found = _load_latest_windows(connection, _build_hour_query(source_ids, known, last_s))
    # Nearly always that was all of them; the silent ones are looked for one by one.
    silent = {src_id for site in source_ids for src_id in known.agents_by_site.get(site, ())}
    silent -= {
        src_id
        for src_id, count in Counter(row[0] for row in found).items()
        if count >= _count_possible_paths(known, src_id)
    }
    if silent:
        found += _load_latest_windows(connection, _build_last_hour_query(silent, first_s, last_s))
    fresh = []
    for number, (src_id, dst_id, t, _) in enumerate(found):
        pair = pairs[known.site_by_agent[src_id], known.site_by_target[dst_id]]
        pair.paths.add((src_id, dst_id))
        if pair.latest_t is None or pair.latest_t < t:
            fresh.append(number)
    _update_from_latest_windows(pairs, known, [found[number] for number in fresh], criteria)


def _count_possible_paths(known: Registry, src_id: int) -> int:
    """How many paths an agent can have."""
    return known.target_count - known.target_count_by_site.get(known.site_by_agent[src_id], 0)


def _update_from_latest_windows(
    pairs: defaultdict[PairIds, PairCounts],
    known: Registry,
    rows: Sequence[_LatestWindowRow],
    criteria: Sequence[Criterion],
) -> None:
    """Note the latest of single windows, each as if it were an hour of one minute."""
    _, block = window_codec.unpack_latest_windows([row[3] for row in rows])
    found = HourBlock(keys=[row[:3] for row in rows], values=block, simulated=np.zeros(len(rows), bool))
    judged = state_counts.evaluate_pair_hours(found, criteria, known.site_by_agent, known.site_by_target, slice(1))
    _update_latest(pairs, known, found, judged, slice(1))


def _load_latest_windows(connection: Connection, query: Select[Any]) -> list[_LatestWindowRow]:
    """Agent, target, start of the window, and the window, of rows with the start of the hour."""
    result = connection.execute(query)
    rows = result.cursor.fetchall()
    result.close()
    minutes, _ = window_codec.unpack_latest_windows([row[3] for row in rows])
    return [
        (row[0], row[1], row[2] + minute * WINDOW_S, row[3]) for row, minute in zip(rows, minutes.tolist(), strict=True)
    ]


_LATEST_WINDOW_QUERY = select(rollup_hour.c.src_id, rollup_hour.c.dst_id, rollup_hour.c.t, rollup_hour.c.latest)


def _build_hour_query(source_ids: Collection[int], known: Registry, hour_s: int) -> Select[Any]:
    src_ids = [src_id for site in source_ids for src_id in known.agents_by_site.get(site, ())]
    return _LATEST_WINDOW_QUERY.where(
        hour_reader.build_path_condition(rollup_hour.c, src_ids, None, hour_s, hour_s + 1)
    )


def _build_last_hour_query(src_ids: Collection[int], start_s: int, end_s: int) -> Select[Any]:
    """Of every path of these agents the last hour with a rollup in [start_s, end_s): one look into the key each."""
    row = rollup_hour.alias().c
    last = select(func.max(row.t)).where(
        row.src_id == agent.c.id, row.dst_id == target.c.id, row.t >= start_s, row.t < end_s
    )
    paths = (
        select(agent.c.id.label("src_id"), target.c.id.label("dst_id"), last.scalar_subquery().label("t"))
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
