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

from leadline.evaluation import Criterion, State
from leadline.model import WINDOW_S
from leadline_collector.db.fetch_arrays import whole_numbers
from leadline_collector.db.tables import COUNT_COLUMNS, agent, rollup_hour, site, tally_day, tally_hour, target
from leadline_collector.mesh.registry import Directory
from leadline_collector.rollup import (
    hour_reader,
    profile_revisions,
    state_counts,
    window_codec,
)
from leadline_collector.rollup.hour_reader import Hours
from leadline_collector.rollup.window_codec import MINUTES
from leadline_collector.time_range import Period
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.dirty_hours import DAY_S, HOUR_S
from leadline_verdict.series import NONE
from leadline_verdict.states import STATES

#: [start, end) in epoch seconds.
Span: TypeAlias = tuple[int, int]
#: Agent, target, start of a window, and the window (``hour_windows.pack_latest``).
_Row: TypeAlias = tuple[int, int, int, bytes]
#: (source site, destination site).
PairIds: TypeAlias = tuple[int, int]

#: Whole hours read at once where no tally helps: 50 paths of them take 25 MB.
_READ_S = 7 * DAY_S


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
    latest_state: State = State.UNKNOWN
    #: Paths with a window in the period.
    paths: set[tuple[int, int]] = field(default_factory=set)

    def add(self, counts: NDArray[np.int64], min_us: int, *, simulated: bool) -> None:
        """Add part of the period; ``min_us`` NONE without a reply."""
        self.counts += counts
        if min_us != NONE:
            self.min_us = min_us if self.min_us is None else min(self.min_us, min_us)
        self.simulated = self.simulated or simulated


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Where the parts of a period are read from."""

    days: tuple[Span, ...]
    hours: tuple[Span, ...]
    #: Each within an hour, or of whole hours.
    windows: tuple[Span, ...]


def count(
    connection: Connection, known: Directory, source_ids: Collection[int], profile: str, period: Period
) -> Mapping[PairIds, PairCounts]:
    """Every pair from these sites with a window in the period; ConfigError for an unknown profile."""
    rule = profile_revisions.complete(connection, profile)
    criteria = profile_revisions.criteria(profile)
    pairs: defaultdict[PairIds, PairCounts] = defaultdict(PairCounts)
    for plan, sites in _plans(connection, known, source_ids, period, is_counted=rule is not None).items():
        if rule is not None:
            for table, spans in ((tally_day, plan.days), (tally_hour, plan.hours)):
                _add_tallies(connection, pairs, _sums(table, rule.id, sites, spans) if spans else None)
        agents = [src_id for site in sites for src_id in known.agents_of.get(site, ())]
        for span in plan.windows:
            _add_windows(connection, pairs, known, agents, criteria, span)
    _add_latest(connection, pairs, known, source_ids, criteria, period)
    return pairs


def _plans(
    connection: Connection, known: Directory, source_ids: Iterable[int], period: Period, *, is_counted: bool
) -> Mapping[_Plan, list[int]]:
    """The source sites by what has to be read of them: nearly always the same of all."""
    first_day_s = period.start_s - period.start_s % DAY_S
    lagging: defaultdict[int, set[int]] = defaultdict(set)
    unsure: defaultdict[int, set[int]] = defaultdict(set)
    for mark in dirty_hours.of_hours(connection, first_day_s, period.end_s):
        site = known.source_of[mark.src_id]
        unsure[site].add(mark.hour_s - mark.hour_s % DAY_S)
        if mark.since_s < mark.hour_s + HOUR_S:
            lagging[site].add(mark.hour_s)
    for day_s, site in dirty_hours.of_days(connection, first_day_s, period.end_s):
        unsure[site].add(day_s)
    plans: defaultdict[_Plan, list[int]] = defaultdict(list)
    for site in source_ids:
        plan = _plan(period, lagging[site], unsure[site]) if is_counted else _direct(period)
        plans[plan].append(site)
    return plans


def _plan(period: Period, lagging: Collection[int], unsure: Collection[int]) -> _Plan:
    start_s, end_s = period.start_s, period.end_s
    days = [t for t in range(_up(start_s, DAY_S), end_s - DAY_S + 1, DAY_S) if t not in unsure]
    in_days = {hour_s for day_s in days for hour_s in range(day_s, day_s + DAY_S, HOUR_S)}
    whole = [t for t in range(_up(start_s, HOUR_S), end_s - HOUR_S + 1, HOUR_S) if t not in in_days]
    hours = [t for t in whole if t not in lagging]
    covered = sorted([*_spans(days, DAY_S), *_spans(hours, HOUR_S)])
    return _Plan(
        days=_spans(days, DAY_S), hours=_spans(hours, HOUR_S), windows=tuple(_between(start_s, end_s, covered))
    )


def _direct(period: Period) -> _Plan:
    return _Plan(days=(), hours=(), windows=tuple(_between(period.start_s, period.end_s, [])))


def _up(t: int, step_s: int) -> int:
    return -(-t // step_s) * step_s


def _spans(times: Sequence[int], length_s: int) -> tuple[Span, ...]:
    """Times, ascending, as spans of that length, neighbours joined."""
    spans: list[Span] = []
    for t in times:
        if spans and spans[-1][1] == t:
            spans[-1] = (spans[-1][0], t + length_s)
        else:
            spans.append((t, t + length_s))
    return tuple(spans)


def _between(start_s: int, end_s: int, covered: Sequence[Span]) -> Iterator[Span]:
    """What of [start_s, end_s) is not covered, cut at whole hours."""
    at_s = start_s
    for first_s, last_s in [*covered, (end_s, end_s)]:
        while at_s < first_s:
            hour_end_s = at_s - at_s % HOUR_S + HOUR_S
            whole_s = (first_s - at_s) // HOUR_S * HOUR_S if at_s % HOUR_S == 0 else 0
            until_s = at_s + min(whole_s, _READ_S) if whole_s else min(first_s, hour_end_s)
            yield at_s, until_s
            at_s = until_s
        at_s = max(at_s, last_s)


def _sums(table: Table, rule_id: int, sites: Collection[int], spans: Sequence[Span]) -> Select[Any]:
    """One row a pair: source, destination, counts, least RTT or NONE, whether some of it is simulated."""
    column = table.c
    return (
        select(
            column.source_id,
            column.destination_id,
            *(func.sum(column[name]) for name in COUNT_COLUMNS),
            func.coalesce(func.min(column.min_us), NONE),
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
    found = whole_numbers(connection, query)
    for (source_id, destination_id, *_, least_us, simulated), counts in zip(
        found.tolist(), found[:, 2:-2], strict=True
    ):
        pairs[source_id, destination_id].add(counts, least_us, simulated=bool(simulated))


def _add_windows(
    connection: Connection,
    pairs: defaultdict[PairIds, PairCounts],
    known: Directory,
    src_ids: Sequence[int],
    criteria: Sequence[Criterion],
    span: Span,
) -> None:
    hour_s = span[0] - span[0] % HOUR_S
    found = hour_reader.hours(connection, src_ids, hour_s, _up(span[1], HOUR_S))
    is_part = span[1] - span[0] < HOUR_S
    minutes = slice((span[0] - hour_s) // WINDOW_S, (span[1] - hour_s) // WINDOW_S) if is_part else slice(MINUTES)
    judged = state_counts.pair_hours(found, criteria, known.source_of, known.destination_of, minutes)
    counted = state_counts.counts(judged.pessimistic, judged.optimistic)
    for number, (source_id, destination_id, _) in enumerate(judged.keys):
        pairs[source_id, destination_id].add(
            counted[number], int(judged.min_us[number]), simulated=bool(judged.simulated[number])
        )
    _see_latest(pairs, known, found, judged, minutes)


def _see_latest(
    pairs: defaultdict[PairIds, PairCounts],
    known: Directory,
    found: Hours,
    judged: state_counts.PairHours,
    minutes: slice,
) -> None:
    """Note the paths that have windows, and the latest window of each pair if none is known that is later."""
    there = hour_reader.there(found)[:, minutes]
    first, length = minutes.indices(MINUTES)[0], there.shape[1]
    last = np.where(there.any(axis=1), length - 1 - there[:, ::-1].argmax(axis=1), -1)
    rows = {key: number for number, key in enumerate(judged.keys)}
    p50_us, p95_us = (found.column(name)[:, minutes] for name in ("p50_us", "p95_us"))
    for number in np.flatnonzero(last >= 0).tolist():
        src_id, dst_id, hour_s = found.keys[number]
        pair_ids = known.source_of[src_id], known.destination_of[dst_id]
        pair, minute = pairs[pair_ids], int(last[number])
        pair.paths.add((src_id, dst_id))
        t = hour_s + (first + minute) * WINDOW_S
        if pair.latest_t is None or t > pair.latest_t:
            pair.latest_t, pair.latest_p50_us, pair.latest_p95_us = t, None, None
            pair.latest_state = STATES[judged.pessimistic[rows[*pair_ids, hour_s], minute]]
        if t == pair.latest_t:
            pair.latest_p50_us = _larger(pair.latest_p50_us, int(p50_us[number, minute]))
            pair.latest_p95_us = _larger(pair.latest_p95_us, int(p95_us[number, minute]))


def _larger(known_us: int | None, value_us: int) -> int | None:
    if value_us == NONE:
        return known_us
    return value_us if known_us is None else max(known_us, value_us)


def _add_latest(
    connection: Connection,
    pairs: defaultdict[PairIds, PairCounts],
    known: Directory,
    source_ids: Collection[int],
    criteria: Sequence[Criterion],
    period: Period,
) -> None:
    """Paths that have windows in whole hours, and the latest of pairs that had none in what was read so far."""
    first_s, last_s = _up(period.start_s, HOUR_S), period.end_s - period.end_s % HOUR_S - HOUR_S
    if first_s > last_s:
        return
    found = _latest(connection, _in_hour(source_ids, known, last_s))
    # Nearly always that was all of them; the silent ones are looked for one by one.
    silent = {src_id for site in source_ids for src_id in known.agents_of.get(site, ())}
    silent -= {src_id for src_id, count in Counter(row[0] for row in found).items() if count >= _targets(known, src_id)}
    if silent:
        found += _latest(connection, _before_hour(silent, first_s, last_s))
    fresh = []
    for number, (src_id, dst_id, t, _) in enumerate(found):
        pair = pairs[known.source_of[src_id], known.destination_of[dst_id]]
        pair.paths.add((src_id, dst_id))
        if pair.latest_t is None or pair.latest_t < t:
            fresh.append(number)
    _see_windows(pairs, known, [found[number] for number in fresh], criteria)


def _targets(known: Directory, src_id: int) -> int:
    """How many paths an agent can have."""
    return known.targets - known.targets_at.get(known.source_of[src_id], 0)


def _see_windows(
    pairs: defaultdict[PairIds, PairCounts], known: Directory, rows: Sequence[_Row], criteria: Sequence[Criterion]
) -> None:
    """Note the latest of single windows, each as if it were an hour of one minute."""
    _, block = window_codec.unpack_latest([row[3] for row in rows])
    found = Hours(keys=[row[:3] for row in rows], block=block, simulated=np.zeros(len(rows), bool))
    judged = state_counts.pair_hours(found, criteria, known.source_of, known.destination_of, slice(1))
    _see_latest(pairs, known, found, judged, slice(1))


def _latest(connection: Connection, query: Select[Any]) -> list[_Row]:
    """Agent, target, start of the window, and the window, of rows with the start of the hour."""
    result = connection.execute(query)
    rows = result.cursor.fetchall()
    result.close()
    minutes, _ = window_codec.unpack_latest([row[3] for row in rows])
    return [
        (row[0], row[1], row[2] + minute * WINDOW_S, row[3]) for row, minute in zip(rows, minutes.tolist(), strict=True)
    ]


_LATEST = select(rollup_hour.c.src_id, rollup_hour.c.dst_id, rollup_hour.c.t, rollup_hour.c.latest)


def _in_hour(source_ids: Collection[int], known: Directory, hour_s: int) -> Select[Any]:
    src_ids = [src_id for site in source_ids for src_id in known.agents_of.get(site, ())]
    return _LATEST.where(hour_reader.of_paths(rollup_hour.c, src_ids, None, hour_s, hour_s + 1))


def _before_hour(src_ids: Collection[int], start_s: int, end_s: int) -> Select[Any]:
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
    return _LATEST.join_from(
        paths,
        rollup_hour,
        and_(
            rollup_hour.c.src_id == paths.c.src_id,
            rollup_hour.c.dst_id == paths.c.dst_id,
            rollup_hour.c.t == paths.c.t,
        ),
    )
