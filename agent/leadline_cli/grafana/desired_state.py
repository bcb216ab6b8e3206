"""Desired state of Grafana from the packaged dashboards and the options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leadline.durations import parse_duration_ms
from leadline.errors import ConfigError
from leadline_dashboards import DATASOURCE_TYPE, DATASOURCE_UID

Document = dict[str, Any]

#: Fixed, so that links and later runs find the folder under any title.
FOLDER_UID = "leadline"
#: As in the provisioning file: PostgreSQL 15 functions, few connections.
_DATASOURCE_SETTINGS: Document = {
    "postgresVersion": 1500, "timescaledb": False, "maxOpenConns": 10, "maxIdleConns": 2, "connMaxLifetime": 14_400,
}  # fmt: skip
_MS_PER_S = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasource:
    """Connection from Grafana to PostgreSQL."""

    #: Host and port.
    address: str
    database: str
    user: str
    #: None keeps the current password.
    password: str | None
    #: libpq sslmode: disable, require, verify-ca, verify-full.
    ssl_mode: str
    name: str = "leadline"

    def to_document(self) -> Document:
        """Return the document without the password, which Grafana never returns."""
        return {
            "uid": DATASOURCE_UID,
            "name": self.name,
            "type": DATASOURCE_TYPE,
            "access": "proxy",
            "url": self.address,
            "user": self.user,
            "jsonData": {"database": self.database, "sslmode": self.ssl_mode, **_DATASOURCE_SETTINGS},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleGroup:
    """Alert rules with a common evaluation interval; ``rules`` in the form of the provisioning API."""

    name: str
    interval_s: int
    rules: tuple[Document, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """All items, in the order of creation."""

    folder: str
    #: None does not manage the datasource.
    datasource: Datasource | None
    dashboards: tuple[Document, ...]
    rule_groups: tuple[RuleGroup, ...]


def parse_dashboards(documents: Mapping[str, bytes]) -> tuple[Document, ...]:
    """Parse dashboards, ordered by file name; ConfigError for one without uid or title."""
    dashboards = []
    for name, data in sorted(documents.items()):
        document = json.loads(data)
        if not (isinstance(document, dict) and document.get("uid") and document.get("title")):
            raise ConfigError(name, "is not a dashboard with a uid and a title")
        dashboards.append({key: value for key, value in document.items() if key not in {"id", "version"}})
    return tuple(dashboards)


def parse_rule_groups(documents: Sequence[Document]) -> tuple[RuleGroup, ...]:
    """Convert the groups of a provisioning file to the form of the API."""
    return tuple(
        RuleGroup(
            name=group["name"],
            interval_s=parse_duration_ms(group["interval"]) // _MS_PER_S,
            rules=tuple(_convert_rule(rule, group["name"]) for rule in group["rules"]),
        )
        for group in documents
    )


def _convert_rule(rule: Document, group: str) -> Document:
    """Convert a rule. The API requires folder, group and organisation; it takes the latter from the token."""
    fields = {key: value for key, value in rule.items() if key not in {"dashboardUid", "panelId"}}
    return {"isPaused": False, **fields, "folderUID": FOLDER_UID, "ruleGroup": group, "orgID": 1}
