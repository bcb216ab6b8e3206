"""Dashboards, alert rules and provisioning files for Grafana. ``generate`` writes them.

The generator needs the development dependencies. Reading the files needs only the standard library.
"""

from __future__ import annotations

import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

#: Uid of the datasource in every dashboard and rule.
DATASOURCE_UID = "leadline"
#: Grafana's PostgreSQL datasource; "postgres" is its alias.
DATASOURCE_TYPE = "grafana-postgresql-datasource"
FOLDER = "leadline"


def load_dashboards() -> dict[str, bytes]:
    """Return every dashboard as JSON bytes, by file name."""
    return {file.name: file.read_bytes() for file in _list_json_files("json")}


def load_alert_rules() -> list[dict[str, Any]]:
    """Return the groups of alert rules in the format of Grafana's provisioning files."""
    return [
        group
        for file in _list_json_files("provisioning", "alerting")
        for group in json.loads(file.read_bytes())["groups"]
    ]


def _list_json_files(*folder: str) -> list[Traversable]:
    entries = files(__name__).joinpath(*folder).iterdir()
    return sorted((file for file in entries if file.name.endswith(".json")), key=lambda file: file.name)
