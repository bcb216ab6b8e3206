"""The packaged catalogue: what every limit must say, and a handful of figures that reports rest on."""

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

KNOWN = load_catalogue()
LIMITS = pytest.mark.parametrize("limit", KNOWN.limits.values(), ids=list(KNOWN.limits))
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
    assert len(KNOWN.limits) == 120
    assert set(KNOWN.profiles) == PROFILES
    assert (len(KNOWN.conflicts), len(KNOWN.non_numeric), len(KNOWN.open_questions)) == (14, 9, 10)


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
def test_no_metric_lost_a_limit(metric: Metric, count: int) -> None:
    """So many limits of each metric were read."""
    assert sum(limit.metric is metric for limit in KNOWN.limits.values()) == count


@LIMITS
def test_every_limit_has_a_source(limit: Limit) -> None:
    """A title and where it was read always; an address unless nobody has verified the number."""
    assert limit.source.title
    assert limit.source.url or limit.confidence is SourceConfidence.UNVERIFIED
    assert (limit.read_in is Provenance.NO_SOURCE) == (limit.confidence is SourceConfidence.UNVERIFIED)


@LIMITS
def test_every_limit_is_judged_or_says_why_not(limit: Limit) -> None:
    """No limit is passed over in silence."""
    answer = derive_criterion(limit)

    assert answer.limit_id == limit.id
    assert isinstance(answer, Criterion) or len(answer.reason) > 20


@LIMITS
def test_what_a_ping_cannot_see_is_not_judged(limit: Limit) -> None:
    """A limit marked as not evaluable has no criterion, one marked approximate says what is assumed."""
    answer = derive_criterion(limit)

    if limit.icmp_evaluable is Evaluability.NO:
        assert isinstance(answer, UnevaluableLimit)
    if limit.icmp_evaluable is Evaluability.APPROXIMATE:
        assert isinstance(answer, Criterion)
        assert answer.approximation is not None


@LIMITS
def test_times_are_whole_microseconds(limit: Limit) -> None:
    """A time is exact in the unit that is stored; other quantities have none."""
    assert (limit.value_us is not None) == (limit.unit == "ms")
    assert limit.value_us is None or Decimal(limit.value_us) / 1_000 == limit.value


@pytest.mark.parametrize("profile_id", sorted(PROFILES))
def test_a_profile_can_be_judged(profile_id: str) -> None:
    """Every profile has at least one limit that windows answer, and rests on nothing unverified."""
    profile = KNOWN.get_profile(profile_id)
    limits = (*KNOWN.get_required_limits(profile), *KNOWN.get_declared_limits(profile))

    assert plan_evaluation(KNOWN.get_required_limits(profile)).criteria
    assert all(limit.confidence is not SourceConfidence.UNVERIFIED for limit in limits)
    assert profile.note is None


def test_vmotion_4_is_below_5_ms() -> None:
    """vSphere 4.x: below 5 ms between hosts, and the vendor does not say by which statistic."""
    limit = KNOWN.get_limit("vmware-vsphere-4.x-vmotion-rtt")

    assert (limit.comparison, limit.value_us) == (Comparison.LESS, 5_000)
    assert (limit.statistic, limit.leg) == (Statistic.UNSPECIFIED, Leg.HOST_TO_HOST)
    assert limit.source.url == "https://knowledge.broadcom.com/external/article/310156/understanding-metro-vmotion.html"
    assert limit.status is LifecycleStatus.END_OF_SUPPORT


def test_vcf_9_cluster_hosts_are_within_10_ms_under_load() -> None:
    """VCF 9.0: at most 10 ms between the hosts of a cluster, also under load, read in an archived copy."""
    limit = KNOWN.get_limit("vmware-vcf-9.0-cluster-host-rtt")

    assert (limit.comparison, limit.value_us) == (Comparison.LESS_EQUAL, 10_000)
    assert (limit.statistic, limit.read_in) == (Statistic.MAXIMUM_UNDER_LOAD, Provenance.ARCHIVED_COPY)


def test_storage_replica_is_an_average() -> None:
    """Windows Server Storage Replica: an average of at most 5 ms, so the mean is judged."""
    limit = KNOWN.get_limit("microsoft-storage-replica-sync-rtt")
    answer = derive_criterion(limit)

    assert (limit.statistic, limit.value_us) == (Statistic.AVERAGE, 5_000)
    assert isinstance(answer, Criterion)
    assert answer.statistic is WindowStatistic.MEAN


def test_long_distance_vmotion_is_150_ms_with_declared_bandwidth() -> None:
    """The current profile for vMotion over distance: 150 ms measured, 250 Mbps per migration declared."""
    profile = KNOWN.get_profile("vsphere-long-distance-vmotion")

    assert [limit.value_us for limit in KNOWN.get_required_limits(profile)] == [150_000]
    assert [limit.text for limit in KNOWN.get_declared_limits(profile)] == [">= 250 Mbps"]


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
    """The rule of three, exact in decimals."""
    assert KNOWN.get_limit(limit_id).probes_to_demonstrate == probes


def test_a_vendors_rule_over_time_is_kept() -> None:
    """HP: 0.2 % averaged over a day, and not above 0.5 % for more than five minutes in any two hours."""
    window = KNOWN.get_limit("hp-continuous-access-loss-high").time_window

    assert window is not None
    assert (window.window_s, window.peak_limit) == (86_400, Decimal("0.5"))
    assert (window.peak_duration_s, window.peak_horizon_s) == (300, 7_200)


def test_conflicts_lead_from_the_limit_to_the_other_sources() -> None:
    """100 ms was announced for vSphere 6.0, 150 ms was shipped: both point to the conflict."""
    for limit_id in (
        "vmware-vsphere-6.0-long-distance-vmotion-rtt",
        "vmware-vsphere-6.0-long-distance-vmotion-rtt-announced",
    ):
        assert [conflict.use for conflict in KNOWN.get_conflicts(limit_id)] == ["150 ms"]


def test_the_catalogue_is_read_once() -> None:
    """Everyone gets the same value, with the digest of the file."""
    again: Catalogue = load_catalogue()

    assert again is KNOWN
    assert len(KNOWN.digest) == 64
