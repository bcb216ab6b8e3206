"""What is to be in Grafana: values made from the packaged dashboards and the options, before anybody is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leadline.durations import parse_duration_ms
from leadline.errors import ConfigError
from leadline_dashboards import DATASOURCE_TYPE, DATASOURCE_UID

Document = dict[str, Any]

#: Fixed, so that links and later runs find it whatever it is called.
FOLDER_UID = "leadline"
#: As the provisioning file has them: functions of PostgreSQL 15 may be used, and connections are few.
_DATASOURCE_SETTINGS: Document = {
    "postgresVersion": 1500, "timescaledb": False, "maxOpenConns": 10, "maxIdleConns": 2, "connMaxLifetime": 14_400,
}  # fmt: skip
_MS_PER_S = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasource:
    """How Grafana reaches PostgreSQL."""

    #: Host and port.
    address: str
    database: str
    user: str
    #: None leaves the password that is there.
    password: str | None
    #: As libpq has it: disable, require, verify-ca, verify-full.
    ssl_mode: str
    name: str = "leadline"

    def to_document(self) -> Document:
        """Without the password, which Grafana never shows again."""
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
    """Alert rules that are evaluated together; ``rules`` as the provisioning API takes them."""

    name: str
    interval_s: int
    rules: tuple[Document, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """Everything, in the order in which it is put."""

    folder: str
    #: None leaves the datasource to somebody else.
    datasource: Datasource | None
    dashboards: tuple[Document, ...]
    rule_groups: tuple[RuleGroup, ...]


def parse_dashboards(documents: Mapping[str, bytes]) -> tuple[Document, ...]:
    """The dashboards of the files, by name; ConfigError for one without uid or title: it could not be found again."""
    found = []
    for name, data in sorted(documents.items()):
        document = json.loads(data)
        if not (isinstance(document, dict) and document.get("uid") and document.get("title")):
            raise ConfigError(name, "is no dashboard with a uid and a title")
        found.append({key: value for key, value in document.items() if key not in {"id", "version"}})
    return tuple(found)


def parse_rule_groups(documents: Sequence[Document]) -> tuple[RuleGroup, ...]:
    """The groups of a provisioning file, with rules as the API takes them."""
    return tuple(
        RuleGroup(
            name=group["name"],
            interval_s=parse_duration_ms(group["interval"]) // _MS_PER_S,
            rules=tuple(_convert_rule(rule, group["name"]) for rule in group["rules"]),
        )
        for group in documents
    )


def _convert_rule(rule: Document, group: str) -> Document:
    """The API wants the folder and the group in every rule, and an organisation it then takes from the token."""
    own = {key: value for key, value in rule.items() if key not in {"dashboardUid", "panelId"}}
    return {"isPaused": False, **own, "folderUID": FOLDER_UID, "ruleGroup": group, "orgID": 1}
