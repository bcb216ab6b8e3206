"""Tests of the systemd units: their commands parse and their exposure is limited."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from leadline_cli.__main__ import build_parser

pytestmark = pytest.mark.source_tree

DEPLOY = Path(__file__).parents[2] / "deploy"
#: Maximum exposure by `systemd-analyze security`, in tenths. systemd 252 reports 2.0 and 1.2.
EXPOSURE_MAX = {"leadline-agent.service": 25, "leadline-collector.service": 15}
UNITS = list(EXPOSURE_MAX)

analyzed = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


def security(unit: Path, threshold: int) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze security; it fails if the exposure of the unit is above the threshold."""
    return analyze("security", "--offline=true", f"--threshold={threshold}", "--no-pager", unit)


def test_every_unit_is_listed() -> None:
    """Every unit file has a limit here."""
    assert sorted(path.name for path in DEPLOY.glob("*.service")) == UNITS


@pytest.mark.parametrize("name", UNITS)
def test_the_command_of_a_unit_parses(name: str) -> None:
    """Variables are expanded as by systemd: $VARIABLE is split into words, ${VARIABLE} is not."""
    (line,) = re.findall(r"^ExecStart=(.*)$", (DEPLOY / name).read_text(encoding="utf-8"), re.MULTILINE)
    words = shlex.split(line.replace("${STATE_DIRECTORY}", "/var/lib/x").replace("$LEADLINE_OPTIONS", "--port 1"))

    assert words[0] == "/opt/leadline/bin/leadline"
    build_parser().parse_args(words[1:])


@analyzed
@pytest.mark.parametrize("name", UNITS)
def test_the_exposure_of_a_unit_is_limited(name: str) -> None:
    """The exposure by systemd is at most the limit."""
    process = security(DEPLOY / name, EXPOSURE_MAX[name])

    assert process.returncode == 0, process.stdout


@analyzed
@pytest.mark.parametrize("name", UNITS)
def test_a_less_confined_unit_exceeds_the_limit(name: str, tmp_path: Path) -> None:
    """The same unit without capability bounds and system call filter is above the limit."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    (tmp_path / name).write_text(re.sub(r"^(CapabilityBoundingSet|SystemCallFilter)=.*$", "", text, flags=re.MULTILINE))

    assert security(tmp_path / name, EXPOSURE_MAX[name]).returncode != 0


@analyzed
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_every_line_of_a_unit(name: str, tmp_path: Path) -> None:
    """There is no unknown key and no invalid value; /bin/true replaces the program."""
    text = (DEPLOY / name).read_text(encoding="utf-8").replace("/opt/leadline/bin/leadline", "/bin/true")
    (tmp_path / name).write_text(text)

    process = analyze("verify", tmp_path / name)

    warnings = [line for line in process.stderr.splitlines() if name in line]
    assert (process.returncode, warnings) == (0, []), process.stderr
