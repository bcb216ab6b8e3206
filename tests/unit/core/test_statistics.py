"""Window statistics as defined in docs/method.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from leadline.model import Failure
from leadline.statistics import P99, WindowStats, compute_stats, mean_step_us, nearest_rank

LOST, NOT_SENT = Failure.TIMEOUT, Failure.NOT_SENT
#: A slot: an RTT or a failure.
SLOTS = st.lists(st.one_of(st.integers(0, 60_000_000), st.sampled_from(list(Failure))), min_size=1, max_size=120)


def stats_of(slots: Sequence[int | Failure]) -> WindowStats:
    return compute_stats(
        [slot if not isinstance(slot, Failure) else None for slot in slots],
        [slot for slot in slots if isinstance(slot, Failure)],
    )


def test_p95_of_sixty_is_the_57th() -> None:
    """The three largest of sixty samples do not affect p95 (method.md §3.2)."""
    stats = stats_of([*range(1, 58), 900, 901, 902])

    assert stats.p95_us == 57


def test_p95_of_48_is_the_46th() -> None:
    """Rank ceil(0.95 * 48) = 46."""
    assert stats_of(list(range(1, 49))).p95_us == 46


def test_a_lost_probe_counts_as_infinity() -> None:
    """Four lost of sixty put the 57th rank on a lost probe."""
    three, four = stats_of([*[5] * 57, *[LOST] * 3]), stats_of([*[5] * 56, *[LOST] * 4])

    assert (three.p95_us, four.p95_us) == (5, None)


def test_percentiles_are_over_the_probes_sent() -> None:
    """Slots that were not sent are excluded: 40 replies in 60 slots count as 40 of 40."""
    stats = stats_of([*range(1, 41), *[NOT_SENT] * 20])

    assert (stats.expected, stats.sent, stats.lost, stats.p50_us, stats.p95_us) == (60, 40, 0, 20, 38)


def test_only_some_failures_are_losses() -> None:
    """Timeout, late and unreachable are losses; all other failures mean "not measured"."""
    stats = stats_of(list(Failure))

    assert (stats.expected, stats.sent, stats.lost) == (8, 3, 3)


def test_the_mean_is_over_replies_and_rounded_up() -> None:
    """(1 + 2) / 2 is stored as 2, so that mean <= limit is true exactly if stored <= limit is true."""
    assert stats_of([1, LOST, 2]).mean_us == 2


def test_statistics_without_replies_are_none() -> None:
    """One lost probe and one unsent slot."""
    stats = stats_of([LOST, NOT_SENT])

    assert [stats.min_us, stats.mean_us, stats.p50_us, stats.max_us, stats.pdv_us, stats.mean_step_us] == [None] * 6


def test_steps_do_not_cross_a_missing_reply() -> None:
    """10, -, 30 has no step; 10, 30, -, 30, 31 has two, 20 and 1; their mean rounds up to 11."""
    assert (mean_step_us([10, None, 30]), mean_step_us([10, 30, None, 30, 31])) == (None, 11)


def test_percentiles_of_the_rfc_example() -> None:
    """RFC 2330 §11.3: the 50th percentile of -2, 7, 7, 4, 18, -5 is 4, the 25th is -2, the 75th is 7."""
    ordered = sorted([-2, 7, 7, 4, 18, -5])

    assert [nearest_rank(ordered, 6, Fraction(q, 100)) for q in (50, 25, 75)] == [4, -2, 7]


@given(SLOTS)
def test_statistics_are_in_order(slots: list[int | Failure]) -> None:
    """0 <= min <= p50 <= p95 <= p99 <= max; a percentile above an infinite one is infinite."""
    stats = stats_of(slots)

    ranks = [stats.p50_us, stats.p95_us, stats.p99_us]
    finite = [rank for rank in ranks if rank is not None]
    assert ranks[: len(finite)] == finite
    assert sorted(finite) == finite
    if stats.min_us is not None and stats.max_us is not None:
        assert 0 <= stats.min_us <= (stats.mean_us or 0) <= stats.max_us
        assert all(stats.min_us <= rank <= stats.max_us for rank in finite)


def compute_reference_stats(slots: Sequence[int | Failure]) -> WindowStats:
    """Compute the statistics with the plain definitions of docs/method.md."""
    rtts = [slot if not isinstance(slot, Failure) else None for slot in slots]
    received = sorted(rtt for rtt in rtts if rtt is not None)
    sent = len(received) + sum(isinstance(slot, Failure) and slot.is_loss for slot in slots)
    p50, p95, p99 = (nearest_rank(received, sent, Fraction(q, 100)) for q in (50, 95, 99))
    failures = [slot for slot in slots if isinstance(slot, Failure)]
    return WindowStats(
        expected=len(slots),
        sent=sent,
        received=len(received),
        min_us=min(received, default=None),
        mean_us=ceil(Fraction(sum(received), len(received))) if received else None,
        p50_us=p50,
        p95_us=p95,
        p99_us=p99,
        max_us=max(received, default=None),
        pdv_us=None if p95 is None else p95 - received[0],
        mean_step_us=mean_step_us(rtts),
        failures={failure: failures.count(failure) for failure in failures},
    )


FULL = st.lists(st.integers(0, 60_000_000), min_size=1, max_size=120)


@given(SLOTS | FULL)
def test_fast_statistics_equal_the_reference(slots: list[int | Failure]) -> None:
    """Windows with and without failures."""
    assert stats_of(slots) == compute_reference_stats(slots)


@given(SLOTS, st.randoms(use_true_random=False))
def test_only_the_mean_step_depends_on_the_order(slots: list[int | Failure], rng: Random) -> None:
    """Percentiles, loss, min, mean, max, delay variation and failures are independent of the order."""
    shuffled = list(slots)
    rng.shuffle(shuffled)
    before, after = stats_of(slots), stats_of(shuffled)

    assert replace(before, mean_step_us=None) == replace(after, mean_step_us=None)


@given(SLOTS, st.integers(0, 60_000_000))
def test_replacing_a_loss_by_a_reply_never_raises_a_percentile(slots: list[int | Failure], rtt_us: int) -> None:
    """Loss decreases and no percentile increases."""
    before, after = stats_of([*slots, LOST]), stats_of([*slots, rtt_us])

    assert after.lost == before.lost - 1
    for worse, better in ((before.p95_us, after.p95_us), (before.p99_us, after.p99_us)):
        assert worse is None or (better is not None and better <= worse)


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=200))
def test_nearest_rank_is_the_smallest_sample_that_covers_the_share(samples: list[int]) -> None:
    """By definition at least q of the samples are at or below it, and fewer than q are below it."""
    ordered = sorted(samples)
    for q in (Fraction(95, 100), P99):
        percentile = nearest_rank(ordered, len(ordered), q)

        assert percentile is not None
        assert sum(sample <= percentile for sample in ordered) >= q * len(ordered)
        assert sum(sample < percentile for sample in ordered) < q * len(ordered)
