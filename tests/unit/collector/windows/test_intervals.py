"""Set operations on intervals, compared with sets of whole seconds."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from leadline_collector.windows.intervals import Interval, intersect_intervals, merge_intervals, subtract_intervals

INTERVALS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6)


def seconds(intervals: list[Interval]) -> set[int]:
    return {second for start, end in intervals for second in range(start, end)}


@given(INTERVALS)
def test_a_union_is_sorted_and_disjoint(intervals: list[Interval]) -> None:
    """It contains the same seconds, and adjacent intervals are joined."""
    union = merge_intervals(intervals)

    assert seconds(union) == seconds(intervals)
    assert all(earlier[1] < later[0] for earlier, later in pairwise(union))


@given(INTERVALS, INTERVALS)
def test_difference_and_intersection_are_those_of_sets(first: list[Interval], second: list[Interval]) -> None:
    """The seconds equal those of Python sets, and no interval is empty."""
    left, right = merge_intervals(first), merge_intervals(second)

    assert seconds(subtract_intervals(left, right)) == seconds(first) - seconds(second)
    assert seconds(intersect_intervals(left, right)) == seconds(first) & seconds(second)
    assert all(start < end for start, end in [*subtract_intervals(left, right), *intersect_intervals(left, right)])
