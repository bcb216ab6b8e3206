"""Evaluation and output of ``leadline check``."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NoReturn

import msgspec
import pytest

from leadline import propagation
from leadline.errors import ConfigError
from leadline.limits.catalogue import load_catalogue
from leadline.model import Failure, ProbeSettings, Site
from leadline_agent.probe.results import ProbeResult, ProbeTarget
from leadline_cli.__main__ import build_parser, main
from leadline_cli.check.command import _parse_request
from leadline_cli.check.document import CheckDocument, CheckVerdict, ProfileCheckResult
from leadline_cli.check.evaluation import CheckRequest, build_document, compute_exit_status
from leadline_cli.check.measurement import CheckMeasurement
from leadline_cli.check.text import format_json, format_report
from leadline_verdict.limit_rules import iter_weak_limits
from leadline_verdict.requirements import NO_OVERRIDES, build_requirements

TARGET = ProbeTarget(name="host", address="192.0.2.1", settings=ProbeSettings())
LOOPBACK_NS = [20_000] * 100
FRANKFURT = Site(name="from", latitude_deg=50.11, longitude_deg=8.68)
CHICAGO = Site(name="to", latitude_deg=41.88, longitude_deg=-87.63)
VIENNA = Site(name="from", latitude_deg=48.21, longitude_deg=16.37)
ZURICH = Site(name="to", latitude_deg=47.37, longitude_deg=8.54)


def build_check_document(
    slots: Sequence[float | ProbeResult], *profiles: str, sites: tuple[Site, Site] | None = None
) -> CheckDocument:
    """Return the document of a measurement; a slot is an RTT in ms or a result."""
    results = [
        slot if isinstance(slot, ProbeResult) else ProbeResult(TARGET, index, rtt_ns=round(slot * 1e6))
        for index, slot in enumerate(slots)
    ]
    measurement = CheckMeasurement(
        [("host", "192.0.2.1")], len(slots), results={"host": results}, loopback_ns={4: LOOPBACK_NS, 6: []}
    )
    request = CheckRequest(
        hosts=("host",), profiles=profiles, settings=TARGET.settings, slots=len(slots), family=None, sites=sites
    )
    catalogue_profiles = [load_catalogue().get_profile(profile) for profile in profiles]
    return build_document(request, catalogue_profiles, load_catalogue(), measurement, datetime(2026, 1, 1, tzinfo=UTC))


def evaluate(slots: Sequence[float | ProbeResult], profile: str, **kwargs: tuple[Site, Site]) -> ProfileCheckResult:
    return build_check_document(slots, profile, **kwargs).targets[0].profiles[0]


def build_failure(failure: Failure, detail: int | None = None) -> ProbeResult:
    return ProbeResult(TARGET, 0, failure=failure, detail=detail)


def test_rtt_below_the_limit_is_within_so_far() -> None:
    """4.9 ms with a limit of 5 ms; the result has the source of the limit."""
    result = evaluate([4.9] * 60, "vsan-stretched")

    assert (result.verdict, result.limit_us, result.comparison, result.observed_us) == (
        CheckVerdict.WITHIN_SO_FAR,
        5_000,
        "<",
        4_900,
    )
    assert result.source is not None
    assert result.source.url is not None


def test_beyond_even_minus_the_error_of_this_host() -> None:
    """5.1 ms with an error of at most 0.02 ms is beyond 5 ms."""
    assert evaluate([5.1] * 60, "vsan-stretched").verdict is CheckVerdict.BEYOND


def test_marginal_is_beyond_only_as_measured() -> None:
    """5.01 ms may be 4.99 ms, because this host may have added 0.02 ms."""
    assert evaluate([5.01] * 60, "vsan-stretched").verdict is CheckVerdict.MARGINAL


def test_equality_violates_a_strict_limit() -> None:
    """vSAN requires < 5 ms, Metro vMotion <= 10 ms. The error bound makes equality marginal, not beyond."""
    assert evaluate([5.0] * 60, "vsan-stretched").verdict is CheckVerdict.MARGINAL
    assert evaluate([10.0] * 60, "vsphere-5-metro-vmotion").verdict is CheckVerdict.WITHIN_SO_FAR


def test_p95_allows_three_of_sixty_above_the_limit() -> None:
    """The statistic is the p95 of the window: four above the limit are too many."""
    assert evaluate([4.0] * 57 + [9.0] * 3, "vsan-stretched").verdict is CheckVerdict.WITHIN_SO_FAR
    assert evaluate([4.0] * 56 + [9.0] * 4, "vsan-stretched").verdict is CheckVerdict.BEYOND


def test_few_probes_give_a_note() -> None:
    """The p95 of 19 probes is the maximum; that of 20 is not."""
    assert "only 19 probes" in (evaluate([4.0] * 19, "vsan-stretched").note or "")
    assert evaluate([4.0] * 20, "vsan-stretched").note is None


def test_average_limit_is_compared_with_the_mean() -> None:
    """Storage Replica requires an average of 5 ms: four samples at 9 ms do not violate it."""
    assert evaluate([4.0] * 56 + [9.0] * 4, "microsoft-storage-replica-sync").verdict is CheckVerdict.WITHIN_SO_FAR


def test_one_bad_minute_of_several_is_reported() -> None:
    """Each window is evaluated separately."""
    result = evaluate([4.0] * 120 + [9.0] * 60, "vsan-stretched")

    assert result.verdict is CheckVerdict.BEYOND
    assert "in 1 of 3 windows" in result.reason


def test_loss_of_a_fifth_is_an_outage() -> None:
    """12 of 60 probes lost: unavailable."""
    lost = [build_failure(Failure.TIMEOUT)] * 12
    result = evaluate([*[4.0] * 48, *lost], "vsphere-long-distance-vmotion")

    assert result.verdict is CheckVerdict.UNAVAILABLE


def test_host_without_replies_is_not_measured() -> None:
    """A filter gives the same result as a dead path."""
    result = evaluate([build_failure(Failure.TIMEOUT)] * 60, "vsan-stretched")

    assert result.verdict is CheckVerdict.NOT_MEASURED
    assert "no reply (60 of 60 probes: no reply in time)" in result.reason


def test_send_error_of_this_host_is_not_measured() -> None:
    """EPERM comes from a local firewall: not measured, with this reason."""
    result = evaluate([build_failure(Failure.SEND_ERROR, errno.EPERM)] * 60, "vsan-stretched")

    assert result.verdict is CheckVerdict.NOT_MEASURED
    assert "EPERM (a firewall rule on this host?)" in result.reason


def test_icmp_error_is_in_the_reason() -> None:
    """The reason has type 3 code 1."""
    assert "type 3 code 1" in evaluate([build_failure(Failure.UNREACHABLE, 0x301)] * 60, "vsan-stretched").reason


def test_limit_impossible_in_vacuum() -> None:
    """10 ms from Frankfurt to Chicago and back is physically impossible."""
    result = evaluate([90.0] * 60, "vcf9-stretched-cluster", sites=(FRANKFURT, CHICAGO))

    assert result.verdict is CheckVerdict.IMPOSSIBLE
    assert result.physics is not None
    assert result.physics.reach == "impossible"


def test_limit_impossible_in_fibre_only() -> None:
    """5 ms from Vienna to Zurich and back is possible in vacuum, but not in fibre (method §5)."""
    result = evaluate([7.0] * 60, "vsan-stretched", sites=(VIENNA, ZURICH))

    assert result.verdict is CheckVerdict.IMPOSSIBLE_ON_GLASS_FIBRE


def test_rtt_faster_than_light_is_invalid() -> None:
    """The coordinates are wrong, so there is no conclusion."""
    result = evaluate([1.0] * 60, "vcf9-stretched-cluster", sites=(FRANKFURT, CHICAGO))

    assert result.verdict is CheckVerdict.INVALID
    assert propagation.compute_propagation_delay(FRANKFURT, CHICAGO).vacuum_ns > 1_000_000


def test_worst_limit_decides_a_profile() -> None:
    """MetroCluster IP requires 7 ms RTT and 3 ms jitter; its loss limit needs more probes than a minute has."""
    result = evaluate([*[2.0] * 30, *[6.5] * 30], "netapp-metrocluster-ip")

    assert (result.verdict, result.limit_id) == (CheckVerdict.BEYOND, "netapp-metrocluster-ip-jitter-rtt")
    assert [item.limit_id for item in result.not_judged] == ["netapp-metrocluster-ip-loss"]


@pytest.mark.parametrize(
    ("slots", "status"),
    [([4.0] * 60, 0), ([6.0] * 60, 1), ([build_failure(Failure.TIMEOUT)] * 60, 2), ([5.01] * 60, 1)],
)
def test_exit_status(slots: list[float | ProbeResult], status: int) -> None:
    """0 within so far, 1 a limit is exceeded, 2 no conclusion."""
    assert compute_exit_status(build_check_document(slots, "vsan-stretched")) == status


def test_violation_outranks_a_missing_conclusion() -> None:
    """One profile beyond and one not evaluated: 1."""
    assert (
        compute_exit_status(build_check_document([6.0] * 60, "vsan-stretched", "vmware-vsan-9.0-stretched-bandwidth"))
        == 1
    )


def test_report_has_limit_source_and_days_needed() -> None:
    """The report has everything a reader needs to verify it."""
    report = format_report(build_check_document([5.1] * 60, "vsan-stretched"))

    for part in (
        "60 sent, 60 received, 0 lost",
        "p95 5.100",
        "BEYOND: vSAN stretched cluster",
        "vmware-vsan-9.0-stretched-rtt",
        "https://",
        "read in:",
        "28 days",
        "100 days",
    ):
        assert part in report


def test_limits_have_status_confidence_and_strength() -> None:
    """The words are those of a verdict, and the report marks weak limits."""
    document = build_check_document([5.1] * 60, "vsan-stretched", "netapp-metrocluster-ip")
    strong, weak = document.targets[0].profiles
    report = " ".join(format_report(document).split())

    (limit,) = strong.limits
    assert (limit.status, limit.confidence, limit.strength, limit.reservations) == (
        "current",
        "vendor",
        "requirement",
        None,
    )
    requirements = build_requirements(
        load_catalogue(), load_catalogue().get_profile("netapp-metrocluster-ip"), NO_OVERRIDES
    )
    assert [f"{item.limit_id}: {item.reservations}" for item in weak.limits if item.reservations] == list(
        iter_weak_limits(requirements)
    )
    assert "; current, vendor, requirement)" in report
    assert report.count("weak limit ") == 1
    assert "weak limit netapp-metrocluster-ip-isl-rtt: superseded" in report


def test_rfc3550_jitter_is_informational() -> None:
    """A last step of 3.2 ms gives an RFC 3550 jitter of 0.2 ms, without effect on PDV and verdict."""
    result = build_check_document([*[4.0] * 59, build_failure(Failure.TIMEOUT), 7.2], "vsan-stretched")

    jitter = result.targets[0].jitter_us
    assert (jitter.pdv, jitter.mean_step, jitter.rfc3550) == (0, 0, 200)
    assert "mean step 0.000 ms, RFC 3550 0.200 ms (informational)" in format_report(result)
    assert result.targets[0].profiles[0].verdict is CheckVerdict.WITHIN_SO_FAR


def test_document_round_trip() -> None:
    """``--json`` prints the complete document."""
    document = build_check_document(
        [*[4.9] * 59, build_failure(Failure.LATE, 11_000_000)], "vsan-stretched", sites=(FRANKFURT, ZURICH)
    )

    assert msgspec.json.decode(format_json(document), type=CheckDocument) == document


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["192.0.2.1", "--duration", "1"], "--duration: '1' is not a duration"),
        (["192.0.2.1", "--duration", "2d"], "--duration: 2d is outside"),
        (["192.0.2.1", "--interval", "1ms"], "--interval: 1ms is outside"),
        (["192.0.2.1", "--interval", "7s"], "--interval: interval of 7000 ms"),
        (["192.0.2.1", "--dscp", "64"], "--dscp: 64 is outside"),
        (["192.0.2.1", "--size", "8"], "--size: payload of 8 B"),
        (["192.0.2.1", "--from", "50,8"], "--from and --to: the propagation delay needs both ends"),
        (["192.0.2.1", "--from", "50", "--to", "1,2"], "--from: '50' is not LAT,LON"),
        (["192.0.2.1", "--from", "95,0", "--to", "1,2"], "--from: '95,0' is not LAT,LON"),
        (["192.0.2.1"] + [f"192.0.2.{n}" for n in range(100)], "HOST: 101 hosts"),
    ],
)
def test_invalid_arguments_are_reported(argv: list[str], problem: str) -> None:
    """The error has the option, the value and the valid range."""
    with pytest.raises(ConfigError) as caught:
        _parse_request(build_parser().parse_args(["check", *argv]))

    assert problem in str(caught.value)


def test_decimals_define_the_uncertainty_of_coordinates() -> None:
    """Two decimals mean half a hundredth of a degree; the minimum is one kilometre."""
    args = build_parser().parse_args(["check", "192.0.2.1", "--from", "50.1,8.68", "--to", "41.8800,-87.6300"])
    sites = _parse_request(args).sites

    assert sites is not None
    assert [round(site.uncertainty_km, 2) for site in sites] == [5.55, 1.0]


def refuse_lookup(*arguments: object, **options: object) -> NoReturn:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["check", "no-such-host.invalid"], "'no-such-host.invalid' does not resolve"),
        (
            ["check", "127.0.0.1", "--profile", "vsan-streched"],
            "'vsan-streched' is not known; did you mean vsan-stretched",
        ),
    ],
)
def test_error_is_one_line_with_exit_status_2(
    argv: list[str], problem: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no traceback and nothing on standard output."""
    monkeypatch.setattr("socket.getaddrinfo", refuse_lookup)
    status = main(argv)

    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert problem in err
