"""Sets of instants as sorted, disjoint, half-open spans of seconds: [start, end)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Interval: TypeAlias = tuple[int, int]


def merge_intervals(intervals: Iterable[Interval]) -> list[Interval]:
    """The same instants, overlaps and touching neighbours made one; spans without length are dropped."""
    result: list[Interval] = []
    for start, end in sorted(span for span in intervals if span[0] < span[1]):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def subtract_intervals(intervals: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """What is in ``spans`` and not in ``others``; both as ``union`` makes them."""
    result: list[Interval] = []
    first = 0
    for start, end in intervals:
        while first < len(others) and others[first][1] <= start:
            first += 1
        at = start
        for other in others[first:]:
            if other[0] >= end:
                break
            result.append((at, other[0]))
            at = other[1]
        result.append((at, end))
    return [span for span in result if span[0] < span[1]]


def intersect_intervals(intervals: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """What is in both; both as ``union`` makes them."""
    return subtract_intervals(intervals, subtract_intervals(intervals, others))
