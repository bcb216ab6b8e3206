"""Tests of the example alert file: promtool accepts it, and every rule fires only in the right cases."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.source_tree

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus-alerts.yml"
CASES = Path(__file__).with_name("prometheus_alerts_test.yml")

with_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)


@with_promtool
def test_promtool_accepts_the_alert_rules() -> None:
    """Syntax and expressions are valid."""
    process = promtool("check", "rules", ALERTS)

    assert process.returncode == 0, process.stdout + process.stderr


@with_promtool
def test_every_alert_fires_in_its_cases_only() -> None:
    """The cases have one sample per minute."""
    process = promtool("test", "rules", CASES)

    assert process.returncode == 0, process.stdout + process.stderr


def test_every_alert_has_a_case() -> None:
    """Every alert has a case in which it fires and one in which it does not."""
    cases = CASES.read_text(encoding="utf-8")
    names = re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8"))

    assert len(names) == 9
    for name in names:
        assert re.search(rf"alertname: {name}\n\s+exp_alerts:", cases), name
        assert f"alertname: {name}, exp_alerts: []" in cases, name


def test_every_alert_has_for_and_keep_firing_for() -> None:
    """A condition that flaps gives one alert."""
    rules = ALERTS.read_text(encoding="utf-8").split("- alert: ")[1:]

    assert all("\n        for: " in rule and "\n        keep_firing_for: " in rule for rule in rules)


def test_the_page_lists_the_metrics_of_the_alerts() -> None:
    """docs/operations.md has every metric of the alert file."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    expressions = re.findall(r"leadline_[a-z_]+", ALERTS.read_text(encoding="utf-8"))

    assert not {name for name in expressions if f"`{name}" not in page}
