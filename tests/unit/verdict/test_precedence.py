"""Precedence of the second edition: each verdict class as the first that applies, with its reasons."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from leadline import propagation
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import DeclaredOutages
from leadline.model import Site
from leadline_verdict.decision import MissingPolicy
from leadline_verdict.document import MilestoneSection, PairVerdict, VerdictClass
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import LimitOverrides, build_requirements
from leadline_verdict.series import IntColumn
from tests.support.verdict_requests import SECOND, build_document, compute_verdict, get_text, list_codes
from tests.support.window_factories import DAY, START_S, add_delay, build_columns, build_pair, drop_minutes, lose_probes

FRANKFURT = Site(name="fra", latitude_deg=50.1109, longitude_deg=8.6821)
NEW_YORK = Site(name="nyc", latitude_deg=40.7128, longitude_deg=-74.006)
TO_NEW_YORK = propagation.compute_propagation_delay(FRANKFURT, NEW_YORK)

INSUFFICIENT, MARGINAL = VerdictClass.INSUFFICIENT_DATA, VerdictClass.MARGINAL
BEYOND, BEYOND_PROVISIONAL = VerdictClass.BEYOND, VerdictClass.BEYOND_PROVISIONAL
WITHIN, WITHIN_PROVISIONAL = VerdictClass.WITHIN, VerdictClass.WITHIN_PROVISIONAL


def shift_minimum(columns: dict[str, IntColumn], first: int, us: int = 200) -> None:
    """Change the route at a minute: the minimum RTT moves, the limit is met as before."""
    columns["min_us"][first:] += us


class TestPhysics:
    """Invalid and impossible come before every measurement."""

    def test_faster_than_light_is_invalid(self) -> None:
        """Even if the limit is impossible as well."""
        verdict = compute_verdict(build_pair(build_columns(28, 4_000), floors=TO_NEW_YORK))

        assert (verdict.verdict, list_codes(verdict), verdict.flips) == (
            VerdictClass.INVALID,
            ["faster_than_light"],
            [],
        )

    @pytest.mark.parametrize(
        ("limit", "expected"),
        [("5", VerdictClass.IMPOSSIBLE), ("50", VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE), ("75", BEYOND)],
    )
    def test_a_limit_below_the_propagation_delay_is_impossible(self, limit: str, expected: VerdictClass) -> None:
        """6,200 km take 41 ms in a vacuum and 60 ms on glass; the windows are at 80 ms."""
        verdict = compute_verdict(build_pair(build_columns(28, 80_000), floors=TO_NEW_YORK), f"p95 <= {limit} ms")

        assert verdict.verdict is expected
        assert list_codes(verdict) == (
            ["causes", "share_below_target"] if expected is BEYOND else ["floor_above_limit", "measured_says"]
        )

    def test_a_day_suffices_for_impossible(self) -> None:
        """Physics needs no campaign, and the windows give their own class besides."""
        verdict = compute_verdict(build_pair(build_columns(1, 80_000), floors=TO_NEW_YORK))

        assert verdict.verdict is VerdictClass.IMPOSSIBLE
        assert verdict.reasons[1].numbers == {"verdict": "beyond_provisional"}

    def test_a_distance_limit_below_the_geodesic_is_impossible(self) -> None:
        """25 km are allowed, the sites are 6,200 km apart."""
        catalogue = load_catalogue()
        requirements = build_requirements(catalogue, catalogue.get_profile("oracle-rac-extended-distance"))
        pair = build_pair(build_columns(28, 80_000), floors=TO_NEW_YORK)

        (verdict,) = build_document(pair, requirements=requirements).pairs

        assert (verdict.verdict, verdict.reasons[0].code) == (VerdictClass.IMPOSSIBLE, "distance_above_limit")
        assert verdict.reasons[0].text == (
            "the sites are at least 6217 km apart in a straight line; oracle-rac-extended-distance allows <= 25 km"
        )
        assert [flip.text for flip in verdict.flips] == ["a distance <= 25 km between the sites, not 6217 km"]

    def test_a_distance_limit_above_the_geodesic_proves_nothing(self) -> None:
        """Cables are longer than the straight line."""
        catalogue = load_catalogue()
        overrides = LimitOverrides(values={"oracle-rac-extended-distance": Decimal(7_000)}, declared_values={})
        requirements = build_requirements(catalogue, catalogue.get_profile("oracle-rac-extended-distance"), overrides)
        pair = build_pair(build_columns(28, 80_000), floors=TO_NEW_YORK)

        (verdict,) = build_document(pair, requirements=requirements).pairs

        assert verdict.verdict is INSUFFICIENT


class TestBeyond:
    """The upper bound of the best case is below the target."""

    @pytest.mark.parametrize(("days", "expected"), [(1, BEYOND_PROVISIONAL), (13, BEYOND_PROVISIONAL), (14, BEYOND)])
    def test_bad_days_are_beyond_provisionally_before_14(self, days: int, expected: VerdictClass) -> None:
        """Every minute is bad."""
        columns = build_columns(days)
        add_delay(columns, range(days * DAY))

        verdict = compute_verdict(build_pair(columns))

        assert (verdict.verdict, verdict.labels) == (expected, ["never", "outside_more_than_half"])
        provisional = ["beyond_after_few_days"] if expected is BEYOND_PROVISIONAL else []
        assert list_codes(verdict) == ["causes", "share_below_target", *provisional]

    def test_less_than_a_whole_day_is_never_beyond(self) -> None:
        """20 bad hours of a pair that is measured since 04:00."""
        columns = build_columns(3)
        add_delay(columns, range(3 * DAY))
        drop_minutes(columns, range(2 * DAY + 240))

        assert compute_verdict(build_pair(columns)).verdict is INSUFFICIENT

    def test_a_declared_value_that_misses_its_limit_is_beyond(self) -> None:
        """It needs no measurement."""
        catalogue, bandwidth = load_catalogue(), "vmware-vsphere-6.5-vmotion-bandwidth"
        overrides = LimitOverrides(values={}, declared_values={bandwidth: Decimal(1)})
        requirements = build_requirements(catalogue, catalogue.get_profile("vsphere-long-distance-vmotion"), overrides)

        (verdict,) = build_document(build_pair(), requirements=requirements).pairs

        assert (verdict.verdict, verdict.reasons[0].code) == (BEYOND, "declared_unmet")

    def test_the_best_path_protects_from_beyond(self) -> None:
        """One bad path of two is marginal: its own target may be slow."""
        bad = build_columns(28)
        add_delay(bad, range(28 * DAY))

        assert compute_verdict(build_pair(bad, build_columns(28))).verdict is MARGINAL

    def test_the_own_delay_is_taken_off(self) -> None:
        """p95 is 5.010 ms, the error bound 20 us: it may have been 4.990 ms."""
        assert compute_verdict(build_pair(build_columns(28, 4_960))).verdict is MARGINAL

    def test_unknown_minutes_count_as_good(self) -> None:
        """Half of the minutes are unknown, 300 of the others bad on every day: 79.17 % or less."""
        columns = build_columns(28)
        add_delay(columns, [day * DAY + minute for day in range(28) for minute in range(300)])
        drop_minutes(columns, [day * DAY + minute for day in range(28) for minute in range(720, DAY)])

        verdict = compute_verdict(build_pair(columns))

        assert verdict.verdict is BEYOND
        assert "at most 79.598" in get_text(verdict, "share_below_target")


class TestInsufficientData:
    """No statement about the path; the dates say when there is one."""

    def test_no_reply_is_insufficient(self) -> None:
        """A firewall cannot be distinguished from a dead path, so the class is not "beyond"."""
        silent = build_columns(28)
        lose_probes(silent, range(28 * DAY))

        verdict = compute_verdict(build_pair(silent))

        assert (verdict.verdict, list_codes(verdict)) == (INSUFFICIENT, ["never_replied"])

    def test_no_window_is_insufficient_without_dates(self) -> None:
        """The measurement has not begun, so no day can be counted from."""
        verdict = compute_verdict(build_pair())

        assert (verdict.verdict, list_codes(verdict), verdict.milestones) == (INSUFFICIENT, ["not_measured"], [])
        assert [flip.code for flip in verdict.flips] == []

    def test_low_coverage_is_insufficient(self) -> None:
        """90 % are known."""
        columns = build_columns(28)
        drop_minutes(columns, range(5, 28 * DAY, 10))

        verdict = compute_verdict(build_pair(columns))

        assert (verdict.verdict, list_codes(verdict)) == (INSUFFICIENT, ["coverage_low", "dates", "causes"])

    def test_decisive_unknown_minutes_are_insufficient(self) -> None:
        """If all minutes of a gap of two hours were bad, 99.5 % would not be demonstrated."""
        columns = build_columns(28)
        drop_minutes(columns, range(5_000, 5_120))

        verdict = compute_verdict(build_pair(columns))

        assert (verdict.verdict, list_codes(verdict)) == (INSUFFICIENT, ["unknown_decides", "dates", "causes"])
        assert verdict.reasons[0].numbers == {"unknown": 120, "if_bad": "marginal", "if_good": "within_provisional"}

    def test_a_few_unknown_minutes_decide_nothing(self) -> None:
        """Even if all of them were bad, the path would be within."""
        columns = build_columns(28)
        drop_minutes(columns, range(5_000, 5_010))

        assert compute_verdict(build_pair(columns)).verdict is WITHIN_PROVISIONAL

    def test_explained_minutes_are_left_out_with_missing_at_random(self) -> None:
        """The number is a condition of the verdict."""
        columns = build_columns(28)
        drop_minutes(columns, range(5_000, 5_120))
        pair = build_pair(columns)
        explained = pair.explained_minutes.copy()
        explained[5_000:5_120] = True

        verdict = compute_verdict(
            replace(pair, explained_minutes=explained), rule=replace(SECOND, missing_policy=MissingPolicy.MAR)
        )

        assert verdict.verdict is WITHIN_PROVISIONAL
        assert list_codes(verdict)[-1] == "missing_at_random"
        assert verdict.provenance
        assert verdict.provenance.left_out_minutes == 120


class TestDates:
    """A pair says since when it is measured, and when more can be said."""

    @staticmethod
    def build_young(days: int, first_minute: int) -> PairWindows:
        """Build a period whose windows begin at a minute."""
        columns = build_columns(days)
        drop_minutes(columns, range(first_minute))
        return build_pair(columns)

    @staticmethod
    def list_dates(verdict: PairVerdict) -> list[tuple[str, int, str]]:
        """Return the class, the days and the date of each milestone."""
        assert verdict.milestones
        milestones: list[MilestoneSection] = verdict.milestones
        return [(milestone.verdict, milestone.days, milestone.at_iso[:10]) for milestone in milestones]

    def test_less_than_a_day(self) -> None:
        """Since 05:00 on the last day of the period: the first whole day is the next one."""
        verdict = compute_verdict(self.build_young(28, 27 * DAY + 300))

        assert (verdict.verdict, verdict.coverage) == (INSUFFICIENT, None)
        assert list_codes(verdict) == ["too_short", "dates"]
        assert self.list_dates(verdict) == [
            ("beyond_provisional", 1, "2026-10-06"),
            ("beyond", 14, "2026-10-19"),
            ("marginal", 14, "2026-10-19"),
            ("within_provisional", 28, "2026-11-02"),
            ("within", 100, "2027-01-13"),
        ]
        assert get_text(verdict, "dates").startswith(
            "measured since 2026-10-04T05:00:00Z; from 2026-10-06 it can be beyond, provisionally; "
        )
        assert [(flip.code, flip.numbers) for flip in verdict.flips] == [("more_days", {"days": 14})]

    def test_one_day(self) -> None:
        """Without a bad minute, nothing can be said before the 14th day."""
        verdict = compute_verdict(build_pair(build_columns(1)))

        assert (verdict.verdict, list_codes(verdict)) == (INSUFFICIENT, ["too_short", "dates", "causes"])
        assert verdict.reasons[0].text.startswith("only 1 whole day is measured: 14 days are needed")
        assert [days for _, days, _ in self.list_dates(verdict)] == [14, 14, 28, 100]

    def test_a_pair_that_is_measured_since_the_middle_of_the_period(self) -> None:
        """13 whole days; the days before are not unknown."""
        verdict = compute_verdict(self.build_young(28, 14 * DAY + 300))

        assert (verdict.verdict, verdict.coverage) == (INSUFFICIENT, 1.0)
        assert verdict.provenance
        assert (verdict.provenance.days, verdict.provenance.unknown_minutes) == (13, 0)
        assert verdict.provenance.measured_since_iso == "2026-09-21T05:00:00Z"
        assert self.list_dates(verdict)[0] == ("beyond", 14, "2026-10-06")
        assert get_text(verdict, "dates").endswith("; until then it can only be beyond, provisionally")
        assert [flip.text for flip in verdict.flips] == ["1 more day for a provisional result"]

    def test_a_young_pair_with_enough_days_is_judged(self) -> None:
        """28 of 42 days are measured, and all hours of the week in them."""
        assert compute_verdict(self.build_young(42, 14 * DAY)).verdict is WITHIN_PROVISIONAL

    @pytest.mark.parametrize(("missing", "since"), [(1, None), (59, None), (60, "2026-09-07T01:00:00Z")])
    def test_a_short_gap_at_midnight_costs_no_day(self, missing: int, since: str | None) -> None:
        """The first hour of a period may have a gap like every other hour."""
        verdict = compute_verdict(self.build_young(28, missing))

        assert verdict.provenance
        assert (verdict.provenance.measured_since_iso, verdict.provenance.days) == (since, 27 if since else 28)
        assert verdict.provenance.unknown_minutes == (0 if since else missing)

    def test_thirteen_and_fourteen_days(self) -> None:
        """13 clean days are insufficient, 14 marginal."""
        assert compute_verdict(build_pair(build_columns(13))).verdict is INSUFFICIENT
        verdict = compute_verdict(build_pair(build_columns(14)))
        assert (verdict.verdict, list_codes(verdict)) == (MARGINAL, ["causes", "undecided", "dates"])

    def test_27_clean_days_are_marginal_with_dates(self) -> None:
        """The bound reaches the target, but not every hour of the week was measured four times."""
        verdict = compute_verdict(build_pair(build_columns(27)))

        assert (verdict.verdict, list_codes(verdict)) == (MARGINAL, ["causes", "undecided", "dates"])
        assert self.list_dates(verdict) == [("within_provisional", 28, "2026-10-05"), ("within", 100, "2026-12-16")]
        assert get_text(verdict, "dates") == (
            "from 2026-10-05 it can be within, provisionally; from 2026-12-16 it can be within; "
            "every further minute must be known, and for within also good"
        )

    def test_the_dates_are_right(self) -> None:
        """A period that goes on without a bad minute gets the classes on these days, not one day before."""
        columns = build_columns(14)
        add_delay(columns, range(3 * DAY, 3 * DAY + 20))
        dates = {word: days for word, days, _ in self.list_dates(compute_verdict(build_pair(columns)))}

        def compute_after(days: int) -> VerdictClass:
            longer = build_columns(days)
            for name, column in columns.items():
                longer[name][: len(column)] = column
            return compute_verdict(build_pair(longer)).verdict

        assert (compute_after(dates["within_provisional"] - 1), compute_after(dates["within_provisional"])) == (
            MARGINAL,
            WITHIN_PROVISIONAL,
        )
        assert (compute_after(dates["within"] - 1), compute_after(dates["within"])) == (WITHIN_PROVISIONAL, WITHIN)

    def test_low_coverage_has_the_date_of_95_percent(self) -> None:
        """90 % of 28 days become 95 % of 56."""
        columns = build_columns(28)
        drop_minutes(columns, range(5, 28 * DAY, 10))

        assert self.list_dates(compute_verdict(build_pair(columns)))[0][:2] == ("marginal", 56)


class TestWithin:
    """The lower bound of the worst case reaches the target."""

    def test_28_clean_days_are_within_provisionally(self) -> None:
        """The tipping point follows the cause; the outages come after the share."""
        verdict = compute_verdict(build_pair(build_columns(28)))

        assert (verdict.verdict, list_codes(verdict)) == (
            WITHIN_PROVISIONAL,
            ["causes", "tipping_point", "share_demonstrated", "share_when_up", "observed_outages"],
        )
        assert get_text(verdict, "tipping_point").startswith(
            "this holds unless an outage of more than 67 minutes was missed; an outage of 12 h once a quarter would be "
            "missed in 74 % of such periods"
        )

    @pytest.mark.parametrize(("days", "expected"), [(99, WITHIN_PROVISIONAL), (100, WITHIN)])
    def test_within_takes_100_clean_days(self, days: int, expected: VerdictClass) -> None:
        """With an unseen outage of 240 minutes."""
        assert compute_verdict(build_pair(build_columns(days))).verdict is expected

    def test_both_claims_are_printed_apart(self) -> None:
        """An outage of 11 minutes and 20 late minutes: the share of the minutes in which the path was up, and the
        outages.
        """
        columns = build_columns(100)
        lose_probes(columns, range(5_000, 5_011))
        add_delay(columns, range(9_000, 9_020))

        verdict = compute_verdict(build_pair(columns))

        assert verdict.within
        assert (verdict.within.outages, verdict.within.outage_minutes, verdict.within.longest_outage_minutes) == (
            1,
            11,
            11,
        )
        assert 0.999 < verdict.within.share_when_up < 1 - 20 / (100 * DAY)
        assert get_text(verdict, "observed_outages") == "the path was down 1 time, the longest for 11 min"

    def test_the_tipping_point_is_the_last_outage_that_the_claim_survives(self) -> None:
        """With it as m0 the target is demonstrated, with one minute more it is not."""
        verdict = compute_verdict(build_pair(build_columns(28)))

        assert verdict.within
        tipping = verdict.within.tipping_point_minutes
        assert tipping is not None
        for minutes, is_demonstrated in ((tipping, True), (tipping + 1, False)):
            rule = replace(SECOND, unseen_outage_windows=minutes)
            verdict = compute_verdict(build_pair(build_columns(28)), rule=rule)
            assert verdict.shares.demonstrated is not None
            assert (verdict.shares.demonstrated >= 0.995) is is_demonstrated

    @pytest.mark.parametrize(
        ("probes", "text"),
        [
            (48, None),
            (47, "windows have 47 probes, 48 are needed: p95 of 47 is uncertain"),
            (19, "windows have 19 probes, 48 are needed: p95 is the maximum of 19"),
            (1, "windows have 1 probe, 48 are needed: p95 is the maximum of 1"),
        ],
    )
    def test_few_probes_are_a_condition(self, probes: int, text: str | None) -> None:
        """Fewer than 20 make p95 the maximum."""
        columns = build_columns(100)
        for name in ("expected", "sent", "received"):
            columns[name][:] = probes

        verdict = compute_verdict(build_pair(columns))

        assert verdict.verdict is (WITHIN_PROVISIONAL if text else WITHIN)
        assert [reason.text for reason in verdict.reasons if reason.code == "few_probes"] == ([text] if text else [])

    def test_an_undeclared_limit_is_a_condition(self) -> None:
        """100 clean days do not make a bandwidth known."""
        catalogue = load_catalogue()
        requirements = build_requirements(catalogue, catalogue.get_profile("vsphere-long-distance-vmotion"))

        (verdict,) = build_document(build_pair(build_columns(100)), requirements=requirements).pairs

        assert verdict.verdict is WITHIN_PROVISIONAL
        assert "not_vouched_for" in list_codes(verdict)

    def test_an_hour_of_the_week_with_a_gap_is_a_condition(self) -> None:
        """Mondays from 10:00 to 10:15 are unknown in all but one of 52 weeks: 25 % of this hour."""
        columns = build_columns(52 * 7)
        for week in range(51):
            drop_minutes(columns, range(week * 7 * DAY + 600, week * 7 * DAY + 615))

        verdict = compute_verdict(build_pair(columns), target_share=0.99)

        assert (verdict.verdict, verdict.hours_missing) == (WITHIN_PROVISIONAL, 1)
        assert get_text(verdict, "hours_of_week_missing").startswith("1 of 168 hours of the week")


class TestDeclaredOutages:
    """Declared outages replace the unseen outage of 240 minutes."""

    #: Twelve hours every second year are 0.07 % of the time.
    OUTAGES = DeclaredOutages(outages_per_year=0.5, longest_outage_s=12 * 3_600, declared_on=date(2026, 9, 1))

    def test_they_make_a_clean_month_within(self) -> None:
        """They are printed with their date, as declared."""
        verdict = compute_verdict(replace(build_pair(build_columns(28)), declared_outages=self.OUTAGES))

        assert verdict.verdict is WITHIN
        assert get_text(verdict, "declared_outages") == (
            "declared on 2026-09-01, not measured: 0.5 outages a year, the longest of 720 min"
        )
        assert verdict.declared_outages
        assert (verdict.declared_outages.used, verdict.declared_outages.before_period) == (True, True)
        assert verdict.shares.demonstrated == pytest.approx(0.99777 - 0.5 * 12 / 8_766, abs=1e-5)

    def test_the_tipping_point_is_besides_them(self) -> None:
        """67 minutes without them; they take 0.07 % of the 0.5 % that may be out of limit."""
        verdict = compute_verdict(replace(build_pair(build_columns(28)), declared_outages=self.OUTAGES))

        assert verdict.within
        assert verdict.within.tipping_point_minutes == 58
        assert get_text(verdict, "tipping_point").startswith(
            "this holds unless an outage of more than 58 minutes, besides the declared ones, was missed"
        )
        assert "(95 % confidence, less the declared outages)" in get_text(verdict, "share_demonstrated")

    @pytest.mark.parametrize("days", [28, 100])
    def test_more_declared_outages_than_the_target_leaves_are_never_within(self, days: int) -> None:
        """Six outages of eight hours a year are 0.55 %, even if a clean period shows none."""
        outages = replace(self.OUTAGES, outages_per_year=6, longest_outage_s=8 * 3_600)

        verdict = compute_verdict(replace(build_pair(build_columns(days)), declared_outages=outages))

        assert (verdict.verdict, list_codes(verdict)[:2]) == (MARGINAL, ["causes", "declared_above_target"])

    @pytest.mark.parametrize(("length", "is_used"), [(10, True), (11, False)])
    def test_a_longer_observed_outage_contradicts_them(self, length: int, is_used: bool) -> None:
        """The declared longest one is 10 minutes."""
        columns = build_columns(28)
        lose_probes(columns, range(5_000, 5_000 + length))
        outages = replace(self.OUTAGES, longest_outage_s=600)

        verdict = compute_verdict(replace(build_pair(columns), declared_outages=outages))

        assert verdict.verdict is (WITHIN if is_used else WITHIN_PROVISIONAL)
        assert verdict.declared_outages
        assert verdict.declared_outages.used is is_used
        texts = [reason.text for reason in verdict.reasons if reason.code == "declaration_contradicted"]
        assert texts == (
            []
            if is_used
            else [
                "the declared longest outage is 10 min, but the period has one of 11 min: the declaration raises no "
                "bound"
            ]
        )

    def test_a_late_declaration_says_so(self) -> None:
        """It is used, but made with knowledge of some windows."""
        outages = replace(self.OUTAGES, declared_on=date(2026, 9, 20))

        verdict = compute_verdict(replace(build_pair(build_columns(28)), declared_outages=outages))

        assert verdict.declared_outages
        assert (verdict.verdict, verdict.declared_outages.before_period) == (WITHIN, False)
        assert "declared on 2026-09-20, after the first window of the period" in get_text(verdict, "declared_outages")

    def test_a_declaration_on_the_first_day_is_before_the_first_window_of_a_young_pair(self) -> None:
        """The pair is measured since the third day of the period."""
        columns = build_columns(42)
        drop_minutes(columns, range(2 * DAY))
        outages = replace(self.OUTAGES, declared_on=date(2026, 9, 9))

        verdict = compute_verdict(replace(build_pair(columns), declared_outages=outages))

        assert verdict.declared_outages
        assert (START_S, verdict.declared_outages.before_period) == (1_788_739_200, True)


class TestLastSegment:
    """The minutes since the last route change may withdraw a claim."""

    def test_it_withdraws_within(self) -> None:
        """42 days are within provisionally, the last 21 marginal."""
        columns = build_columns(42)
        shift_minimum(columns, 21 * DAY)
        for day in (22, 25, 28, 31):
            add_delay(columns, range(day * DAY, day * DAY + 20))

        verdict = compute_verdict(build_pair(columns))

        assert (verdict.verdict, list_codes(verdict)) == (MARGINAL, ["causes", "last_segment"])
        assert get_text(verdict, "last_segment") == (
            "the path changed during the period, and the minutes since the last change are marginal by themselves; "
            "the whole period is within, provisionally"
        )

    def test_it_makes_a_marginal_period_beyond(self) -> None:
        """63 days: 45 clean ones, then 18 with 20 bad minutes each."""
        columns = build_columns(63)
        shift_minimum(columns, 45 * DAY)
        add_delay(columns, [day * DAY + 60 * minute for day in range(45, 63) for minute in range(20)])

        verdict = compute_verdict(build_pair(columns))

        assert (verdict.verdict, list_codes(verdict)) == (BEYOND, ["causes", "last_segment"])
        assert verdict.reasons[1].numbers == {"whole": "marginal", "last": "beyond"}

    def test_a_short_last_segment_withdraws_nothing(self) -> None:
        """13 whole days."""
        columns = build_columns(42)
        shift_minimum(columns, 29 * DAY)
        for day in (30, 33, 36):
            add_delay(columns, range(day * DAY, day * DAY + 20))

        assert compute_verdict(build_pair(columns)).verdict is WITHIN_PROVISIONAL

    def test_a_clean_last_segment_improves_nothing(self) -> None:
        """21 days with 20 bad minutes each, then 21 clean ones."""
        columns = build_columns(42)
        shift_minimum(columns, 21 * DAY)
        add_delay(columns, [day * DAY + 60 * minute for day in range(21) for minute in range(20)])

        verdict = compute_verdict(build_pair(columns))

        assert verdict.verdict is MARGINAL
        assert [segment.verdict for segment in verdict.segments] == ["beyond", "within_provisional"]
        assert "last_segment" not in list_codes(verdict)

    def test_it_needs_no_coverage_to_make_a_period_beyond(self) -> None:
        """A tenth of the minutes is unknown."""
        columns = build_columns(63)
        shift_minimum(columns, 45 * DAY)
        add_delay(columns, [day * DAY + 60 * minute for day in range(45, 63) for minute in range(20)])
        drop_minutes(columns, range(5, 63 * DAY, 10))

        verdict = compute_verdict(build_pair(columns))

        assert (verdict.verdict, verdict.reasons[1].code) == (BEYOND, "last_segment")
