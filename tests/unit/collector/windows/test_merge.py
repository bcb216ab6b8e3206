"""Merging windows of one minute: nothing is counted twice or lost, in any order."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from leadline.model import ErrorBound, Failure, Miss, Window, build_window
from leadline.statistics import compute_window_stats
from leadline_collector.windows.merge import merge_windows


def window(rtts: dict[int, int], *misses: Miss, **kwargs: object) -> Window:
    """A window of twelve slots."""
    return build_window(0, 5_000, rtts, misses, **kwargs)  # type: ignore[arg-type]


def test_an_rtt_wins_over_a_loss() -> None:
    """A slot has an RTT if one of the processes received a reply."""
    lost, answered = window({}, Miss(3, Failure.TIMEOUT)), window({3: 700})

    assert merge_windows([lost, answered]).rtt_us[3] == merge_windows([answered, lost]).rtt_us[3] == 700


def test_a_loss_wins_over_an_unmeasured_slot() -> None:
    """A timeout wins over a stall, and a stall over a slot that was not sent."""
    lost, stalled, unsent = (
        window({}, Miss(3, failure)) for failure in (Failure.TIMEOUT, Failure.LOCAL_STALL, Failure.NOT_SENT)
    )

    for order in permutations((lost, stalled, unsent)):
        assert merge_windows(order).misses[3].failure is Failure.TIMEOUT
    assert merge_windows([unsent, stalled]).misses[3].failure is Failure.LOCAL_STALL


def test_among_equals_the_first_wins() -> None:
    """Of two RTTs, or two losses, of one slot, the one of the window sealed first is used."""
    first = window({3: 700}, Miss(4, Failure.LATE, 11_000_000))
    second = window({3: 900}, Miss(4, Failure.TIMEOUT))

    merged = merge_windows([first, second])

    assert (merged.rtt_us[3], merged.misses[3].failure) == (700, Failure.LATE)


def test_duplicates_add_up_and_the_wider_bound_stays() -> None:
    """Each part counted its own duplicates; the error bound must be valid for both parts."""
    first = window({0: 1}, duplicates=1, error_bound=ErrorBound(p50_us=5, p99_us=10))
    second = window({1: 1}, duplicates=2, error_bound=ErrorBound(p50_us=4, p99_us=20))

    merged = merge_windows([first, second, window({})])

    assert (merged.duplicates, merged.error_bound) == (3, ErrorBound(p50_us=5, p99_us=20))


def test_windows_of_different_intervals_do_not_mix() -> None:
    """The result is the one with the most replies."""
    fast = build_window(0, 1_000, dict.fromkeys(range(9), 5), ())

    assert merge_windows([window(dict.fromkeys(range(8), 7)), fast]) == fast


@given(st.lists(st.integers(0, 2), min_size=12, max_size=12))
def test_a_minute_in_parts_is_the_minute(owners: list[int]) -> None:
    """Three processes measure the slots in any distribution: the merged statistics equal those of the whole minute."""
    whole = window({slot: 100 + slot for slot in range(12)})
    parts = [window({slot: 100 + slot for slot in range(12) if owners[slot] == part}) for part in range(3)]

    assert compute_window_stats(merge_windows(parts)) == compute_window_stats(whole)
