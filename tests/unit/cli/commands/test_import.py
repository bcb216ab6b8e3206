"""``leadline import --dry-run``: summary of a file, without a collector."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from leadline_cli.__main__ import main

RECORDED = Path(__file__).parents[1] / "importers" / "recorded"
NAMES = ("--src", "fra", "--dst", "ams", "--dry-run")


def dry_run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Return exit status, output and error output."""
    status = main(["import", *arguments, *NAMES])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_dry_run_prints_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """Windows, coverage, RTT, loss and period. The p95 of 20 probes with 5 lost is undefined."""
    status, out, err = dry_run(capsys, "ping", str(RECORDED / "ping_D.txt"))

    assert (status, err) == (0, "")
    for fact in (
        "2026-11-22 09:36:00.366 UTC to 2026-11-22 09:36:04.263 UTC",
        "204.009 ms (median), slots of 200 ms",
        "1, coverage 6.66 % of 300 slots",
        "20 sent, 15 received, 5 lost (25.00 %)",
        "min 0.038  p50 0.049  p95 -  p99 -  max 0.091  ms",
        "RTTs are rounded to 1 µs, to the nearest value or down: the own error is at most 2 µs (median 2 µs)",
        "the own error does not include the delay of the measuring host",
        "not imported (--dry-run)",
    ):
        assert fact in out


def test_json_document_has_the_same_values(capsys: pytest.CaptureFixture[str]) -> None:
    """It also has the digest of the file. Nothing is stored."""
    status, out, _ = dry_run(capsys, "fping", str(RECORDED / "fping_loop.txt"), "--host", "10.66.0.3", "--json")
    document = json.loads(out)

    assert status == 0
    assert (document["version"], document["format"], document["host"], document["stored"]) == (
        2,
        "fping",
        "10.66.0.3",
        None,
    )
    assert (document["sent"], document["lost"], document["loss_ratio"], document["interval_ms"]) == (20, 0, 0.0, 200)
    assert (document["rtt_us"]["min"], document["rtt_us"]["max"]) == (21, 84)
    assert (document["rounding"], document["error_bound_us"]) == ("nearest or down", {"p50": 2, "p99": 2})
    assert len(document["sha256"]) == 64


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["csv", "absent.csv"], "absent.csv: cannot be read: No such file"),
        (["ping", str(RECORDED / "fping_count.txt")], "line 1: is not output of ping"),
        (["fping", str(RECORDED / "ping_D.txt")], "line 1: is not output of fping"),
        (["ping", str(RECORDED / "ping_plain.txt"), "--start", "2026-11-22T06:00:00"], "--start: .* has no time zone"),
        (["ping", str(RECORDED / "ping_D.txt"), "--interval", "soon"], "--interval: 'soon' is not a duration"),
        (["ping", str(RECORDED / "ping_D.txt"), "--interval", "1s"], "--interval: .* more probes than slots"),
    ],
)
def test_error_is_one_line_with_exit_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    """The error has the file and line, or the option."""
    status, out, err = dry_run(capsys, *arguments)

    assert (status, out, err.count("\n")) == (2, "", 1)
    assert re.search(problem, err), err


def test_binary_file_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """For example a compressed log."""
    file = tmp_path / "log.gz"
    file.write_bytes(b"\x1f\x8b\xff\xfe")

    status, _, err = dry_run(capsys, "ping", str(file))

    assert (status, "is not text in UTF-8" in err) == (2, True)


def test_csv_refuses_host_and_start(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Options for other formats are an error, not ignored."""
    file = tmp_path / "a.csv"
    file.write_text("t,rtt_ms\n1795327200,1\n1795327201,1\n")

    for option in ("--host", "--start"):
        status, _, err = dry_run(capsys, "csv", str(file), option, "1795327200")
        assert (status, err.startswith(f"leadline: {option}: ")) == (2, True)
