"""Host and key checks of the doctor."""

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


def get_levels(diagnostics: Iterator[Diagnostic]) -> list[tuple[str, str]]:
    results = list(diagnostics)
    assert all((diagnostic.remedy is None) == (diagnostic.level is DiagnosticLevel.OK) for diagnostic in results)
    return [(str(diagnostic.level), diagnostic.what) for diagnostic in results]


@pytest.mark.parametrize(
    ("echo", "detail"),
    [
        (
            LoopbackEcho(has_reply=True, has_tx_timestamp=True, has_rx_timestamp=True),
            "transmit and receive timestamps work",
        ),
        (LoopbackEcho(has_reply=True, has_rx_timestamp=True), "the kernel gives no transmit timestamps"),
        (LoopbackEcho(has_reply=True), "the kernel gives no transmit and receive timestamps"),
        (LoopbackEcho(), "no reply from the loopback address"),
        (LoopbackEcho(send_errno=1), "cannot send to the loopback address: Operation not permitted"),
    ],
)
def test_timestamps(echo: LoopbackEcho, detail: str) -> None:
    """Missing timestamps are a warning: the agent works, with a larger error."""
    diagnostic = doctor_host.evaluate_echo("timestamps", echo)

    assert detail in diagnostic.detail
    assert (diagnostic.level is DiagnosticLevel.OK) == (echo.has_tx_timestamp and echo.has_rx_timestamp)


def check_sysctls(directory: Path, **values: str) -> list[tuple[str, str]]:
    for name, value in values.items():
        (directory / name).write_text(value + "\n")
    return get_levels(doctor_host.check_sysctls(directory))


def test_harmful_kernel_settings_are_warnings(tmp_path: Path) -> None:
    """A host with disabled or rate-limited replies looks like a bad path to other agents."""
    assert check_sysctls(tmp_path) == []
    assert check_sysctls(
        tmp_path, icmp_echo_ignore_all="0", icmp_ratemask="6168", ping_group_range="0\t2147483647"
    ) == [("ok", "ping_group_range")]
    assert check_sysctls(tmp_path, icmp_echo_ignore_all="1", icmp_ratemask="6169") == [
        ("ok", "ping_group_range"),
        ("warn", "icmp_echo_ignore_all"),
        ("warn", "icmp_ratemask"),
    ]


def test_remedy_for_the_rate_mask_clears_one_bit(tmp_path: Path) -> None:
    """The other bits stay unchanged."""
    (tmp_path / "icmp_ratemask").write_text("6169")
    (diagnostic,) = doctor_host.check_sysctls(tmp_path)

    assert diagnostic.remedy == "sysctl -w net.ipv4.icmp_ratemask=6168"


def test_local_policy_levels(tmp_path: Path) -> None:
    """A missing policy is a warning, an invalid one a failure, a valid one OK."""
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


def test_state_directory_levels(tmp_path: Path) -> None:
    """The directory must exist and be writable."""
    assert get_levels(doctor_host.check_state_directory(tmp_path)) == [("ok", "state directory")]
    assert get_levels(doctor_host.check_state_directory(tmp_path / "none")) == [("fail", "state directory")]


@pytest.mark.parametrize(
    ("status", "levels"),
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
def test_running_agent_and_spool_levels(status: AgentStatus | None, levels: list[tuple[str, str]]) -> None:
    """The status file is valid for two and a half minutes."""
    assert get_levels(doctor_host.check_running_agent(status, NOW_S)) == levels


@pytest.mark.parametrize(
    ("synchronised", "max_error_us", "level"),
    [(True, 16_000, DiagnosticLevel.OK), (True, 1_000_001, DiagnosticLevel.WARN), (False, 0, DiagnosticLevel.WARN)],
)
def test_clock_levels(synchronised: bool, max_error_us: int, level: DiagnosticLevel) -> None:
    """An unsynchronised clock is no failure, because RTTs do not depend on it."""
    state = wire.ClockState(synchronised=synchronised, offset_us=0, max_error_us=max_error_us, estimated_error_us=0)

    assert doctor_host.check_host_clock(state).level is level
    assert doctor_host.check_host_clock(None).level is DiagnosticLevel.WARN


def build_credential(url: str) -> Credential:
    return Credential(collector=url, agent="fra-a1", site="fra", key="k")


@pytest.mark.parametrize(
    ("days_left", "error", "levels"),
    [
        (None, None, []),
        (46, None, [("ok", "key")]),
        (46, "503 busy", [("warn", "key")]),
        (23, None, [("ok", "key")]),
        (22, None, [("warn", "key")]),
        (0, None, [("fail", "key")]),
    ],
)
def test_key_expiry_levels(days_left: int | None, error: str | None, levels: list[tuple[str, str]]) -> None:
    """A key with a lifetime of 90 days: a warning if rotation fails or is overdue, a failure after expiry."""
    expires_at_s = None if days_left is None else NOW_S + days_left * 86_400
    issued_at_s = None if expires_at_s is None else expires_at_s - 90 * 86_400
    agent_credential = msgspec.structs.replace(
        build_credential("http://h"), expires_at_s=expires_at_s, issued_at_s=issued_at_s
    )

    status = msgspec.structs.replace(STATUS, key_error=error)
    assert get_levels(doctor_keys.check_key_expiry(agent_credential, status, NOW_S)) == levels


def test_invalid_signing_key_is_a_failure() -> None:
    """The agent does not start with an invalid key. No signing key gives no result."""
    agent_credential = msgspec.structs.replace(build_credential("http://h"), signing_key="00")

    assert get_levels(iter(doctor_keys.check_signing(agent_credential)[0])) == [("fail", "signing")]
    assert doctor_keys.check_signing(build_credential("http://h")) == ([], None)
