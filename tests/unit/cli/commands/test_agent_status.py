"""Status of a running agent as text, JSON and Prometheus text."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from leadline.errors import ConfigError
from leadline.wire import batch as wire
from leadline_agent.probe.counters import ProberCounters
from leadline_agent.status import STALE_AFTER_S, AgentStatus, SpoolStatus, is_stale, read_status, write_status
from leadline_cli.__main__ import main
from leadline_cli.commands.agent_status import format_json, format_lines, format_prometheus_lines

NOW_S = 1_795_327_200
BARE = AgentStatus(
    written_at_s=NOW_S, started_at_s=NOW_S - 60, version="0.2.0", agent="fra-a1", site="fra",
    collector="https://leadline.example.net", process_id=7,
)  # fmt: skip
FULL = msgspec.structs.replace(
    BARE,
    plan_version=3,
    targets=50,
    targets_refused=2,
    sealed_until_s=NOW_S - 8,
    last_ack_at_s=NOW_S - 7,
    last_error="503 busy",
    last_error_at_s=NOW_S - 9,
    failures=1,
    spool=SpoolStatus(bytes=2_500_000, bytes_max=512 << 20, unacked=4, acked=90, oldest_unacked_s=240, days_left=61.25),
    prober=ProberCounters(sent=3_000, received=2_999, lag_ns_max=4_200_000),
    clock=wire.ClockState(synchronised=True, offset_us=-3, max_error_us=16_000, estimated_error_us=400),
    clock_offset_us=-1_500,
    clock_offset_error_us=700,
)


def test_status_file_round_trip(tmp_path: Path) -> None:
    """A new status replaces the old one atomically, and a monitoring user can read it."""
    write_status(tmp_path, BARE)
    write_status(tmp_path, FULL)

    assert read_status(tmp_path) == FULL
    assert (tmp_path / "status.json").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize(("content", "complaint"), [(None, "is the agent running"), (b"{}", "cannot be read")])
def test_missing_or_invalid_status_is_an_error(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    """The error has the reason: no agent has run there, or the file is invalid."""
    if content is not None:
        (tmp_path / "status.json").write_bytes(content)

    with pytest.raises(ConfigError, match=complaint):
        read_status(tmp_path)


@pytest.mark.parametrize(
    ("age_s", "stale"), [(0, False), (STALE_AFTER_S, False), (STALE_AFTER_S + 1, True), (-STALE_AFTER_S - 1, True)]
)
def test_old_status_is_stale(age_s: int, stale: bool) -> None:
    """A status from the future is stale too, after a step back of the wall clock."""
    assert is_stale(FULL, NOW_S + age_s) is stale


def test_text_has_the_main_values() -> None:
    """Each value has its unit."""
    text = "\n".join(format_lines(FULL, NOW_S))

    for part in (
        "written 0 s ago", "version 3, 50 targets, 2 refused", "503 busy; 1 failures", "4 batches to send",
        "2.5 of 536.9 MB", "the oldest is 240 s old; space for 61.2 days", "3000 sent", "4.2 ms send delay",
        "synchronised, maximum error 16.0 ms", "-1.5 ± 0.7 ms relative to the collector", "2026-11-22 05:59:53Z",
    ):  # fmt: skip
        assert part in text
    assert "STALE" not in text


def test_text_has_the_expiry_of_the_key() -> None:
    """A failed rotation is reported. A key without expiry has no line."""
    expiring = msgspec.structs.replace(BARE, key_expires_at_s=NOW_S + 86_400)
    failing = msgspec.structs.replace(expiring, key_error="503 busy", key_failures=3, key_failed_at_s=NOW_S)

    assert "key " not in "\n".join(format_lines(BARE, NOW_S))
    assert "key        expires 2026-11-23 06:00:00Z" in "\n".join(format_lines(expiring, NOW_S))
    assert "NOT ROTATED after 3 attempts, the last 2026-11-22 06:00:00Z: 503 busy" in "\n".join(
        format_lines(failing, NOW_S)
    )
    assert f'leadline_agent_key_expires_time_seconds{{agent="fra-a1",site="fra"}} {NOW_S + 86_400}' in list(
        format_prometheus_lines(failing)
    )
    assert 'leadline_agent_key_rotation_failures{agent="fra-a1",site="fra"} 3' in list(format_prometheus_lines(failing))


def test_missing_values_are_reported() -> None:
    """A new agent has no plan and no acknowledgement; a stopped one is stale."""
    text = "\n".join(format_lines(BARE, NOW_S + 1_000))

    for part in ("STALE", "plan       none yet", "last acknowledgement never", "unknown to the kernel"):
        assert part in text


def test_urgent_problems_are_in_capitals() -> None:
    """Read errors of the disk, and an identity in use twice."""
    spool = msgspec.structs.replace(FULL.spool, unreadable=3)
    status = msgspec.structs.replace(FULL, spool=spool, cloned_at_s=NOW_S - 60)
    text, lines = "\n".join(format_lines(status, NOW_S)), "\n".join(format_prometheus_lines(status))

    assert "3 of them CANNOT BE READ" in text
    assert "IDENTITY IN USE TWICE since 2026-11-22 05:59:00Z" in text
    assert 'spool_batches_unreadable{agent="fra-a1",site="fra"} 3' in lines
    assert f'identity_conflict_time_seconds{{agent="fra-a1",site="fra"}} {NOW_S - 60}' in lines
    assert "CANNOT" not in "\n".join(format_lines(FULL, NOW_S))
    assert "TWICE" not in "\n".join(format_lines(FULL, NOW_S))


def test_json_has_stale_flag_and_age() -> None:
    """A script needs no threshold of its own."""
    document = msgspec.json.decode(format_json(FULL, NOW_S + 200))

    assert (document["stale"], document["age_s"], document["spool"]["unacked"]) == (True, 200, 4)


def test_prometheus_lines_are_valid() -> None:
    """Each metric has HELP, TYPE and a sample. Counters end in _total. Unknown values are omitted, not 0."""
    lines = list(format_prometheus_lines(FULL))
    sample = re.compile(r'leadline_agent_[a-z_]+\{agent="fra-a1",site="fra"\} -?[0-9.e-]+')

    samples = [line for line in lines if not line.startswith("#")]
    assert all(sample.fullmatch(line) for line in samples)
    assert len(lines) == 3 * len(samples)
    assert 'leadline_agent_clock_offset_seconds{agent="fra-a1",site="fra"} -0.0015' in samples
    counters = {line.split()[2] for line in lines if line.endswith(" counter")}
    assert all(name.endswith("_total") for name in counters)
    assert not any(
        "clock" in line or "plan" in line
        for line in format_prometheus_lines(BARE)
        if "{" in line and "steps" not in line
    )


def test_stale_status_has_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A monitoring script can use the exit status."""
    write_status(tmp_path, FULL)

    assert main(["agent", "status", "--json", "--state-dir", str(tmp_path)]) in {0, 1}
    assert '"agent": "fra-a1"' in capsys.readouterr().out
    write_status(tmp_path, msgspec.structs.replace(FULL, written_at_s=1_000))
    assert main(["agent", "status", "--state-dir", str(tmp_path)]) == 1
    assert "STALE" in capsys.readouterr().out
