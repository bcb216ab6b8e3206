"""Tests of the packaged catalogue: rules for every limit, and values of the limits used in reports."""

from __future__ import annotations

from decimal import Decimal

import pytest

from leadline.evaluation import Criterion, UnevaluableLimit, WindowStatistic, derive_criterion, plan_evaluation
from leadline.limits.catalogue import (
    Catalogue,
    Comparison,
    Evaluability,
    Leg,
    LifecycleStatus,
    Limit,
    Metric,
    Provenance,
    SourceConfidence,
    Statistic,
    Strength,
    UseRule,
    load_catalogue,
)

CATALOGUE = load_catalogue()
LIMITS = pytest.mark.parametrize("limit", CATALOGUE.limits.values(), ids=list(CATALOGUE.limits))
PROFILES = {
    "vcf9-stretched-cluster",
    "vsan-stretched",
    "vsphere-long-distance-vmotion",
    "vsphere-5-metro-vmotion",
    "vsphere-4-vmotion",
    "microsoft-storage-replica-sync",
    "azure-local-rack-aware",
    "microsoft-campus-cluster",
    "nutanix-metro",
    "netapp-snapmirror-active-sync",
    "netapp-metrocluster-ip",
    "proxmox-cluster",
    "openshift-stretched",
}


def test_the_catalogue_is_complete() -> None:
    """170 limits, 13 profiles, 23 conflicts, 12 statements without a number, 15 gaps."""
    assert len(CATALOGUE.limits) == 170
    assert set(CATALOGUE.profiles) == PROFILES
    assert (len(CATALOGUE.conflicts), len(CATALOGUE.non_numeric), len(CATALOGUE.open_questions)) == (23, 12, 15)


@pytest.mark.parametrize(
    ("metric", "count"),
    [
        (Metric.RTT, 113),
        (Metric.BANDWIDTH, 26),
        (Metric.LOSS, 8),
        (Metric.JITTER, 5),
        (Metric.DISTANCE, 5),
        (Metric.MTU, 2),
        (Metric.DOWNTIME, 2),
        (Metric.ONE_WAY, 2),
        (Metric.HEARTBEAT, 7),
    ],
)
def test_every_metric_has_its_limits(metric: Metric, count: int) -> None:
    """The number of limits of each metric."""
    assert sum(limit.metric is metric for limit in CATALOGUE.limits.values()) == count


@LIMITS
def test_every_limit_has_a_source(limit: Limit) -> None:
    """Every limit has a title and its provenance, and a URL if the text of the vendor was read."""
    assert limit.source.title
    assert limit.source.url or limit.confidence is not SourceConfidence.VENDOR
    assert (limit.read_in is Provenance.NO_SOURCE) == (limit.confidence is SourceConfidence.UNVERIFIED)


@LIMITS
def test_every_limit_has_a_criterion_or_a_reason(limit: Limit) -> None:
    """A limit without a criterion has a reason."""
    evaluation = derive_criterion(limit)

    assert evaluation.limit_id == limit.id
    assert isinstance(evaluation, Criterion) or len(evaluation.reason) > 20


@LIMITS
def test_limits_beyond_icmp_have_no_criterion(limit: Limit) -> None:
    """A limit marked as not evaluable has no criterion; one marked approximate has its assumption."""
    evaluation = derive_criterion(limit)

    if limit.icmp_evaluable is Evaluability.NO:
        assert isinstance(evaluation, UnevaluableLimit)
    if limit.icmp_evaluable is Evaluability.APPROXIMATE:
        assert isinstance(evaluation, Criterion)
        assert evaluation.approximation or limit.assumption


@LIMITS
def test_times_are_whole_microseconds(limit: Limit) -> None:
    """A time is exact in microseconds; other quantities have no ``value_us``."""
    assert (limit.value_us is not None) == (limit.unit == "ms")
    assert limit.value_us is None or Decimal(limit.value_us) / 1_000 == limit.value


@pytest.mark.parametrize("profile_id", sorted(PROFILES))
def test_a_profile_can_be_evaluated(profile_id: str) -> None:
    """Every profile has at least one limit that windows can be compared with."""
    assert plan_evaluation(CATALOGUE.get_required_limits(CATALOGUE.get_profile(profile_id))).criteria


@pytest.mark.parametrize("profile_id", sorted(PROFILES))
def test_default_profile_rests_on_no_weak_limit(profile_id: str) -> None:
    """No superseded, secondary, unverified or merely descriptive limit is a ground for "within"."""
    profile = CATALOGUE.get_profile(profile_id)
    limits = (*CATALOGUE.get_required_limits(profile), *CATALOGUE.get_declared_limits(profile))
    grounds = [limit for limit in limits if UseRule.CONDEMN_ONLY not in limit.use_rules]

    assert {limit.confidence for limit in limits} == {SourceConfidence.VENDOR}
    assert {limit.strength for limit in limits} <= {Strength.REQUIREMENT, Strength.RECOMMENDATION}
    assert LifecycleStatus.SUPERSEDED not in {limit.status for limit in grounds}
    assert not [limit.id for limit in limits if {UseRule.NEVER_A_VERDICT, UseRule.ALARM} & {*limit.use_rules}]
    assert not profile.title.startswith("Historic") or {limit.status for limit in limits} == {
        LifecycleStatus.END_OF_SUPPORT
    }


@pytest.mark.parametrize("profile_id", sorted(PROFILES))
def test_profile_repeats_what_binds_its_limits(profile_id: str) -> None:
    """Statements and advice against a design bind the profile as they bind the limits in it."""
    profile = CATALOGUE.get_profile(profile_id)
    binding = {UseRule.WITH_STATEMENTS, UseRule.ADVISED_AGAINST, UseRule.OPERATOR_FIGURE, UseRule.ADVICE}

    for limit in CATALOGUE.get_required_limits(profile):
        assert binding & {*limit.use_rules} <= {*profile.use_rules}
        assert {*limit.statements} <= {*profile.statements}


@LIMITS
def test_recommendation_is_marked_as_advice(limit: Limit) -> None:
    """A limit that the vendor recommends is never printed as required."""
    assert (limit.strength is Strength.RECOMMENDATION) == (UseRule.ADVICE in limit.use_rules)


@LIMITS
def test_limit_of_9_0_names_the_release_that_was_read(limit: Limit) -> None:
    """VCF 9.1 is out and was not read."""
    is_of_9_0 = limit.vendor == "VMware/Broadcom" and "9.0" in limit.versions

    assert (limit.as_of == "as of 9.0; 9.1 not read") == is_of_9_0


@pytest.mark.parametrize(
    ("limit_id", "rules"),
    [
        ("netapp-metrocluster-ip-isl-rtt", {UseRule.CONDEMN_ONLY, UseRule.OPERATOR_FIGURE}),
        ("vmware-vcf-9.0-fleet-rtt", {UseRule.ACQUIT_ONLY, UseRule.EQUALITY_OPEN}),
        ("google-gdc-airgapped-zone-rtt", {UseRule.ACQUIT_ONLY}),
        ("vmware-vsan-9.0-packet-loss", {UseRule.NOT_ALONE}),
        ("pure-activecluster-rtt", {UseRule.NOT_ALONE}),
        ("dell-powerstore-metro-distance", {UseRule.NEVER_A_VERDICT}),
        ("vmware-nsx-9.0-manager-to-host-alarm", {UseRule.ALARM}),
        ("redhat-odf-stretch-rtt", {UseRule.ONE_LOCATION, UseRule.ADVISED_AGAINST, UseRule.WITH_STATEMENTS}),
        ("ibm-fusion-stretch-rtt", {UseRule.ONE_LOCATION, UseRule.ADVISED_AGAINST, UseRule.WITH_STATEMENTS}),
        ("redhat-openshift-etcd-network-rtt-max", {UseRule.ADVISED_AGAINST, UseRule.WITH_STATEMENTS}),
        ("vmware-vsan-9.0-stretched-rtt", {UseRule.EQUALITY_OPEN}),
    ],
)
def test_words_of_the_audit_bind_the_limit(limit_id: str, rules: set[UseRule]) -> None:
    """What the audits of 2026-11-30 say about the use of a limit."""
    assert {*CATALOGUE.get_limit(limit_id).use_rules} == rules


@pytest.mark.parametrize(
    "limit_id",
    [
        "vmware-vsan-9.0-stretched-rtt",
        "vmware-vsan-8-stretched-rtt",
        "vmware-vsan-9.0-single-site-rtt",
        "vmware-vsan-9.0-compute-to-storage-rtt",
        "vmware-vsan-9.0-witness-rtt-10hosts",
    ],
)
def test_vsan_states_a_maximum(limit_id: str) -> None:
    """The network requirements of vSAN call their round trips a maximum."""
    assert CATALOGUE.get_limit(limit_id).statistic is Statistic.MAXIMUM_SUPPORTED


def test_numbers_nobody_could_read_stay_unverified() -> None:
    """Three limits have no source that prints their number."""
    assert [limit.id for limit in CATALOGUE.limits.values() if limit.confidence is SourceConfidence.UNVERIFIED] == [
        "vmware-vsphere-7.0-long-distance-vmotion-rtt",
        "vmware-vsphere-8.0-vmotion-bandwidth",
        "cisco-aci-multisite-orchestrator-rtt",
    ]


def test_federation_limits_of_9_0_are_split_by_leg() -> None:
    """150 ms bind a location with stretched networks, 500 ms the tunnel ends; the old 150 ms are superseded."""
    legs = {
        limit_id: (limit.value_us, limit.leg, limit.status)
        for limit_id, limit in CATALOGUE.limits.items()
        if "federation" in limit_id and "gm" not in limit_id
    }

    assert legs == {
        "vmware-nsx-9.0-federation-stretched-rtt": (150_000, Leg.MANAGER_TO_MANAGER, LifecycleStatus.CURRENT),
        "vmware-nsx-9.0-federation-edge-rtt": (500_000, Leg.EDGE_TO_EDGE, LifecycleStatus.CURRENT),
        "vmware-nsx-3.2-federation-lm-rtt": (150_000, Leg.MANAGER_TO_MANAGER, LifecycleStatus.SUPERSEDED),
    }


def test_vmotion_4_is_below_5_ms() -> None:
    """vSphere 4.x: below 5 ms between hosts, without a statistic by the vendor."""
    limit = CATALOGUE.get_limit("vmware-vsphere-4.x-vmotion-rtt")

    assert (limit.comparison, limit.value_us) == (Comparison.LESS, 5_000)
    assert (limit.statistic, limit.leg) == (Statistic.UNSPECIFIED, Leg.HOST_TO_HOST)
    assert limit.source.url == "https://knowledge.broadcom.com/external/article/310156/understanding-metro-vmotion.html"
    assert limit.status is LifecycleStatus.END_OF_SUPPORT


def test_vcf_9_cluster_hosts_are_within_10_ms_under_load() -> None:
    """VCF 9.0: at most 10 ms between the hosts of a cluster, also under load, from an archived copy."""
    limit = CATALOGUE.get_limit("vmware-vcf-9.0-cluster-host-rtt")

    assert (limit.comparison, limit.value_us) == (Comparison.LESS_EQUAL, 10_000)
    assert (limit.statistic, limit.read_in) == (Statistic.MAXIMUM_UNDER_LOAD, Provenance.ARCHIVED_COPY)


def test_storage_replica_is_an_average() -> None:
    """Windows Server Storage Replica: an average of at most 5 ms, so the criterion uses the mean."""
    limit = CATALOGUE.get_limit("microsoft-storage-replica-sync-rtt")
    evaluation = derive_criterion(limit)

    assert (limit.statistic, limit.value_us) == (Statistic.AVERAGE, 5_000)
    assert isinstance(evaluation, Criterion)
    assert evaluation.statistic is WindowStatistic.MEAN


def test_long_distance_vmotion_is_150_ms_with_declared_bandwidth() -> None:
    """The current profile for vMotion over distance: 150 ms measured, 250 Mbps per migration declared."""
    profile = CATALOGUE.get_profile("vsphere-long-distance-vmotion")

    assert [limit.value_us for limit in CATALOGUE.get_required_limits(profile)] == [150_000]
    assert [limit.text for limit in CATALOGUE.get_declared_limits(profile)] == [">= 250 Mbps"]


@pytest.mark.parametrize(
    ("limit_id", "probes"),
    [
        ("vmware-vsan-9.0-packet-loss", 3_000_000),
        ("netapp-metrocluster-ip-loss", 30_000),
        ("netapp-metrocluster-mediator-loss", 30_000),
        ("hp-continuous-access-loss-low", 250_000),
        ("hp-continuous-access-loss-high", 1_500),
        ("hp-svsp-loss", 600),
    ],
)
def test_probes_that_show_a_loss_limit(limit_id: str, probes: int) -> None:
    """The number of probes follows the rule of three, exact in decimals."""
    assert CATALOGUE.get_limit(limit_id).probes_to_demonstrate == probes


def test_a_limit_over_time_has_its_windows() -> None:
    """HP: 0.2 % averaged over a day, and not above 0.5 % for more than five minutes in any two hours."""
    window = CATALOGUE.get_limit("hp-continuous-access-loss-high").time_window

    assert window is not None
    assert (window.window_s, window.peak_limit) == (86_400, Decimal("0.5"))
    assert (window.peak_duration_s, window.peak_horizon_s) == (300, 7_200)


def test_conflicts_are_found_by_either_limit() -> None:
    """vSphere 6.0 was announced with 100 ms and released with 150 ms: both limits have the conflict."""
    for limit_id in (
        "vmware-vsphere-6.0-long-distance-vmotion-rtt",
        "vmware-vsphere-6.0-long-distance-vmotion-rtt-announced",
    ):
        assert [conflict.use for conflict in CATALOGUE.get_conflicts(limit_id)] == ["150 ms"]


def test_the_catalogue_is_loaded_once() -> None:
    """All calls return the same object, with the digest of the file."""
    catalogue: Catalogue = load_catalogue()

    assert catalogue is CATALOGUE
    assert len(CATALOGUE.digest) == 64
