"""Two dashboards and a group of two rules, as small as the API accepts."""

from __future__ import annotations

import json
from typing import Any

_SOURCE = {"type": "grafana-postgresql-datasource", "uid": "leadline"}


def build_dashboard(uid: str, title: str) -> bytes:
    """Build a dashboard of one panel with one query."""
    panel = {
        "id": 1, "type": "stat", "title": "Pairs", "datasource": _SOURCE,
        "gridPos": {"h": 4, "w": 6, "x": 0, "y": 0},
        "targets": [{"refId": "A", "format": "table", "rawSql": "SELECT 1"}],
    }  # fmt: skip
    document = {
        "id": None, "uid": uid, "title": title, "schemaVersion": 41, "tags": ["leadline"], "panels": [panel],
        "time": {"from": "now-24h", "to": "now"}, "links": [],
    }  # fmt: skip
    return json.dumps(document).encode()


DASHBOARDS = {
    "overview.json": build_dashboard("leadline-test-overview", "leadline test: overview"),
    "pair.json": build_dashboard("leadline-test-pair", "leadline test: pair"),
}


def build_rule(uid: str, title: str) -> dict[str, Any]:
    """Build a rule that fires if a query returns more than 0."""
    query = {"refId": "A", "format": "table", "rawSql": "SELECT 0 AS value"}
    condition = {"refId": "B", "type": "threshold", "expression": "A", "conditions": [{"evaluator": {"type": "gt"}}]}
    return {
        "uid": uid, "title": title, "condition": "B", "for": "15m", "noDataState": "OK", "execErrState": "Error",
        "labels": {"severity": "warning"}, "annotations": {"summary": "a pair is beyond its limit"},
        "data": [
            {"refId": "A", "datasourceUid": "leadline", "relativeTimeRange": {"from": 600, "to": 0}, "model": query},
            {"refId": "B", "datasourceUid": "__expr__", "relativeTimeRange": {"from": 0, "to": 0}, "model": condition},
        ],
    }  # fmt: skip


GROUPS = [
    {
        "orgId": 1, "name": "leadline test", "folder": "leadline", "interval": "2m",
        "rules": [build_rule("leadline-test-beyond", "Pair beyond"), build_rule("leadline-test-silent", "Pair silent")],
    }
]  # fmt: skip
