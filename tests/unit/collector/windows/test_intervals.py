"""Sets of instants as spans, compared with sets of whole seconds."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from leadline_collector.windows.intervals import Interval, intersect_intervals, merge_intervals, subtract_intervals

SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6)


def seconds(spans: list[Interval]) -> set[int]:
    return {second for start, end in spans for second in range(start, end)}


@given(SPANS)
def test_a_union_is_sorted_and_disjoint(spans: list[Interval]) -> None:
    """The same seconds, and neighbours that touch are one span."""
    found = merge_intervals(spans)

    assert seconds(found) == seconds(spans)
    assert all(one[1] < other[0] for one, other in pairwise(found))


@given(SPANS, SPANS)
def test_minus_and_common_are_those_of_sets(one: list[Interval], other: list[Interval]) -> None:
    """Whatever the spans, the seconds are right and no span is empty."""
    left, right = merge_intervals(one), merge_intervals(other)

    assert seconds(subtract_intervals(left, right)) == seconds(one) - seconds(other)
    assert seconds(intersect_intervals(left, right)) == seconds(one) & seconds(other)
    assert all(start < end for start, end in [*subtract_intervals(left, right), *intersect_intervals(left, right)])
