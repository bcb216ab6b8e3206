"""Rules of use: every rule withdraws a claim, with a limit of the catalogue or, if it has none, a made-up one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest

from leadline import propagation
from leadline.errors import ConfigError
from leadline.limits.catalogue import Catalogue, UseRule, load_catalogue
from leadline.model import Site
from leadline_cli.commands.verdict_text import format_report
from leadline_verdict.decision import VerdictRule
from leadline_verdict.document import PairVerdict, VerdictClass, VerdictDocument
from leadline_verdict.report import ReportParams, build_report
from leadline_verdict.requirements import LimitOverrides, RequirementSet, build_requirements
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.series import IntColumn
from tests.support.window_factories import DAY, build_columns, build_pair, lose_probes

METROCLUSTER = "netapp-metrocluster-ip-isl-rtt"
STATEMENT = "redhat-odf-stretch-one-location"
PLAIN = "vmware-vcf-9.0-availability-zone-rtt"
#: Current, from the vendor, a requirement.
VMOTION = "vmware-vsphere-8.0-long-distance-vmotion-rtt"
FRANKFURT = Site(name="fra", latitude_deg=50.1109, longitude_deg=8.6821)
NEW_YORK = Site(name="nyc", latitude_deg=40.7128, longitude_deg=-74.006)


def make_catalogue(limit_id: str, **changes: object) -> Catalogue:
    """Return the catalogue with changes of one limit."""
    catalogue = load_catalogue()
    changed = msgspec.structs.replace(catalogue.get_limit(limit_id), **changes)
    return replace(catalogue, limits={**catalogue.limits, limit_id: changed})


def make_requirements(
    profile: str,
    *custom: str,
    overrides: Mapping[str, int] | None = None,
    declared: Mapping[str, int] | None = None,
    catalogue: Catalogue | None = None,
) -> RequirementSet:
    catalogue = catalogue or load_catalogue()
    return build_requirements(
        catalogue,
        catalogue.get_profile(profile),
        LimitOverrides(
            values={name: Decimal(value) for name, value in (overrides or {}).items()},
            declared_values={name: Decimal(value) for name, value in (declared or {}).items()},
            custom_limits=custom,
        ),
    )


def build_document(
    requirements: RequirementSet,
    columns: Mapping[str, IntColumn],
    *,
    floors: propagation.PropagationDelay | None = None,
    rule: VerdictRule | None = None,
) -> VerdictDocument:
    pair = build_pair(columns, floors=floors)
    params = ReportParams(
        start_s=pair.start_s,
        end_s=pair.end_s,
        rule=rule or VerdictRule(),
        profiles=[requirements],
        catalogue_digest="",
        mesh_version=None,
    )
    return build_report(params, [(pair, [requirements])])


def judge(requirements: RequirementSet, rtt_us: int, days: int = 101) -> PairVerdict:
    """Compute the verdict on a path with this RTT in every minute."""
    return build_document(requirements, build_columns(days, rtt_us)).pairs[0]


def codes(verdict: PairVerdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


def text_of(verdict: PairVerdict, code: str) -> str:
    return next(reason.text for reason in verdict.reasons if reason.code == code)


def test_a_limit_without_rules_gives_both_claims() -> None:
    """The columns of the other tests are within and beyond by themselves."""
    requirements = make_requirements(PLAIN)

    assert judge(requirements, 1_000).verdict is VerdictClass.WITHIN
    assert judge(requirements, 90_000).verdict is VerdictClass.BEYOND


class TestCondemnOnly:
    def test_a_limit_that_may_not_acquit_gives_no_within(self) -> None:
        """7 ms of MetroCluster without the rule about the operator's figure."""
        catalogue = make_catalogue(METROCLUSTER, use_rules=(UseRule.CONDEMN_ONLY,))
        requirements = make_requirements(METROCLUSTER, catalogue=catalogue)

        below, above = judge(requirements, 1_000), judge(requirements, 9_000)

        assert (below.verdict, codes(below)[:2]) == (VerdictClass.MARGINAL, ["never_acquits", "measured_says"])
        assert above.verdict is VerdictClass.BEYOND

    def test_another_limit_may_acquit(self) -> None:
        """The user's own limit beside it."""
        catalogue = make_catalogue(METROCLUSTER, use_rules=(UseRule.CONDEMN_ONLY,))
        requirements = make_requirements(METROCLUSTER, "p95 <= 8 ms", catalogue=catalogue)

        assert judge(requirements, 1_000).verdict is VerdictClass.WITHIN


class TestAcquitOnly:
    REQUIREMENTS = make_requirements("google-gdc-airgapped-zone-rtt")

    def test_minutes_above_the_limit_reject_nothing(self) -> None:
        """2 ms in every minute with a limit of 1 ms."""
        verdict = judge(self.REQUIREMENTS, 2_000)

        assert verdict.verdict is VerdictClass.MARGINAL
        assert "values above it reject nothing" in text_of(verdict, "use_rule")

    def test_minutes_below_the_limit_are_enough(self) -> None:
        """0.5 ms in every minute."""
        assert judge(self.REQUIREMENTS, 500).verdict is VerdictClass.WITHIN

    def test_outages_and_distance_reject_nothing_either(self) -> None:
        """Three hours down a day; and light needs longer than 1 ms to New York."""
        columns = build_columns(28, 500)
        for day in range(28):
            lose_probes(columns, range(day * DAY, day * DAY + 180))
        floors = propagation.compute_propagation_delay(FRANKFURT, NEW_YORK)

        down = build_document(self.REQUIREMENTS, columns).pairs[0]
        far = build_document(self.REQUIREMENTS, build_columns(28, 90_000), floors=floors).pairs[0]

        assert (down.verdict, far.verdict) == (VerdictClass.MARGINAL, VerdictClass.MARGINAL)

    def test_a_short_campaign_stays_insufficient(self) -> None:
        """Three days above the limit are not beyond, provisionally, and no date promises beyond."""
        verdict = judge(self.REQUIREMENTS, 2_000, days=3)

        assert verdict.verdict is VerdictClass.INSUFFICIENT_DATA
        assert isinstance(verdict.milestones, list)
        assert not {"beyond", "beyond_provisional"} & {milestone.verdict for milestone in verdict.milestones}


class TestNotAlone:
    def test_there_is_no_verdict_on_it_alone(self) -> None:
        """11 ms of ActiveCluster: within, beyond and a short campaign."""
        requirements = make_requirements("pure-activecluster-rtt")

        verdicts = [judge(requirements, 1_000), judge(requirements, 20_000), judge(requirements, 20_000, days=3)]

        assert [verdict.verdict for verdict in verdicts] == [VerdictClass.INSUFFICIENT_DATA] * 3
        assert [codes(verdict)[0] for verdict in verdicts] == ["not_alone"] * 3

    def test_another_limit_has_to_agree(self) -> None:
        """The own limit of the user: both within; only ActiveCluster exceeded; both exceeded."""
        requirements = make_requirements("pure-activecluster-rtt", "p95 <= 15 ms")

        verdicts = [judge(requirements, rtt_us).verdict for rtt_us in (1_000, 13_000, 20_000)]

        assert verdicts == [VerdictClass.WITHIN, VerdictClass.MARGINAL, VerdictClass.BEYOND]

    def test_a_loss_limit_with_the_rule_rejects_nothing_alone(self) -> None:
        """0.0001 % of vSAN: a lost probe an hour is above it with certainty."""
        columns = build_columns(28, 1_000)
        lose_probes(columns, range(0, 28 * DAY, 60), lost=1)
        columns["p95_us"][:], columns["p99_us"][:], columns["pdv_us"][:] = 1_000, 1_000, 100

        alone = build_document(make_requirements("vmware-vsan-9.0-packet-loss"), columns).pairs[0]
        together = build_document(make_requirements("vmware-vsan-9.0-packet-loss", "p95 <= 5 ms"), columns).pairs[0]

        assert alone.verdict is VerdictClass.INSUFFICIENT_DATA
        assert (together.verdict, "loss_above_limit" in codes(together)) == (VerdictClass.MARGINAL, True)


class TestReportedOnly:
    def test_a_distance_that_never_gives_a_verdict_excludes_no_sites(self) -> None:
        """96 km of PowerStore between Frankfurt and New York, beside a limit of the user."""
        floors = propagation.compute_propagation_delay(FRANKFURT, NEW_YORK)
        requirements = make_requirements("dell-powerstore-metro-distance", "p95 <= 150 ms")

        verdict = build_document(requirements, build_columns(101, 90_000), floors=floors).pairs[0]

        assert verdict.verdict is VerdictClass.WITHIN
        assert "is not part of the verdict" in text_of(verdict, "reported_only")

    @pytest.mark.parametrize("rule", [UseRule.NEVER_A_VERDICT, UseRule.ALARM])
    @pytest.mark.parametrize("limit_id", [PLAIN, "netapp-metrocluster-ip-loss"])
    def test_a_measurable_figure_is_not_evaluated(self, limit_id: str, rule: UseRule) -> None:
        """An RTT and a loss with the rule; alone there is nothing to evaluate."""
        catalogue = make_catalogue(limit_id, use_rules=(rule,))

        alone = judge(make_requirements(limit_id, catalogue=catalogue), 90_000)
        together = judge(make_requirements(limit_id, "p95 <= 150 ms", catalogue=catalogue), 90_000)

        assert (alone.verdict, codes(alone)[0]) == (VerdictClass.INSUFFICIENT_DATA, "nothing_to_judge")
        assert together.verdict is VerdictClass.WITHIN

    def test_a_declared_value_does_not_count(self) -> None:
        """The former cap of KubeVirt, declared as exceeded."""
        cap = "kubevirt-migration-bandwidth-cap"
        requirements = make_requirements(cap, "p95 <= 5 ms", declared={cap: 100})

        assert judge(requirements, 1_000).verdict is VerdictClass.WITHIN

    def test_an_alarm_threshold_of_the_catalogue_is_reported(self) -> None:
        """150 ms from the NSX Manager to a host."""
        verdict = judge(make_requirements("vmware-nsx-9.0-manager-to-host-alarm", "p95 <= 5 ms"), 1_000)

        assert (verdict.verdict, text_of(verdict, "reported_only").endswith("not a limit")) == (
            VerdictClass.WITHIN,
            True,
        )


class TestOperatorFigure:
    def test_the_published_figure_rejects_and_never_accepts(self) -> None:
        """MetroCluster IP without the figure of the platform: within and marginal become insufficient data."""
        requirements = make_requirements(METROCLUSTER)

        within, beyond = judge(requirements, 1_000), judge(requirements, 9_000)

        assert (within.verdict, codes(within)[0]) == (VerdictClass.INSUFFICIENT_DATA, "operator_figure_missing")
        assert f"--override {METROCLUSTER}=NUMBER" in within.reasons[0].text
        assert beyond.verdict is VerdictClass.BEYOND

    def test_the_operators_figure_accepts_and_rejects(self) -> None:
        """3 ms for the platform."""
        requirements = make_requirements(METROCLUSTER, overrides={METROCLUSTER: 3})

        assert judge(requirements, 1_000).verdict is VerdictClass.WITHIN
        assert judge(requirements, 5_000).verdict is VerdictClass.BEYOND

    def test_a_figure_without_the_rule_to_condemn_rejects_nothing(self) -> None:
        """Only the operator's figure counts."""
        catalogue = make_catalogue(METROCLUSTER, use_rules=(UseRule.OPERATOR_FIGURE,))

        verdict = judge(make_requirements(METROCLUSTER, catalogue=catalogue), 9_000)

        assert (verdict.verdict, codes(verdict)[0]) == (VerdictClass.INSUFFICIENT_DATA, "operator_figure_missing")

    def test_no_date_promises_what_the_figure_prevents(self) -> None:
        """Three days: only beyond has a date."""
        verdict = judge(make_requirements(METROCLUSTER), 1_000, days=3)

        assert isinstance(verdict.milestones, list)
        assert [milestone.verdict for milestone in verdict.milestones] == ["beyond"]


class TestStatements:
    CATALOGUE = make_catalogue(PLAIN, use_rules=(UseRule.WITH_STATEMENTS,), statements=(STATEMENT,))

    def test_within_is_provisional_until_the_statement_is_confirmed(self) -> None:
        """``--declare ID=1`` confirms it."""
        open_verdict = judge(make_requirements(PLAIN, catalogue=self.CATALOGUE), 1_000)
        confirmed = judge(make_requirements(PLAIN, declared={STATEMENT: 1}, catalogue=self.CATALOGUE), 1_000)

        assert open_verdict.verdict is VerdictClass.WITHIN_PROVISIONAL
        assert f"--declare {STATEMENT}=1" in text_of(open_verdict, "statement_unconfirmed")
        assert (confirmed.verdict, "statement_unconfirmed" in codes(confirmed)) == (VerdictClass.WITHIN, False)

    def test_every_verdict_prints_the_statement(self) -> None:
        """Reason, document and text report, also for a path that is beyond."""
        words = "Red Hat places the stretch cluster of Data Foundation in one location"
        document = build_document(make_requirements(PLAIN, catalogue=self.CATALOGUE), build_columns(28, 90_000))
        assert document.profiles[0].statements
        (statement,) = document.profiles[0].statements

        assert document.pairs[0].verdict is VerdictClass.BEYOND
        assert words in text_of(document.pairs[0], "statement")
        assert (statement.id, statement.confirmed, statement.text.startswith(words)) == (STATEMENT, False, True)
        assert f"statement ({STATEMENT}, not confirmed)" in " ".join(format_report(document).split())

    def test_another_number_does_not_confirm(self) -> None:
        """The error says which number does."""
        with pytest.raises(ConfigError, match=f"confirm it with {STATEMENT}=1"):
            make_requirements(PLAIN, declared={STATEMENT: 2}, catalogue=self.CATALOGUE)


class TestDesign:
    def test_a_design_that_the_vendor_advises_against_is_never_within(self) -> None:
        """The OpenShift profile: the first reasons are the two statements with their sources."""
        verdict = judge(make_requirements("openshift-stretched"), 1_000)

        assert verdict.verdict is VerdictClass.MARGINAL
        assert codes(verdict)[:4] == ["advised_against", "advised_against", "one_location_only", "measured_says"]
        assert verdict.reasons[0].text.startswith("Red Hat advises against this design: Red Hat advises against one")
        assert "https://" in verdict.reasons[0].text

    def test_no_row_of_the_sensitivity_table_is_within(self) -> None:
        """The advice binds under every parameter."""
        verdict = judge(make_requirements("openshift-stretched"), 1_000)

        assert {row.verdict for row in verdict.sensitivity} == {VerdictClass.MARGINAL}

    def test_the_design_and_not_another_figure_is_the_reason(self) -> None:
        """All three figures of Red Hat give marginal, because of the design."""
        verdict = judge(make_requirements("openshift-stretched"), 1_000)

        assert "within_by_milder_figure" not in codes(verdict)
        assert "all 3 figures of the vendor give marginal" in text_of(verdict, "conflicting_figures")

    def test_confirmed_statements_do_not_change_that(self) -> None:
        """The advice of the vendor stays."""
        declared = {STATEMENT: 1, "redhat-openshift-one-cluster-per-site": 1}

        assert (
            judge(make_requirements("openshift-stretched", declared=declared), 1_000).verdict is VerdictClass.MARGINAL
        )

    def test_a_limit_without_statements_cites_its_source(self) -> None:
        """The source of the limit has the advice then."""
        catalogue = make_catalogue(PLAIN, use_rules=(UseRule.ADVISED_AGAINST,))

        verdict = judge(make_requirements(PLAIN, catalogue=catalogue), 1_000)

        assert (verdict.verdict, codes(verdict)[0]) == (VerdictClass.MARGINAL, "advised_against")
        assert load_catalogue().get_limit(PLAIN).source.title in verdict.reasons[0].text

    def test_a_feature_for_one_location_is_never_within_for_two_sites(self) -> None:
        """The reason says so in words."""
        catalogue = make_catalogue(PLAIN, use_rules=(UseRule.ONE_LOCATION,))

        verdict = judge(make_requirements(PLAIN, catalogue=catalogue), 1_000)

        assert (verdict.verdict, codes(verdict)[0]) == (VerdictClass.MARGINAL, "one_location_only")
        assert "one location" in verdict.reasons[0].text

    def test_a_path_beyond_stays_beyond(self) -> None:
        """The advice is a note then."""
        verdict = judge(make_requirements("openshift-stretched"), 90_000)

        assert (verdict.verdict, "advised_against" in codes(verdict)) == (VerdictClass.BEYOND, True)


class TestAdvice:
    REQUIREMENTS = make_requirements("microsoft-campus-cluster")

    def test_the_class_stays_and_the_reason_says_advice(self) -> None:
        """1 ms is recommended for campus clusters."""
        within, beyond = judge(self.REQUIREMENTS, 500), judge(self.REQUIREMENTS, 2_000)

        assert (within.verdict, "advice_followed" in codes(within)) == (VerdictClass.WITHIN, True)
        assert (beyond.verdict, "it violates no requirement" in text_of(beyond, "advice_not_followed")) == (
            VerdictClass.BEYOND,
            True,
        )

    def test_with_another_limit_the_advice_is_named(self) -> None:
        """A path may be beyond by the other one."""
        verdict = judge(make_requirements("microsoft-campus-cluster", "p95 <= 1 ms"), 2_000)

        assert ("advice" in codes(verdict), "advice_not_followed" in codes(verdict)) == (True, False)


class TestEquality:
    def test_a_value_at_the_limit_decides_nothing(self) -> None:
        """p95 is exactly 5 ms in every minute: neither within nor beyond, and 1 us decides."""
        requirements = make_requirements("vsan-stretched")
        columns = build_columns(101, 4_000)
        columns["error_p99_us"][:] = 0
        verdicts = []
        for p95_us in (4_999, 5_000, 5_001):
            for name in ("p95_us", "p99_us", "max_us"):
                columns[name][:] = p95_us
            verdicts.append(build_document(requirements, columns).pairs[0].verdict)

        assert verdicts == [VerdictClass.WITHIN, VerdictClass.MARGINAL, VerdictClass.BEYOND]


class TestConflicts:
    """Storage Replica: an average of at most 5 ms on one page, less than 5 ms (p95) on another."""

    MILD, STRICT = "microsoft-storage-replica-sync-rtt", "microsoft-s2d-stretch-cluster-rtt"

    @staticmethod
    def spread(p95_us: int, days: int = 101) -> dict[str, IntColumn]:
        """Build windows with a mean of 4 ms and this p95."""
        columns = build_columns(days, 4_000)
        for name in ("p95_us", "p99_us", "max_us"):
            columns[name][:] = p95_us
        return columns

    def test_both_figures_agree(self) -> None:
        """The section has the milder first; the reason has the words."""
        verdict = build_document(make_requirements(self.MILD), self.spread(4_500)).pairs[0]
        assert verdict.conflicts
        (conflict,) = verdict.conflicts

        assert verdict.verdict is VerdictClass.WITHIN
        assert [(entry.limit_id, entry.verdict) for entry in conflict.entries] == [
            (self.MILD, VerdictClass.WITHIN),
            (self.STRICT, VerdictClass.WITHIN),
        ]
        assert conflict.decides == self.MILD
        assert text_of(verdict, "conflicting_figures").startswith("both figures of the vendor give within: <= 5 ms")

    def test_within_by_the_milder_figure_only_is_provisional(self) -> None:
        """A p95 of 7 ms with a mean of 4 ms."""
        verdict = build_document(make_requirements(self.MILD), self.spread(7_000)).pairs[0]

        assert verdict.verdict is VerdictClass.WITHIN_PROVISIONAL
        assert "is within by the milder figure <= 5 ms" in text_of(verdict, "within_by_milder_figure")
        assert "differ" in text_of(verdict, "conflicting_figures")

    def test_beyond_by_the_stricter_figure_only_is_marginal(self) -> None:
        """The same path for the profile of the stricter figure."""
        verdict = build_document(make_requirements(self.STRICT), self.spread(7_000)).pairs[0]
        report = " ".join(format_report(build_document(make_requirements(self.STRICT), self.spread(7_000))).split())

        assert (verdict.verdict, codes(verdict)[0]) == (VerdictClass.MARGINAL, "beyond_by_stricter_figure")
        assert "only the stricter figure < 5 ms" in report

    def test_beyond_by_the_stricter_figure_after_few_days_is_insufficient(self) -> None:
        """The milder figure has no finding yet."""
        verdict = build_document(make_requirements(self.STRICT), self.spread(7_000, days=3)).pairs[0]

        assert verdict.verdict is VerdictClass.INSUFFICIENT_DATA

    def test_beyond_by_both_figures_is_beyond(self) -> None:
        """A mean of 9 ms."""
        assert judge(make_requirements(self.STRICT), 9_000).verdict is VerdictClass.BEYOND

    def test_a_milder_figure_that_decides_nothing_alone_has_no_say(self) -> None:
        """The mediator of ONTAP Select: 500 ms in the FAQ, 125 ms on the page."""
        assert judge(make_requirements("netapp-ontap-select-mediator-rtt"), 200_000).verdict is VerdictClass.BEYOND

    def test_an_overridden_limit_has_no_conflict(self) -> None:
        """The number is the user's."""
        verdict = judge(make_requirements(self.MILD, overrides={self.MILD: 8}), 4_000)

        assert (verdict.verdict, verdict.conflicts) == (VerdictClass.WITHIN, [])


class TestWeakLimits:
    @pytest.mark.parametrize(
        ("requirements", "weak"),
        [
            (make_requirements("pure-activecluster-rtt"), ["pure-activecluster-rtt: secondary"]),
            (make_requirements("hpe-storevirtual-multisite-rtt"), ["end-of-support, advice, not requirement"]),
            (make_requirements("vmware-vsan-9.0-packet-loss"), ["vmware-vsan-9.0-packet-loss: informational"]),
            (make_requirements(VMOTION, overrides={VMOTION: 8}), [f"{VMOTION}: overridden, the catalogue has <"]),
            (make_requirements(VMOTION, "p95 <= 8 ms"), ["p95 <= 8 ms: limit of the user"]),
            (make_requirements(VMOTION), []),
        ],
    )
    def test_weak_and_own_limits_are_marked(self, requirements: RequirementSet, weak: list[str]) -> None:
        """Status, confidence, strength and origin; advice has one wording."""
        provenance = judge(requirements, 1_000, days=15).provenance

        assert provenance
        assert len(provenance.weak_limits) == len(weak)
        assert all(part in text for part, text in zip(weak, provenance.weak_limits, strict=True))


class TestFirstEdition:
    @pytest.mark.parametrize(
        ("profile", "rtt_us", "verdict_class"),
        [
            (METROCLUSTER, 1_000, VerdictClass.WITHIN),
            ("google-gdc-airgapped-zone-rtt", 2_000, VerdictClass.BEYOND),
            ("pure-activecluster-rtt", 1_000, VerdictClass.WITHIN),
            ("openshift-stretched", 1_000, VerdictClass.WITHIN),
        ],
    )
    def test_the_first_edition_ignores_the_rules(self, profile: str, rtt_us: int, verdict_class: VerdictClass) -> None:
        """Documents of version 1 have none of the fields."""
        rule = VerdictRule(edition=RuleEdition.FIRST, unseen_outage_windows=30)

        document = build_document(make_requirements(profile), build_columns(28, rtt_us), rule=rule)

        assert document.pairs[0].verdict is verdict_class
        assert not {b"use_rules", b"statements", b"conflicts"} & set(msgspec.json.encode(document).split(b'"'))

    def test_equality_is_decided_by_the_printed_comparison(self) -> None:
        """< 5 ms of vSAN: 5 ms is beyond."""
        columns = build_columns(28, 4_000)
        columns["error_p99_us"][:] = 0
        for name in ("p95_us", "p99_us", "max_us"):
            columns[name][:] = 5_000
        rule = VerdictRule(edition=RuleEdition.FIRST, unseen_outage_windows=30)

        document = build_document(make_requirements("vsan-stretched"), columns, rule=rule)

        assert document.pairs[0].verdict is VerdictClass.BEYOND
