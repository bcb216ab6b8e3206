"""What ``leadline check`` concludes from what it measured, and how it is told."""

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

AIM = ProbeTarget(name="host", address="192.0.2.1", settings=ProbeSettings())
LOOPBACK_NS = [20_000] * 100
FRANKFURT = Site(name="from", latitude_deg=50.11, longitude_deg=8.68)
CHICAGO = Site(name="to", latitude_deg=41.88, longitude_deg=-87.63)
VIENNA = Site(name="from", latitude_deg=48.21, longitude_deg=16.37)
ZURICH = Site(name="to", latitude_deg=47.37, longitude_deg=8.54)


def checked(
    slots: Sequence[float | ProbeResult], *profiles: str, sites: tuple[Site, Site] | None = None
) -> CheckDocument:
    """The document of a run; a slot is an RTT in ms or an outcome."""
    outcomes = [
        slot if isinstance(slot, ProbeResult) else ProbeResult(AIM, index, rtt_ns=round(slot * 1e6))
        for index, slot in enumerate(slots)
    ]
    run = CheckMeasurement(
        [("host", "192.0.2.1")], len(slots), results={"host": outcomes}, loopback_ns={4: LOOPBACK_NS, 6: []}
    )
    question = CheckRequest(
        hosts=("host",), profiles=profiles, settings=AIM.settings, slots=len(slots), family=None, sites=sites
    )
    found = [load_catalogue().get_profile(profile) for profile in profiles]
    return build_document(question, found, load_catalogue(), run, datetime(2026, 1, 1, tzinfo=UTC))


def answer(slots: Sequence[float | ProbeResult], profile: str, **kwargs: tuple[Site, Site]) -> ProfileCheckResult:
    return checked(slots, profile, **kwargs).targets[0].profiles[0]


def failed(failure: Failure, detail: int | None = None) -> ProbeResult:
    return ProbeResult(AIM, 0, failure=failure, detail=detail)


def test_within_the_limit_is_within_so_far() -> None:
    """4.9 ms for a limit of 5 ms, with the source of the limit."""
    found = answer([4.9] * 60, "vsan-stretched")

    assert (found.verdict, found.limit_us, found.comparison, found.observed_us) == (
        CheckVerdict.WITHIN_SO_FAR,
        5_000,
        "<",
        4_900,
    )
    assert found.source is not None
    assert found.source.url is not None


def test_beyond_holds_with_the_own_error_taken_off() -> None:
    """5.1 ms with an error of at most 0.02 ms is beyond 5 ms."""
    assert answer([5.1] * 60, "vsan-stretched").verdict is CheckVerdict.BEYOND


def test_marginal_is_beyond_only_as_measured() -> None:
    """5.01 ms might be 4.99 ms: this host may have added 0.02 ms."""
    assert answer([5.01] * 60, "vsan-stretched").verdict is CheckVerdict.MARGINAL


def test_equality_is_beyond_less_than() -> None:
    """vSAN says < 5 ms, Metro vMotion <= 10 ms; the error bound makes equality marginal, not beyond."""
    assert answer([5.0] * 60, "vsan-stretched").verdict is CheckVerdict.MARGINAL
    assert answer([10.0] * 60, "vsphere-5-metro-vmotion").verdict is CheckVerdict.WITHIN_SO_FAR


def test_three_of_sixty_are_forgiven_and_four_are_not() -> None:
    """The headline is the p95 of the window."""
    assert answer([4.0] * 57 + [9.0] * 3, "vsan-stretched").verdict is CheckVerdict.WITHIN_SO_FAR
    assert answer([4.0] * 56 + [9.0] * 4, "vsan-stretched").verdict is CheckVerdict.BEYOND


def test_few_probes_are_said_to_be_few() -> None:
    """Of 19 the p95 is the maximum; of 20 it is not."""
    assert "19 probes are few" in (answer([4.0] * 19, "vsan-stretched").note or "")
    assert answer([4.0] * 20, "vsan-stretched").note is None


def test_an_average_limit_is_judged_on_the_mean() -> None:
    """Storage Replica asks for an average of 5 ms: four samples at 9 ms do not matter to it."""
    assert answer([4.0] * 56 + [9.0] * 4, "microsoft-storage-replica-sync").verdict is CheckVerdict.WITHIN_SO_FAR


def test_one_bad_minute_of_several_is_told() -> None:
    """Windows are judged one by one."""
    found = answer([4.0] * 120 + [9.0] * 60, "vsan-stretched")

    assert found.verdict is CheckVerdict.BEYOND
    assert "in 1 of 3 windows" in found.reason


def test_a_fifth_lost_is_an_outage() -> None:
    """12 of 60 lost: unavailable."""
    lost = [failed(Failure.TIMEOUT)] * 12
    found = answer([*[4.0] * 48, *lost], "vsphere-long-distance-vmotion")

    assert found.verdict is CheckVerdict.UNAVAILABLE


def test_a_host_that_never_replied_is_not_judged() -> None:
    """A filter looks the same as a dead path."""
    found = answer([failed(Failure.TIMEOUT)] * 60, "vsan-stretched")

    assert found.verdict is CheckVerdict.NOT_MEASURED
    assert "never replied (60 of 60 probes: no reply in time)" in found.reason


def test_what_this_host_refused_is_not_the_paths_fault() -> None:
    """EPERM is a local firewall: not measured, and the reason says so."""
    found = answer([failed(Failure.SEND_ERROR, errno.EPERM)] * 60, "vsan-stretched")

    assert found.verdict is CheckVerdict.NOT_MEASURED
    assert "EPERM (a firewall rule on this host?)" in found.reason


def test_a_host_behind_an_icmp_error_says_which() -> None:
    """Type 3 code 1."""
    assert "type 3 code 1" in answer([failed(Failure.UNREACHABLE, 0x301)] * 60, "vsan-stretched").reason


def test_impossible_by_physics() -> None:
    """Frankfurt to Chicago cannot be 10 ms, whatever is bought."""
    found = answer([90.0] * 60, "vcf9-stretched-cluster", sites=(FRANKFURT, CHICAGO))

    assert found.verdict is CheckVerdict.IMPOSSIBLE
    assert found.physics is not None
    assert found.physics.reach == "impossible"


def test_impossible_on_glass_only() -> None:
    """Vienna to Zurich in 5 ms: light would do it, glass does not (method §5)."""
    found = answer([7.0] * 60, "vsan-stretched", sites=(VIENNA, ZURICH))

    assert found.verdict is CheckVerdict.IMPOSSIBLE_ON_GLASS_FIBRE


def test_faster_than_light_means_wrong_coordinates() -> None:
    """No verdict; the data must be mended first."""
    found = answer([1.0] * 60, "vcf9-stretched-cluster", sites=(FRANKFURT, CHICAGO))

    assert found.verdict is CheckVerdict.INVALID
    assert propagation.compute_propagation_delay(FRANKFURT, CHICAGO).vacuum_ns > 1_000_000


def test_a_profile_of_several_limits_takes_the_worst() -> None:
    """MetroCluster IP asks for 7 ms and for 3 ms of jitter; its loss limit needs more probes than a minute has."""
    found = answer([*[2.0] * 30, *[6.5] * 30], "netapp-metrocluster-ip")

    assert (found.verdict, found.limit_id) == (CheckVerdict.BEYOND, "netapp-metrocluster-ip-jitter-rtt")
    assert [item.limit_id for item in found.not_judged] == ["netapp-metrocluster-ip-loss"]


@pytest.mark.parametrize(
    ("slots", "status"),
    [([4.0] * 60, 0), ([6.0] * 60, 1), ([failed(Failure.TIMEOUT)] * 60, 2), ([5.01] * 60, 1)],
)
def test_exit_status(slots: list[float | ProbeResult], status: int) -> None:
    """0 within so far, 1 a limit is exceeded, 2 the question stayed open."""
    assert compute_exit_status(checked(slots, "vsan-stretched")) == status


def test_a_breach_outranks_an_open_question() -> None:
    """One profile beyond and one not judged: 1."""
    assert compute_exit_status(checked([6.0] * 60, "vsan-stretched", "vmware-vsan-9.0-stretched-bandwidth")) == 1


def test_the_text_names_limit_source_and_how_long_it_would_take() -> None:
    """Everything a reader needs to attack it."""
    said = format_report(checked([5.1] * 60, "vsan-stretched"))

    for part in (
        "60 sent, 60 received, 0 lost",
        "p95 5.100",
        "BEYOND: vSAN stretched cluster",
        "vmware-vsan-9.0-stretched-rtt",
        "https://",
        "read in:",
        "14 days",
        "28 days",
    ):
        assert part in said


def test_the_jitter_of_voice_people_is_told_and_judges_nothing() -> None:
    """A step of 3.2 ms as the last of a minute: RFC 3550 says 0.2 ms, whatever PDV and the verdict say."""
    found = checked([*[4.0] * 59, failed(Failure.TIMEOUT), 7.2], "vsan-stretched")

    jitter = found.targets[0].jitter_us
    assert (jitter.pdv, jitter.mean_step, jitter.rfc3550) == (0, 0, 200)
    assert "mean step 0.000 ms, RFC 3550 0.200 ms (informational)" in format_report(found)
    assert found.targets[0].profiles[0].verdict is CheckVerdict.WITHIN_SO_FAR


def test_the_document_reads_back() -> None:
    """``--json`` is the document, whole."""
    made = checked([*[4.9] * 59, failed(Failure.LATE, 11_000_000)], "vsan-stretched", sites=(FRANKFURT, ZURICH))

    assert msgspec.json.decode(format_json(made), type=CheckDocument) == made


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["192.0.2.1", "--duration", "1"], "--duration: '1' is not a duration"),
        (["192.0.2.1", "--duration", "2d"], "--duration: 2d is outside"),
        (["192.0.2.1", "--interval", "1ms"], "--interval: 1ms is outside"),
        (["192.0.2.1", "--interval", "7s"], "--interval: interval of 7000 ms"),
        (["192.0.2.1", "--dscp", "64"], "--dscp: 64 is outside"),
        (["192.0.2.1", "--size", "8"], "--size: payload of 8 B"),
        (["192.0.2.1", "--from", "50,8"], "--from and --to: physics needs both ends"),
        (["192.0.2.1", "--from", "50", "--to", "1,2"], "--from: '50' is not LAT,LON"),
        (["192.0.2.1", "--from", "95,0", "--to", "1,2"], "--from: '95,0' is not LAT,LON"),
        (["192.0.2.1"] + [f"192.0.2.{n}" for n in range(100)], "HOST: 101 hosts"),
    ],
)
def test_bad_arguments_are_named(argv: list[str], said: str) -> None:
    """The option, the value and what would be right."""
    with pytest.raises(ConfigError) as caught:
        _parse_request(build_parser().parse_args(["check", *argv]))

    assert said in str(caught.value)


def test_coordinates_are_as_exact_as_they_are_written() -> None:
    """Two decimals are good to half a hundredth of a degree; never better than a kilometre."""
    args = build_parser().parse_args(["check", "192.0.2.1", "--from", "50.1,8.68", "--to", "41.8800,-87.6300"])
    sites = _parse_request(args).sites

    assert sites is not None
    assert [round(site.uncertainty_km, 2) for site in sites] == [5.55, 1.0]


def refuse(*arguments: object, **options: object) -> NoReturn:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["check", "no-such-host.invalid"], "'no-such-host.invalid' has no address"),
        (
            ["check", "127.0.0.1", "--profile", "vsan-streched"],
            "'vsan-streched' is not known; did you mean vsan-stretched",
        ),
    ],
)
def test_an_error_is_one_line_and_exit_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, nothing on standard output."""
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    status = main(argv)

    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
