"""Sets of numbers as ranges, and tombstones that are told in fewer words."""

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


def note(first: int, last: int | None, reason: LossReason = LossReason.OVERFLOW, windows: int | None = 2) -> LossRecord:
    return LossRecord(EPOCH, first, last, first * 60, None if last is None else last * 60, windows, reason)


@given(RANGES)
def test_a_set_of_ranges_holds_the_numbers_it_was_given(ranges: list[tuple[int, int]]) -> None:
    """In any order, overlapping, touching or empty; its ranges are sorted and do not touch."""
    found = seq_set(ranges)

    assert {number for number in range(-1, 35) if number in found} == numbers(ranges)
    assert numbers(found) == numbers(ranges)
    flat = [bound for one in found for bound in one]
    assert all(last + 1 < first for last, first in zip(flat[1::2], flat[2::2], strict=False))
    assert found.last == max(numbers(ranges), default=-1)


@given(RANGES, RANGES)
def test_a_difference_is_what_is_in_one_and_not_in_the_other(
    ranges: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    """As with sets of numbers."""
    assert numbers(seq_set(ranges).difference(seq_set(others))) == numbers(ranges) - numbers(others)


def test_neighbours_of_one_reason_become_one_note() -> None:
    """Numbers, minutes and windows add up; another reason, or a hole, stays apart."""
    notes = [note(3, 4), note(0, 2), note(5, 5, LossReason.REFUSED), note(7, 7), note(0, 2)]

    assert merge_adjacent(notes) == [
        note(5, 5, LossReason.REFUSED),
        LossRecord(EPOCH, 0, 4, 0, 240, 4, LossReason.OVERFLOW),
        note(7, 7),
    ]


def test_what_is_unknown_in_one_is_unknown_in_the_sum() -> None:
    """A sum of windows with an unknown part would be a number nobody measured."""
    assert merge_adjacent([note(0, 0), note(1, None, windows=None)]) == [
        LossRecord(EPOCH, 0, None, 0, None, None, LossReason.OVERFLOW)
    ]


def test_a_span_claims_what_lies_between() -> None:
    """One note for each epoch and reason, and everything told before is still told."""
    notes = [note(9, 9), note(0, 2), note(5, 5, LossReason.REFUSED)]

    shorter = merge_by_reason(notes)

    assert shorter == [note(5, 5, LossReason.REFUSED), LossRecord(EPOCH, 0, 9, 0, 540, 4, LossReason.OVERFLOW)]
    assert all(any(is_superset(short, long) for short in shorter) for long in notes)


def test_an_open_end_is_covered_only_by_an_open_end() -> None:
    """Nobody knows how far it reaches."""
    assert is_superset(note(0, None), note(3, None))
    assert not is_superset(note(0, 9), note(3, None))
