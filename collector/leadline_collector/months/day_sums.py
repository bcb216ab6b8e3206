"""Whole days of every pair as the sums that intervals are made of: one statement on both databases.

A day is a cluster (Korn and Graubard, method.md §4.3): its windows n_d and its good ones g_d come in as sums, squares
and products. In the two readings every day has 1,440 windows; of what was observed it has those that are known.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, and_, case, cast, func, select

from leadline_collector.months.arrays import whole_numbers
from leadline_collector.months.marks import DAY_S
from leadline_collector.months.tallies import MERGE_GAP
from leadline_collector.tables import site, tally_day

_day = tally_day.c


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySums:
    """A pair over whole days; its numbers are sums over the days that have a tally."""

    source_id: int
    destination_id: int
    #: Days with a tally. A day without has no window: 1,440 unknown.
    days: int
    #: Windows known, and good ones, as measured; squares and products are of each day's.
    known: int
    known_squared: int
    good: int
    good_squared: int
    known_good: int
    #: Windows that are not good in the reading most favourable to the path; the others are good or unknown in it.
    bad_best: int
    bad_best_squared: int
    #: Episodes, those across midnight counted once: of what is not good in the pessimistic reading and what is, then of
    #: what is not good in the optimistic one and what is. They are joined where both days have a tally.
    bad_episodes: int
    good_episodes: int
    bad_episodes_best: int
    good_episodes_best: int


#: The columns of ``DaySums`` in order.
_NAMES = tuple(field.name for field in fields(DaySums))


def of_pairs(
    connection: Connection, rule_id: int, source_ids: Collection[int], start_s: int, end_s: int
) -> list[DaySums]:
    """Every pair from these sites that has a tally in [start_s, end_s), whole days; which are marked is not asked."""
    found = whole_numbers(connection, _query(rule_id, source_ids, start_s, end_s))
    return [DaySums(**dict(zip(_NAMES, row, strict=True))) for row in found.tolist()]


def _query(rule_id: int, source_ids: Collection[int], start_s: int, end_s: int) -> Select[Any]:
    days = _days(rule_id, source_ids, start_s, end_s).subquery().c
    is_next = days.t - DAY_S == days.t_before
    return select(
        days.source_id,
        days.destination_id,
        func.count(),
        func.sum(days.known),
        func.sum(days.known * days.known),
        func.sum(days.good),
        func.sum(days.good * days.good),
        func.sum(days.known * days.good),
        func.sum(days.bad_best),
        func.sum(days.bad_best * days.bad_best),
        *(func.sum(days[name] - _goes_on(days, name, is_next)) for name in _EPISODES),
    ).group_by(days.source_id, days.destination_id)


_EPISODES = ("bad_episodes", "good_episodes", "bad_episodes_best", "good_episodes_best")


def _days(rule_id: int, source_ids: Collection[int], start_s: int, end_s: int) -> Select[Any]:
    """A row a day, and beside it the time and the trails of the one before."""
    of_pair: dict[str, Any] = {"partition_by": (_day.source_id, _day.destination_id), "order_by": _day.t}
    trails = [_day[_place(name, "trail")] for name in _EPISODES]
    return select(
        _day.source_id,
        _day.destination_id,
        _day.t,
        # Wide before they are squared: 1,440 squared is no SMALLINT.
        cast(_day.good + _day.bad + _day.unavailable, BigInteger).label("known"),
        cast(_day.good, BigInteger).label("good"),
        cast(_day.bad_best + _day.unavailable_best, BigInteger).label("bad_best"),
        *(_day[name] for name in _EPISODES),
        *(_day[_place(name, "lead")] for name in _EPISODES),
        *(func.lag(trail).over(**of_pair).label(f"{trail.name}_before") for trail in trails),
        func.lag(_day.t).over(**of_pair).label("t_before"),
    ).where(
        _day.source_id.in_(source_ids),
        _day.rule_id == rule_id,
        # Said so that the key is used to its end, and rows come in the order they are grouped in.
        _day.destination_id.in_(select(site.c.id)),
        _day.t >= start_s,
        _day.t < end_s,
    )


def _place(episodes: str, place: str) -> str:
    return episodes.replace("episodes", place)


def _goes_on(days: Any, name: str, is_next: ColumnElement[bool]) -> ColumnElement[int]:
    """1 if the first episode of a day is near enough to the last of the day before to be the same."""
    gap = days[_place(name, "lead")] + days[f"{_place(name, 'trail')}_before"]
    return case((and_(is_next, gap <= MERGE_GAP), 1), else_=0)
