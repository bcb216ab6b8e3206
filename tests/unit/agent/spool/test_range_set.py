"""Range sets, and merging of loss records."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from leadline_agent.spool.loss_records import LossReason, LossRecord, is_superset, merge_adjacent, merge_by_reason
from leadline_agent.spool.range_set import RangeSet

RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12)
EPOCH = "a" * 32


def seq_set(ranges: Iterable[tuple[int, int]]) -> RangeSet:
    result = RangeSet()
    for first, last in ranges:
        result.add(first, last)
    return result


def numbers(ranges: Iterable[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def loss(first: int, last: int | None, reason: LossReason = LossReason.OVERFLOW, windows: int | None = 2) -> LossRecord:
    return LossRecord(EPOCH, first, last, first * 60, None if last is None else last * 60, windows, reason)


@given(RANGES)
def test_range_set_contains_the_added_numbers(ranges: list[tuple[int, int]]) -> None:
    """Ranges may be added in any order, overlapping, adjacent or empty; stored ranges are sorted and not adjacent."""
    range_set = seq_set(ranges)

    assert {number for number in range(-1, 35) if number in range_set} == numbers(ranges)
    assert numbers(range_set) == numbers(ranges)
    flat = [bound for bounds in range_set for bound in bounds]
    assert all(last + 1 < first for last, first in zip(flat[1::2], flat[2::2], strict=False))
    assert range_set.last == max(numbers(ranges), default=-1)


@given(RANGES, RANGES)
def test_difference_is_a_set_difference(ranges: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    """The result equals the difference of sets of integers."""
    assert numbers(seq_set(ranges).difference(seq_set(others))) == numbers(ranges) - numbers(others)


def test_adjacent_losses_of_one_reason_are_merged() -> None:
    """Numbers, times and windows are combined; records of another reason, or after a hole, stay separate."""
    losses = [loss(3, 4), loss(0, 2), loss(5, 5, LossReason.REFUSED), loss(7, 7), loss(0, 2)]

    assert merge_adjacent(losses) == [
        loss(5, 5, LossReason.REFUSED),
        LossRecord(EPOCH, 0, 4, 0, 240, 4, LossReason.OVERFLOW),
        loss(7, 7),
    ]


def test_unknown_values_stay_unknown_after_a_merge() -> None:
    """The sum of windows is unknown if one part is unknown."""
    assert merge_adjacent([loss(0, 0), loss(1, None, windows=None)]) == [
        LossRecord(EPOCH, 0, None, 0, None, None, LossReason.OVERFLOW)
    ]


def test_merge_by_reason_covers_the_numbers_between() -> None:
    """There is one record for each epoch and reason, and it covers every original record."""
    losses = [loss(9, 9), loss(0, 2), loss(5, 5, LossReason.REFUSED)]

    merged = merge_by_reason(losses)

    assert merged == [loss(5, 5, LossReason.REFUSED), LossRecord(EPOCH, 0, 9, 0, 540, 4, LossReason.OVERFLOW)]
    assert all(any(is_superset(wide, record) for wide in merged) for record in losses)


def test_an_open_end_is_covered_only_by_an_open_end() -> None:
    """The end of an open-ended loss is unknown."""
    assert is_superset(loss(0, None), loss(3, None))
    assert not is_superset(loss(0, 9), loss(3, None))
