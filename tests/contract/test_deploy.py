"""The systemd units: what they start is a command, and how much they let it do is bounded."""

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
#: Most exposure that `systemd-analyze security` may find, in tenths. It found 2.0 and 1.2 on systemd 252.
EXPOSURE_MAX = {"leadline-agent.service": 25, "leadline-collector.service": 15}
UNITS = list(EXPOSURE_MAX)

analyzed = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says of a unit file."""
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


def security(unit: Path, threshold: int) -> subprocess.CompletedProcess[str]:
    """Fails when the unit's exposure is above the threshold."""
    return analyze("security", "--offline=true", f"--threshold={threshold}", "--no-pager", unit)


def test_every_unit_is_listed() -> None:
    """A new unit is tested too."""
    assert sorted(path.name for path in DEPLOY.glob("*.service")) == UNITS


@pytest.mark.parametrize("name", UNITS)
def test_the_command_of_a_unit_parses(name: str) -> None:
    """With the variables as systemd would fill them in: an option of several words is split, a directory is not."""
    (line,) = re.findall(r"^ExecStart=(.*)$", (DEPLOY / name).read_text(encoding="utf-8"), re.MULTILINE)
    words = shlex.split(line.replace("${STATE_DIRECTORY}", "/var/lib/x").replace("$LEADLINE_OPTIONS", "--port 1"))

    assert words[0] == "/opt/leadline/bin/leadline"
    build_parser().parse_args(words[1:])


@analyzed
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_confined(name: str) -> None:
    """Its exposure, by systemd's own count, stays below its bound."""
    found = security(DEPLOY / name, EXPOSURE_MAX[name])

    assert found.returncode == 0, found.stdout


@analyzed
@pytest.mark.parametrize("name", UNITS)
def test_the_bound_would_notice(name: str, tmp_path: Path) -> None:
    """Without its capability bounds and its system call filter the same unit is above it."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    (tmp_path / name).write_text(re.sub(r"^(CapabilityBoundingSet|SystemCallFilter)=.*$", "", text, flags=re.MULTILINE))

    assert security(tmp_path / name, EXPOSURE_MAX[name]).returncode != 0


@analyzed
@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line_of_a_unit(name: str, tmp_path: Path) -> None:
    """No unknown key, no value out of range; the program is replaced by one that is there."""
    text = (DEPLOY / name).read_text(encoding="utf-8").replace("/opt/leadline/bin/leadline", "/bin/true")
    (tmp_path / name).write_text(text)

    found = analyze("verify", tmp_path / name)

    said = [line for line in found.stderr.splitlines() if name in line]
    assert (found.returncode, said) == (0, []), found.stderr
