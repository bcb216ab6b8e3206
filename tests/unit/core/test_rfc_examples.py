"""The statistics held against the standards they are taken from.

RFC 2330, the code of RFC 3550 and the table of ILAC-G8 have figures of their own, and those are used. Where a standard
gives a definition only, or one of its figures misprints it, the test is derived from the definition and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.evaluation import Criterion, WindowState, WindowStatistic, evaluate_window
from leadline.limits.catalogue import Comparison
from leadline.model import TIMEOUT_MS_MAX, ErrorBound, Failure, ProbeSettings, us_ceil
from leadline.statistics import WindowStats, compute_stats, interarrival_jitter_us, mean_step_us, nearest_rank
from leadline_agent.probe.results import ProbeResult
from tests.support.fake_probe_socket import MS, Fate, ProberHarness, build_probe_target

#: A slot: an RTT in microseconds, or the reason why there is none.
Slot = int | Failure
LOST, LATE, NOT_SENT = Failure.TIMEOUT, Failure.LATE, Failure.NOT_SENT
MS_US = 1_000
RTTS = st.lists(st.integers(0, 60_000_000), min_size=2, max_size=120)
AT_MOST_5_MS = Criterion(
    limit_id="at-most-5-ms", statistic=WindowStatistic.P95, comparison=Comparison.LESS_EQUAL, limit_us=5_000
)


def stats_of(slots: Sequence[Slot]) -> WindowStats:
    return compute_stats(
        [slot if not isinstance(slot, Failure) else None for slot in slots],
        [slot for slot in slots if isinstance(slot, Failure)],
    )


def in_ms(*delays: int | None) -> list[int | None]:
    """Delays of milliseconds as RTTs; None is one that was lost."""
    return [None if delay is None else delay * MS_US for delay in delays]


class TestRfc2330:
    """Section 11.3, empirical distributions and percentiles."""

    SAMPLE = (-2, 7, 7, 4, 18, -5)
    #: The distribution function as the section lists it.
    DISTRIBUTION = ((-8, 0), (-5.0001, 0), (-5, 1), (-4.999, 1), (-2, 2), (4, 3), (7, 5), (18, 6), (239, 6))

    @pytest.mark.parametrize(("x", "sixths"), DISTRIBUTION)
    def test_a_percentile_inverts_the_distribution_function(self, x: float, sixths: int) -> None:
        """At F(x) the percentile is the largest sample that is at most x, and above F(x) it is larger than x."""
        ordered = sorted(self.SAMPLE)

        at = nearest_rank(ordered, 6, Fraction(sixths, 6))
        above = nearest_rank(ordered, 6, Fraction(sixths, 6) + Fraction(1, 1_000))

        assert at == max((sample for sample in ordered if sample <= x), default=None)
        assert above is None or above > x

    @pytest.mark.parametrize(("percent", "x"), [(15, -5), (25, -2), (50, 4), (75, 7), (100, 18)])
    def test_percentiles_of_the_sample(self, percent: int, x: int) -> None:
        """The section calls the 15th percentile -infinity; by its own definition it is -5, since F(-5) = 1/6 > 15 %."""
        assert nearest_rank(sorted(self.SAMPLE), 6, Fraction(percent, 100)) == x


class TestRfc2681:
    """Section 4, round-trip delays of which some are undefined. The samples are derived from the definitions."""

    @pytest.mark.parametrize(("percent", "ms"), [(20, 90), (50, 110), (80, 500), (81, None), (100, None)])
    def test_undefined_is_larger_than_any_delay(self, percent: int, ms: int | None) -> None:
        """Of 90, 100, 110 and 500 ms and one undefined the median is 110 ms and whatever lies past 80 % is infinite."""
        assert nearest_rank([90, 100, 110, 500], 5, Fraction(percent, 100)) == ms

    def test_undefined_leaves_the_minimum_alone(self) -> None:
        """Four replies and a loss: minimum, median and loss are defined, p95 is infinite."""
        stats = stats_of([100_000, 110_000, LOST, 90_000, 500_000])

        assert (stats.min_us, stats.p50_us, stats.p95_us, stats.lost) == (90_000, 110_000, None, 1)

    def test_a_percentile_is_a_delay_that_was_measured(self) -> None:
        """Of an even number p50 is the lower of the two in the middle and not their mean."""
        assert stats_of([100_000, 110_000, LOST, 90_000]).p50_us == 100_000

    def test_all_undefined_is_undefined(self) -> None:
        """Without one reply there is no minimum and every percentile is infinite."""
        stats = stats_of([LOST] * 5)

        assert (stats.sent, stats.min_us, stats.p50_us, stats.p99_us) == (5, None, None, None)


class TestRfc5481:
    """Delay variation against the minimum (PDV) and against the packet before (IPDV, RFC 3393).

    The sequences and their figures are derived from the definitions of sections 4.1, 4.2 and 5.5.
    """

    def test_both_forms_of_one_sequence(self) -> None:
        """20, 10, 20, 25, 20 ms: PDV 10, 0, 10, 15, 10, at most 15; IPDV -10, 10, 5, -5, in size 7.5."""
        stats = stats_of([20_000, 10_000, 20_000, 25_000, 20_000])

        assert (stats.pdv_us, stats.mean_step_us) == (15_000, 7_500)

    def test_only_ipdv_looks_at_the_order(self) -> None:
        """The same delays in order of size: PDV stays, the mean step halves."""
        stats = stats_of([10_000, 20_000, 20_000, 20_000, 25_000])

        assert (stats.pdv_us, stats.mean_step_us) == (15_000, 3_750)

    def test_a_fall_of_20_ms_is_a_step_of_20_ms(self) -> None:
        """Figure 2, example B, prints an IPDV of -10 where its delays give -20: the difference of the delays counts."""
        assert mean_step_us(in_ms(40, 20)) == 20_000

    def test_every_other_packet_lost_leaves_no_ipdv(self) -> None:
        """No two neighbours arrived, so no IPDV is defined; the minimum and the PDV of the median (2 ms) are."""
        stats = stats_of([3_000, LOST, 5_000, LOST, 4_000, LOST, 3_000, LOST, 5_000, LOST])

        assert (stats.mean_step_us, stats.pdv_us) == (None, None)
        assert (stats.min_us, stats.p50_us) == (3_000, 5_000)

    def test_a_burst_of_loss_is_not_stepped_over(self) -> None:
        """3, 4, five lost, 5, 4, 3 ms: the steps are 1, -1 and -1, and none leads from 4 to 5 across the gap."""
        assert mean_step_us(in_ms(3, 4, None, None, None, None, None, 5, 4, 3)) == 1_000

    def test_a_route_change_is_one_step_and_lasting_pdv(self) -> None:
        """30 replies at 4 ms, then 30 at 9 ms: 59 steps of which one is 5 ms, and a PDV of 5 ms."""
        stats = stats_of([4_000] * 30 + [9_000] * 30)

        assert (stats.mean_step_us, stats.pdv_us) == (85, 5_000)

    @given(RTTS, st.integers(0, 1_000_000))
    def test_a_constant_delay_changes_no_variation(self, rtts_us: list[int], constant_us: int) -> None:
        """What every packet takes longer is in none of the three forms."""
        before, after = stats_of(rtts_us), stats_of([rtt + constant_us for rtt in rtts_us])

        assert (before.pdv_us, before.mean_step_us) == (after.pdv_us, after.mean_step_us)
        assert interarrival_jitter_us(rtts_us) == interarrival_jitter_us([rtt + constant_us for rtt in rtts_us])


class TestRfc3550:
    """Section 6.4.1 and the integer code of A.8. The sequences are derived from them."""

    def test_one_step_counts_a_sixteenth(self) -> None:
        """From nothing, |D| = 160 leaves J = 160 / 16."""
        assert interarrival_jitter_us([1_000, 1_160]) == 10

    def test_the_integer_recursion_by_hand(self) -> None:
        """In sixteenths: 170, then without a further step 170 - 11 = 159 and 159 - 10 = 149: the share is rounded."""
        assert [interarrival_jitter_us([0, 170] + [170] * still) for still in (0, 1, 2)] == [10, 9, 9]

    def test_a_worked_sequence(self) -> None:
        """20, 10, 20, 25, 20 ms: in sixteenths 10000, 19375, 23164 and 26716 µs; 1669.77 µs in fractions."""
        assert interarrival_jitter_us(in_ms(20, 10, 20, 25, 20)) == 1_669

    def test_what_is_lost_is_skipped(self) -> None:
        """A packet is compared with the one received before it, whatever was lost in between."""
        assert interarrival_jitter_us([1_000, None, None, 1_160]) == 10

    @pytest.mark.parametrize("rtts_us", [[], [None, None], [5_000], [None, 5_000]])
    def test_one_reply_has_no_jitter(self, rtts_us: list[int | None]) -> None:
        """Without a difference nothing is defined."""
        assert interarrival_jitter_us(rtts_us) is None

    def test_a_constant_path_has_none(self) -> None:
        """Zero is a jitter that was measured."""
        assert interarrival_jitter_us([5_000] * 60) == 0

    def test_it_forgets(self) -> None:
        """Sixty replies after a step of 50 ms only 65 µs of it are left; PDV still tells it in full."""
        rtts_us = [0, 50_000, *[50_000] * 60]

        assert (interarrival_jitter_us(rtts_us), stats_of(rtts_us).pdv_us) == (65, 50_000)

    @given(RTTS)
    def test_integers_stay_close_to_the_recursion(self, rtts_us: list[int]) -> None:
        """J += (|D| - J) / 16 in fractions is at most 1.5 above and 0.5 below what A.8 keeps in integers."""
        exact = Fraction(0)
        for before, after in pairwise(rtts_us):
            exact += (abs(after - before) - exact) / 16

        found = interarrival_jitter_us(rtts_us)

        assert found is not None
        assert -Fraction(1, 2) <= exact - found <= Fraction(3, 2)


def measured(delays_ms: Sequence[int | None], *, timeout_ms: int) -> tuple[WindowStats, list[ProbeResult]]:
    """The statistics of an engine whose replies take these times, and its outcomes in order of schedule."""
    fates = [Fate() if delay is None else Fate(replies_ns=(delay * MS,)) for delay in delays_ms]
    outcomes = ProberHarness(lambda index: fates[index]).run_targets(
        [build_probe_target(slots=len(fates), timeout_ms=timeout_ms)]
    )
    ordered = sorted(outcomes, key=lambda outcome: outcome.slot)
    rtts_us = [None if outcome.rtt_ns is None else us_ceil(outcome.rtt_ns) for outcome in ordered]
    return compute_stats(rtts_us, [o.failure for o in ordered if o.failure is not None]), ordered


class TestRfc6673:
    """Round-trip loss by the waiting time Tmax. The cases are derived from the definition."""

    def test_a_reply_after_tmax_is_a_loss(self) -> None:
        """Tmax 2 s: replies after 0.5 s and at 2 s arrived; one 1 ms later and one that never came are lost."""
        stats, _ = measured([500, 2_000, 2_001, None], timeout_ms=2_000)

        assert (stats.sent, stats.received, stats.lost) == (4, 2, 2)
        assert stats.failures == {LATE: 1, LOST: 1}

    def test_a_late_reply_has_no_delay(self) -> None:
        """What came after Tmax enters no minimum, mean or maximum."""
        stats, _ = measured([500, 2_001], timeout_ms=2_000)

        assert (stats.min_us, stats.mean_us, stats.max_us) == (500_000, 500_000, 500_000)

    def test_reordering_is_no_loss(self) -> None:
        """Replies that overtake each other are all received, and each keeps the delay of its own request."""
        stats, outcomes = measured([1_900, 10, 1_200, 5], timeout_ms=2_000)

        assert (stats.sent, stats.lost) == (4, 0)
        assert [outcome.rtt_ns for outcome in outcomes] == [1_900 * MS, 10 * MS, 1_200 * MS, 5 * MS]

    def test_what_was_not_sent_is_not_lost(self) -> None:
        """Loss is of packets that were sent: 2 of 40, with 20 slots that this host missed."""
        stats = stats_of([*[5_000] * 38, LOST, LATE, *[NOT_SENT] * 20])

        assert (stats.sent, stats.lost) == (40, 2)


class TestRfc6703:
    """Reporting: how long to wait, and conditional statistics. The cases are derived from sections 4 and 5."""

    def test_the_longest_wait_separates_loss_from_long_delay(self) -> None:
        """With the largest timeout a reply after 51.1 s is told apart from a packet that never came."""
        stats, outcomes = measured([50_900, 51_100, None], timeout_ms=TIMEOUT_MS_MAX)

        assert [outcome.failure for outcome in outcomes] == [None, LATE, LOST]
        assert (stats.max_us, outcomes[1].detail) == (50_900_000, 51_100_000)

    def test_no_timeout_is_longer(self) -> None:
        """51 s may be asked for and no millisecond more."""
        assert ProbeSettings(timeout_ms=51_000).timeout_ms == TIMEOUT_MS_MAX
        with pytest.raises(ValueError, match="51001 ms is outside"):
            ProbeSettings(timeout_ms=51_001)

    @given(st.lists(st.integers(4_000, 6_000) | st.just(LOST), min_size=60, max_size=60))
    def test_a_shorter_threshold_may_be_applied_afterwards(self, slots: list[Slot]) -> None:
        """Whether a window is good does not depend on Tmax: replies over the limit may as well count as lost."""
        cut = [slot if isinstance(slot, int) and slot <= AT_MOST_5_MS.limit_us else LOST for slot in slots]

        states = [evaluate_window(stats_of(window), AT_MOST_5_MS).worst_case for window in (slots, cut)]

        assert (states[0] is WindowState.GOOD) == (states[1] is WindowState.GOOD)

    def test_mean_and_median_are_conditional_in_different_ways(self) -> None:
        """31 of 60 lost: the mean is that of the packets that arrived, the median is infinite."""
        stats = stats_of([*[10_000] * 29, *[LOST] * 31])

        assert (stats.mean_us, stats.p50_us, stats.max_us) == (10_000, None, 10_000)

    def test_mean_and_median_differ_where_the_tail_is_long(self) -> None:
        """57 replies of 10 ms and 3 of 1,010 ms: 60 ms in the mean, 10 ms in the median; hence both are told."""
        stats = stats_of([*[10_000] * 57, *[1_010_000] * 3])

        assert (stats.mean_us, stats.p50_us) == (60_000, 10_000)


#: ILAC-G8:09/2019: guard band in multiples of U = 2u, and what it promises for the probability of a false claim.
GUARD_BANDS = [("0", 0.5), ("0.83", 0.05), ("1", 0.025), ("1.5", 0.0016), ("3", 1e-6)]
STANDARD_UNCERTAINTY_US = 100
LIMIT = NormalDist(AT_MOST_5_MS.limit_us, STANDARD_UNCERTAINTY_US)


def readings(rtt_us: int, error_us: int) -> tuple[WindowState, WindowState]:
    """A window of nothing but this RTT: pessimistic and optimistic."""
    found = evaluate_window(stats_of([rtt_us] * 60), AT_MOST_5_MS, ErrorBound(p50_us=0, p99_us=error_us))
    return found.worst_case, found.best_case


class TestJcgm106:
    """The two readings as a guard band w = H: the conformance probability is p_c = Phi((T_U - y) / u)."""

    @pytest.mark.parametrize(("multiple", "promised"), GUARD_BANDS)
    def test_beyond_is_guarded_by_h(self, multiple: str, promised: float) -> None:
        """The least RTT that is beyond is L + H + 1 µs; there p_c, the chance of a path that conforms, holds."""
        error_us = int(Fraction(multiple) * 2 * STANDARD_UNCERTAINTY_US)
        least_us = next(rtt for rtt in range(4_900, 6_000) if readings(rtt, error_us)[1] is WindowState.BAD)

        conforms = 1 - LIMIT.cdf(least_us)

        assert least_us == AT_MOST_5_MS.limit_us + error_us + 1
        assert conforms < promised

    @pytest.mark.parametrize(("multiple", "promised"), GUARD_BANDS)
    def test_within_is_guarded_by_h(self, multiple: str, promised: float) -> None:
        """The largest estimate (measured less H) that is within is L - H, where 1 - p_c is as promised."""
        error_us = int(Fraction(multiple) * 2 * STANDARD_UNCERTAINTY_US)
        largest_us = next(rtt for rtt in range(5_100, 4_000, -1) if readings(rtt, error_us)[0] is WindowState.GOOD)

        fails = LIMIT.cdf(largest_us - error_us)

        assert largest_us == AT_MOST_5_MS.limit_us
        assert fails <= promised

    @given(st.integers(4_000, 6_000), st.integers(0, 500), st.data())
    def test_an_error_within_h_makes_no_false_claim(self, true_us: int, error_us: int, data: st.DataObject) -> None:
        """The error only adds: while it is at most H, neither "within" nor "beyond" can be wrong."""
        added_us = data.draw(st.integers(0, error_us))

        pessimistic, optimistic = readings(true_us + added_us, error_us)

        conforms = true_us <= AT_MOST_5_MS.limit_us
        assert not (pessimistic is WindowState.GOOD and not conforms)
        assert not (optimistic is WindowState.BAD and conforms)
