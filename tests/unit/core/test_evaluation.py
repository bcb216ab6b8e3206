"""States of windows, readings, merged paths, tallies and the length of a campaign."""

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
    load_catalogue,
)
from leadline.model import ErrorBound, Failure
from leadline.statistics import WindowStats, compute_stats

#: A slot of the schedule: an RTT in microseconds, or why there is none.
Slot = int | Failure

AT_MOST_5_MS = Criterion(
    limit_id="at-most-5-ms", statistic=WindowStatistic.P95, comparison=Comparison.LESS_EQUAL, limit_us=5_000
)
BELOW_5_MS = replace(AT_MOST_5_MS, limit_id="below-5-ms", comparison=Comparison.LESS)
MEAN_AT_MOST_5_MS = replace(AT_MOST_5_MS, limit_id="mean-5-ms", statistic=WindowStatistic.MEAN)

RTT_CRITERIA = [
    replace(AT_MOST_5_MS, statistic=measure, comparison=comparison)
    for measure in (WindowStatistic.MEAN, WindowStatistic.P95, WindowStatistic.P99, WindowStatistic.MAX)
    for comparison in (Comparison.LESS, Comparison.LESS_EQUAL)
]

slots = st.lists(
    st.one_of(st.integers(4_000, 6_000), st.sampled_from([Failure.TIMEOUT, Failure.NOT_SENT])), min_size=60, max_size=60
)


def window(*slots: Slot) -> WindowStats:
    """The statistics of a window of these slots."""
    return compute_stats(
        [slot if isinstance(slot, int) else None for slot in slots],
        [slot for slot in slots if isinstance(slot, Failure)],
    )


def window_state(stats: WindowStats, criterion: Criterion) -> WindowState:
    """As measured, which is the pessimistic reading of anything but a difference."""
    return evaluate_window(stats, criterion).worst_case


def profile_state(stats: WindowStats, criteria: list[Criterion]) -> WindowState:
    return evaluate_profile(stats, criteria).worst_case


def repeated(count: int, slot: Slot) -> list[Slot]:
    return [slot] * count


def limit(**changes: object) -> Limit:
    """A limit of 5 ms on the round trip, with changes."""
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
    answer = derive_criterion(limit)
    assert isinstance(answer, Criterion)
    return answer


class TestWindowState:
    @pytest.mark.parametrize(
        ("sent", "state"), [(48, WindowState.GOOD), (47, WindowState.UNKNOWN), (0, WindowState.UNKNOWN)]
    )
    def test_coverage_needs_48_of_60(self, sent: int, state: WindowState) -> None:
        """A window is known from 48 probes sent of 60."""
        stats = window(*repeated(sent, 4_000), *repeated(60 - sent, Failure.NOT_SENT))

        assert window_state(stats, AT_MOST_5_MS) is state

    @pytest.mark.parametrize(("lost", "state"), [(11, WindowState.BAD), (12, WindowState.UNAVAILABLE)])
    def test_unavailable_from_12_lost_of_60(self, lost: int, state: WindowState) -> None:
        """A loss of exactly 20 % makes a window unavailable, one probe less only bad."""
        stats = window(*repeated(60 - lost, 4_000), *repeated(lost, Failure.TIMEOUT))

        assert window_state(stats, AT_MOST_5_MS) is state

    def test_no_slots_are_unknown(self) -> None:
        """A schedule without slots says nothing, least of all that the path was down."""
        assert window_state(window(), AT_MOST_5_MS) is WindowState.UNKNOWN

    def test_unknown_comes_before_unavailable(self) -> None:
        """With too few probes sent, their loss says nothing about the path."""
        stats = window(*repeated(20, Failure.TIMEOUT), *repeated(40, Failure.NOT_SENT))

        assert window_state(stats, AT_MOST_5_MS) is WindowState.UNKNOWN

    @pytest.mark.parametrize(("slow", "state"), [(3, WindowState.GOOD), (4, WindowState.BAD)])
    def test_p95_forgives_3_of_60(self, slow: int, state: WindowState) -> None:
        """Three of sixty probes may be over the limit, the fourth may not."""
        stats = window(*repeated(60 - slow, 4_000), *repeated(slow, 5_001))

        assert window_state(stats, AT_MOST_5_MS) is state

    @pytest.mark.parametrize(("lost", "state"), [(3, WindowState.GOOD), (4, WindowState.BAD)])
    def test_lost_probes_count_as_slower_than_any_limit(self, lost: int, state: WindowState) -> None:
        """A percentile that falls on a lost probe meets no limit."""
        stats = window(*repeated(60 - lost, 4_000), *repeated(lost, Failure.TIMEOUT))

        assert window_state(stats, AT_MOST_5_MS) is state

    def test_at_equality_less_is_bad_and_less_equal_is_good(self) -> None:
        """An RTT of exactly the limit tells ``<`` from ``<=``."""
        stats = window(*repeated(60, 5_000))

        assert window_state(stats, BELOW_5_MS) is WindowState.BAD
        assert window_state(stats, AT_MOST_5_MS) is WindowState.GOOD

    def test_an_average_is_taken_over_the_replies(self) -> None:
        """A few slow probes that p95 would not forgive are fine for an average, and lost ones do not enter it."""
        stats = window(*repeated(46, 4_000), *repeated(9, 8_000), *repeated(5, Failure.TIMEOUT))

        assert window_state(stats, MEAN_AT_MOST_5_MS) is WindowState.GOOD
        assert window_state(stats, AT_MOST_5_MS) is WindowState.BAD

    def test_an_average_does_not_hide_an_outage(self) -> None:
        """With a loss of 20 % an average limit is unavailable, however fast the rest was."""
        stats = window(*repeated(48, 1_000), *repeated(12, Failure.TIMEOUT))

        assert window_state(stats, MEAN_AT_MOST_5_MS) is WindowState.UNAVAILABLE

    def test_the_maximum_forgives_no_loss(self) -> None:
        """For the sensitivity row one lost probe is slower than any limit."""
        stats = window(*repeated(59, 4_000), Failure.TIMEOUT)

        assert window_state(stats, replace(AT_MOST_5_MS, statistic=WindowStatistic.MAX)) is WindowState.BAD

    @given(slots, st.integers(0, 59), st.integers(1, 2_000), st.sampled_from(RTT_CRITERIA))
    def test_a_slower_reply_never_makes_a_window_good(
        self, slots: list[Slot], place: int, added_us: int, criterion: Criterion
    ) -> None:
        """Raising one RTT cannot turn any other state into good."""
        before = window_state(window(*slots), criterion)
        slower = [slot + added_us if i == place and isinstance(slot, int) else slot for i, slot in enumerate(slots)]

        after = window_state(window(*slower), criterion)

        assert before is WindowState.GOOD or after is not WindowState.GOOD

    @given(slots, st.integers(0, 59), st.sampled_from(RTT_CRITERIA))
    def test_one_more_loss_never_makes_a_known_window_good(
        self, slots: list[Slot], place: int, criterion: Criterion
    ) -> None:
        """A loss in place of a slot without a probe cannot turn bad or unavailable into good."""
        before = window_state(window(*slots), criterion)
        slot = slots[place]
        worse = [*slots[:place], slot if isinstance(slot, int) else Failure.TIMEOUT, *slots[place + 1 :]]

        after = window_state(window(*worse), criterion)

        assert before in (WindowState.GOOD, WindowState.UNKNOWN) or after is not WindowState.GOOD

    @given(slots, st.integers(0, 59))
    def test_losing_a_reply_never_makes_a_percentile_good(self, slots: list[Slot], place: int) -> None:
        """For percentiles a lost reply is worse than any RTT it could have had."""
        before = window_state(window(*slots), AT_MOST_5_MS)
        slot = slots[place]
        worse = [*slots[:place], Failure.TIMEOUT if isinstance(slot, int) else slot, *slots[place + 1 :]]

        after = window_state(window(*worse), AT_MOST_5_MS)

        assert before is WindowState.GOOD or after is not WindowState.GOOD

    @given(
        slots.flatmap(lambda slots: st.tuples(st.just(slots), st.permutations(slots))), st.sampled_from(RTT_CRITERIA)
    )
    def test_the_order_of_echoes_does_not_matter(
        self, orders: tuple[list[Slot], list[Slot]], criterion: Criterion
    ) -> None:
        """Shuffling the slots of a window leaves its state as it was."""
        as_sent, shuffled = orders

        assert window_state(window(*shuffled), criterion) is window_state(window(*as_sent), criterion)


class TestReadings:
    ERROR = ErrorBound(p50_us=20, p99_us=100)

    def test_the_error_bound_comes_off_for_the_optimistic_reading_only(self) -> None:
        """5.1 ms measured with up to 0.1 ms of our own is beyond as measured and within at best."""
        stats = window(*repeated(60, 5_100))

        judgement = evaluate_window(stats, AT_MOST_5_MS, self.ERROR)

        assert judgement == WindowEvaluation(worst_case=WindowState.BAD, best_case=WindowState.GOOD)

    def test_one_microsecond_more_is_bad_in_both_readings(self) -> None:
        """Beyond limit and error bound together, no reading helps."""
        stats = window(*repeated(60, 5_101))

        judgement = evaluate_window(stats, AT_MOST_5_MS, self.ERROR)

        assert judgement == WindowEvaluation(worst_case=WindowState.BAD, best_case=WindowState.BAD)

    def test_without_a_bound_both_readings_are_the_measured_one(self) -> None:
        """Nothing is taken off that was not measured."""
        stats = window(*repeated(60, 5_001))

        judgement = evaluate_window(stats, AT_MOST_5_MS)

        assert judgement == WindowEvaluation(worst_case=WindowState.BAD, best_case=WindowState.BAD)

    def test_loss_is_a_fact_in_both_readings(self) -> None:
        """No error bound turns a lost probe into a reply."""
        stats = window(*repeated(56, 1_000), *repeated(4, Failure.TIMEOUT))

        judgement = evaluate_window(stats, AT_MOST_5_MS, ErrorBound(p50_us=0, p99_us=1_000_000))

        assert judgement == WindowEvaluation(worst_case=WindowState.BAD, best_case=WindowState.BAD)

    def test_a_difference_may_be_measured_too_small(self) -> None:
        """The own error may sit in the minimum, so delay variation is uncertain both ways."""
        stats = window(*repeated(50, 1_000), *repeated(10, 3_950))
        variation = replace(AT_MOST_5_MS, statistic=WindowStatistic.PDV, limit_us=3_000)

        assert window_state(stats, variation) is WindowState.GOOD
        assert evaluate_window(stats, variation, self.ERROR) == WindowEvaluation(
            worst_case=WindowState.BAD, best_case=WindowState.GOOD
        )

    @given(
        slots,
        st.integers(0, 500),
        st.sampled_from([*RTT_CRITERIA, replace(AT_MOST_5_MS, statistic=WindowStatistic.PDV)]),
    )
    def test_the_optimistic_reading_is_never_the_worse_one(
        self, slots: list[Slot], error_us: int, criterion: Criterion
    ) -> None:
        """Good in the pessimistic reading is good in the optimistic one."""
        bound = ErrorBound(p50_us=0, p99_us=error_us)

        judgement = evaluate_window(window(*slots), criterion, bound)

        assert judgement.worst_case is not WindowState.GOOD or judgement.best_case is WindowState.GOOD

    def test_a_window_is_not_known_in_one_reading_only(self) -> None:
        """A judgement that is half unknown cannot be made."""
        with pytest.raises(ValueError, match="in both readings or in none"):
            WindowEvaluation(worst_case=WindowState.UNKNOWN, best_case=WindowState.GOOD)


class TestProfileState:
    def test_a_profile_is_as_bad_as_its_worst_limit(self) -> None:
        """4.9 ms is good for 10 ms, bad for 4 ms, hence bad for both."""
        stats = window(*repeated(60, 4_900))
        criteria = [replace(AT_MOST_5_MS, limit_us=10_000), replace(AT_MOST_5_MS, limit_us=4_000)]

        assert profile_state(stats, criteria) is WindowState.BAD
        assert profile_state(stats, criteria[:1]) is WindowState.GOOD

    def test_a_profile_without_criteria_is_unknown(self) -> None:
        """Where nothing can be judged, nothing is good."""
        stats = window(*repeated(60, 1_000))

        assert profile_state(stats, []) is WindowState.UNKNOWN
        assert evaluate_profile(stats, []) == UNKNOWN_EVALUATION

    def test_both_readings_are_taken_through_the_profile(self) -> None:
        """The error bound reaches every limit of a profile."""
        stats = window(*repeated(60, 5_100))

        judgement = evaluate_profile(stats, [AT_MOST_5_MS], ErrorBound(p50_us=0, p99_us=100))

        assert judgement == WindowEvaluation(worst_case=WindowState.BAD, best_case=WindowState.GOOD)

    def test_nothing_judgeable_comes_with_its_reasons(self) -> None:
        """A profile of a bandwidth says why it is not judged; with one criterion there is nothing to explain."""
        bandwidth = load_catalogue().get_limit("vmware-vsphere-6.5-vmotion-bandwidth")

        assert "a bandwidth does not show in round trips" in str(plan_evaluation([bandwidth]).reason)
        assert plan_evaluation([bandwidth, limit()]).reason is None


class TestMergePaths:
    GOOD = WindowEvaluation(worst_case=WindowState.GOOD, best_case=WindowState.GOOD)
    BAD = WindowEvaluation(worst_case=WindowState.BAD, best_case=WindowState.BAD)
    DEAD = WindowEvaluation(worst_case=WindowState.UNAVAILABLE, best_case=WindowState.UNAVAILABLE)

    def test_known_if_any_path_knows(self) -> None:
        """One agent's outage does not hide the other's measurement."""
        assert combine_paths([UNKNOWN_EVALUATION, self.GOOD]) == self.GOOD

    def test_unknown_if_none_knows(self) -> None:
        """Without any path, or with silent ones only, the pair's window is unknown."""
        assert combine_paths([]) == UNKNOWN_EVALUATION
        assert combine_paths([UNKNOWN_EVALUATION, UNKNOWN_EVALUATION]) == UNKNOWN_EVALUATION

    def test_disagreeing_paths_are_worse_and_better(self) -> None:
        """The pessimistic reading takes the worse path, the optimistic one the better."""
        merged = WindowEvaluation(worst_case=WindowState.UNAVAILABLE, best_case=WindowState.GOOD)

        assert combine_paths([self.GOOD, self.DEAD]) == merged
        assert combine_paths([self.DEAD, self.BAD, self.GOOD]) == merged


class TestTally:
    def test_the_good_share_is_over_the_known(self) -> None:
        """Unknown windows lower the coverage and not the share."""
        counted = WindowStateCounts(good=2, bad=1, unavailable=1, unknown=1)

        assert counted.good_ratio == 0.5
        assert counted.coverage_ratio == 0.8

    def test_nothing_known_has_no_share(self) -> None:
        """Shares of nothing are None, not 0."""
        assert WindowStateCounts(unknown=3).good_ratio is None
        assert WindowStateCounts(unknown=3).coverage_ratio == 0.0
        assert WindowStateCounts().coverage_ratio is None


class TestCampaign:
    @pytest.mark.parametrize(
        ("share", "provisional", "within"), [(0.99, 14, 28), (0.995, 14, 28), (0.999, 63, 63), (0.9999, 625, 625)]
    )
    def test_days_without_a_bad_window(self, share: float, provisional: int, within: int) -> None:
        """The days of method.md §4.3, and never fewer than the hours of the week need."""
        needed = compute_campaign(share)

        assert (needed.days_provisional, needed.days_within) == (provisional, within)

    def test_shorter_unseen_episodes_need_half_the_days(self) -> None:
        """The assumption about episodes never seen enters in proportion."""
        assert (compute_campaign(0.9999, 30).days_within, compute_campaign(0.9999, 15).days_within) == (625, 313)

    @pytest.mark.parametrize("share", [0.0, 1.0, 99.5])
    def test_a_share_is_between_0_and_1(self, share: float) -> None:
        """Never bad cannot be shown in any time, and percent is not a share."""
        with pytest.raises(ValueError, match="is not between 0 and 1"):
            compute_campaign(share)


class TestCriterion:
    def test_silence_becomes_p95_with_the_maximum_beside_it(self) -> None:
        """Where the vendor names no statistic, p95 is the headline and max the sensitivity."""
        assert criterion_of(limit()) == Criterion(
            limit_id="example",
            statistic=WindowStatistic.P95,
            comparison=Comparison.LESS_EQUAL,
            limit_us=5_000,
            stricter_statistic=WindowStatistic.MAX,
        )

    @pytest.mark.parametrize(
        ("statistic", "measure"),
        [
            (Statistic.AVERAGE, WindowStatistic.MEAN),
            (Statistic.MAXIMUM_OF_AVERAGES, WindowStatistic.MEAN),
            (Statistic.P95, WindowStatistic.P95),
            (Statistic.P99, WindowStatistic.P99),
            (Statistic.MAXIMUM_PLUS_JITTER, WindowStatistic.P95_PLUS_PDV),
        ],
    )
    def test_a_named_statistic_is_taken_at_its_word(self, statistic: Statistic, measure: WindowStatistic) -> None:
        """A statistic the vendor names is judged, and needs no second one beside it."""
        answer = criterion_of(limit(statistic=statistic))

        assert (answer.statistic, answer.stricter_statistic) == (measure, None)

    def test_one_way_is_judged_as_half_a_round_trip(self) -> None:
        """2.5 ms in one direction is 5 ms there and back, and the assumption is said."""
        answer = criterion_of(load_catalogue().get_limit("vmware-vsan-9.0-stretched-one-way"))

        assert answer.limit_us == 5_000
        assert "twice the limit" in str(answer.approximation)

    def test_jitter_is_judged_as_delay_variation(self) -> None:
        """A jitter limit compares p95 - min, bounds no round trip and says whose definition that is not."""
        answer = criterion_of(load_catalogue().get_limit("netapp-metrocluster-ip-jitter-rtt"))

        assert answer.statistic is WindowStatistic.PDV
        assert not answer.is_rtt_limit
        assert "formula not defined by vendor" in str(answer.approximation)

    def test_one_way_jitter_is_doubled(self) -> None:
        """Round-trip variation is the sum of both directions."""
        assert criterion_of(load_catalogue().get_limit("netapp-metrocluster-ip-jitter-one-way")).limit_us == 3_000

    def test_maximum_plus_jitter_adds_up(self) -> None:
        """A round trip of 40 ms with 20 ms of variation counts as 60 ms for the vendor who adds them."""
        stats = window(*repeated(50, 20_000), *repeated(10, 40_000))

        assert select_statistic_us(stats, WindowStatistic.P95_PLUS_PDV) == 60_000

    @pytest.mark.parametrize(
        ("limit_id", "reason"),
        [
            ("vmware-vsphere-6.5-vmotion-bandwidth", "bandwidth"),
            ("vmware-nsx-9.0-multisite-mtu", "MTU"),
            ("dell-powerstore-metro-distance", "where the sites are"),
            ("microsoft-wsfc-cross-subnet-heartbeat", "bursts of loss"),
            ("kubevirt-max-downtime", "while it migrates"),
            ("netapp-metrocluster-ip-fabric-skew", "two paths"),
            ("redhat-openshift-etcd-peer-rtt", "etcd"),
            ("redhat-openshift-etcd-peer-rtt-p99", "round trip alone"),
            ("vmware-vsan-9.0-packet-loss", "3,000,000 probes"),
            ("netapp-metrocluster-ip-loss", "30,000 probes"),
        ],
    )
    def test_what_round_trips_cannot_answer_is_not_judged(self, limit_id: str, reason: str) -> None:
        """Such a limit gets a sentence instead of a criterion."""
        answer = derive_criterion(load_catalogue().get_limit(limit_id))

        assert isinstance(answer, UnevaluableLimit)
        assert reason in answer.reason

    def test_short_peaks_are_allowed_where_the_vendor_allows_them(self) -> None:
        """Below 10 ms, up to 20 ms for 20 s: p95 is the pessimist's, p50 the optimist's, and none may exceed 20 ms."""
        judged = criterion_of(load_catalogue().get_limit("vmware-vcf-9.0-operations-ca-rtt"))

        def both(*slots: Slot) -> tuple[WindowState, WindowState]:
            found = evaluate_window(window(*slots), judged)
            return found.worst_case, found.best_case

        assert judged.description == "p95 of each 60 s window < 10 ms, max <= 20 ms"
        assert both(*repeated(57, 9_000), *repeated(3, 20_000)) == (WindowState.GOOD, WindowState.GOOD)
        assert both(*repeated(50, 9_000), *repeated(10, 20_000)) == (WindowState.BAD, WindowState.GOOD)
        assert both(*repeated(29, 9_000), *repeated(31, 20_000)) == (WindowState.BAD, WindowState.BAD)
        assert both(*repeated(59, 9_000), 20_001) == (WindowState.BAD, WindowState.BAD)

    def test_peaks_without_a_height_are_not_judged(self) -> None:
        """A vendor who allows peaks and does not say which cannot be held to them."""
        answer = derive_criterion(limit(statistic=Statistic.SUSTAINED_BOUNDED_PEAKS))

        assert isinstance(answer, UnevaluableLimit)
        assert "peaks" in answer.reason

    def test_the_rule_reads_as_a_sentence(self) -> None:
        """The comparison in words keeps operator, unit and fraction."""
        assert criterion_of(limit(value=Decimal("2.6"))).description == "p95 of each 60 s window <= 2.6 ms"
