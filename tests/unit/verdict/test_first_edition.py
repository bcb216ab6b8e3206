"""First edition of the rule: precedence of verdict classes, reasons, and invariants of the verdict on a pair."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline import propagation
from leadline.limits.catalogue import load_catalogue
from leadline.model import Site
from leadline_verdict.decision import MissingPolicy, VerdictRule
from leadline_verdict.document import PairVerdict, VerdictClass
from leadline_verdict.first_edition.decision import classify_period
from leadline_verdict.first_edition.verdict import build_pair_verdict
from leadline_verdict.pair import PairWindows, evaluate_pair, find_achieved_limit_us
from leadline_verdict.requirements import LimitOverrides, RequirementSet, build_requirements, parse_custom_limit
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.series import IntColumn
from leadline_verdict.states import BAD, GOOD
from tests.support.window_factories import DAY, add_delay, build_columns, build_pair, drop_minutes, lose_probes

FRANKFURT = Site(name="fra", latitude_deg=50.1109, longitude_deg=8.6821)
AMSTERDAM = Site(name="ams", latitude_deg=52.3676, longitude_deg=4.9041)
RULE = VerdictRule(edition=RuleEdition.FIRST, unseen_outage_windows=30)
NEW_YORK = Site(name="nyc", latitude_deg=40.7128, longitude_deg=-74.006)


def make_requirements(*texts: str) -> RequirementSet:
    return build_requirements(
        load_catalogue(), None, LimitOverrides(values={}, declared_values={}, custom_limits=texts)
    )


def compute_verdict(windows: PairWindows, *texts: str, rule: VerdictRule | None = None) -> PairVerdict:
    return build_pair_verdict(windows, make_requirements(*texts or ("p95 <= 5 ms",)), rule or RULE)


def codes(verdict: PairVerdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


class TestPrecedence:
    """Each verdict class as the first that applies."""

    def test_faster_than_light_is_invalid(self) -> None:
        """Even if the limit is impossible as well."""
        floors = propagation.compute_propagation_delay(FRANKFURT, NEW_YORK)

        verdict = compute_verdict(build_pair(build_columns(28, 4_000), floors=floors))

        assert (verdict.verdict, codes(verdict), verdict.flips) == (VerdictClass.INVALID, ["faster_than_light"], [])

    def test_a_limit_below_the_minimum_rtt_is_impossible(self) -> None:
        """The reasons include the measured verdict; the counterfactual is a shorter distance."""
        verdict = compute_verdict(
            build_pair(build_columns(28, 80_000), floors=propagation.compute_propagation_delay(FRANKFURT, NEW_YORK))
        )

        assert (verdict.verdict, codes(verdict)) == (VerdictClass.IMPOSSIBLE, ["floor_above_limit", "measured_says"])
        assert verdict.reasons[1].numbers == {"verdict": "beyond"}
        assert [flip.code for flip in verdict.flips] == ["shorter_distance"]

    def test_a_limit_between_both_minimum_rtts_is_impossible_on_glass(self) -> None:
        """The counterfactuals are a shorter distance and another medium."""
        verdict = compute_verdict(
            build_pair(build_columns(28, 80_000), floors=propagation.compute_propagation_delay(FRANKFURT, NEW_YORK)),
            "p95 <= 50 ms",
        )

        assert verdict.verdict is VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE
        assert [flip.code for flip in verdict.flips] == ["shorter_distance", "other_medium"]

    def test_no_reply_is_insufficient_data(self) -> None:
        """A firewall cannot be distinguished from a dead path, so the class is not "beyond"."""
        silent = build_columns(28)
        lose_probes(silent, range(28 * DAY))

        verdict = compute_verdict(build_pair(silent))

        assert (verdict.verdict, codes(verdict)) == (VerdictClass.INSUFFICIENT_DATA, ["never_replied"])

    def test_no_window_is_insufficient_data(self) -> None:
        """The reason differs from that of a pair without replies."""
        assert codes(compute_verdict(build_pair())) == ["not_measured"]

    def test_too_few_days_and_low_coverage_are_insufficient_data(self) -> None:
        """There is a reason for each."""
        columns = build_columns(13)
        drop_minutes(columns, range(1_000))

        verdict = compute_verdict(build_pair(columns))

        assert (verdict.verdict, codes(verdict)) == (VerdictClass.INSUFFICIENT_DATA, ["too_short", "coverage_low"])
        assert {flip.code: flip.numbers for flip in verdict.flips} == {
            "more_days": {"days": 1},
            "more_coverage": {"minutes": 64},
        }

    def test_decisive_unknown_minutes_are_insufficient_data(self) -> None:
        """If all minutes of a gap of two hours were bad, 99.5 % would not be demonstrated."""
        columns = build_columns(28)
        drop_minutes(columns, range(5_000, 5_120))

        verdict = compute_verdict(build_pair(columns))

        assert (verdict.verdict, codes(verdict)) == (VerdictClass.INSUFFICIENT_DATA, ["unknown_decides"])
        assert verdict.reasons[0].numbers == {"unknown": 120, "if_bad": "marginal", "if_good": "within"}

    def test_explained_minutes_are_excluded_with_missing_at_random(self) -> None:
        """The verdict is then provisional at best."""
        columns = build_columns(28)
        drop_minutes(columns, range(5_000, 5_120))
        windows = build_pair(columns)
        explained = windows.explained_minutes.copy()
        explained[5_000:5_120] = True
        rule = replace(RULE, missing_policy=MissingPolicy.MAR)

        verdict = compute_verdict(replace(windows, explained_minutes=explained), rule=rule)

        assert (verdict.verdict, codes(verdict)) == (
            VerdictClass.WITHIN_PROVISIONAL,
            ["share_demonstrated", "hours_of_week_missing", "missing_at_random"],
        )
        assert compute_verdict(windows, rule=rule).verdict is VerdictClass.INSUFFICIENT_DATA

    def test_a_declared_value_that_misses_its_limit_is_beyond(self) -> None:
        """It needs no measurement."""
        catalogue, bandwidth = load_catalogue(), "vmware-vsphere-6.5-vmotion-bandwidth"
        overrides = LimitOverrides(values={}, declared_values={bandwidth: Decimal(1)})
        requirements = build_requirements(catalogue, catalogue.get_profile("vsphere-long-distance-vmotion"), overrides)

        assert build_pair_verdict(build_pair(), requirements, RULE).verdict is VerdictClass.BEYOND

    def test_loss_is_below_above_or_not_demonstrable(self) -> None:
        """2.4 million probes without loss demonstrate 0.01 %; 5 lost of 10,000 exceed it."""
        lossless, lossy = build_columns(28), build_columns(28)
        lose_probes(lossy, range(0, 28 * DAY, 33), lost=1)
        texts = ("p50 <= 5 ms", "loss <= 0.01 %")

        assert compute_verdict(build_pair(lossless), *texts).verdict is VerdictClass.WITHIN
        assert codes(compute_verdict(build_pair(lossy), *texts)) == ["loss_above_limit"]
        assert codes(compute_verdict(build_pair(lossless), "p50 <= 5 ms", "loss <= 0.0001 %")) == [
            "share_demonstrated",
            "loss_not_demonstrable_yet",
        ]

    def test_a_loss_averaged_over_a_day_makes_its_days_bad(self) -> None:
        """One of 28 days above 0.2 %: all minutes of the day are bad."""
        columns = build_columns(28)
        lose_probes(columns, range(3 * DAY, 4 * DAY, 5), lost=1)
        catalogue = load_catalogue()
        requirements = build_requirements(catalogue, catalogue.get_profile("hp-continuous-access-loss-high"))

        states = evaluate_pair(build_pair(columns), requirements.criteria, requirements.loss_limits)

        assert np.flatnonzero(states.worst_case == BAD).tolist() == list(range(3 * DAY, 4 * DAY))

    def test_the_best_path_gives_the_best_case(self) -> None:
        """One bad path of two is marginal."""
        bad, good = build_columns(28), build_columns(28)
        add_delay(bad, range(28 * DAY))

        verdict = compute_verdict(build_pair(bad, good))

        assert verdict.verdict is VerdictClass.MARGINAL
        assert (verdict.shares.pessimistic.states.good, verdict.shares.optimistic.states.bad) == (0, 0)


def test_the_worked_example_of_the_method_is_marginal() -> None:
    """Three episodes of 60, 60 and 14 minutes in 28 days: 0.98900 to 0.99950 (method.md 6.4)."""
    columns = build_columns(28)
    add_delay(
        columns, [*range(3 * DAY, 3 * DAY + 60), *range(10 * DAY, 10 * DAY + 60), *range(20 * DAY, 20 * DAY + 14)]
    )

    verdict = compute_verdict(build_pair(columns))

    low, high = verdict.shares.pessimistic.interval, verdict.shares.optimistic.interval
    assert low is not None
    assert high is not None
    assert (round(low.low, 5), round(high.high, 5), verdict.verdict) == (0.98900, 0.99950, VerdictClass.MARGINAL)


@pytest.mark.parametrize("target", [0.99, 0.995, 0.999])
def test_the_achieved_limit_is_the_smallest_that_meets_the_target(target: float) -> None:
    """The observed share reaches the target with this limit and not with one microsecond less."""
    columns = build_columns(14)
    rng = np.random.default_rng(7)
    columns["p95_us"] += rng.exponential(500, 14 * DAY).astype(np.int32)
    windows = build_pair(columns)
    (criterion,) = make_requirements("p95 <= 5 ms").criteria

    reached_us = find_achieved_limit_us(windows, criterion, target)

    assert reached_us is not None
    for limit_us, is_met in ((reached_us, True), (reached_us - 1, False)):
        states = evaluate_pair(windows, [replace(criterion, limit_us=limit_us)])
        assert (int(np.count_nonzero(states.worst_case == GOOD)) >= target * 14 * DAY) is is_met


#: Delays: first minute, number of minutes, added microseconds.
delay_lists = st.lists(
    st.tuples(st.integers(0, 15 * DAY - 500), st.integers(1, 400), st.integers(100, 3_000)), max_size=12
)
gap_lists = st.lists(st.tuples(st.integers(0, 15 * DAY - 500), st.integers(1, 300)), max_size=4)


def make_columns(
    delays: list[tuple[int, int, int]], gaps_drawn: list[tuple[int, int]], added_us: int = 0
) -> dict[str, IntColumn]:
    columns = build_columns(15, 4_000 + added_us)
    for start, length, us in delays:
        add_delay(columns, range(start, start + length), us)
    for start, length in gaps_drawn:
        drop_minutes(columns, range(start, start + length))
    return columns


@settings(max_examples=settings().max_examples * 2 // 5)
@given(delays=delay_lists, gaps_drawn=gap_lists, added_us=st.integers(1, 2_000))
def test_states_are_monotonic_in_limit_and_rtt(
    delays: list[tuple[int, int, int]], gaps_drawn: list[tuple[int, int]], added_us: int
) -> None:
    """A larger limit makes no minute worse; a slower path makes no minute better."""
    (criterion,) = make_requirements("p95 <= 5 ms").criteria
    windows = build_pair(make_columns(delays, gaps_drawn))
    baseline = evaluate_pair(windows, [criterion])

    wider = evaluate_pair(windows, [replace(criterion, limit_us=criterion.limit_us + added_us)])
    slower = evaluate_pair(build_pair(make_columns(delays, gaps_drawn, added_us)), [criterion])

    assert np.all(wider.worst_case <= baseline.worst_case)
    assert np.all(wider.best_case <= baseline.best_case)
    assert np.all(slower.worst_case >= baseline.worst_case)
    assert np.all(slower.best_case >= baseline.best_case)


@settings(max_examples=settings().max_examples * 2 // 5)
@given(delays=delay_lists, gaps_drawn=gap_lists)
def test_the_class_does_not_depend_on_unknown_minutes(
    delays: list[tuple[int, int, int]], gaps_drawn: list[tuple[int, int]]
) -> None:
    """The class is the same with all unknown minutes good and with all bad, or the data are insufficient."""
    states = evaluate_pair(build_pair(make_columns(delays, gaps_drawn)), make_requirements("p95 <= 5 ms").criteria)

    verdict_class = classify_period(states, RULE).verdict_class

    if verdict_class is not VerdictClass.INSUFFICIENT_DATA:
        assert {classify_period(states.with_unknown_as(state), RULE).verdict_class for state in (GOOD, BAD)} == {
            verdict_class
        }


def test_bunched_bad_minutes_are_less_certain_than_evenly_spread_ones() -> None:
    """Bounds by day do not depend on the share alone: one bad day has more variance than six bad minutes every day."""
    every_day, one_day = build_columns(28), build_columns(28)
    add_delay(every_day, [day * DAY + 60 * minute for day in range(28) for minute in range(6)])
    add_delay(one_day, [7 * DAY + 10 * minute for minute in range(90)])

    every_day_verdict, one_day_verdict = compute_verdict(build_pair(every_day)), compute_verdict(build_pair(one_day))

    assert every_day_verdict.shares.observed is not None
    assert one_day_verdict.shares.observed is not None
    assert every_day_verdict.shares.observed < one_day_verdict.shares.observed
    assert (every_day_verdict.verdict, one_day_verdict.verdict) == (VerdictClass.WITHIN, VerdictClass.MARGINAL)


def test_the_sensitivity_table_contains_the_verdict() -> None:
    """One row of each parameter has the value of the verdict and its class."""
    columns = build_columns(28)
    add_delay(columns, range(100, 160), 900)

    verdict = compute_verdict(build_pair(columns))

    chosen = [row for row in verdict.sensitivity if row.chosen]
    assert [row.what for row in chosen] == ["statistic", "target share", "unseen episode", "own delay", "limit"]
    assert {row.verdict for row in chosen} == {verdict.verdict}


def test_the_description_of_a_custom_limit() -> None:
    """Statistic, window, comparison and value."""
    criterion = parse_custom_limit("max < 2.6 ms").criterion

    assert criterion is not None
    assert criterion.description == "max of each 60 s window < 2.6 ms"
