"""A push run: reads every item, compares it, and writes it if it differs.

Order of dependencies: datasource and folder, then dashboards, then alert rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import quote

from leadline.errors import LeadlineError, UnavailableError
from leadline_cli.grafana.desired_state import FOLDER_UID, Datasource, DesiredState, Document, RuleGroup
from leadline_cli.grafana.diff import find_first_difference
from leadline_dashboards import DATASOURCE_UID

VERSION_MIN = 11
_NO_PROVENANCE = {"X-Disable-Provenance": "true"}


class GrafanaApi(Protocol):
    """Interface of ``client.GrafanaClient``."""

    @property
    def url(self) -> str:
        """Base URL of the API."""

    def get(self, path: str) -> Any:
        """Fetch the document at a path; None if it does not exist."""

    def send(self, method: str, path: str, document: Document, headers: dict[str, str] | None = None) -> Any:
        """POST or PUT a document."""


class PushAction(StrEnum):
    """Result for an item, also of a dry run."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    #: The item differs and cannot be changed.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """One line of the report."""

    kind: str
    name: str
    action: PushAction
    #: Difference or reason of the refusal; empty otherwise.
    detail: str = ""


def check_version(api: GrafanaApi) -> str:
    """Return the version of Grafana; UnavailableError if it is no Grafana or too old."""
    health = api.get("/health")
    if not isinstance(health, dict) or "database" not in health:
        raise UnavailableError(f"{api.url}/health is not from Grafana: check the path of --url")
    version = str(health.get("version", ""))
    major = re.match(r"\d+", version)
    if major and int(major[0]) < VERSION_MIN:
        raise UnavailableError(f"{api.url} is Grafana {version}; these dashboards need {VERSION_MIN} or newer")
    return version or "of unknown version"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrafanaPush:
    """A push run against one server."""

    api: GrafanaApi
    #: Write nothing, only report.
    dry_run: bool = False
    #: Lock the rules in Grafana's editor.
    lock_rules: bool = False

    def run(self, desired: DesiredState) -> Iterator[PushResult]:
        """Yield the result of every item. A refused item does not stop the others, except the folder."""
        yield self._push_datasource(desired.datasource)
        folder = self._push_folder(desired.folder)
        yield folder
        if folder.action is PushAction.REFUSED:
            return
        for dashboard in desired.dashboards:
            yield self._attempt("dashboard", dashboard["title"], self._push_dashboard, dashboard)
        for group in desired.rule_groups:
            for rule in group.rules:
                yield self._attempt("alert rule", rule["title"], self._push_rule, rule)
            yield self._attempt("rule group", group.name, self._push_interval, group)

    def _attempt(self, kind: str, name: str, work: Any, item: Any) -> PushResult:
        try:
            action, detail = work(item)
        except LeadlineError as error:
            if getattr(error, "status", None) in {None, 401}:
                raise
            action, detail = PushAction.REFUSED, str(error)
        return PushResult(kind=kind, name=name, action=action, detail=detail)

    def _write(self, method: str, path: str, document: Document, headers: dict[str, str] | None = None) -> None:
        if not self.dry_run:
            self.api.send(method, path, document, headers)

    def _push_datasource(self, source: Datasource | None) -> PushResult:
        if source is None:
            current = self.api.get(f"/datasources/uid/{DATASOURCE_UID}")
            action = PushAction.UNCHANGED if current else PushAction.REFUSED
            detail = "" if current else f"no datasource with the uid {DATASOURCE_UID}: pass --datasource-host"
            return PushResult(kind="datasource", name=DATASOURCE_UID, action=action, detail=detail)
        return self._attempt("datasource", source.name, self._put_datasource, source)

    def _put_datasource(self, source: Datasource) -> tuple[PushAction, str]:
        path, document = f"/datasources/uid/{DATASOURCE_UID}", source.to_document()
        current = self.api.get(path)
        secret = {} if source.password is None else {"secureJsonData": {"password": source.password}}
        if current is None:
            self._write("POST", "/datasources", document | secret)
            return self._verify_health(PushAction.CREATED, "")
        difference = find_first_difference(document, current) or self._find_password_mismatch(source)
        if difference is None:
            return PushAction.UNCHANGED, ""
        if current.get("readOnly"):
            return (
                PushAction.REFUSED,
                f"{difference} differs, but provisioning files on the Grafana host own the item: change it there",
            )
        self._write("PUT", path, document | {"version": current.get("version")} | secret)
        return self._verify_health(PushAction.UPDATED, difference)

    def _find_password_mismatch(self, source: Datasource) -> str | None:
        """Grafana never returns a password, so a failing health check counts as a different password."""
        return None if source.password is None or self._find_health_error() is None else "password"

    def _find_health_error(self) -> str | None:
        """Return the error of Grafana's query to the database; None on success."""
        try:
            health = self.api.get(f"/datasources/uid/{DATASOURCE_UID}/health")
        except LeadlineError as error:
            return str(error)
        if isinstance(health, dict) and health.get("status") == "OK":
            return None
        return str((health or {}).get("message", "no response"))

    def _verify_health(self, action: PushAction, detail: str) -> tuple[PushAction, str]:
        """Report a written datasource that does not work as refused."""
        health_error = None if self.dry_run else self._find_health_error()
        if health_error is None:
            return action, detail
        return PushAction.REFUSED, f"the datasource was {action}, but Grafana cannot query its database: {health_error}"

    def _push_folder(self, title: str) -> PushResult:
        return self._attempt("folder", title, self._put_folder, title)

    def _put_folder(self, title: str) -> tuple[PushAction, str]:
        current = self.api.get(f"/folders/{FOLDER_UID}")
        if current is None:
            self._write("POST", "/folders", {"uid": FOLDER_UID, "title": title})
            return PushAction.CREATED, ""
        if current["title"] == title:
            return PushAction.UNCHANGED, ""
        self._write("PUT", f"/folders/{FOLDER_UID}", {"title": title, "version": current.get("version")})
        return PushAction.UPDATED, "title"

    def _push_dashboard(self, dashboard: Document) -> tuple[PushAction, str]:
        current = self.api.get(f"/dashboards/uid/{quote(dashboard['uid'], safe='')}")
        meta = {} if current is None else current["meta"]
        difference = None if current is None else find_first_difference(dashboard, current["dashboard"])
        if current is not None and difference is None and meta.get("folderUid", FOLDER_UID) != FOLDER_UID:
            difference = "folder"
        if current is not None and difference is None:
            return PushAction.UNCHANGED, ""
        if meta.get("provisioned"):
            return (
                PushAction.REFUSED,
                f"{difference} differs, but provisioning files on the Grafana host own the item: change it there",
            )
        # The version just read: a change by another user since then gives 412 and is not overwritten.
        document = dashboard if current is None else dashboard | {"version": current["dashboard"].get("version")}
        body = {"dashboard": document, "folderUid": FOLDER_UID, "overwrite": False, "message": "leadline grafana push"}
        self._write("POST", "/dashboards/db", body)
        return (PushAction.CREATED, "") if current is None else (PushAction.UPDATED, difference or "")

    def _push_rule(self, rule: Document) -> tuple[PushAction, str]:
        path = f"/v1/provisioning/alert-rules/{quote(rule['uid'], safe='')}"
        headers = {} if self.lock_rules else _NO_PROVENANCE
        current = self.api.get(path)
        if current is None:
            self._write("POST", "/v1/provisioning/alert-rules", rule, headers)
            return PushAction.CREATED, ""
        provenance = current.get("provenance") or ""
        difference = find_first_difference(rule, current)
        if difference is None and (provenance == "file" or provenance == ("api" if self.lock_rules else "")):
            return PushAction.UNCHANGED, ""
        if provenance == "file":
            return (
                PushAction.REFUSED,
                f"{difference} differs, but provisioning files on the Grafana host own the item: change it there",
            )
        self._write("PUT", path, rule, headers)
        return PushAction.UPDATED, difference or "edit lock"

    def _push_interval(self, group: RuleGroup) -> tuple[PushAction, str]:
        """Set the evaluation interval of a group.

        Rules are written one by one. Grafana 11 refuses a group with predefined rule uids (grafana/grafana#98283), and
        writing a group would delete rules of other users in it.
        """
        path = f"/v1/provisioning/folder/{FOLDER_UID}/rule-groups/{quote(group.name, safe='')}"
        current = self.api.get(path)
        if current is None:
            return PushAction.CREATED, ""
        if current["interval"] == group.interval_s:
            return PushAction.UNCHANGED, ""
        headers = {} if self.lock_rules else _NO_PROVENANCE
        self._write("PUT", path, current | {"interval": group.interval_s}, headers)
        return PushAction.UPDATED, "interval"
