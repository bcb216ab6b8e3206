"""Window statistics, as docs/method.md defines them."""

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
#: A slot: an RTT, or the reason why there is none.
SLOTS = st.lists(st.one_of(st.integers(0, 60_000_000), st.sampled_from(list(Failure))), min_size=1, max_size=120)


def stats_of(slots: Sequence[int | Failure]) -> WindowStats:
    return compute_stats(
        [slot if not isinstance(slot, Failure) else None for slot in slots],
        [slot for slot in slots if isinstance(slot, Failure)],
    )


def test_p95_of_sixty_is_the_57th() -> None:
    """Three of sixty samples may be anything: p95 is the 57th (method §3.2)."""
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
    """Slots that were not sent take no part: 40 replies of 60 slots are 40 of 40."""
    stats = stats_of([*range(1, 41), *[NOT_SENT] * 20])

    assert (stats.expected, stats.sent, stats.lost, stats.p50_us, stats.p95_us) == (60, 40, 0, 20, 38)


def test_only_probes_that_had_their_chance_are_lost() -> None:
    """Timeout, late and unreachable are losses; all other failures are not measured."""
    stats = stats_of(list(Failure))

    assert (stats.expected, stats.sent, stats.lost) == (8, 3, 3)


def test_the_mean_is_over_replies_and_rounded_up() -> None:
    """(1 + 2) / 2 is stored as 2, so that mean <= limit holds exactly when stored <= limit."""
    assert stats_of([1, LOST, 2]).mean_us == 2


def test_nothing_received_leaves_nothing_defined() -> None:
    """A statistic without data is None."""
    stats = stats_of([LOST, NOT_SENT])

    assert [stats.min_us, stats.mean_us, stats.p50_us, stats.max_us, stats.pdv_us, stats.mean_step_us] == [None] * 6


def test_a_missing_reply_breaks_the_chain_of_steps() -> None:
    """10, -, 30 has no step; 10, 30, -, 30, 31 has two: 20 and 1, of which the mean rounds up to 11."""
    assert (mean_step_us([10, None, 30]), mean_step_us([10, 30, None, 30, 31])) == (None, 11)


def test_a_percentile_of_an_example_of_the_standard() -> None:
    """RFC 2330 §11.3: of -2, 7, 7, 4, 18, -5 the 50th percentile is 4, the 25th -2, the 75th 7."""
    ordered = sorted([-2, 7, 7, 4, 18, -5])

    assert [nearest_rank(ordered, 6, Fraction(q, 100)) for q in (50, 25, 75)] == [4, -2, 7]


@given(SLOTS)
def test_statistics_are_in_order(slots: list[int | Failure]) -> None:
    """0 <= min <= p50 <= p95 <= p99 <= max, and a higher percentile is never finite where a lower one is not."""
    stats = stats_of(slots)

    ranks = [stats.p50_us, stats.p95_us, stats.p99_us]
    finite = [rank for rank in ranks if rank is not None]
    assert ranks[: len(finite)] == finite
    assert sorted(finite) == finite
    if stats.min_us is not None and stats.max_us is not None:
        assert 0 <= stats.min_us <= (stats.mean_us or 0) <= stats.max_us
        assert all(stats.min_us <= rank <= stats.max_us for rank in finite)


def plainly(slots: Sequence[int | Failure]) -> WindowStats:
    """The definitions of docs/method.md, as simple as they can be written."""
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
def test_the_fast_statistics_are_the_plain_ones(slots: list[int | Failure]) -> None:
    """Not one figure differs, for windows with and without holes."""
    assert stats_of(slots) == plainly(slots)


@given(SLOTS, st.randoms(use_true_random=False))
def test_order_changes_nothing_but_the_mean_step(slots: list[int | Failure], rng: Random) -> None:
    """Percentiles, loss, min, mean, max, delay variation and failures of a window do not look at the order."""
    shuffled = list(slots)
    rng.shuffle(shuffled)
    before, after = stats_of(slots), stats_of(shuffled)

    assert replace(before, mean_step_us=None) == replace(after, mean_step_us=None)


@given(SLOTS, st.integers(0, 60_000_000))
def test_a_reply_instead_of_a_loss_never_raises_a_percentile(slots: list[int | Failure], rtt_us: int) -> None:
    """With +infinity replaced by a number, no percentile goes up and loss goes down."""
    before, after = stats_of([*slots, LOST]), stats_of([*slots, rtt_us])

    assert after.lost == before.lost - 1
    for worse, better in ((before.p95_us, after.p95_us), (before.p99_us, after.p99_us)):
        assert worse is None or (better is not None and better <= worse)


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=200))
def test_nearest_rank_is_the_smallest_that_covers_the_share(samples: list[int]) -> None:
    """The definition itself: at least q of the samples are at or below it, and fewer below it."""
    ordered = sorted(samples)
    for q in (Fraction(95, 100), P99):
        found = nearest_rank(ordered, len(ordered), q)

        assert found is not None
        assert sum(sample <= found for sample in ordered) >= q * len(ordered)
        assert sum(sample < found for sample in ordered) < q * len(ordered)
