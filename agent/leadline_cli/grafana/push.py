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
from leadline_cli.grafana.desired_state import FOLDER_UID, Document, Group, Source, Wanted
from leadline_cli.grafana.diff import first_difference
from leadline_dashboards import DATASOURCE_UID

VERSION_MIN = 11
_NO_PROVENANCE = {"X-Disable-Provenance": "true"}


class Server(Protocol):
    """What is asked of Grafana (``transport.Grafana``)."""

    @property
    def url(self) -> str:
        """The address of the API."""

    def get(self, path: str) -> Any:
        """The document at a path; None where there is none."""

    def send(self, method: str, path: str, document: Document, headers: dict[str, str] | None = None) -> Any:
        """POST or PUT."""


class Action(StrEnum):
    """What became of an item, or would become of it."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    #: It is not as wanted, and cannot be made so.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the report."""

    kind: str
    name: str
    action: Action
    #: Where it differed, or why it was refused; empty otherwise.
    detail: str = ""


def version(server: Server) -> str:
    """Grafana's version; UnavailableError where there is no Grafana, or one that is too old."""
    health = server.get("/health")
    if not isinstance(health, dict) or "database" not in health:
        raise UnavailableError(f"{server.url}/health is not that of a Grafana: is the path of --url complete?")
    found = str(health.get("version", ""))
    major = re.match(r"\d+", found)
    if major and int(major[0]) < VERSION_MIN:
        raise UnavailableError(f"{server.url} is Grafana {found}; these dashboards need {VERSION_MIN} or newer")
    return found or "of unknown version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A run against one server."""

    server: Server
    #: Nothing is written; what would be is said.
    dry_run: bool = False
    #: Rules can be changed by this command only, not in Grafana's editor.
    lock_rules: bool = False

    def run(self, wanted: Wanted) -> Iterator[Result]:
        """Every item as it is done. An item that is refused does not stop the others; a missing folder does."""
        yield self._datasource(wanted.source)
        folder = self._folder(wanted.folder)
        yield folder
        if folder.action is Action.REFUSED:
            return
        for dashboard in wanted.dashboards:
            yield self._tried("dashboard", dashboard["title"], self._dashboard, dashboard)
        for group in wanted.groups:
            for rule in group.rules:
                yield self._tried("alert rule", rule["title"], self._rule, rule)
            yield self._tried("rule group", group.name, self._interval, group)

    def _tried(self, kind: str, name: str, work: Any, item: Any) -> Result:
        try:
            action, detail = work(item)
        except LeadlineError as error:
            if getattr(error, "status", None) in {None, 401}:
                raise
            action, detail = Action.REFUSED, str(error)
        return Result(kind=kind, name=name, action=action, detail=detail)

    def _write(self, method: str, path: str, document: Document, headers: dict[str, str] | None = None) -> None:
        if not self.dry_run:
            self.server.send(method, path, document, headers)

    def _datasource(self, source: Source | None) -> Result:
        if source is None:
            there = self.server.get(f"/datasources/uid/{DATASOURCE_UID}")
            action = Action.UNCHANGED if there else Action.REFUSED
            detail = "" if there else f"there is none with the uid {DATASOURCE_UID}: name --datasource-host"
            return Result(kind="datasource", name=DATASOURCE_UID, action=action, detail=detail)
        return self._tried("datasource", source.name, self._put_datasource, source)

    def _put_datasource(self, source: Source) -> tuple[Action, str]:
        path, document = f"/datasources/uid/{DATASOURCE_UID}", source.document()
        found = self.server.get(path)
        secret = {} if source.password is None else {"secureJsonData": {"password": source.password}}
        if found is None:
            self._write("POST", "/datasources", document | secret)
            return self._checked(Action.CREATED, "")
        difference = first_difference(document, found) or self._ill(source)
        if difference is None:
            return Action.UNCHANGED, ""
        if found.get("readOnly"):
            return Action.REFUSED, f"{difference} differs, and files on Grafana's host provide it: change it there"
        self._write("PUT", path, document | {"version": found.get("version")} | secret)
        return self._checked(Action.UPDATED, difference)

    def _ill(self, source: Source) -> str | None:
        """A password is never shown: that the database refuses the one that is there says that it is another."""
        return None if source.password is None or self._health() is None else "password"

    def _health(self) -> str | None:
        """Why Grafana's query to the database fails; None if it does not."""
        try:
            health = self.server.get(f"/datasources/uid/{DATASOURCE_UID}/health")
        except LeadlineError as error:
            return str(error)
        if isinstance(health, dict) and health.get("status") == "OK":
            return None
        return str((health or {}).get("message", "no answer"))

    def _checked(self, action: Action, detail: str) -> tuple[Action, str]:
        """A datasource that was put and does not work is no success."""
        trouble = None if self.dry_run else self._health()
        if trouble is None:
            return action, detail
        return Action.REFUSED, f"it was {action}, and its database does not answer Grafana: {trouble}"

    def _folder(self, title: str) -> Result:
        return self._tried("folder", title, self._put_folder, title)

    def _put_folder(self, title: str) -> tuple[Action, str]:
        found = self.server.get(f"/folders/{FOLDER_UID}")
        if found is None:
            self._write("POST", "/folders", {"uid": FOLDER_UID, "title": title})
            return Action.CREATED, ""
        if found["title"] == title:
            return Action.UNCHANGED, ""
        self._write("PUT", f"/folders/{FOLDER_UID}", {"title": title, "version": found.get("version")})
        return Action.UPDATED, "title"

    def _dashboard(self, dashboard: Document) -> tuple[Action, str]:
        found = self.server.get(f"/dashboards/uid/{quote(dashboard['uid'], safe='')}")
        meta = {} if found is None else found["meta"]
        difference = None if found is None else first_difference(dashboard, found["dashboard"])
        if found is not None and difference is None and meta.get("folderUid", FOLDER_UID) != FOLDER_UID:
            difference = "folder"
        if found is not None and difference is None:
            return Action.UNCHANGED, ""
        if meta.get("provisioned"):
            return Action.REFUSED, f"{difference} differs, and files on Grafana's host provide it: change it there"
        # The version that was read: who saved it since then is not overwritten (412).
        own = dashboard if found is None else dashboard | {"version": found["dashboard"].get("version")}
        body = {"dashboard": own, "folderUid": FOLDER_UID, "overwrite": False, "message": "leadline grafana push"}
        self._write("POST", "/dashboards/db", body)
        return (Action.CREATED, "") if found is None else (Action.UPDATED, difference or "")

    def _rule(self, rule: Document) -> tuple[Action, str]:
        path = f"/v1/provisioning/alert-rules/{quote(rule['uid'], safe='')}"
        headers = {} if self.lock_rules else _NO_PROVENANCE
        found = self.server.get(path)
        if found is None:
            self._write("POST", "/v1/provisioning/alert-rules", rule, headers)
            return Action.CREATED, ""
        provenance = found.get("provenance") or ""
        difference = first_difference(rule, found)
        if difference is None and (provenance == "file" or provenance == ("api" if self.lock_rules else "")):
            return Action.UNCHANGED, ""
        if provenance == "file":
            return Action.REFUSED, f"{difference} differs, and files on Grafana's host provide it: change it there"
        self._write("PUT", path, rule, headers)
        return Action.UPDATED, difference or "who may edit it"

    def _interval(self, group: Group) -> tuple[Action, str]:
        """Rules are written one by one: a group written as a whole refuses rules with a uid of our own in Grafana 11
        (grafana/grafana#98283), and would take away rules that others put into it.
        """
        path = f"/v1/provisioning/folder/{FOLDER_UID}/rule-groups/{quote(group.name, safe='')}"
        found = self.server.get(path)
        if found is None:
            return Action.CREATED, ""
        if found["interval"] == group.interval_s:
            return Action.UNCHANGED, ""
        headers = {} if self.lock_rules else _NO_PROVENANCE
        self._write("PUT", path, found | {"interval": group.interval_s}, headers)
        return Action.UPDATED, "interval"
