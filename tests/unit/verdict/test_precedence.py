"""The verdict on a pair: the order, its reasons, and what never happens."""

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
from leadline_verdict.decision import MissingPolicy, VerdictRule, classify_period
from leadline_verdict.document import PairVerdict, VerdictClass
from leadline_verdict.pair import PairWindows, evaluate_pair, find_achieved_limit_us
from leadline_verdict.requirements import LimitOverrides, RequirementSet, build_requirements, parse_custom_limit
from leadline_verdict.series import IntColumn
from leadline_verdict.states import BAD, GOOD
from leadline_verdict.verdict import build_pair_verdict
from tests.support.window_factories import DAY, add_delay, build_columns, build_pair, drop_minutes, lose_probes

FRANKFURT = Site(name="fra", latitude_deg=50.1109, longitude_deg=8.6821)
AMSTERDAM = Site(name="ams", latitude_deg=52.3676, longitude_deg=4.9041)
NEW_YORK = Site(name="nyc", latitude_deg=40.7128, longitude_deg=-74.006)


def own(*texts: str) -> RequirementSet:
    return build_requirements(
        load_catalogue(), None, LimitOverrides(values={}, declared_values={}, custom_limits=texts)
    )


def judged(windows: PairWindows, *texts: str, rule: VerdictRule | None = None) -> PairVerdict:
    return build_pair_verdict(windows, own(*texts or ("p95 <= 5 ms",)), rule or VerdictRule())


def codes(verdict: PairVerdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


class TestOrder:
    """Each verdict where it is the first that applies."""

    def test_faster_than_light_is_invalid(self) -> None:
        """Even where the limit is impossible as well: nothing can be concluded."""
        floors = propagation.compute_propagation_delay(FRANKFURT, NEW_YORK)

        found = judged(build_pair(build_columns(28, 4_000), floors=floors))

        assert (found.verdict, codes(found), found.flips) == (VerdictClass.INVALID, ["faster_than_light"], [])

    def test_a_limit_below_the_floor_is_impossible_whatever_was_measured(self) -> None:
        """What the windows say is added; the distance that would do is named."""
        found = judged(
            build_pair(build_columns(28, 80_000), floors=propagation.compute_propagation_delay(FRANKFURT, NEW_YORK))
        )

        assert (found.verdict, codes(found)) == (VerdictClass.IMPOSSIBLE, ["floor_above_limit", "measured_says"])
        assert found.reasons[1].numbers == {"verdict": "beyond"}
        assert [flip.code for flip in found.flips] == ["shorter_distance"]

    def test_between_the_floors_another_medium_might_do(self) -> None:
        """London to New York in 40 ms: air could, glass cannot."""
        found = judged(
            build_pair(build_columns(28, 80_000), floors=propagation.compute_propagation_delay(FRANKFURT, NEW_YORK)),
            "p95 <= 50 ms",
        )

        assert found.verdict is VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE
        assert [flip.code for flip in found.flips] == ["shorter_distance", "other_medium"]

    def test_without_a_reply_nothing_is_known(self) -> None:
        """A firewall looks the same as a dead path: never beyond."""
        silent = build_columns(28)
        lose_probes(silent, range(28 * DAY))

        found = judged(build_pair(silent))

        assert (found.verdict, codes(found)) == (VerdictClass.INSUFFICIENT_DATA, ["never_replied"])

    def test_without_a_window_nothing_is_known(self) -> None:
        """And it is said otherwise than silence."""
        assert codes(judged(build_pair())) == ["not_measured"]

    def test_too_little_was_measured(self) -> None:
        """Days and coverage, both named."""
        gone = build_columns(13)
        drop_minutes(gone, range(1_000))

        found = judged(build_pair(gone))

        assert (found.verdict, codes(found)) == (VerdictClass.INSUFFICIENT_DATA, ["too_short", "coverage_low"])
        assert {flip.code: flip.numbers for flip in found.flips} == {
            "more_days": {"days": 1},
            "more_coverage": {"minutes": 64},
        }

    def test_unknown_minutes_must_not_decide(self) -> None:
        """A gap of two hours could have been bad: then the 99.5 % would not be shown."""
        gone = build_columns(28)
        drop_minutes(gone, range(5_000, 5_120))

        found = judged(build_pair(gone))

        assert (found.verdict, codes(found)) == (VerdictClass.INSUFFICIENT_DATA, ["unknown_decides"])
        assert found.reasons[0].numbers == {"unknown": 120, "if_bad": "marginal", "if_good": "within"}

    def test_explained_minutes_may_be_left_out_when_asked(self) -> None:
        """And the verdict is then provisional at best."""
        gone = build_columns(28)
        drop_minutes(gone, range(5_000, 5_120))
        windows = build_pair(gone)
        explained = windows.explained_minutes.copy()
        explained[5_000:5_120] = True
        rule = VerdictRule(missing_policy=MissingPolicy.MAR)

        found = judged(replace(windows, explained_minutes=explained), rule=rule)

        assert (found.verdict, codes(found)) == (
            VerdictClass.WITHIN_PROVISIONAL,
            ["share_demonstrated", "hours_of_week_missing", "missing_at_random"],
        )
        assert judged(windows, rule=rule).verdict is VerdictClass.INSUFFICIENT_DATA

    def test_a_declared_number_that_fails_is_beyond_without_any_measurement(self) -> None:
        """It hangs on none."""
        known, bandwidth = load_catalogue(), "vmware-vsphere-6.5-vmotion-bandwidth"
        wishes = LimitOverrides(values={}, declared_values={bandwidth: Decimal(1)})
        asked = build_requirements(known, known.get_profile("vsphere-long-distance-vmotion"), wishes)

        assert build_pair_verdict(build_pair(), asked, VerdictRule()).verdict is VerdictClass.BEYOND

    def test_loss_is_shown_or_not_or_not_yet(self) -> None:
        """0.01 % of 2.4 million probes: none lost shows it, 5 in 10,000 break it."""
        none, many = build_columns(28), build_columns(28)
        lose_probes(many, range(0, 28 * DAY, 33), lost=1)
        texts = ("p50 <= 5 ms", "loss <= 0.01 %")

        assert judged(build_pair(none), *texts).verdict is VerdictClass.WITHIN
        assert codes(judged(build_pair(many), *texts)) == ["loss_above_limit"]
        assert codes(judged(build_pair(none), "p50 <= 5 ms", "loss <= 0.0001 %")) == [
            "share_demonstrated",
            "loss_not_demonstrable_yet",
        ]

    def test_a_loss_averaged_over_a_day_makes_its_days_bad(self) -> None:
        """One day above 0.2 % of 28: all of its minutes."""
        found = build_columns(28)
        lose_probes(found, range(3 * DAY, 4 * DAY, 5), lost=1)
        known = load_catalogue()
        asked = build_requirements(known, known.get_profile("hp-continuous-access-loss-high"))

        readings = evaluate_pair(build_pair(found), asked.criteria, asked.loss_limits)

        assert np.flatnonzero(readings.worst_case == BAD).tolist() == list(range(3 * DAY, 4 * DAY))

    def test_the_better_of_two_paths_is_the_favourable_reading(self) -> None:
        """An outage of one of two agents is neither a breach nor nothing."""
        bad, good = build_columns(28), build_columns(28)
        add_delay(bad, range(28 * DAY))

        found = judged(build_pair(bad, good))

        assert found.verdict is VerdictClass.MARGINAL
        assert (found.shares.pessimistic.states.good, found.shares.optimistic.states.bad) == (0, 0)


def test_the_worked_example_of_the_method_is_marginal() -> None:
    """Three episodes of 60, 60 and 14 minutes in 28 days: 0.98900 to 0.99950 (method.md 6.4)."""
    found = build_columns(28)
    add_delay(found, [*range(3 * DAY, 3 * DAY + 60), *range(10 * DAY, 10 * DAY + 60), *range(20 * DAY, 20 * DAY + 14)])

    verdict = judged(build_pair(found))

    low, high = verdict.shares.pessimistic.interval, verdict.shares.optimistic.interval
    assert low is not None
    assert high is not None
    assert (round(low.low, 5), round(high.high, 5), verdict.verdict) == (0.98900, 0.99950, VerdictClass.MARGINAL)


@pytest.mark.parametrize("target", [0.99, 0.995, 0.999])
def test_the_limit_that_would_have_been_met_is_met(target: float) -> None:
    """With it the observed share reaches the target, with one microsecond less it does not."""
    found = build_columns(14)
    rng = np.random.default_rng(7)
    found["p95_us"] += rng.exponential(500, 14 * DAY).astype(np.int32)
    windows = build_pair(found)
    (criterion,) = own("p95 <= 5 ms").criteria

    reached_us = find_achieved_limit_us(windows, criterion, target)

    assert reached_us is not None
    for limit_us, is_met in ((reached_us, True), (reached_us - 1, False)):
        readings = evaluate_pair(windows, [replace(criterion, limit_us=limit_us)])
        assert (int(np.count_nonzero(readings.worst_case == GOOD)) >= target * 14 * DAY) is is_met


#: Stretches of minutes: where, how long, how much slower.
stretches = st.lists(
    st.tuples(st.integers(0, 15 * DAY - 500), st.integers(1, 400), st.integers(100, 3_000)), max_size=12
)
gaps = st.lists(st.tuples(st.integers(0, 15 * DAY - 500), st.integers(1, 300)), max_size=4)


def made(slow_at: list[tuple[int, int, int]], gone_at: list[tuple[int, int]], more_us: int = 0) -> dict[str, IntColumn]:
    found = build_columns(15, 4_000 + more_us)
    for start, length, us in slow_at:
        add_delay(found, range(start, start + length), us)
    for start, length in gone_at:
        drop_minutes(found, range(start, start + length))
    return found


@settings(max_examples=settings().max_examples * 2 // 5)
@given(slow_at=stretches, gone_at=gaps, more_us=st.integers(1, 2_000))
def test_a_larger_limit_worsens_no_minute_and_a_slower_path_betters_none(
    slow_at: list[tuple[int, int, int]], gone_at: list[tuple[int, int]], more_us: int
) -> None:
    """So no share falls when a limit rises, and none rises when all round trips grow."""
    (criterion,) = own("p95 <= 5 ms").criteria
    windows = build_pair(made(slow_at, gone_at))
    here = evaluate_pair(windows, [criterion])

    wider = evaluate_pair(windows, [replace(criterion, limit_us=criterion.limit_us + more_us)])
    slower = evaluate_pair(build_pair(made(slow_at, gone_at, more_us)), [criterion])

    assert np.all(wider.worst_case <= here.worst_case)
    assert np.all(wider.best_case <= here.best_case)
    assert np.all(slower.worst_case >= here.worst_case)
    assert np.all(slower.best_case >= here.best_case)


@settings(max_examples=settings().max_examples * 2 // 5)
@given(slow_at=stretches, gone_at=gaps)
def test_whatever_the_unknown_minutes_were_the_verdict_stands(
    slow_at: list[tuple[int, int, int]], gone_at: list[tuple[int, int]]
) -> None:
    """All good or all bad, it is the same word, or the data were insufficient."""
    readings = evaluate_pair(build_pair(made(slow_at, gone_at)), own("p95 <= 5 ms").criteria)

    word = classify_period(readings, VerdictRule()).verdict_class

    if word is not VerdictClass.INSUFFICIENT_DATA:
        assert {
            classify_period(readings.with_unknown_as(state), VerdictRule()).verdict_class for state in (GOOD, BAD)
        } == {word}


def test_fewer_bad_minutes_in_fewer_days_can_be_less_certain() -> None:
    """Bounds by day are no function of the share: six bad minutes every day will go on, one bad day may or may not."""
    every_day, one_day = build_columns(28), build_columns(28)
    add_delay(every_day, [day * DAY + 60 * minute for day in range(28) for minute in range(6)])
    add_delay(one_day, [7 * DAY + 10 * minute for minute in range(90)])

    steady, bunched = judged(build_pair(every_day)), judged(build_pair(one_day))

    assert steady.shares.observed is not None
    assert bunched.shares.observed is not None
    assert steady.shares.observed < bunched.shares.observed
    assert (steady.verdict, bunched.verdict) == (VerdictClass.WITHIN, VerdictClass.MARGINAL)


def test_the_sensitivity_table_holds_the_verdict_itself() -> None:
    """One row of each choice is the one that was made, and says what the verdict says."""
    found = build_columns(28)
    add_delay(found, range(100, 160), 900)

    verdict = judged(build_pair(found))

    chosen = [row for row in verdict.sensitivity if row.chosen]
    assert [row.what for row in chosen] == ["statistic", "target share", "unseen episode", "own delay", "limit"]
    assert {row.verdict for row in chosen} == {verdict.verdict}


def test_an_own_limit_is_what_it_says() -> None:
    """The sentence of the rule."""
    criterion = parse_custom_limit("max < 2.6 ms").criterion

    assert criterion is not None
    assert criterion.description == "max of each 60 s window < 2.6 ms"
