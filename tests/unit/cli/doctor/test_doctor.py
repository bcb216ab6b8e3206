"""The doctor: each thing that can be wrong with an agent is found, and its line says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from leadline.wire import batch as wire
from leadline_agent.identity.state_dir import Credential
from leadline_agent.status import AgentStatus, SpoolStatus
from leadline_cli.doctor import host as doctor_host
from leadline_cli.doctor import keys as doctor_keys
from leadline_cli.doctor.host import LoopbackEcho
from leadline_cli.doctor.report import Diagnostic, DiagnosticLevel

NOW_S = 1_795_327_200
STATUS = AgentStatus(
    written_at_s=NOW_S,
    started_at_s=0,
    version="0.2.0",
    agent="fra-a1",
    site="fra",
    collector="",
    process_id=7,
    targets=5,
)


def levels(findings: Iterator[Diagnostic]) -> list[tuple[str, str]]:
    found = list(findings)
    assert all((finding.remedy is None) == (finding.level is DiagnosticLevel.OK) for finding in found)
    return [(str(finding.level), finding.what) for finding in found]


@pytest.mark.parametrize(
    ("echo", "said"),
    [
        (
            LoopbackEcho(has_reply=True, has_tx_timestamp=True, has_rx_timestamp=True),
            "departures and arrivals are stamped",
        ),
        (LoopbackEcho(has_reply=True, has_rx_timestamp=True), "the kernel does not stamp departures"),
        (LoopbackEcho(has_reply=True), "the kernel does not stamp departures and arrivals"),
        (LoopbackEcho(), "no reply from the own loopback"),
        (LoopbackEcho(send_errno=1), "is refused: Operation not permitted"),
    ],
)
def test_stamps(echo: LoopbackEcho, said: str) -> None:
    """Without them an agent measures, with a wider error: a warning."""
    finding = doctor_host.evaluate_echo("stamps", echo)

    assert said in finding.detail
    assert (finding.level is DiagnosticLevel.OK) == (echo.has_tx_timestamp and echo.has_rx_timestamp)


def sysctls(directory: Path, **values: str) -> list[tuple[str, str]]:
    for name, value in values.items():
        (directory / name).write_text(value + "\n")
    return levels(doctor_host.check_sysctls(directory))


def test_kernel_settings_that_do_harm(tmp_path: Path) -> None:
    """A host that answers nothing, or answers rate-limited, looks to others like a bad path."""
    assert sysctls(tmp_path) == []
    assert sysctls(tmp_path, icmp_echo_ignore_all="0", icmp_ratemask="6168", ping_group_range="0\t2147483647") == [
        ("ok", "ping_group_range")
    ]
    assert sysctls(tmp_path, icmp_echo_ignore_all="1", icmp_ratemask="6169") == [
        ("ok", "ping_group_range"),
        ("warn", "icmp_echo_ignore_all"),
        ("warn", "icmp_ratemask"),
    ]


def test_the_remedy_for_the_rate_mask_clears_one_bit(tmp_path: Path) -> None:
    """And leaves the others as they are."""
    (tmp_path / "icmp_ratemask").write_text("6169")
    (finding,) = doctor_host.check_sysctls(tmp_path)

    assert finding.remedy == "sysctl -w net.ipv4.icmp_ratemask=6168"


def test_the_local_policy(tmp_path: Path) -> None:
    """None is a warning, a bad one a failure, a good one is told."""
    file = tmp_path / "policy.toml"
    missing, defaults = doctor_host.check_local_policy(file, required=False)
    assert (missing.level, defaults is not None) == (DiagnosticLevel.WARN, True)

    file.write_text('allowed_networks = ["10.0.0.0/8"]')
    file.chmod(0o644)
    good, _ = doctor_host.check_local_policy(file, required=True)
    assert (good.level, "1 networks" in good.detail) == (DiagnosticLevel.OK, True)

    file.chmod(0o666)
    bad, none = doctor_host.check_local_policy(file, required=True)
    assert (bad.level, none) == (DiagnosticLevel.FAIL, None)


def test_the_state_directory(tmp_path: Path) -> None:
    """It is there and can be written, or the agent cannot start."""
    assert levels(doctor_host.check_state_directory(tmp_path)) == [("ok", "state directory")]
    assert levels(doctor_host.check_state_directory(tmp_path / "none")) == [("fail", "state directory")]


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (None, [("warn", "agent")]),
        (msgspec.structs.replace(STATUS, written_at_s=0), [("warn", "agent")]),
        (STATUS, [("ok", "agent"), ("ok", "spool")]),
        (
            msgspec.structs.replace(STATUS, spool=SpoolStatus(unacked=900, days_left=1.9)),
            [("ok", "agent"), ("warn", "spool")],
        ),
        (
            msgspec.structs.replace(STATUS, spool=SpoolStatus(degraded="no space left")),
            [("ok", "agent"), ("fail", "spool")],
        ),
    ],
)
def test_the_running_agent_and_its_spool(status: AgentStatus | None, found: list[tuple[str, str]]) -> None:
    """What it wrote last is believed for two and a half minutes."""
    assert levels(doctor_host.check_running_agent(status, NOW_S)) == found


@pytest.mark.parametrize(
    ("synchronised", "max_error_us", "level"),
    [(True, 16_000, DiagnosticLevel.OK), (True, 1_000_001, DiagnosticLevel.WARN), (False, 0, DiagnosticLevel.WARN)],
)
def test_the_clock(synchronised: bool, max_error_us: int, level: DiagnosticLevel) -> None:
    """Not a failure: RTTs do not come from it."""
    state = wire.ClockState(synchronised=synchronised, offset_us=0, max_error_us=max_error_us, estimated_error_us=0)

    assert doctor_host.check_host_clock(state).level is level
    assert doctor_host.check_host_clock(None).level is DiagnosticLevel.WARN


def credential(url: str) -> Credential:
    return Credential(collector=url, agent="fra-a1", site="fra", key="k")


@pytest.mark.parametrize(
    ("days_left", "error", "found"),
    [
        (None, None, []),
        (46, None, [("ok", "key")]),
        (46, "503 busy", [("warn", "key")]),
        (23, None, [("ok", "key")]),
        (22, None, [("warn", "key")]),
        (0, None, [("fail", "key")]),
    ],
)
def test_the_end_of_the_key(days_left: int | None, error: str | None, found: list[tuple[str, str]]) -> None:
    """Of one that is good for 90 days: a warning where rotating fails or is overdue, a failure at its end."""
    end_s = None if days_left is None else NOW_S + days_left * 86_400
    begin_s = None if end_s is None else end_s - 90 * 86_400
    mine = msgspec.structs.replace(credential("http://h"), expires_at_s=end_s, issued_at_s=begin_s)

    assert levels(doctor_keys.check_key_expiry(mine, msgspec.structs.replace(STATUS, key_error=error), NOW_S)) == found


def test_a_signing_key_that_is_none() -> None:
    """The agent would not start: a failure; without one there is nothing to say."""
    mine = msgspec.structs.replace(credential("http://h"), signing_key="00")

    assert levels(iter(doctor_keys.check_signing(mine)[0])) == [("fail", "signing")]
    assert doctor_keys.check_signing(credential("http://h")) == ([], None)
