"""Alert rules in the format of Grafana's provisioning files (apiVersion 1; the SDK only has that of the HTTP API).

Rule 1: they read only the current state, so late data raises no alert.
Rule 2: hysteresis: a rule fires above one value and recovers below another (``unloadEvaluator``, since Grafana 10.4).
Rule 3: a query returns a table with one number. Its text columns become labels: one alert for each pair or agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from leadline.alert_thresholds import AGENT_SILENCE_S_MAX, CLOCK_OFFSET_US_MAX
from leadline_dashboards import DATASOURCE_UID, FOLDER
from leadline_dashboards.generate.panels import FLEET_UID, OVERVIEW_UID, PAIR_UID
from leadline_dashboards.generate.queries import Query

#: Bad or unavailable minutes of the last 15. An episode bridges two other minutes (method.md §3.2).
BAD_MINUTES_ALERT, BAD_MINUTES_RECOVERY = 13, 6
#: Time without a known minute of a pair. Agents send a minute 16 s after its end.
PAIR_SILENCE_ALERT_S, PAIR_SILENCE_RECOVERY_S = 600, 300
#: Time since the last contact at which an agent recovers.
AGENT_SILENCE_RECOVERY_S = 120
#: More than 3 unknown minutes of 15 mean a coverage below 80 %.
UNKNOWN_MINUTES_ALERT, UNKNOWN_MINUTES_RECOVERY = 3, 2
#: Clock offset beyond its error, the same threshold as "suspect" on the pages.
CLOCK_OFFSET_ALERT_S, CLOCK_OFFSET_RECOVERY_S = CLOCK_OFFSET_US_MAX / 1e6, CLOCK_OFFSET_US_MAX / 2e6

EVALUATION_INTERVAL = "1m"
_PAIR_TEXT = "{{ .Labels.source }} to {{ .Labels.destination }}"
#: Without data there is no value, and Grafana would show a failed template as text.
_VALUE_TEXT = "{{ with .Values.A }}{{ . }}{{ end }}"
#: URL of Grafana, with a final slash in some versions. No dollar sign, which would be a variable in files.
_GRAFANA_URL = '{{ reReplaceAll "/*\\\\z" "/" externalURL }}'


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """A rule: fires if ``value`` exceeds ``alert_threshold``, recovers below ``recovery_threshold``."""

    uid: str
    title: str
    sql: str
    alert_threshold: float
    recovery_threshold: float
    pending_period: str
    severity: str
    summary: str
    description: str
    dashboard: str
    #: State without rows; docs/grafana.md explains it for each rule.
    no_data: str = "OK"
    #: A failed query keeps the state. Only one rule reports it, so that a database outage is one alert.
    on_error: str = "KeepLast"


ALERT_RULES = (
    AlertRule(
        uid="leadline-pair-beyond",
        title="Pair beyond its limit",
        sql="""
            SELECT source, destination, profile, CASE WHEN simulated THEN 'yes' ELSE 'no' END AS simulated,
                bad_15 + unavailable_15 AS value
            FROM grafana_pair_now WHERE is_current
            """,
        alert_threshold=BAD_MINUTES_ALERT - 1,
        recovery_threshold=BAD_MINUTES_RECOVERY,
        pending_period="1m",
        severity="critical",
        summary=f"{_PAIR_TEXT} exceeds the limits of {{{{ .Labels.profile }}}} for 15 minutes",
        description=f"{_VALUE_TEXT} of the last 15 minutes were bad or unavailable (worst case).",
        dashboard=PAIR_UID,
    ),
    AlertRule(
        uid="leadline-pair-silent",
        title="Pair silent",
        sql="""
            SELECT source, destination, CASE WHEN bool_or(simulated) THEN 'yes' ELSE 'no' END AS simulated,
                min(silent_s) AS value
            FROM grafana_pair_now GROUP BY source, destination
            """,
        alert_threshold=PAIR_SILENCE_ALERT_S,
        recovery_threshold=PAIR_SILENCE_RECOVERY_S,
        pending_period="2m",
        severity="warning",
        summary=f"no data for {_PAIR_TEXT}",
        description=f"The last known minute ended {_VALUE_TEXT} s ago. The measurement failed, not the path.",
        dashboard=PAIR_UID,
        no_data="NoData",
    ),
    AlertRule(
        uid="leadline-pair-invalid",
        title="Pair invalid",
        sql="""
            SELECT source, destination, CASE WHEN bool_or(simulated) THEN 'yes' ELSE 'no' END AS simulated,
                max(CASE WHEN invalid THEN 1 ELSE 0 END) AS value
            FROM grafana_pair_now WHERE is_current GROUP BY source, destination
            """,
        alert_threshold=0.5,
        recovery_threshold=0.5,
        pending_period="5m",
        severity="warning",
        summary=f"replies of {_PAIR_TEXT} are faster than light",
        description="The coordinates of a site or a clock are wrong. No verdict on the pair is possible.",
        dashboard=OVERVIEW_UID,
    ),
    AlertRule(
        uid="leadline-agent-silent",
        title="Agent silent",
        sql="SELECT agent, site, coalesce(silent_s, 999999) AS value FROM grafana_agent",
        alert_threshold=AGENT_SILENCE_S_MAX,
        recovery_threshold=AGENT_SILENCE_RECOVERY_S,
        pending_period="2m",
        severity="warning",
        summary="agent {{ .Labels.agent }} at {{ .Labels.site }} is silent",
        description=f"No contact for {_VALUE_TEXT} s (999999: never). A running agent keeps its data in its spool.",
        dashboard=FLEET_UID,
        no_data="NoData",
        on_error="Error",
    ),
    AlertRule(
        uid="leadline-coverage-falling",
        title="Coverage falling",
        sql=f"""
            SELECT source, destination, CASE WHEN bool_or(simulated) THEN 'yes' ELSE 'no' END AS simulated,
                max(unknown_15) AS value
            FROM grafana_pair_now WHERE is_current AND silent_s <= {PAIR_SILENCE_ALERT_S} GROUP BY source, destination
            """,
        alert_threshold=UNKNOWN_MINUTES_ALERT,
        recovery_threshold=UNKNOWN_MINUTES_RECOVERY,
        pending_period="10m",
        severity="warning",
        summary=f"the measurement of {_PAIR_TEXT} has gaps",
        description=f"{_VALUE_TEXT} of the last 15 minutes are unknown. A verdict for this time may lack data.",
        dashboard=OVERVIEW_UID,
    ),
    AlertRule(
        uid="leadline-clock-suspect",
        title="Clock suspect",
        sql="""
            SELECT agent, site,
                greatest(0, abs(clock_offset_us) - coalesce(clock_offset_error_us, 0)) / 1000000.0 AS value
            FROM grafana_agent WHERE clock_offset_us IS NOT NULL
            """,
        alert_threshold=CLOCK_OFFSET_ALERT_S,
        recovery_threshold=CLOCK_OFFSET_RECOVERY_S,
        pending_period="10m",
        severity="warning",
        summary="the clock of {{ .Labels.agent }} at {{ .Labels.site }} is wrong",
        description=f"Offset of {_VALUE_TEXT} s or more to the collector. RTTs are correct, minutes may be wrong.",
        dashboard=FLEET_UID,
    ),
    AlertRule(
        uid="leadline-clock-unsynchronised",
        title="Clock not synchronised",
        sql="""
            SELECT agent, site, CASE WHEN ntp_synchronised THEN 0 ELSE 1 END AS value
            FROM grafana_agent WHERE ntp_synchronised IS NOT NULL
            """,
        alert_threshold=0.5,
        recovery_threshold=0.5,
        pending_period="15m",
        severity="info",
        summary="the clock of {{ .Labels.agent }} at {{ .Labels.site }} is not synchronised",
        description="Its kernel reports no NTP synchronisation. The clock may still be correct.",
        dashboard=FLEET_UID,
    ),
)  # fmt: skip

_DASHBOARD_LINKS = {
    PAIR_UID: (
        _GRAFANA_URL + "d/" + PAIR_UID + "?var-source={{ .Labels.source }}&var-destination={{ .Labels.destination }}"
        "{{ if .Labels.profile }}&var-profile={{ .Labels.profile }}{{ end }}"
    ),
    FLEET_UID: _GRAFANA_URL + "d/" + FLEET_UID + "?var-site={{ .Labels.site }}",
    OVERVIEW_UID: (
        _GRAFANA_URL + "d/" + PAIR_UID + "?var-source={{ .Labels.source }}&var-destination={{ .Labels.destination }}"
    ),
}


def build_document() -> dict[str, Any]:
    """Build the provisioning file."""
    group = {
        "orgId": 1,
        "name": "leadline",
        "folder": FOLDER,
        "interval": EVALUATION_INTERVAL,
        "rules": [_build_rule(rule) for rule in ALERT_RULES],
    }
    return {"apiVersion": 1, "groups": [group]}


def _build_rule(rule: AlertRule) -> dict[str, Any]:
    return {
        "uid": rule.uid,
        "title": rule.title,
        "condition": "B",
        "data": [_build_query(rule), _build_threshold(rule)],
        "noDataState": rule.no_data,
        "execErrState": rule.on_error,
        "for": rule.pending_period,
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "dashboard_url": _DASHBOARD_LINKS[rule.dashboard],
        },
        "labels": {"product": "leadline", "severity": rule.severity},
        "isPaused": False,
    }


def _build_query(rule: AlertRule) -> dict[str, Any]:
    model = Query(rule.sql).to_json() | {"intervalMs": 60_000, "maxDataPoints": 1}
    # The file format requires a range. The queries do not use it.
    return {
        "refId": "A",
        "queryType": "",
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": DATASOURCE_UID,
        "model": model,
    }


def _build_threshold(rule: AlertRule) -> dict[str, Any]:
    condition = {
        "type": "query",
        "evaluator": {"type": "gt", "params": [rule.alert_threshold]},
        "unloadEvaluator": {"type": "lt", "params": [rule.recovery_threshold]},
    }
    return {
        "refId": "B",
        "queryType": "expression",
        "relativeTimeRange": {"from": 0, "to": 0},
        "datasourceUid": "__expr__",
        "model": {
            "refId": "B",
            "type": "threshold",
            "datasource": {"type": "__expr__", "uid": "__expr__"},
            "expression": "A",
            "conditions": [condition],
        },
    }
