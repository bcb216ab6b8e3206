"""Alert rules as Grafana's provisioning files have them (apiVersion 1; the SDK has those of the HTTP interface).

Rule 1: they read what is true now and never the past, so data that comes late raises nothing.
Rule 2: hysteresis: a rule fires above one value and recovers below another (``unloadEvaluator``, since Grafana 10.4).
Rule 3: a query answers a table with one number; its texts become labels, so each pair or agent is an alert of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from leadline.alert_thresholds import AGENT_SILENCE_S_MAX, CLOCK_OFFSET_US_MAX
from leadline_dashboards import DATASOURCE_UID, FOLDER
from leadline_dashboards.generate.panels import FLEET_UID, OVERVIEW_UID, PAIR_UID
from leadline_dashboards.generate.queries import Query

#: Of 15 minutes this many are bad or unavailable: an episode forgives two between (method.md §3.2).
BAD_MINUTES_ALERT, BAD_MINUTES_RECOVERY = 13, 6
#: A pair without a known minute: ten of them, while a minute is sealed 16 s after its end and sent at once.
PAIR_SILENCE_ALERT_S, PAIR_SILENCE_RECOVERY_S = 600, 300
#: An agent that is heard again.
AGENT_SILENCE_RECOVERY_S = 120
#: More than 3 of 15 minutes unknown is coverage below 80 %.
UNKNOWN_MINUTES_ALERT, UNKNOWN_MINUTES_RECOVERY = 3, 2
#: The offset of a clock that is certain: what the pages call suspect too.
CLOCK_OFFSET_ALERT_S, CLOCK_OFFSET_RECOVERY_S = CLOCK_OFFSET_US_MAX / 1e6, CLOCK_OFFSET_US_MAX / 2e6

EVALUATION_INTERVAL = "1m"
_PAIR_TEXT = "{{ .Labels.source }} to {{ .Labels.destination }}"
#: Without data there is no value, and a template that fails would be shown as it stands here.
_VALUE_TEXT = "{{ with .Values.A }}{{ . }}{{ end }}"
#: The address of Grafana, which ends with a slash in some versions. No dollar: files would take it for a variable.
_GRAFANA_URL = '{{ reReplaceAll "/*\\\\z" "/" externalURL }}'


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """One rule: fires when ``value`` of the query is above ``above``, recovers when it is below ``below``."""

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
    #: What no rows mean; said in docs/grafana.md for each.
    no_data: str = "OK"
    #: A failing query keeps what was; one rule only tells of it, so that a database that is away is one alert.
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
        summary=f"{_PAIR_TEXT} is beyond {{{{ .Labels.profile }}}} for 15 minutes",
        description=f"{_VALUE_TEXT} of the last 15 minutes were bad or unavailable, in the reading least favourable to it.",
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
        summary=f"nothing is known of {_PAIR_TEXT}",
        description=f"The last known minute ended {_VALUE_TEXT} s ago: a defect of the measurement, not of the path.",
        dashboard=PAIR_UID,
        no_data="NoData",
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
        description=f"The collector heard nothing for {_VALUE_TEXT} s (999999: never). What it measured is in its spool.",
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
        summary=f"{_PAIR_TEXT} is measured with gaps",
        description=f"{_VALUE_TEXT} of the last 15 minutes are unknown. A verdict on this time may be insufficient data.",
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
        summary="the clock of {{ .Labels.agent }} at {{ .Labels.site }} is off",
        description=f"By {_VALUE_TEXT} s at least, against the collector. Round trips are right, their minutes may not be.",
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
        description="Its kernel says so. The clock may be right still; nobody vouches for it.",
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
    """The provisioning file."""
    group = {
        "orgId": 1,
        "name": "leadline",
        "folder": FOLDER,
        "interval": EVALUATION_INTERVAL,
        "rules": [_build_rule(one) for one in ALERT_RULES],
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
    # The range is asked for by the file format; no query here has a time in it.
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
