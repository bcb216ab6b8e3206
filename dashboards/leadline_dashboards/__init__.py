"""What Grafana is given, as files of this package: dashboards, alert rules, provisioning. ``generate`` makes them.

The generator needs the development dependencies; reading the files needs the standard library only.
"""

from __future__ import annotations

import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

#: Of the datasource in every dashboard and rule.
DATASOURCE_UID = "leadline"
#: Grafana's PostgreSQL datasource; "postgres" is its alias.
DATASOURCE_TYPE = "grafana-postgresql-datasource"
FOLDER = "leadline"


def load_dashboards() -> dict[str, bytes]:
    """Every dashboard as a JSON document, by name of its file."""
    return {file.name: file.read_bytes() for file in _list_json_files("json")}


def load_alert_rules() -> list[dict[str, Any]]:
    """The groups of alert rules as Grafana's provisioning files have them."""
    return [
        group
        for file in _list_json_files("provisioning", "alerting")
        for group in json.loads(file.read_bytes())["groups"]
    ]


def _list_json_files(*folder: str) -> list[Traversable]:
    found = files(__name__).joinpath(*folder).iterdir()
    return sorted((file for file in found if file.name.endswith(".json")), key=lambda file: file.name)
