"""Window states, worst and best case, combined paths, state counts and the days a campaign needs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.evaluation import (
    UNKNOWN_EVALUATION,
    Criterion,
    UnevaluableLimit,
    WindowCause,
    WindowEvaluation,
    WindowState,
    WindowStateCounts,
    WindowStatistic,
    combine_paths,
    compute_campaign,
    derive_criterion,
    evaluate_profile,
    evaluate_window,
    plan_evaluation,
    select_statistic_us,
)
from leadline.limits.catalogue import (
    Comparison,
    Evaluability,
    Leg,
    LifecycleStatus,
    Limit,
    Metric,
    Provenance,
    SourceConfidence,
    SourceDocument,
    Statistic,
    Strength,
    UseCase,
    UseRule,
    load_catalogue,
)
from leadline.model import ErrorBound, Failure
from leadline.statistics import WindowStats, compute_stats

#: A slot of the schedule: an RTT in microseconds, or a failure.
Slot = int | Failure

AT_MOST_5_MS = Criterion(
    limit_id="at-most-5-ms", statistic=WindowStatistic.P95, comparison=Comparison.LESS_EQUAL, limit_us=5_000
)
BELOW_5_MS = replace(AT_MOST_5_MS, limit_id="below-5-ms", comparison=Comparison.LESS)
MEAN_AT_MOST_5_MS = replace(AT_MOST_5_MS, limit_id="mean-5-ms", statistic=WindowStatistic.MEAN)

RTT_CRITERIA = [
    replace(AT_MOST_5_MS, statistic=statistic, comparison=comparison)
    for statistic in (WindowStatistic.MEAN, WindowStatistic.P95, WindowStatistic.P99, WindowStatistic.MAX)
    for comparison in (Comparison.LESS, Comparison.LESS_EQUAL)
]

slots = st.lists(
    st.one_of(st.integers(4_000, 6_000), st.sampled_from([Failure.TIMEOUT, Failure.NOT_SENT])), min_size=60, max_size=60
)


def window(*slots: Slot) -> WindowStats:
    """Compute the statistics of a window."""
    return compute_stats(
        [slot if isinstance(slot, int) else None for slot in slots],
        [slot for slot in slots if isinstance(slot, Failure)],
    )


def window_state(stats: WindowStats, criterion: Criterion) -> WindowState:
    """Return the worst-case state, without an error bound."""
    return evaluate_window(stats, criterion).worst_case


def profile_state(stats: WindowStats, criteria: list[Criterion]) -> WindowState:
    return evaluate_profile(stats, criteria).worst_case


def repeated(count: int, slot: Slot) -> list[Slot]:
    return [slot] * count


def limit(**changes: object) -> Limit:
    """Build an RTT limit of 5 ms with changes."""
    fields: dict[str, object] = {
        "id": "example",
        "vendor": "Example",
        "product": "Example",
        "versions": "1",
        "feature": "live migration",
        "scope": UseCase.LIVE_MIGRATION,
        "metric": Metric.RTT,
        "comparison": Comparison.LESS_EQUAL,
        "value": Decimal(5),
        "unit": "ms",
        "leg": Leg.HOST_TO_HOST,
        "statistic": Statistic.UNSPECIFIED,
        "strength": Strength.REQUIREMENT,
        "status": LifecycleStatus.CURRENT,
        "confidence": SourceConfidence.VENDOR,
        "read_in": Provenance.VENDOR_PAGE,
        "icmp_evaluable": Evaluability.YES,
        "source": SourceDocument(title="Example", url="https://example.net/"),
    }
    return Limit(**(fields | changes))  # type: ignore[arg-type]


def criterion_of(limit: Limit) -> Criterion:
    criterion = derive_criterion(limit)
    assert isinstance(criterion, Criterion)
    return criterion


class TestWindowState:
    @pytest.mark.parametrize(
        ("sent", "state"), [(48, WindowState.GOOD), (47, WindowState.UNKNOWN), (0, WindowState.UNKNOWN)]
    )
    def test_coverage_needs_48_of_60(self, sent: int, state: WindowState) -> None:
        """A window is known if at least 48 of 60 probes were sent."""
        stats = window(*repeated(sent, 4_000), *repeated(60 - sent, Failure.NOT_SENT))

        assert window_state(stats, AT_MOST_5_MS) is state

    @pytest.mark.parametrize(("lost", "state"), [(11, WindowState.BAD), (12, WindowState.UNAVAILABLE)])
    def test_unavailable_from_12_lost_of_60(self, lost: int, state: WindowState) -> None:
        """A loss of exactly 20 % makes a window unavailable; with one lost probe less it is bad."""
        stats = window(*repeated(60 - lost, 4_000), *repeated(lost, Failure.TIMEOUT))

        assert window_state(stats, AT_MOST_5_MS) is state

    def test_no_slots_are_unknown(self) -> None:
        """A schedule without slots is not an outage of the path."""
        assert window_state(window(), AT_MOST_5_MS) is WindowState.UNKNOWN

    def test_unknown_comes_before_unavailable(self) -> None:
        """The loss of too few probes is no evidence about the path."""
        stats = window(*repeated(20, Failure.TIMEOUT), *repeated(40, Failure.NOT_SENT))

        assert window_state(stats, AT_MOST_5_MS) is WindowState.UNKNOWN

    @pytest.mark.parametrize(("slow", "state"), [(3, WindowState.GOOD), (4, WindowState.BAD)])
    def test_p95_tolerates_3_of_60(self, slow: int, state: WindowState) -> None:
        """Three of sixty probes may be above the limit, four may not."""
        stats = window(*repeated(60 - slow, 4_000), *repeated(slow, 5_001))

        assert window_state(stats, AT_MOST_5_MS) is state

    @pytest.mark.parametrize(("lost", "state"), [(3, WindowState.GOOD), (4, WindowState.BAD)])
    def test_lost_probes_count_as_slower_than_any_limit(self, lost: int, state: WindowState) -> None:
        """A percentile that falls on a lost probe meets no limit."""
        stats = window(*repeated(60 - lost, 4_000), *repeated(lost, Failure.TIMEOUT))

        assert window_state(stats, AT_MOST_5_MS) is state

    def test_at_equality_less_is_bad_and_less_equal_is_good(self) -> None:
        """An RTT equal to the limit meets ``<=`` and not ``<``."""
        stats = window(*repeated(60, 5_000))

        assert window_state(stats, BELOW_5_MS) is WindowState.BAD
        assert window_state(stats, AT_MOST_5_MS) is WindowState.GOOD

    def test_the_mean_is_over_the_replies(self) -> None:
        """Lost probes are excluded, and the mean tolerates more slow probes than p95."""
        stats = window(*repeated(48, 4_000), *repeated(9, 8_000), *repeated(3, Failure.TIMEOUT))

        assert window_state(stats, MEAN_AT_MOST_5_MS) is WindowState.GOOD
        assert window_state(stats, AT_MOST_5_MS) is WindowState.BAD

    def test_the_mean_does_not_hide_an_outage(self) -> None:
        """With a loss of 20 % the window is unavailable, even if all replies were fast."""
        stats = window(*repeated(48, 1_000), *repeated(12, Failure.TIMEOUT))

        assert window_state(stats, MEAN_AT_MOST_5_MS) is WindowState.UNAVAILABLE

    def test_the_maximum_tolerates_no_loss(self) -> None:
        """One lost probe makes the maximum +infinity."""
        stats = window(*repeated(59, 4_000), Failure.TIMEOUT)

        assert window_state(stats, replace(AT_MOST_5_MS, statistic=WindowStatistic.MAX)) is WindowState.BAD

    @given(slots, st.integers(0, 59), st.integers(1, 2_000), st.sampled_from(RTT_CRITERIA))
    def test_a_slower_reply_never_makes_a_window_good(
        self, slots: list[Slot], index: int, added_us: int, criterion: Criterion
    ) -> None:
        """Increasing one RTT cannot change another state to good."""
        before = window_state(window(*slots), criterion)
        slower = [slot + added_us if i == index and isinstance(slot, int) else slot for i, slot in enumerate(slots)]

        after = window_state(window(*slower), criterion)

        assert before is WindowState.GOOD or after is not WindowState.GOOD

    @given(slots, st.integers(0, 59), st.sampled_from(RTT_CRITERIA))
    def test_one_more_loss_never_makes_a_known_window_good(
        self, slots: list[Slot], index: int, criterion: Criterion
    ) -> None:
        """A loss instead of an unsent slot cannot change bad or unavailable to good."""
        before = window_state(window(*slots), criterion)
        slot = slots[index]
        worse = [*slots[:index], slot if isinstance(slot, int) else Failure.TIMEOUT, *slots[index + 1 :]]

        after = window_state(window(*worse), criterion)

        assert before in (WindowState.GOOD, WindowState.UNKNOWN) or after is not WindowState.GOOD

    @given(slots, st.integers(0, 59))
    def test_losing_a_reply_never_makes_a_percentile_good(self, slots: list[Slot], index: int) -> None:
        """For percentiles a lost reply is worse than any RTT."""
        before = window_state(window(*slots), AT_MOST_5_MS)
        slot = slots[index]
        worse = [*slots[:index], Failure.TIMEOUT if isinstance(slot, int) else slot, *slots[index + 1 :]]

        after = window_state(window(*worse), AT_MOST_5_MS)

        assert before is WindowState.GOOD or after is not WindowState.GOOD

    @given(
        slots.flatmap(lambda slots: st.tuples(st.just(slots), st.permutations(slots))), st.sampled_from(RTT_CRITERIA)
    )
    def test_the_order_of_replies_does_not_matter(
        self, orders: tuple[list[Slot], list[Slot]], criterion: Criterion
    ) -> None:
        """Shuffling the slots of a window does not change its state."""
        as_sent, shuffled = orders

        assert window_state(window(*shuffled), criterion) is window_state(window(*as_sent), criterion)


class TestScenarios:
    ERROR = ErrorBound(p50_us=20, p99_us=100)

    def test_the_error_bound_is_subtracted_in_the_best_case_only(self) -> None:
        """5.1 ms with an error bound of 0.1 ms is bad as measured and good in the best case."""
        stats = window(*repeated(60, 5_100))

        evaluation = evaluate_window(stats, AT_MOST_5_MS, self.ERROR)

        assert evaluation == WindowEvaluation(
            worst_case=WindowState.BAD, best_case=WindowState.GOOD, cause=WindowCause.LATENCY
        )

    def test_one_microsecond_more_is_bad_in_both_cases(self) -> None:
        """The RTT is above the sum of limit and error bound."""
        stats = window(*repeated(60, 5_101))

        evaluation = evaluate_window(stats, AT_MOST_5_MS, self.ERROR)

        assert evaluation == WindowEvaluation(
            worst_case=WindowState.BAD, best_case=WindowState.BAD, cause=WindowCause.LATENCY
        )

    def test_both_cases_are_equal_without_an_error_bound(self) -> None:
        """Nothing is subtracted."""
        stats = window(*repeated(60, 5_001))

        evaluation = evaluate_window(stats, AT_MOST_5_MS)

        assert evaluation == WindowEvaluation(
            worst_case=WindowState.BAD, best_case=WindowState.BAD, cause=WindowCause.LATENCY
        )

    def test_loss_counts_in_both_cases(self) -> None:
        """The error bound does not affect lost probes."""
        stats = window(*repeated(56, 1_000), *repeated(4, Failure.TIMEOUT))

        evaluation = evaluate_window(stats, AT_MOST_5_MS, ErrorBound(p50_us=0, p99_us=1_000_000))

        assert evaluation == WindowEvaluation(
            worst_case=WindowState.BAD, best_case=WindowState.BAD, cause=WindowCause.LOSS
        )

    def test_a_difference_may_be_measured_too_small(self) -> None:
        """The minimum may include the error, so delay variation is uncertain in both directions."""
        stats = window(*repeated(50, 1_000), *repeated(10, 3_950))
        variation = replace(AT_MOST_5_MS, statistic=WindowStatistic.PDV, limit_us=3_000)

        assert window_state(stats, variation) is WindowState.GOOD
        assert evaluate_window(stats, variation, self.ERROR) == WindowEvaluation(
            worst_case=WindowState.BAD, best_case=WindowState.GOOD, cause=WindowCause.LATENCY
        )

    @given(
        slots,
        st.integers(0, 500),
        st.sampled_from([*RTT_CRITERIA, replace(AT_MOST_5_MS, statistic=WindowStatistic.PDV)]),
    )
    def test_the_best_case_is_never_worse_than_the_worst_case(
        self, slots: list[Slot], error_us: int, criterion: Criterion
    ) -> None:
        """A window that is good in the worst case is good in the best case."""
        bound = ErrorBound(p50_us=0, p99_us=error_us)

        evaluation = evaluate_window(window(*slots), criterion, bound)

        assert evaluation.worst_case is not WindowState.GOOD or evaluation.best_case is WindowState.GOOD

    def test_a_window_cannot_be_unknown_in_one_case_only(self) -> None:
        """The constructor refuses it."""
        with pytest.raises(ValueError, match="unknown applies to both cases"):
            WindowEvaluation(worst_case=WindowState.UNKNOWN, best_case=WindowState.GOOD)


class TestMeanLimit:
    @pytest.mark.parametrize(("lost", "state"), [(3, WindowState.GOOD), (4, WindowState.BAD), (11, WindowState.BAD)])
    def test_more_than_5_percent_lost_is_bad(self, lost: int, state: WindowState) -> None:
        """A mean contains no losses, so losses that p95 does not tolerate count besides it."""
        evaluation = evaluate_window(
            window(*repeated(60 - lost, 1), *repeated(lost, Failure.TIMEOUT)), MEAN_AT_MOST_5_MS
        )

        assert (evaluation.worst_case, evaluation.best_case) == (state, state)


class TestFewProbes:
    @pytest.mark.parametrize("probes", [1, 6, 12, 15])
    def test_fewer_than_20_probes_are_bad_in_the_best_case_only_if_the_median_is(self, probes: int) -> None:
        """p95 of so few probes is their maximum."""
        late = probes // 2
        by_median = window(*repeated(late, 9_000), *repeated(probes - late, 1_000))
        all_late = window(*repeated(probes, 9_000))

        assert evaluate_window(by_median, AT_MOST_5_MS).best_case is WindowState.GOOD
        assert evaluate_window(all_late, AT_MOST_5_MS).best_case is WindowState.BAD
        assert window_state(window(*repeated(probes, 1_000)), AT_MOST_5_MS) is WindowState.GOOD

    def test_20_probes_have_a_p95(self) -> None:
        """Two late probes of 20 are bad in both cases."""
        assert evaluate_window(window(*repeated(18, 1_000), 9_000, 9_000), AT_MOST_5_MS).best_case is WindowState.BAD

    @pytest.mark.parametrize(("lost", "best"), [(2, WindowState.GOOD), (6, WindowState.UNAVAILABLE)])
    def test_losses_of_few_probes_count_in_the_best_case_only_if_the_median_is_lost(
        self, lost: int, best: WindowState
    ) -> None:
        """2 of 10 lost are 20 %, which is an outage in the worst case."""
        for criterion in (AT_MOST_5_MS, MEAN_AT_MOST_5_MS):
            evaluation = evaluate_window(
                window(*repeated(10 - lost, 1_000), *repeated(lost, Failure.TIMEOUT)), criterion
            )

            assert (evaluation.worst_case, evaluation.best_case) == (WindowState.UNAVAILABLE, best)


class TestCause:
    @pytest.mark.parametrize(
        ("late", "lost", "cause"),
        [
            (0, 0, None),
            (3, 0, None),
            (0, 3, None),
            (4, 0, WindowCause.LATENCY),
            (4, 3, WindowCause.LATENCY),
            (3, 1, WindowCause.BOTH),
            (1, 3, WindowCause.BOTH),
            (0, 4, WindowCause.LOSS),
            (30, 4, WindowCause.LOSS),
            (0, 12, WindowCause.OUTAGE),
            (48, 12, WindowCause.OUTAGE),
        ],
    )
    def test_a_bad_window_has_one_cause(self, late: int, lost: int, cause: WindowCause | None) -> None:
        """60 probes tolerate three that are late or lost."""
        stats = window(*repeated(60 - late - lost, 1_000), *repeated(late, 9_000), *repeated(lost, Failure.TIMEOUT))

        assert evaluate_window(stats, AT_MOST_5_MS).cause is cause

    def test_causes_depend_on_the_statistic(self) -> None:
        """p99 and the maximum of 60 probes tolerate no loss; a mean has no loss in it."""
        one_lost = window(*repeated(59, 1_000), Failure.TIMEOUT)
        late = window(*repeated(57, 9_000), *repeated(3, Failure.TIMEOUT))

        for statistic in (WindowStatistic.P99, WindowStatistic.MAX):
            assert evaluate_window(one_lost, replace(AT_MOST_5_MS, statistic=statistic)).cause is WindowCause.LOSS
        assert evaluate_window(late, MEAN_AT_MOST_5_MS).cause is WindowCause.LATENCY

    def test_an_old_window_with_few_losses_is_late_only_if_its_median_is(self) -> None:
        """Windows that were stored without ``latency_p95_us`` do not tell more."""
        stats = window(*repeated(52, 1_000), *repeated(6, 9_000), *repeated(2, Failure.TIMEOUT))

        assert evaluate_window(stats, AT_MOST_5_MS).cause is WindowCause.LATENCY
        assert evaluate_window(replace(stats, latency_p95_us=None), AT_MOST_5_MS).cause is WindowCause.BOTH

    def test_the_most_severe_cause_of_several_limits_and_paths_counts(self) -> None:
        """An outage is more severe than loss, loss than latency."""
        late, lost = window(*repeated(60, 9_000)), window(*repeated(55, 1_000), *repeated(5, Failure.TIMEOUT))
        paths = [evaluate_window(stats, AT_MOST_5_MS) for stats in (late, lost)]

        assert combine_paths(paths).cause is WindowCause.LOSS
        assert (
            evaluate_profile(late, [AT_MOST_5_MS, replace(AT_MOST_5_MS, limit_us=10_000)]).cause is WindowCause.LATENCY
        )


class TestProfileState:
    def test_the_worst_limit_decides(self) -> None:
        """4.9 ms is good for 10 ms and bad for 4 ms, so it is bad for both together."""
        stats = window(*repeated(60, 4_900))
        criteria = [replace(AT_MOST_5_MS, limit_us=10_000), replace(AT_MOST_5_MS, limit_us=4_000)]

        assert profile_state(stats, criteria) is WindowState.BAD
        assert profile_state(stats, criteria[:1]) is WindowState.GOOD

    def test_a_profile_without_criteria_is_unknown(self) -> None:
        """No limit can be evaluated."""
        stats = window(*repeated(60, 1_000))

        assert profile_state(stats, []) is WindowState.UNKNOWN
        assert evaluate_profile(stats, []) == UNKNOWN_EVALUATION

    def test_the_error_bound_applies_to_every_limit_of_a_profile(self) -> None:
        """Worst and best case differ as for a single limit."""
        stats = window(*repeated(60, 5_100))

        evaluation = evaluate_profile(stats, [AT_MOST_5_MS], ErrorBound(p50_us=0, p99_us=100))

        assert evaluation == WindowEvaluation(
            worst_case=WindowState.BAD, best_case=WindowState.GOOD, cause=WindowCause.LATENCY
        )

    def test_a_plan_without_criteria_has_a_reason(self) -> None:
        """A bandwidth alone cannot be evaluated; one criterion is enough for a plan without a reason."""
        bandwidth = load_catalogue().get_limit("vmware-vsphere-6.5-vmotion-bandwidth")

        assert "RTTs do not show the bandwidth" in str(plan_evaluation([bandwidth]).reason)
        assert plan_evaluation([bandwidth, limit()]).reason is None


class TestCombinePaths:
    GOOD = WindowEvaluation(worst_case=WindowState.GOOD, best_case=WindowState.GOOD)
    BAD = WindowEvaluation(worst_case=WindowState.BAD, best_case=WindowState.BAD)
    DEAD = WindowEvaluation(worst_case=WindowState.UNAVAILABLE, best_case=WindowState.UNAVAILABLE)

    def test_one_known_path_makes_the_pair_known(self) -> None:
        """The outage of one agent does not hide the measurement of the other."""
        assert combine_paths([UNKNOWN_EVALUATION, self.GOOD]) == self.GOOD

    def test_a_pair_without_known_paths_is_unknown(self) -> None:
        """No paths at all, or unknown paths only."""
        assert combine_paths([]) == UNKNOWN_EVALUATION
        assert combine_paths([UNKNOWN_EVALUATION, UNKNOWN_EVALUATION]) == UNKNOWN_EVALUATION

    def test_the_worst_case_uses_the_worst_path_and_the_best_case_the_best(self) -> None:
        """The order of the paths does not matter."""
        combined = WindowEvaluation(worst_case=WindowState.UNAVAILABLE, best_case=WindowState.GOOD)

        assert combine_paths([self.GOOD, self.DEAD]) == combined
        assert combine_paths([self.DEAD, self.BAD, self.GOOD]) == combined


class TestWindowStateCounts:
    def test_the_good_ratio_is_over_the_known_windows(self) -> None:
        """Unknown windows lower the coverage and not the ratio."""
        counts = WindowStateCounts(good=2, bad=1, unavailable=1, unknown=1)

        assert counts.good_ratio == 0.5
        assert counts.coverage_ratio == 0.8

    def test_ratios_without_windows_are_none(self) -> None:
        """A ratio without a denominator is None, not 0."""
        assert WindowStateCounts(unknown=3).good_ratio is None
        assert WindowStateCounts(unknown=3).coverage_ratio == 0.0
        assert WindowStateCounts().coverage_ratio is None


class TestCampaign:
    @pytest.mark.parametrize(
        ("share", "provisional", "within"), [(0.99, 28, 50), (0.995, 28, 100), (0.999, 63, 500), (0.9999, 625, 4_993)]
    )
    def test_days_without_a_bad_window(self, share: float, provisional: int, within: int) -> None:
        """ln(20) unseen outages of 30 or 240 minutes, and at least four visits of every hour of the week."""
        campaign = compute_campaign(share)

        assert (campaign.days_provisional, campaign.days_within) == (provisional, within)

    def test_half_the_unseen_outage_needs_half_the_days(self) -> None:
        """The days are proportional to the assumed length."""
        assert (compute_campaign(0.9999, 30).days_within, compute_campaign(0.9999, 15).days_within) == (625, 313)

    @pytest.mark.parametrize("share", [0.0, 1.0, 99.5])
    def test_the_target_share_must_be_between_0_and_1(self, share: float) -> None:
        """A share of 1 cannot be demonstrated, and a percentage is not a share."""
        with pytest.raises(ValueError, match="is not between 0 and 1"):
            compute_campaign(share)


class TestCriterion:
    def test_an_unspecified_statistic_becomes_p95_with_max_in_addition(self) -> None:
        """p95 decides; max is reported as the stricter statistic."""
        assert criterion_of(limit()) == Criterion(
            limit_id="example",
            statistic=WindowStatistic.P95,
            comparison=Comparison.LESS_EQUAL,
            limit_us=5_000,
            stricter_statistic=WindowStatistic.MAX,
        )

    @pytest.mark.parametrize(
        ("statistic", "window_statistic"),
        [
            (Statistic.AVERAGE, WindowStatistic.MEAN),
            (Statistic.MAXIMUM_OF_AVERAGES, WindowStatistic.MEAN),
            (Statistic.P95, WindowStatistic.P95),
            (Statistic.P99, WindowStatistic.P99),
            (Statistic.MAXIMUM_PLUS_JITTER, WindowStatistic.P95_PLUS_PDV),
        ],
    )
    def test_a_specified_statistic_is_used(self, statistic: Statistic, window_statistic: WindowStatistic) -> None:
        """There is no stricter statistic in addition."""
        criterion = criterion_of(limit(statistic=statistic))

        assert (criterion.statistic, criterion.stricter_statistic) == (window_statistic, None)

    @pytest.mark.parametrize("comparison", [Comparison.LESS, Comparison.LESS_EQUAL])
    def test_equality_is_bad_in_the_worst_case_only_if_the_vendor_prints_both_comparisons(
        self, comparison: Comparison
    ) -> None:
        """1 us below the limit is good in both cases, 1 us above it bad in both."""
        criterion = criterion_of(limit(comparison=comparison, use_rules=(UseRule.EQUALITY_OPEN,)))

        states = [
            (evaluation.worst_case, evaluation.best_case, evaluation.cause)
            for evaluation in (evaluate_window(window(*[rtt_us] * 60), criterion) for rtt_us in (4_999, 5_000, 5_001))
        ]

        assert states == [
            (WindowState.GOOD, WindowState.GOOD, None),
            (WindowState.BAD, WindowState.GOOD, WindowCause.LATENCY),
            (WindowState.BAD, WindowState.BAD, WindowCause.LATENCY),
        ]

    @pytest.mark.parametrize("rule", [UseRule.ACQUIT_ONLY, UseRule.NOT_ALONE])
    def test_a_limit_that_may_not_condemn_gives_no_bad_window_in_the_best_case(self, rule: UseRule) -> None:
        """An outage stays one: it is no matter of the limit."""
        criterion = criterion_of(limit(use_rules=(rule,)))

        late = evaluate_window(window(*[6_000] * 60), criterion)
        lost = evaluate_window(window(*[Failure.TIMEOUT] * 60), criterion)

        assert (late.worst_case, late.best_case) == (WindowState.BAD, WindowState.GOOD)
        assert (lost.worst_case, lost.best_case) == (WindowState.UNAVAILABLE, WindowState.UNAVAILABLE)

    @pytest.mark.parametrize(
        ("rule", "reason"),
        [(UseRule.ALARM, "threshold of an alarm"), (UseRule.NEVER_A_VERDICT, "never gives a verdict")],
    )
    def test_a_figure_that_is_only_reported_has_no_criterion(self, rule: UseRule, reason: str) -> None:
        """The reason says why."""
        result = derive_criterion(limit(use_rules=(rule,)))

        assert isinstance(result, UnevaluableLimit)
        assert reason in result.reason

    def test_a_one_way_limit_is_doubled(self) -> None:
        """2.5 ms in one direction is an RTT of 5 ms; the assumption is stated."""
        criterion = criterion_of(load_catalogue().get_limit("vmware-vsan-9.0-stretched-one-way"))

        assert criterion.limit_us == 5_000
        assert "twice the one-way limit" in str(criterion.approximation)

    def test_jitter_is_evaluated_as_delay_variation(self) -> None:
        """A jitter limit compares p95 - min; it is not an RTT limit and states that the vendor has no definition."""
        criterion = criterion_of(load_catalogue().get_limit("netapp-metrocluster-ip-jitter-rtt"))

        assert criterion.statistic is WindowStatistic.PDV
        assert not criterion.is_rtt_limit
        assert "formula not defined by vendor" in str(criterion.approximation)

    def test_a_one_way_jitter_limit_is_doubled(self) -> None:
        """Round-trip variation is the sum of both directions."""
        assert criterion_of(load_catalogue().get_limit("netapp-metrocluster-ip-jitter-one-way")).limit_us == 3_000

    def test_maximum_plus_jitter_is_the_sum(self) -> None:
        """An RTT of 40 ms with a variation of 20 ms counts as 60 ms."""
        stats = window(*repeated(50, 20_000), *repeated(10, 40_000))

        assert select_statistic_us(stats, WindowStatistic.P95_PLUS_PDV) == 60_000

    @pytest.mark.parametrize(
        ("limit_id", "reason"),
        [
            ("vmware-vsphere-6.5-vmotion-bandwidth", "bandwidth"),
            ("vmware-nsx-9.0-multisite-mtu", "MTU"),
            ("dell-powerstore-metro-distance", "the locations of the sites"),
            ("microsoft-wsfc-cross-subnet-heartbeat", "bursts of loss"),
            ("kubevirt-max-downtime", "only during its migration"),
            ("netapp-metrocluster-ip-fabric-skew", "two paths"),
            ("redhat-openshift-etcd-peer-rtt", "etcd"),
            ("redhat-openshift-etcd-peer-rtt-p99", "the RTT of the network alone"),
            ("vmware-vsan-9.0-packet-loss", "3,000,000 probes"),
            ("netapp-metrocluster-ip-loss", "30,000 probes"),
        ],
    )
    def test_limits_that_rtts_cannot_test_have_a_reason(self, limit_id: str, reason: str) -> None:
        """Such a limit has no criterion."""
        result = derive_criterion(load_catalogue().get_limit(limit_id))

        assert isinstance(result, UnevaluableLimit)
        assert reason in result.reason

    def test_short_peaks_are_tolerated_if_the_vendor_allows_them(self) -> None:
        """Limit 10 ms, peaks up to 20 ms for 20 s: p95 in the worst case, p50 in the best; no RTT above 20 ms."""
        criterion = criterion_of(load_catalogue().get_limit("vmware-vcf-9.0-operations-ca-rtt"))

        def evaluate(*slots: Slot) -> tuple[WindowState, WindowState]:
            evaluation = evaluate_window(window(*slots), criterion)
            return evaluation.worst_case, evaluation.best_case

        assert criterion.description == "p95 of each 60 s window < 10 ms, max <= 20 ms"
        assert evaluate(*repeated(57, 9_000), *repeated(3, 20_000)) == (WindowState.GOOD, WindowState.GOOD)
        assert evaluate(*repeated(50, 9_000), *repeated(10, 20_000)) == (WindowState.BAD, WindowState.GOOD)
        assert evaluate(*repeated(29, 9_000), *repeated(31, 20_000)) == (WindowState.BAD, WindowState.BAD)
        assert evaluate(*repeated(59, 9_000), 20_001) == (WindowState.BAD, WindowState.BAD)

    def test_peaks_without_a_height_have_a_reason(self) -> None:
        """The vendor allows peaks and gives no height or length."""
        result = derive_criterion(limit(statistic=Statistic.SUSTAINED_BOUNDED_PEAKS))

        assert isinstance(result, UnevaluableLimit)
        assert "peaks" in result.reason

    def test_the_description_has_operator_unit_and_fraction(self) -> None:
        """A limit of 2.6 ms."""
        assert criterion_of(limit(value=Decimal("2.6"))).description == "p95 of each 60 s window <= 2.6 ms"
