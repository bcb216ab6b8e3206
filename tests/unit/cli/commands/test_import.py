"""``leadline import --dry-run``: what a file holds, without a collector."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from leadline_cli.__main__ import main

RECORDED = Path(__file__).parents[1] / "importers" / "recorded"
NAMES = ("--src", "fra", "--dst", "ams", "--dry-run")


def dry_run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit status, output and error output."""
    status = main(["import", *words, *NAMES])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_dry_run_says_what_would_be_imported(capsys: pytest.CaptureFixture[str]) -> None:
    """Windows, coverage, RTT, loss, period; the 95th of 20 of which 5 are lost is no number."""
    status, out, err = dry_run(capsys, "ping", str(RECORDED / "ping_D.txt"))

    assert (status, err) == (0, "")
    for fact in (
        "2026-11-22 09:36:00.366 UTC to 2026-11-22 09:36:04.263 UTC",
        "204.009 ms (median), slots of 200 ms",
        "1, coverage 6.67 % of 300 slots",
        "20 sent, 15 received, 5 lost (25 %)",
        "min 0.037  p50 0.048  p95 -  p99 -  max 0.090  ms",
        "what the measuring host added to an RTT is not known",
        "nothing was imported",
    ):
        assert fact in out


def test_the_document_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """With the digest of the file; nothing is stored."""
    status, out, _ = dry_run(capsys, "fping", str(RECORDED / "fping_loop.txt"), "--host", "10.66.0.3", "--json")
    found = json.loads(out)

    assert status == 0
    assert (found["version"], found["format"], found["host"], found["stored"]) == (1, "fping", "10.66.0.3", None)
    assert (found["sent"], found["lost"], found["loss_ratio"], found["interval_ms"]) == (20, 0, 0.0, 200)
    assert (found["rtt_us"]["min"], found["rtt_us"]["max"]) == (20, 83)
    assert len(found["sha256"]) == 64


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["csv", "absent.csv"], "absent.csv: cannot be read: No such file"),
        (["ping", str(RECORDED / "fping_count.txt")], "line 1: is no output of ping"),
        (["fping", str(RECORDED / "ping_D.txt")], "line 1: is no output of fping"),
        (["ping", str(RECORDED / "ping_plain.txt"), "--start", "2026-11-22T06:00:00"], "--start: .* its zone"),
        (["ping", str(RECORDED / "ping_D.txt"), "--interval", "soon"], "--interval: 'soon' is not a duration"),
        (["ping", str(RECORDED / "ping_D.txt"), "--interval", "1s"], "--interval: .* more probes than slots"),
    ],
)
def test_an_error_is_one_line_and_exit_status_2(
    capsys: pytest.CaptureFixture[str], words: list[str], problem: str
) -> None:
    """With the file and line, or the option."""
    status, out, err = dry_run(capsys, *words)

    assert (status, out, err.count("\n")) == (2, "", 1)
    assert re.search(problem, err), err


def test_other_bytes_than_text_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A compressed log, say."""
    file = tmp_path / "log.gz"
    file.write_bytes(b"\x1f\x8b\xff\xfe")

    status, _, err = dry_run(capsys, "ping", str(file))

    assert (status, "is not text in UTF-8" in err) == (2, True)


def test_a_csv_has_its_own_times_and_one_host(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The options for other files are refused rather than passed over."""
    file = tmp_path / "a.csv"
    file.write_text("t,rtt_ms\n1795327200,1\n1795327201,1\n")

    for option in ("--host", "--start"):
        status, _, err = dry_run(capsys, "csv", str(file), option, "1795327200")
        assert (status, err.startswith(f"leadline: {option}: ")) == (2, True)
