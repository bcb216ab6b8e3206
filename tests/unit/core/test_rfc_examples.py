"""Statistics compared with the standards that define them.

RFC 2330, the code of RFC 3550 and the table of ILAC-G8 have numeric examples; the tests use them. If a standard has
only a definition, or a misprinted example, the test is derived from the definition, with a note in its docstring.
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

#: A slot: an RTT in microseconds, or a failure.
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
    """Convert delays in milliseconds to RTTs; None is a lost probe."""
    return [None if delay is None else delay * MS_US for delay in delays]


class TestRfc2330:
    """Section 11.3, empirical distributions and percentiles."""

    SAMPLE = (-2, 7, 7, 4, 18, -5)
    #: The distribution function listed in the section.
    DISTRIBUTION = ((-8, 0), (-5.0001, 0), (-5, 1), (-4.999, 1), (-2, 2), (4, 3), (7, 5), (18, 6), (239, 6))

    @pytest.mark.parametrize(("x", "sixths"), DISTRIBUTION)
    def test_a_percentile_inverts_the_distribution_function(self, x: float, sixths: int) -> None:
        """At F(x) the percentile is the largest sample <= x; above F(x) it is larger than x."""
        ordered = sorted(self.SAMPLE)

        at = nearest_rank(ordered, 6, Fraction(sixths, 6))
        above = nearest_rank(ordered, 6, Fraction(sixths, 6) + Fraction(1, 1_000))

        assert at == max((sample for sample in ordered if sample <= x), default=None)
        assert above is None or above > x

    @pytest.mark.parametrize(("percent", "x"), [(15, -5), (25, -2), (50, 4), (75, 7), (100, 18)])
    def test_percentiles_of_the_sample(self, percent: int, x: int) -> None:
        """The section gives -infinity for the 15th percentile; by its definition it is -5, as F(-5) = 1/6 > 15 %."""
        assert nearest_rank(sorted(self.SAMPLE), 6, Fraction(percent, 100)) == x


class TestRfc2681:
    """Section 4, round-trip delays with undefined values. The samples are derived from the definitions."""

    @pytest.mark.parametrize(("percent", "ms"), [(20, 90), (50, 110), (80, 500), (81, None), (100, None)])
    def test_undefined_is_larger_than_any_delay(self, percent: int, ms: int | None) -> None:
        """90, 100, 110, 500 ms and one undefined: the median is 110 ms; percentiles above 80 % are infinite."""
        assert nearest_rank([90, 100, 110, 500], 5, Fraction(percent, 100)) == ms

    def test_undefined_does_not_affect_the_minimum(self) -> None:
        """Four replies and a loss: minimum, median and loss are defined, p95 is infinite."""
        stats = stats_of([100_000, 110_000, LOST, 90_000, 500_000])

        assert (stats.min_us, stats.p50_us, stats.p95_us, stats.lost) == (90_000, 110_000, None, 1)

    def test_a_percentile_is_a_delay_that_was_measured(self) -> None:
        """For an even number of samples p50 is the lower of the two in the middle, not their mean."""
        assert stats_of([100_000, 110_000, LOST, 90_000]).p50_us == 100_000

    def test_all_undefined_is_undefined(self) -> None:
        """Without one reply there is no minimum and every percentile is infinite."""
        stats = stats_of([LOST] * 5)

        assert (stats.sent, stats.min_us, stats.p50_us, stats.p99_us) == (5, None, None, None)


class TestRfc5481:
    """Delay variation relative to the minimum (PDV) and to the previous packet (IPDV, RFC 3393).

    The sequences and their values are derived from the definitions in sections 4.1, 4.2 and 5.5.
    """

    def test_both_forms_of_one_sequence(self) -> None:
        """20, 10, 20, 25, 20 ms: PDV 10, 0, 10, 15, 10, maximum 15; IPDV -10, 10, 5, -5, mean size 7.5."""
        stats = stats_of([20_000, 10_000, 20_000, 25_000, 20_000])

        assert (stats.pdv_us, stats.mean_step_us) == (15_000, 7_500)

    def test_only_ipdv_depends_on_the_order(self) -> None:
        """The same delays sorted by size: PDV does not change, the mean step halves."""
        stats = stats_of([10_000, 20_000, 20_000, 20_000, 25_000])

        assert (stats.pdv_us, stats.mean_step_us) == (15_000, 3_750)

    def test_a_fall_of_20_ms_is_a_step_of_20_ms(self) -> None:
        """Figure 2, example B, prints an IPDV of -10, but its delays give -20; the difference of the delays counts."""
        assert mean_step_us(in_ms(40, 20)) == 20_000

    def test_ipdv_is_undefined_if_every_second_packet_is_lost(self) -> None:
        """No two neighbours arrived. Minimum and median are defined."""
        stats = stats_of([3_000, LOST, 5_000, LOST, 4_000, LOST, 3_000, LOST, 5_000, LOST])

        assert (stats.mean_step_us, stats.pdv_us) == (None, None)
        assert (stats.min_us, stats.p50_us) == (3_000, 5_000)

    def test_steps_do_not_cross_a_burst_of_loss(self) -> None:
        """3, 4, five lost, 5, 4, 3 ms: the steps are 1, -1 and -1, without one from 4 to 5 across the gap."""
        assert mean_step_us(in_ms(3, 4, None, None, None, None, None, 5, 4, 3)) == 1_000

    def test_a_route_change_is_one_step_and_a_permanent_pdv(self) -> None:
        """30 replies at 4 ms, then 30 at 9 ms: 59 steps, one of them 5 ms, and a PDV of 5 ms."""
        stats = stats_of([4_000] * 30 + [9_000] * 30)

        assert (stats.mean_step_us, stats.pdv_us) == (85, 5_000)

    @given(RTTS, st.integers(0, 1_000_000))
    def test_a_constant_delay_does_not_change_the_variation(self, rtts_us: list[int], constant_us: int) -> None:
        """Adding a constant to every RTT changes none of the three forms."""
        before, after = stats_of(rtts_us), stats_of([rtt + constant_us for rtt in rtts_us])

        assert (before.pdv_us, before.mean_step_us) == (after.pdv_us, after.mean_step_us)
        assert interarrival_jitter_us(rtts_us) == interarrival_jitter_us([rtt + constant_us for rtt in rtts_us])


class TestRfc3550:
    """Section 6.4.1 and the integer code of A.8. The sequences are derived from them."""

    def test_one_step_counts_a_sixteenth(self) -> None:
        """|D| = 160 after J = 0 gives J = 160 / 16."""
        assert interarrival_jitter_us([1_000, 1_160]) == 10

    def test_the_integer_recursion_by_hand(self) -> None:
        """In sixteenths: 170, then without a further step 170 - 11 = 159 and 159 - 10 = 149 (rounded)."""
        assert [interarrival_jitter_us([0, 170] + [170] * count) for count in (0, 1, 2)] == [10, 9, 9]

    def test_a_worked_sequence(self) -> None:
        """20, 10, 20, 25, 20 ms: in sixteenths 10000, 19375, 23164 and 26716 µs; 1669.77 µs in fractions."""
        assert interarrival_jitter_us(in_ms(20, 10, 20, 25, 20)) == 1_669

    def test_lost_packets_are_skipped(self) -> None:
        """A packet is compared with the previous one received."""
        assert interarrival_jitter_us([1_000, None, None, 1_160]) == 10

    @pytest.mark.parametrize("rtts_us", [[], [None, None], [5_000], [None, 5_000]])
    def test_one_reply_has_no_jitter(self, rtts_us: list[int | None]) -> None:
        """Jitter needs two replies."""
        assert interarrival_jitter_us(rtts_us) is None

    def test_a_constant_path_has_a_jitter_of_0(self) -> None:
        """Zero is a measured value, unlike None."""
        assert interarrival_jitter_us([5_000] * 60) == 0

    def test_a_step_decays(self) -> None:
        """Sixty replies after a step of 50 ms the jitter is 65 µs; PDV still has the full step."""
        rtts_us = [0, 50_000, *[50_000] * 60]

        assert (interarrival_jitter_us(rtts_us), stats_of(rtts_us).pdv_us) == (65, 50_000)

    @given(RTTS)
    def test_integers_stay_close_to_the_recursion(self, rtts_us: list[int]) -> None:
        """J += (|D| - J) / 16 in fractions is at most 1.5 above and 0.5 below the integers of A.8."""
        exact = Fraction(0)
        for before, after in pairwise(rtts_us):
            exact += (abs(after - before) - exact) / 16

        jitter = interarrival_jitter_us(rtts_us)

        assert jitter is not None
        assert -Fraction(1, 2) <= exact - jitter <= Fraction(3, 2)


def measure(delays_ms: Sequence[int | None], *, timeout_ms: int) -> tuple[WindowStats, list[ProbeResult]]:
    """Run an engine with these reply times; return its statistics and its results in order of schedule."""
    fates = [Fate() if delay is None else Fate(replies_ns=(delay * MS,)) for delay in delays_ms]
    results = ProberHarness(lambda index: fates[index]).run_targets(
        [build_probe_target(slots=len(fates), timeout_ms=timeout_ms)]
    )
    results = sorted(results, key=lambda result: result.slot)
    rtts_us = [None if result.rtt_ns is None else us_ceil(result.rtt_ns) for result in results]
    return compute_stats(rtts_us, [result.failure for result in results if result.failure is not None]), results


class TestRfc6673:
    """Round-trip loss by the waiting time Tmax. The cases are derived from the definition."""

    def test_a_reply_after_tmax_is_a_loss(self) -> None:
        """Tmax 2 s: replies after 0.5 s and 2 s are received; one after 2.001 s and a missing one are lost."""
        stats, _ = measure([500, 2_000, 2_001, None], timeout_ms=2_000)

        assert (stats.sent, stats.received, stats.lost) == (4, 2, 2)
        assert stats.failures == {LATE: 1, LOST: 1}

    def test_a_late_reply_has_no_delay(self) -> None:
        """A reply after Tmax is excluded from minimum, mean and maximum."""
        stats, _ = measure([500, 2_001], timeout_ms=2_000)

        assert (stats.min_us, stats.mean_us, stats.max_us) == (500_000, 500_000, 500_000)

    def test_reordering_is_not_loss(self) -> None:
        """Reordered replies are all received, each with the delay of its own request."""
        stats, results = measure([1_900, 10, 1_200, 5], timeout_ms=2_000)

        assert (stats.sent, stats.lost) == (4, 0)
        assert [result.rtt_ns for result in results] == [1_900 * MS, 10 * MS, 1_200 * MS, 5 * MS]

    def test_unsent_probes_are_not_lost(self) -> None:
        """2 of 40 sent probes are lost; the 20 slots that this host missed do not count."""
        stats = stats_of([*[5_000] * 38, LOST, LATE, *[NOT_SENT] * 20])

        assert (stats.sent, stats.lost) == (40, 2)


class TestRfc6703:
    """Reporting: waiting time and conditional statistics. The cases are derived from sections 4 and 5."""

    def test_the_longest_wait_separates_loss_from_long_delay(self) -> None:
        """With the largest timeout a reply after 51.1 s is LATE and a missing one is a TIMEOUT."""
        stats, results = measure([50_900, 51_100, None], timeout_ms=TIMEOUT_MS_MAX)

        assert [result.failure for result in results] == [None, LATE, LOST]
        assert (stats.max_us, results[1].detail) == (50_900_000, 51_100_000)

    def test_the_longest_timeout_is_51_s(self) -> None:
        """51.001 s is refused."""
        assert ProbeSettings(timeout_ms=51_000).timeout_ms == TIMEOUT_MS_MAX
        with pytest.raises(ValueError, match="51001 ms is outside"):
            ProbeSettings(timeout_ms=51_001)

    @given(st.lists(st.integers(4_000, 6_000) | st.just(LOST), min_size=60, max_size=60))
    def test_a_shorter_threshold_may_be_applied_afterwards(self, slots: list[Slot]) -> None:
        """Counting replies above the limit as lost does not change whether a window is good."""
        truncated = [slot if isinstance(slot, int) and slot <= AT_MOST_5_MS.limit_us else LOST for slot in slots]

        states = [evaluate_window(stats_of(window), AT_MOST_5_MS).worst_case for window in (slots, truncated)]

        assert (states[0] is WindowState.GOOD) == (states[1] is WindowState.GOOD)

    def test_mean_and_median_are_conditional_in_different_ways(self) -> None:
        """31 of 60 lost: the mean is over the packets received, the median is infinite."""
        stats = stats_of([*[10_000] * 29, *[LOST] * 31])

        assert (stats.mean_us, stats.p50_us, stats.max_us) == (10_000, None, 10_000)

    def test_mean_and_median_differ_for_a_long_tail(self) -> None:
        """57 replies of 10 ms and 3 of 1,010 ms: the mean is 60 ms, the median 10 ms."""
        stats = stats_of([*[10_000] * 57, *[1_010_000] * 3])

        assert (stats.mean_us, stats.p50_us) == (60_000, 10_000)


#: ILAC-G8:09/2019: guard band in multiples of U = 2u, and its bound for the probability of a false claim.
GUARD_BANDS = [("0", 0.5), ("0.83", 0.05), ("1", 0.025), ("1.5", 0.0016), ("3", 1e-6)]
STANDARD_UNCERTAINTY_US = 100
LIMIT = NormalDist(AT_MOST_5_MS.limit_us, STANDARD_UNCERTAINTY_US)


def evaluate_constant_rtt(rtt_us: int, error_us: int) -> tuple[WindowState, WindowState]:
    """Return the worst-case and the best-case state of a window with 60 equal RTTs."""
    evaluation = evaluate_window(stats_of([rtt_us] * 60), AT_MOST_5_MS, ErrorBound(p50_us=0, p99_us=error_us))
    return evaluation.worst_case, evaluation.best_case


class TestJcgm106:
    """Worst and best case as a guard band w = H: the conformance probability is p_c = Phi((T_U - y) / u)."""

    @pytest.mark.parametrize(("multiple", "probability_max"), GUARD_BANDS)
    def test_beyond_is_guarded_by_h(self, multiple: str, probability_max: float) -> None:
        """The smallest RTT that is beyond is L + H + 1 µs; p_c, the probability of conformance, is below the bound."""
        error_us = int(Fraction(multiple) * 2 * STANDARD_UNCERTAINTY_US)
        least_us = next(
            rtt for rtt in range(4_900, 6_000) if evaluate_constant_rtt(rtt, error_us)[1] is WindowState.BAD
        )

        conformance_probability = 1 - LIMIT.cdf(least_us)

        assert least_us == AT_MOST_5_MS.limit_us + error_us + 1
        assert conformance_probability < probability_max

    @pytest.mark.parametrize(("multiple", "probability_max"), GUARD_BANDS)
    def test_within_is_guarded_by_h(self, multiple: str, probability_max: float) -> None:
        """The largest estimate (measured minus H) that is within is L - H; 1 - p_c is within the bound."""
        error_us = int(Fraction(multiple) * 2 * STANDARD_UNCERTAINTY_US)
        largest_us = next(
            rtt for rtt in range(5_100, 4_000, -1) if evaluate_constant_rtt(rtt, error_us)[0] is WindowState.GOOD
        )

        failure_probability = LIMIT.cdf(largest_us - error_us)

        assert largest_us == AT_MOST_5_MS.limit_us
        assert failure_probability <= probability_max

    @given(st.integers(4_000, 6_000), st.integers(0, 500), st.data())
    def test_an_error_within_h_makes_no_false_claim(self, true_us: int, error_us: int, data: st.DataObject) -> None:
        """The error only increases the RTT: if it is at most H, neither "within" nor "beyond" can be wrong."""
        added_us = data.draw(st.integers(0, error_us))

        worst_case, best_case = evaluate_constant_rtt(true_us + added_us, error_us)

        conforms = true_us <= AT_MOST_5_MS.limit_us
        assert not (worst_case is WindowState.GOOD and not conforms)
        assert not (best_case is WindowState.BAD and conforms)
