"""Sets of instants as sorted, disjoint, half-open intervals of seconds: [start, end)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Interval: TypeAlias = tuple[int, int]


def merge_intervals(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the union: sorted, with overlapping and adjacent intervals joined and empty ones removed."""
    result: list[Interval] = []
    for start, end in sorted(interval for interval in intervals if interval[0] < interval[1]):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def subtract_intervals(intervals: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return the instants of ``intervals`` outside ``others``; both must be sorted and disjoint."""
    result: list[Interval] = []
    first = 0
    for start, end in intervals:
        while first < len(others) and others[first][1] <= start:
            first += 1
        rest_start = start
        for other in others[first:]:
            if other[0] >= end:
                break
            result.append((rest_start, other[0]))
            rest_start = other[1]
        result.append((rest_start, end))
    return [interval for interval in result if interval[0] < interval[1]]


def intersect_intervals(intervals: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return the instants in both; both must be sorted and disjoint."""
    return subtract_intervals(intervals, subtract_intervals(intervals, others))
