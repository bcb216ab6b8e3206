"""Thresholds of agent health and warnings, at each number and one beyond."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import leadline_dashboards
from leadline.alert_thresholds import AGENT_SILENCE_S_MAX, CLOCK_OFFSET_US_MAX, SPOOL_USAGE_RATIO_MAX
from leadline.wire.admin import KeyEntry
from leadline_collector.live.agent_health import (
    AGENT_DELAY_S_MAX,
    AgentHealth,
    HealthWarning,
    ReportedStatus,
    assess_health,
    list_warnings,
)

NOW_S = 1_000_000
KEY = KeyEntry(id="0" * 16, created_at_s=NOW_S - 10)


@pytest.mark.parametrize(
    ("age_s", "health"),
    [
        (0, AgentHealth.OK),
        (AGENT_DELAY_S_MAX, AgentHealth.OK),
        (AGENT_DELAY_S_MAX + 1, AgentHealth.LATE),
        (AGENT_SILENCE_S_MAX, AgentHealth.LATE),
        (AGENT_SILENCE_S_MAX + 1, AgentHealth.SILENT),
    ],
)
def test_an_agent_is_late_and_then_silent(age_s: int, health: AgentHealth) -> None:
    """Health depends on the age of the end of the newest window."""
    assert assess_health(NOW_S - age_s, NOW_S) is health


def test_an_agent_without_a_window_was_never_seen() -> None:
    """Simulated and retired agents are not expected to deliver."""
    assert assess_health(None, NOW_S) is AgentHealth.NEVER_SEEN
    assert assess_health(None, NOW_S, simulated=True) is AgentHealth.SIMULATED
    assert assess_health(NOW_S, NOW_S, retired=True) is AgentHealth.RETIRED


@pytest.mark.parametrize(
    ("status", "suspect"),
    [
        (ReportedStatus(), False),
        (ReportedStatus(ntp_synchronised=True), False),
        (ReportedStatus(ntp_synchronised=False, clock_offset_us=20, clock_offset_error_us=300), True),
        (ReportedStatus(clock_offset_us=-CLOCK_OFFSET_US_MAX - 5, clock_offset_error_us=5), False),
        (ReportedStatus(clock_offset_us=-CLOCK_OFFSET_US_MAX - 5, clock_offset_error_us=4), True),
        (ReportedStatus(ntp_synchronised=True, clock_offset_us=CLOCK_OFFSET_US_MAX + 1), True),
    ],
)
def test_a_clock_is_suspect_if_it_is_certainly_off_or_not_synchronised(status: ReportedStatus, suspect: bool) -> None:
    """The offset must exceed the limit by more than its error; a missing value is not a warning."""
    assert (HealthWarning.CLOCK in list_warnings(status, [KEY], NOW_S)) is suspect


@pytest.mark.parametrize(("used", "filling"), [(49, False), (50, True), (100, True)])
def test_a_spool_is_filling_from_half_of_its_quota(used: int, filling: bool) -> None:
    """A missing value is not a warning."""
    assert (
        HealthWarning.SPOOL in list_warnings(ReportedStatus(spool_bytes=used, spool_bytes_max=100), [KEY], NOW_S)
    ) is filling
    assert list_warnings(ReportedStatus(spool_bytes=used), [KEY], NOW_S) == ()


@pytest.mark.parametrize(("age_s", "old"), [(75, False), (76, True)])
def test_a_key_should_be_renewed_before_three_quarters_of_its_life(age_s: int, old: bool) -> None:
    """One newer key is enough; a key without an expiry never causes a warning."""
    key = KeyEntry(id="1" * 16, created_at_s=NOW_S - age_s, expires_at_s=NOW_S - age_s + 100)

    assert (HealthWarning.KEY_ENDS in list_warnings(ReportedStatus(), [key], NOW_S)) is old
    assert list_warnings(ReportedStatus(), [key, KEY], NOW_S) == ()


def test_an_agent_without_a_live_key_cannot_deliver() -> None:
    """All keys are revoked or expired."""
    assert list_warnings(ReportedStatus(), [], NOW_S) == (HealthWarning.NO_KEY,)


@pytest.mark.source_tree
def test_prometheus_alerts_have_the_thresholds_of_the_pages() -> None:
    """An alert and the warning on the page have the same threshold."""
    alerts = " ".join(Path("deploy/prometheus-alerts.yml").read_text(encoding="utf-8").split())

    assert f"min by (agent) (leadline_agent_heard_age_seconds) > {AGENT_SILENCE_S_MAX} " in alerts
    assert f"(leadline_agent_clock_offset_error_seconds) > {CLOCK_OFFSET_US_MAX / 1_000_000:g})" in alerts
    assert f"(leadline_agent_spool_limit_bytes) > {SPOOL_USAGE_RATIO_MAX:g} " in alerts


@pytest.mark.parametrize(
    ("uid", "above"),
    [("leadline-agent-silent", AGENT_SILENCE_S_MAX), ("leadline-clock-suspect", CLOCK_OFFSET_US_MAX / 1_000_000)],
)
def test_grafana_alerts_have_the_thresholds_of_the_pages(uid: str, above: float) -> None:
    """The rules in the file for Grafana have the thresholds of the pages."""
    (rule,) = [
        rule for group in leadline_dashboards.load_alert_rules() for rule in group["rules"] if rule["uid"] == uid
    ]

    (limit,) = [
        condition["evaluator"]["params"] for query in rule["data"] for condition in query["model"].get("conditions", ())
    ]
    assert limit == [above]


def test_grafana_colours_have_the_thresholds_of_the_pages() -> None:
    """Silence, spool and clock change colour in the fleet dashboard at the thresholds of the pages."""
    fleet = json.loads(leadline_dashboards.load_dashboards()["leadline-fleet.json"])
    overrides = [
        override for panel in fleet["panels"] for override in panel.get("fieldConfig", {}).get("overrides", ())
    ]

    steps = {
        override["matcher"]["options"]: [step["value"] for step in item["value"]["steps"]]
        for override in overrides
        for item in override["properties"]
        if item["id"] == "thresholds"
    }

    assert steps["silent_s"] == [None, AGENT_SILENCE_S_MAX]
    assert steps["spool_ratio"][:2] == [None, SPOOL_USAGE_RATIO_MAX]
    assert steps["clock_offset_us"] == [None, -CLOCK_OFFSET_US_MAX, CLOCK_OFFSET_US_MAX]


def test_grafana_and_the_pages_have_the_same_threshold_for_silence() -> None:
    """The overview counts and lists silent agents by the same threshold."""
    overview = json.loads(leadline_dashboards.load_dashboards()["leadline-overview.json"])
    queries = " ".join(target["rawSql"] for panel in overview["panels"] for target in panel["targets"])

    assert set(re.findall(r"silent_s > (\d+)", queries)) == {str(AGENT_SILENCE_S_MAX)}
