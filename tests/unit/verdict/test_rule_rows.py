"""Faults of the first edition that the second one corrects, one class per fault (decision 0015).

Each test has windows of one pair, the result of the second edition, and the faulty one of the first. Two faults have
their tests elsewhere: agents that never ran excuse nothing (tests/unit/collector/analysis/test_ambiguous_minutes.py),
and printed bounds are rounded outward (test_printed_bounds.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from leadline.limits.catalogue import load_catalogue
from leadline_verdict.document import PairVerdict, VerdictClass
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import build_requirements
from leadline_verdict.series import IntColumn
from tests.support.verdict_requests import (
    FIRST,
    build_document,
    compute_both_classes,
    compute_verdict,
    get_text,
    list_codes,
)
from tests.support.window_factories import DAY, add_delay, build_columns, build_pair, drop_minutes, lose_probes

BEYOND, MARGINAL, WITHIN = VerdictClass.BEYOND, VerdictClass.MARGINAL, VerdictClass.WITHIN
BEYOND_PROVISIONAL, WITHIN_PROVISIONAL = VerdictClass.BEYOND_PROVISIONAL, VerdictClass.WITHIN_PROVISIONAL
RTT_COLUMNS = ("min_us", "mean_us", "p50_us", "p95_us", "p99_us", "max_us")


def shift_rtt(columns: dict[str, IntColumn], first: int, us: int) -> None:
    """Add microseconds to every RTT from a minute on, like a change of the route."""
    for name in RTT_COLUMNS:
        columns[name][first:] += us


def set_probes(columns: dict[str, IntColumn], probes: int) -> None:
    """Let every window have this number of probes, all answered."""
    for name in ("expected", "sent", "received"):
        columns[name][:] = probes


class TestRow1Segments:
    """A route change may withdraw a claim, not make one."""

    def test_ten_dark_days_before_a_harmless_step_stay_beyond(self) -> None:
        """42 days, ten of them without a reply, then 0.15 ms more: the last segment of two weeks is clean."""
        columns = build_columns(42)
        lose_probes(columns, range(10 * DAY, 20 * DAY))
        shift_rtt(columns, 28 * DAY, 150)
        pair = build_pair(columns)

        assert compute_both_classes(pair) == (WITHIN_PROVISIONAL, BEYOND)
        assert [segment.verdict for segment in compute_verdict(pair).segments] == ["beyond", "within_provisional"]

    @pytest.mark.parametrize("step_day", [13, 14, 20, 26])
    def test_a_harmless_step_does_not_change_the_word(self, step_day: int) -> None:
        """Six nights of 50 bad minutes are marginal with and without a step of 0.15 ms."""
        steady = build_columns(28)
        for day in (1, 3, 5, 7, 9, 11):
            add_delay(steady, range(day * DAY, day * DAY + 50))
        stepped = {name: column.copy() for name, column in steady.items()}
        shift_rtt(stepped, step_day * DAY, 150)

        assert compute_verdict(build_pair(steady)).verdict is MARGINAL
        assert compute_verdict(build_pair(stepped)).verdict is MARGINAL

    def test_the_first_edition_called_the_marginal_path_within(self) -> None:
        """The same path with a step after two weeks."""
        columns = build_columns(28)
        for day in (1, 3, 5, 7, 9, 11):
            add_delay(columns, range(day * DAY, day * DAY + 50))
        shift_rtt(columns, 14 * DAY, 150)

        assert compute_verdict(build_pair(columns), rule=FIRST).verdict is WITHIN_PROVISIONAL


class TestRow2Monotony:
    """Bad minutes prove nothing good; test_monotony.py has random paths."""

    def test_three_bad_minutes_do_not_prove_more_than_none(self) -> None:
        """28 days for 99.9 %: the first edition dropped the unseen outage at three episodes."""
        clean, three_bad = build_columns(28), build_columns(28)
        add_delay(three_bad, [2 * DAY, 11 * DAY + 700, 20 * DAY + 100])

        assert compute_both_classes(build_pair(clean), target_share=0.999) == (MARGINAL, MARGINAL)
        assert compute_both_classes(build_pair(three_bad), target_share=0.999) == (WITHIN, MARGINAL)

    def test_a_stricter_limit_does_not_get_the_better_word(self) -> None:
        """63 days: two minutes are above 5 ms, five more above 4.2 ms."""
        columns = build_columns(63)
        add_delay(columns, [5 * DAY, 40 * DAY], 2_000)
        add_delay(columns, [10 * DAY, 20 * DAY, 30 * DAY, 50 * DAY, 60 * DAY], 450)
        pair = build_pair(columns)

        lax, strict = (compute_both_classes(pair, f"p95 <= {limit} ms", target_share=0.999) for limit in ("5", "4.2"))

        assert lax == (MARGINAL, MARGINAL)
        assert strict == (WITHIN, MARGINAL)


class TestRow3Loss:
    """Losses come in bursts: days are counted, not probes."""

    LIMITS = ("p50 <= 5 ms", "loss <= 0.01 %")

    def test_one_outage_of_five_minutes_is_no_rate(self) -> None:
        """300 of 2.4 million probes are 0.0124 %; a reboot of the target looks the same."""
        columns = build_columns(28)
        lose_probes(columns, range(9 * DAY, 9 * DAY + 5))
        pair = build_pair(columns)

        assert compute_both_classes(pair, *self.LIMITS) == (BEYOND, WITHIN_PROVISIONAL)
        (loss,) = compute_verdict(pair, *self.LIMITS).loss
        assert (loss.finding, loss.lost, loss.steady_lost, loss.days_with_loss) == ("not_demonstrable_yet", 300, 0, 1)

    def test_a_steady_loss_is_still_beyond(self) -> None:
        """One probe in 33 minutes, 0.05 %, on all days."""
        columns = build_columns(28)
        lose_probes(columns, range(0, 28 * DAY, 33), lost=1)

        assert compute_both_classes(build_pair(columns), *self.LIMITS) == (BEYOND, BEYOND)

    def test_ambiguous_minutes_do_not_count_in_the_best_case(self) -> None:
        """Five reboots of the target on five days: all losses are in minutes in which its agents were silent."""
        columns = build_columns(28)
        minutes = [day * DAY + minute for day in range(2, 28, 5) for minute in range(20)]
        lose_probes(columns, minutes)
        pair = build_pair(columns)
        ambiguous = pair.ambiguous_minutes.copy()
        ambiguous[minutes] = True

        excused = compute_verdict(replace(pair, ambiguous_minutes=ambiguous), *self.LIMITS)

        assert compute_verdict(pair, *self.LIMITS).verdict is BEYOND
        assert excused.verdict is MARGINAL
        assert excused.loss[0].finding == "not_demonstrable_yet"
        assert compute_verdict(replace(pair, ambiguous_minutes=ambiguous), *self.LIMITS, rule=FIRST).verdict is BEYOND


class TestRow4Means:
    """A limit on a mean does not ignore losses."""

    def test_a_loss_of_18_percent_in_every_minute_is_beyond(self) -> None:
        """The mean of the replies is 4 ms; 11 of 60 probes are lost, one fewer than an outage."""
        columns = build_columns(28)
        lose_probes(columns, range(28 * DAY), lost=11)
        pair = build_pair(columns)

        assert compute_both_classes(pair, "mean <= 5 ms") == (WITHIN, BEYOND)
        assert get_text(compute_verdict(pair, "mean <= 5 ms"), "causes") == (
            "no minute exceeded 5 ms by latency; 40,320 of 40,320 minutes lost more than 3 of 60 probes, in 1 episode"
        )


class TestRow5FewProbes:
    """p95 of few probes is their maximum."""

    @pytest.mark.parametrize(("probes", "has_few"), [(1, True), (19, True), (47, True), (48, False)])
    def test_fewer_than_48_probes_are_at_best_provisional(self, probes: int, has_few: bool) -> None:
        """100 clean days, long enough for "within"."""
        columns = build_columns(100)
        set_probes(columns, probes)

        verdict = compute_verdict(build_pair(columns))

        assert verdict.verdict is (WITHIN_PROVISIONAL if has_few else WITHIN)
        assert ("few_probes" in list_codes(verdict)) is has_few

    def test_one_probe_a_minute_was_within(self) -> None:
        """28 clean days."""
        columns = build_columns(28)
        set_probes(columns, 1)
        pair = build_pair(columns)

        first = compute_verdict(pair, rule=FIRST)
        assert (first.verdict, first.confidence, first.coverage) == (WITHIN, "adequate", 1.0)
        assert compute_verdict(pair).verdict is WITHIN_PROVISIONAL

    def test_one_slow_probe_of_few_does_not_make_a_path_beyond(self) -> None:
        """Ten probes a minute, one of them slow in every fifth minute: with 60 probes p95 would be good."""
        columns = build_columns(28)
        set_probes(columns, 10)
        for name in ("p95_us", "p99_us", "max_us"):
            columns[name][::5] += 10_000

        assert compute_both_classes(build_pair(columns)) == (BEYOND, MARGINAL)


class TestRow7RareOutages:
    """A clean month shows little about rare long outages."""

    @pytest.fixture(name="clean_month")
    def _clean_month(self) -> PairWindows:
        """A month between two outages of 8 h that occur every 50 days: the true share is 99.33 %."""
        year = build_columns(100)
        for day in (10, 60):
            lose_probes(year, range(day * DAY, day * DAY + 8 * 60))
        return build_pair({name: column[20 * DAY : 48 * DAY] for name, column in year.items()})

    def test_a_month_between_two_outages_is_within_provisionally(self, clean_month: PairWindows) -> None:
        """The first edition called it within for good."""
        assert compute_both_classes(clean_month) == (WITHIN, WITHIN_PROVISIONAL)

    def test_its_first_condition_is_the_longest_outage_that_it_may_have_missed(self, clean_month: PairWindows) -> None:
        """The tipping point follows the cause."""
        verdict = compute_verdict(clean_month)

        assert list_codes(verdict)[:2] == ["causes", "tipping_point"]
        assert verdict.reasons[1].numbers["minutes"] == 67
        assert verdict.within
        assert verdict.within.tipping_point_minutes == 67


class TestRow8ManyPairs:
    """Wrong claims are counted among the verdicts tried, and a set is corrected for them."""

    @pytest.fixture(name="pairs")
    def _pairs(self) -> list[PairWindows]:
        """Nine pairs, all marginal: an outage of 200 minutes in 28 days."""
        columns = build_columns(28)
        lose_probes(columns, range(5 * DAY, 5 * DAY + 200))
        sites = ("ams", "fra", "zrh", "vie")
        directions = [(a, b) for a in sites for b in sites if a != b][:9]
        return [replace(build_pair(columns), source=a, destination=b) for a, b in directions]

    def test_wrong_claims_are_5_percent_of_the_verdicts_tried(self, pairs: list[PairWindows]) -> None:
        """The first edition counted the claims made: none here."""
        assert build_document(*pairs).wrong_claims_expected == pytest.approx(0.45)
        assert build_document(*pairs, rule=FIRST).wrong_claims_expected == 0

    def test_a_set_is_not_beyond_because_of_one_of_many(self) -> None:
        """One of twelve pairs is barely beyond: its upper bound is 99.419 %, and 99.567 % for twelve tests."""
        clean, barely = build_columns(28), build_columns(28)
        add_delay(barely, [day * DAY + minute for day in range(0, 28, 2) for minute in range(30)])
        sites = ("ams", "fra", "zrh", "vie")
        pairs = [
            replace(build_pair(barely if (a, b) == ("fra", "zrh") else clean), source=a, destination=b)
            for a in sites
            for b in sites
            if a != b
        ]

        (first,) = build_document(*pairs, rule=FIRST).sets
        (second,) = build_document(*pairs).sets

        assert first.verdict is BEYOND
        assert (second.verdict, second.corrected_for, second.decided_by) == (MARGINAL, 12, ["fra", "zrh"])


class TestRow10ShortPeriods:
    """A path that is beyond in any case is rejected after one whole day."""

    def test_seven_bad_days_are_beyond_provisionally(self) -> None:
        """0 of 10,068 minutes within, and 12 unknown ones."""
        columns = build_columns(7)
        add_delay(columns, range(7 * DAY))
        drop_minutes(columns, range(100, 112))
        pair = build_pair(columns)

        assert compute_both_classes(pair) == (VerdictClass.INSUFFICIENT_DATA, BEYOND_PROVISIONAL)
        assert list_codes(compute_verdict(pair))[:3] == ["causes", "share_below_target", "beyond_after_few_days"]

    def test_low_coverage_does_not_protect_a_bad_path(self) -> None:
        """A tenth of the minutes is unknown, all others are bad: even with the unknown ones good it is beyond."""
        columns = build_columns(28)
        add_delay(columns, range(28 * DAY))
        drop_minutes(columns, range(5, 28 * DAY, 10))

        assert compute_both_classes(build_pair(columns)) == (VerdictClass.INSUFFICIENT_DATA, BEYOND)


class TestRow11Causes:
    """The first reason names the cause in plain numbers."""

    def test_a_latency_verdict_that_losses_decide_says_so(self) -> None:
        """p99 is 13.98 ms, the limit 150 ms; 91 minutes in six episodes lost 4 probes or more."""
        columns = build_columns(28, 13_900)
        lengths = [15, 15, 15, 15, 15, 16]
        for index, length in enumerate(lengths):
            lose_probes(columns, range(index * 4 * DAY, index * 4 * DAY + length), lost=5)
        pair = build_pair(columns)

        second = compute_verdict(pair, "p95 <= 150 ms", target_share=0.999)

        assert (second.verdict, second.reasons[0].text) == (
            MARGINAL,
            "no minute exceeded 150 ms by latency; 91 of 40,320 minutes lost more than 3 of 60 probes, in 6 episodes",
        )
        first = compute_verdict(pair, "p95 <= 150 ms", rule=FIRST, target_share=0.999)
        assert (first.verdict, list_codes(first)) == (MARGINAL, ["undecided"])


class TestRow12Provenance:
    """Every verdict says what its data and limits are."""

    def compute(self, pair: PairWindows) -> PairVerdict:
        """Compute the verdict for a profile whose limit is out of support."""
        catalogue = load_catalogue()
        requirements = build_requirements(catalogue, catalogue.get_profile("vsphere-4-vmotion"))
        return build_document(pair, requirements=requirements).pairs[0]

    def test_imported_and_simulated_windows_and_weak_limits_are_named(self) -> None:
        """One imported path, one simulated; the first edition printed no weak limit."""
        pair = build_pair(build_columns(28), build_columns(28))
        imported, simulated = pair.paths
        pair = replace(
            pair,
            paths=(
                replace(imported, agent="import:smokeping"),
                replace(simulated, series=replace(simulated.series, simulated=True)),
            ),
        )

        verdict = self.compute(pair)

        assert verdict.provenance
        assert verdict.provenance.data == ["imported", "simulated"]
        assert [text.split(": ")[1] for text in verdict.provenance.weak_limits] == ["end-of-support"]
        assert {"imported", "simulated", "weak_limits"} <= {reason.code for reason in verdict.reasons}

    def test_excused_and_unknown_minutes_and_probes_are_counted(self) -> None:
        """Twenty outage minutes in which the target's agents were silent, and seven unknown minutes."""
        columns = build_columns(28)
        lose_probes(columns, range(3 * DAY, 3 * DAY + 20))
        drop_minutes(columns, range(9 * DAY, 9 * DAY + 7))
        pair = build_pair(columns)
        ambiguous = np.zeros_like(pair.ambiguous_minutes)
        ambiguous[3 * DAY : 3 * DAY + 20] = True

        verdict = compute_verdict(replace(pair, ambiguous_minutes=ambiguous))

        assert verdict.provenance
        assert verdict.provenance.data == ["measured"]
        assert (
            verdict.provenance.excused_minutes,
            verdict.provenance.unknown_minutes,
            verdict.provenance.probes_per_window,
        ) == (20, 7, 60)
        assert get_text(verdict, "excused").startswith("20 outage minutes count as good in the best case")
