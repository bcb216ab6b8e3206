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
    "nutanix-metro",
    "netapp-snapmirror-active-sync",
    "netapp-metrocluster-ip",
    "proxmox-cluster",
    "openshift-stretched",
}


def test_the_catalogue_is_complete() -> None:
    """120 limits, 12 profiles, 14 conflicts, 9 statements without a number, 10 gaps."""
    assert len(CATALOGUE.limits) == 120
    assert set(CATALOGUE.profiles) == PROFILES
    assert (len(CATALOGUE.conflicts), len(CATALOGUE.non_numeric), len(CATALOGUE.open_questions)) == (14, 9, 10)


@pytest.mark.parametrize(
    ("metric", "count"),
    [
        (Metric.RTT, 81),
        (Metric.BANDWIDTH, 18),
        (Metric.LOSS, 6),
        (Metric.JITTER, 5),
        (Metric.DISTANCE, 4),
        (Metric.MTU, 2),
        (Metric.DOWNTIME, 2),
        (Metric.ONE_WAY, 1),
        (Metric.HEARTBEAT, 1),
    ],
)
def test_every_metric_has_its_limits(metric: Metric, count: int) -> None:
    """The number of limits of each metric."""
    assert sum(limit.metric is metric for limit in CATALOGUE.limits.values()) == count


@LIMITS
def test_every_limit_has_a_source(limit: Limit) -> None:
    """Every limit has a title and its provenance, and a URL unless its value is unverified."""
    assert limit.source.title
    assert limit.source.url or limit.confidence is SourceConfidence.UNVERIFIED
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
        assert evaluation.approximation is not None


@LIMITS
def test_times_are_whole_microseconds(limit: Limit) -> None:
    """A time is exact in microseconds; other quantities have no ``value_us``."""
    assert (limit.value_us is not None) == (limit.unit == "ms")
    assert limit.value_us is None or Decimal(limit.value_us) / 1_000 == limit.value


@pytest.mark.parametrize("profile_id", sorted(PROFILES))
def test_a_profile_can_be_evaluated(profile_id: str) -> None:
    """Every profile has at least one limit that windows can be compared with, and no unverified limit."""
    profile = CATALOGUE.get_profile(profile_id)
    limits = (*CATALOGUE.get_required_limits(profile), *CATALOGUE.get_declared_limits(profile))

    assert plan_evaluation(CATALOGUE.get_required_limits(profile)).criteria
    assert all(limit.confidence is not SourceConfidence.UNVERIFIED for limit in limits)
    assert profile.note is None


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
