"""One run: every item is read, compared, and written where it differs and writing is wanted.

The order is that of need: a datasource and a folder before dashboards, and all of them before the rules that query.
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
    """What is asked of Grafana (``transport.Grafana``)."""

    @property
    def url(self) -> str:
        """The address of the API."""

    def get(self, path: str) -> Any:
        """The document at a path; None where there is none."""

    def send(self, method: str, path: str, document: Document, headers: dict[str, str] | None = None) -> Any:
        """POST or PUT."""


class PushAction(StrEnum):
    """What became of an item, or would become of it."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    #: It is not as wanted, and cannot be made so.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """One line of the report."""

    kind: str
    name: str
    action: PushAction
    #: Where it differed, or why it was refused; empty otherwise.
    detail: str = ""


def check_version(api: GrafanaApi) -> str:
    """Grafana's version; UnavailableError where there is no Grafana, or one that is too old."""
    health = api.get("/health")
    if not isinstance(health, dict) or "database" not in health:
        raise UnavailableError(f"{api.url}/health is not that of a Grafana: is the path of --url complete?")
    found = str(health.get("version", ""))
    major = re.match(r"\d+", found)
    if major and int(major[0]) < VERSION_MIN:
        raise UnavailableError(f"{api.url} is Grafana {found}; these dashboards need {VERSION_MIN} or newer")
    return found or "of unknown version"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrafanaPush:
    """A run against one server."""

    api: GrafanaApi
    #: Nothing is written; what would be is said.
    dry_run: bool = False
    #: Rules can be changed by this command only, not in Grafana's editor.
    lock_rules: bool = False

    def run(self, desired: DesiredState) -> Iterator[PushResult]:
        """Every item as it is done. An item that is refused does not stop the others; a missing folder does."""
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
            there = self.api.get(f"/datasources/uid/{DATASOURCE_UID}")
            action = PushAction.UNCHANGED if there else PushAction.REFUSED
            detail = "" if there else f"there is none with the uid {DATASOURCE_UID}: name --datasource-host"
            return PushResult(kind="datasource", name=DATASOURCE_UID, action=action, detail=detail)
        return self._attempt("datasource", source.name, self._put_datasource, source)

    def _put_datasource(self, source: Datasource) -> tuple[PushAction, str]:
        path, document = f"/datasources/uid/{DATASOURCE_UID}", source.to_document()
        found = self.api.get(path)
        secret = {} if source.password is None else {"secureJsonData": {"password": source.password}}
        if found is None:
            self._write("POST", "/datasources", document | secret)
            return self._verify_health(PushAction.CREATED, "")
        difference = find_first_difference(document, found) or self._find_password_mismatch(source)
        if difference is None:
            return PushAction.UNCHANGED, ""
        if found.get("readOnly"):
            return PushAction.REFUSED, f"{difference} differs, and files on Grafana's host provide it: change it there"
        self._write("PUT", path, document | {"version": found.get("version")} | secret)
        return self._verify_health(PushAction.UPDATED, difference)

    def _find_password_mismatch(self, source: Datasource) -> str | None:
        """A password is never shown: that the database refuses the one that is there says that it is another."""
        return None if source.password is None or self._find_health_error() is None else "password"

    def _find_health_error(self) -> str | None:
        """Why Grafana's query to the database fails; None if it does not."""
        try:
            health = self.api.get(f"/datasources/uid/{DATASOURCE_UID}/health")
        except LeadlineError as error:
            return str(error)
        if isinstance(health, dict) and health.get("status") == "OK":
            return None
        return str((health or {}).get("message", "no answer"))

    def _verify_health(self, action: PushAction, detail: str) -> tuple[PushAction, str]:
        """A datasource that was put and does not work is no success."""
        trouble = None if self.dry_run else self._find_health_error()
        if trouble is None:
            return action, detail
        return PushAction.REFUSED, f"it was {action}, and its database does not answer Grafana: {trouble}"

    def _push_folder(self, title: str) -> PushResult:
        return self._attempt("folder", title, self._put_folder, title)

    def _put_folder(self, title: str) -> tuple[PushAction, str]:
        found = self.api.get(f"/folders/{FOLDER_UID}")
        if found is None:
            self._write("POST", "/folders", {"uid": FOLDER_UID, "title": title})
            return PushAction.CREATED, ""
        if found["title"] == title:
            return PushAction.UNCHANGED, ""
        self._write("PUT", f"/folders/{FOLDER_UID}", {"title": title, "version": found.get("version")})
        return PushAction.UPDATED, "title"

    def _push_dashboard(self, dashboard: Document) -> tuple[PushAction, str]:
        found = self.api.get(f"/dashboards/uid/{quote(dashboard['uid'], safe='')}")
        meta = {} if found is None else found["meta"]
        difference = None if found is None else find_first_difference(dashboard, found["dashboard"])
        if found is not None and difference is None and meta.get("folderUid", FOLDER_UID) != FOLDER_UID:
            difference = "folder"
        if found is not None and difference is None:
            return PushAction.UNCHANGED, ""
        if meta.get("provisioned"):
            return PushAction.REFUSED, f"{difference} differs, and files on Grafana's host provide it: change it there"
        # The version that was read: who saved it since then is not overwritten (412).
        own = dashboard if found is None else dashboard | {"version": found["dashboard"].get("version")}
        body = {"dashboard": own, "folderUid": FOLDER_UID, "overwrite": False, "message": "leadline grafana push"}
        self._write("POST", "/dashboards/db", body)
        return (PushAction.CREATED, "") if found is None else (PushAction.UPDATED, difference or "")

    def _push_rule(self, rule: Document) -> tuple[PushAction, str]:
        path = f"/v1/provisioning/alert-rules/{quote(rule['uid'], safe='')}"
        headers = {} if self.lock_rules else _NO_PROVENANCE
        found = self.api.get(path)
        if found is None:
            self._write("POST", "/v1/provisioning/alert-rules", rule, headers)
            return PushAction.CREATED, ""
        provenance = found.get("provenance") or ""
        difference = find_first_difference(rule, found)
        if difference is None and (provenance == "file" or provenance == ("api" if self.lock_rules else "")):
            return PushAction.UNCHANGED, ""
        if provenance == "file":
            return PushAction.REFUSED, f"{difference} differs, and files on Grafana's host provide it: change it there"
        self._write("PUT", path, rule, headers)
        return PushAction.UPDATED, difference or "who may edit it"

    def _push_interval(self, group: RuleGroup) -> tuple[PushAction, str]:
        """Rules are written one by one: a group written as a whole refuses rules with a uid of our own in Grafana 11
        (grafana/grafana#98283), and would take away rules that others put into it.
        """
        path = f"/v1/provisioning/folder/{FOLDER_UID}/rule-groups/{quote(group.name, safe='')}"
        found = self.api.get(path)
        if found is None:
            return PushAction.CREATED, ""
        if found["interval"] == group.interval_s:
            return PushAction.UNCHANGED, ""
        headers = {} if self.lock_rules else _NO_PROVENANCE
        self._write("PUT", path, found | {"interval": group.interval_s}, headers)
        return PushAction.UPDATED, "interval"
