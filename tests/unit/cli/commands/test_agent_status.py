"""What a running agent says about itself, in three forms."""

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


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """As a whole, in place of the one before, and readable by a monitoring user."""
    write_status(tmp_path, BARE)
    write_status(tmp_path, FULL)

    assert read_status(tmp_path) == FULL
    assert (tmp_path / "status.json").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize(("content", "complaint"), [(None, "is one running there"), (b"{}", "cannot be read")])
def test_without_a_status_the_reason_is_named(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    """No agent has run there, or the file is none."""
    if content is not None:
        (tmp_path / "status.json").write_bytes(content)

    with pytest.raises(ConfigError, match=complaint):
        read_status(tmp_path)


@pytest.mark.parametrize(
    ("age_s", "stale"), [(0, False), (STALE_AFTER_S, False), (STALE_AFTER_S + 1, True), (-STALE_AFTER_S - 1, True)]
)
def test_a_status_grows_stale(age_s: int, stale: bool) -> None:
    """Also one from a future that the wall clock has left."""
    assert is_stale(FULL, NOW_S + age_s) is stale


def test_the_text_names_what_matters() -> None:
    """Each figure with its unit."""
    text = "\n".join(format_lines(FULL, NOW_S))

    for said in (
        "written 0 s ago", "version 3, 50 targets, 2 left out", "503 busy; 1 failures", "4 batches wait",
        "2.5 of 536.9 MB", "the oldest waits for 240 s; room for 61.2 days", "3000 sent", "4.2 ms late",
        "synchronised, error at most 16.0 ms", "-1.5 ± 0.7 ms from the collector's", "2026-11-22 05:59:53Z",
    ):  # fmt: skip
        assert said in text
    assert "STALE" not in text


def test_the_end_of_the_key_is_said() -> None:
    """And loudly when nobody could rotate it; nothing of a key without an end."""
    ending = msgspec.structs.replace(BARE, key_expires_at_s=NOW_S + 86_400)
    failing = msgspec.structs.replace(ending, key_error="503 busy", key_failures=3, key_failed_at_s=NOW_S)

    assert "key " not in "\n".join(format_lines(BARE, NOW_S))
    assert "key        ends 2026-11-23 06:00:00Z" in "\n".join(format_lines(ending, NOW_S))
    assert "NOT ROTATED after 3 tries, the last 2026-11-22 06:00:00Z: 503 busy" in "\n".join(
        format_lines(failing, NOW_S)
    )
    assert f'leadline_agent_key_expires_time_seconds{{agent="fra-a1",site="fra"}} {NOW_S + 86_400}' in list(
        format_prometheus_lines(failing)
    )
    assert 'leadline_agent_key_rotation_failures{agent="fra-a1",site="fra"} 3' in list(format_prometheus_lines(failing))


def test_what_never_happened_is_said_so() -> None:
    """An agent in its first minute, and one that is gone."""
    text = "\n".join(format_lines(BARE, NOW_S + 1_000))

    for said in ("STALE", "plan       none yet", "last acknowledgement never", "the kernel does not say"):
        assert said in text


def test_what_a_person_must_look_after_stands_out() -> None:
    """A disk that does not read, and an identity that is used twice."""
    spool = msgspec.structs.replace(FULL.spool, unreadable=3)
    status = msgspec.structs.replace(FULL, spool=spool, cloned_at_s=NOW_S - 60)
    text, lines = "\n".join(format_lines(status, NOW_S)), "\n".join(format_prometheus_lines(status))

    assert "3 of them CANNOT BE READ" in text
    assert "IDENTITY IN USE TWICE, seen 2026-11-22 05:59:00Z" in text
    assert 'spool_batches_unreadable{agent="fra-a1",site="fra"} 3' in lines
    assert f'identity_conflict_time_seconds{{agent="fra-a1",site="fra"}} {NOW_S - 60}' in lines
    assert "CANNOT" not in "\n".join(format_lines(FULL, NOW_S))
    assert "TWICE" not in "\n".join(format_lines(FULL, NOW_S))


def test_the_json_says_whether_it_is_stale() -> None:
    """A script does not need to know the limit."""
    document = msgspec.json.decode(format_json(FULL, NOW_S + 200))

    assert (document["stale"], document["age_s"], document["spool"]["unacked"]) == (True, 200, 4)


def test_prometheus_reads_every_line() -> None:
    """HELP, TYPE and sample of every metric, counters named so, and nothing unknown as 0."""
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


def test_the_command_tells_a_stale_agent_by_its_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1, for a monitoring script."""
    write_status(tmp_path, FULL)

    assert main(["agent", "status", "--json", "--state-dir", str(tmp_path)]) in {0, 1}
    assert '"agent": "fra-a1"' in capsys.readouterr().out
    write_status(tmp_path, msgspec.structs.replace(FULL, written_at_s=1_000))
    assert main(["agent", "status", "--state-dir", str(tmp_path)]) == 1
    assert "STALE" in capsys.readouterr().out
