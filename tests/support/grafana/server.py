"""A fake Grafana by contract.toml: a real HTTP server that stores documents and records every violation."""

from __future__ import annotations

import copy
import json
import re
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

Document = dict[str, Any]
ApiResponse = tuple[int, Any]

CONTRACT: list[Document] = tomllib.loads(Path(__file__).with_name("contract.toml").read_text(encoding="utf-8"))["route"]
_ROLES = ("anybody", "Viewer", "Editor", "Admin")


@dataclass(slots=True, kw_only=True)
class FakeGrafana:
    """The contents of a Grafana, and the requests it received."""

    version: str = "12.4.2"
    #: Roles by token.
    tokens: dict[str, str] = field(default_factory=lambda: {"admin-token": "Admin"})
    datasources: dict[str, Document] = field(default_factory=dict)
    #: Passwords of datasources; responses do not contain them.
    passwords: dict[str, str] = field(default_factory=dict)
    #: Password that the database accepts.
    database_password: str = "reader-password"
    folders: dict[str, Document] = field(default_factory=dict)
    dashboards: dict[str, Document] = field(default_factory=dict)
    #: Dashboards that another user saves right after each read.
    concurrently_saved: set[str] = field(default_factory=set)
    rules: dict[str, Document] = field(default_factory=dict)
    intervals: dict[tuple[str, str], int] = field(default_factory=dict)
    #: Method and path of every request, in order.
    requests: list[tuple[str, str]] = field(default_factory=list)
    #: Requests that the contract does not allow.
    violations: list[str] = field(default_factory=list)

    def list_writes(self) -> list[tuple[str, str]]:
        """Return the requests other than GET."""
        return [request for request in self.requests if request[0] != "GET"]

    def handle_request(self, method: str, path: str, headers: Any, body: bytes) -> ApiResponse:
        """Handle a request by the contract; record a violation if the contract does not allow it."""
        self.requests.append((method, path))
        match = _match_route(method, path)
        if match is None:
            self.violations.append(f"{method} {path} is not a route of the contract")
            return 404, {"message": "Not found"}
        route, values = match
        status, document = self._check_access(route, headers, body) or self._dispatch(route, values, headers, body)
        if status not in {401, 403, 400} and str(status) not in route["answers"]:
            self.violations.append(f"{method} {path} has no response {status} in the contract")
        return status, document

    def _check_access(self, route: Document, headers: Any, body: bytes) -> ApiResponse | None:
        token = (headers.get("Authorization") or "").removeprefix("Bearer ")
        role = self.tokens.get(token, "anybody")
        if role == "anybody" != route["role"]:
            return 401, {"message": "Invalid API key", "messageId": "api-key.invalid"}
        if _ROLES.index(role) < _ROLES.index(route["role"]):
            return 403, {"message": "You'll need additional permissions to perform this action."}
        return self._check_body(route, headers, body)

    def _check_body(self, route: Document, headers: Any, body: bytes) -> ApiResponse | None:
        if route["method"] == "GET":
            return None
        if not headers.get("Content-Type", "").startswith("application/json"):
            self.violations.append(f"{route['path']} got {headers.get('Content-Type')}")
        missing = [key for key in route.get("required", []) if key not in json.loads(body)]
        return (400, {"message": f"bad request data: no {', '.join(missing)}"}) if missing else None

    def _dispatch(self, route: Document, values: list[str], headers: Any, body: bytes) -> ApiResponse:
        method_suffix = re.sub(r"\W+", "_", re.sub(r"{.*?}", "", route["path"].removeprefix("/api/"))).strip("_")
        document = json.loads(body) if body else {}
        response: ApiResponse = getattr(self, f"{route['method'].lower()}_{method_suffix}")(document, headers, *values)
        return response

    def get_health(self, document: Document, headers: Any) -> ApiResponse:
        return 200, {"commit": "f0e1d2c", "database": "ok", "version": self.version}

    def get_datasources_uid(self, document: Document, headers: Any, uid: str) -> ApiResponse:
        if uid not in self.datasources:
            return 404, {"message": "Data source not found"}
        return 200, self._render_datasource(uid)

    def _render_datasource(self, uid: str) -> Document:
        defaults = {"basicAuth": False, "isDefault": False, "typeLogoUrl": "", "readOnly": False, "orgId": 1}
        return (
            defaults | self.datasources[uid] | {"secureJsonFields": {"password": True} if uid in self.passwords else {}}
        )

    def get_datasources_uid_health(self, document: Document, headers: Any, uid: str) -> ApiResponse:
        if uid not in self.datasources:
            return 404, {"message": "Data source not found"}
        if self.passwords.get(uid) == self.database_password:
            return 200, {"status": "OK", "message": "Database Connection OK"}
        return 400, {"status": "ERROR", "message": "pq: password authentication failed"}

    def post_datasources(self, document: Document, headers: Any) -> ApiResponse:
        if any(document["name"] == other["name"] for other in self.datasources.values()):
            return 409, {"message": "data source with the same name already exists"}
        return self._store_datasource(document["uid"], document, version=1)

    def _store_datasource(self, uid: str, document: Document, version: int) -> ApiResponse:
        secret = document.pop("secureJsonData", {}).get("password")
        if secret is not None:
            self.passwords[uid] = secret
        self.datasources[uid] = document | {"uid": uid, "id": 7, "version": version}
        return 200, {
            "datasource": self._render_datasource(uid),
            "id": 7,
            "message": "Datasource added",
            "name": document["name"],
        }

    def put_datasources_uid(self, document: Document, headers: Any, uid: str) -> ApiResponse:
        datasource = self.datasources.get(uid)
        if datasource is None:
            return 404, {"message": "Data source not found"}
        if datasource.get("readOnly"):
            return 403, {"message": "Cannot update read-only data source"}
        if document.get("version", datasource["version"]) != datasource["version"]:
            return 409, {"message": "Datasource has already been updated by someone else. Please reload and try again"}
        return self._store_datasource(uid, document, version=datasource["version"] + 1)

    def get_folders(self, document: Document, headers: Any, uid: str) -> ApiResponse:
        if uid not in self.folders:
            return 404, {"message": "folder not found", "status": "not-found"}
        return 200, self.folders[uid]

    def post_folders(self, document: Document, headers: Any) -> ApiResponse:
        if any(document["title"] == other["title"] for other in self.folders.values()):
            return 409, {"message": "a folder with the same name already exists in the current location"}
        server = {"id": 1, "hasAcl": False, "canSave": True, "createdBy": "sa", "version": 1, "url": "/dashboards/f/x"}
        self.folders[document["uid"]] = document | server
        return 200, self.folders[document["uid"]]

    def put_folders(self, document: Document, headers: Any, uid: str) -> ApiResponse:
        folder = self.folders[uid]
        if not document.get("overwrite") and document.get("version") != folder["version"]:
            return 412, {"message": "the folder has been changed by someone else", "status": "version-mismatch"}
        folder.update(title=document["title"], version=folder["version"] + 1)
        return 200, folder

    def get_dashboards_uid(self, document: Document, headers: Any, uid: str) -> ApiResponse:
        if uid not in self.dashboards:
            return 404, {"message": "Dashboard not found"}
        dashboard = copy.deepcopy(self.dashboards[uid])
        self.dashboards[uid]["dashboard"]["version"] += uid in self.concurrently_saved
        return 200, dashboard

    def post_dashboards_db(self, document: Document, headers: Any) -> ApiResponse:
        dashboard, stored = document["dashboard"], self.dashboards.get(document["dashboard"]["uid"])
        version = 0 if stored is None else stored["dashboard"]["version"]
        if stored is not None and stored["meta"].get("provisioned"):
            return 400, {"message": "Cannot save provisioned dashboard"}
        if stored is not None and not document.get("overwrite") and dashboard.get("version") != version:
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        if document.get("folderUid") not in self.folders:
            return 400, {"message": "folder not found"}
        saved = dashboard | {"id": 9, "version": version + 1}
        # A newer Grafana migrates dashboards and adds defaults.
        saved |= {"schemaVersion": max(dashboard.get("schemaVersion", 0), 42), "liveNow": False}
        self.dashboards[dashboard["uid"]] = {
            "dashboard": saved,
            "meta": {"folderUid": document["folderUid"], "slug": "x"},
        }
        return 200, {
            "id": 9,
            "uid": dashboard["uid"],
            "status": "success",
            "version": version + 1,
            "slug": "x",
            "url": "/d/x",
        }

    def get_v1_provisioning_alert_rules(self, document: Document, headers: Any, uid: str) -> ApiResponse:
        return (200, self.rules[uid]) if uid in self.rules else (404, None)

    def post_v1_provisioning_alert_rules(self, document: Document, headers: Any) -> ApiResponse:
        if document["uid"] in self.rules:
            return 409, {}
        if document["folderUID"] not in self.folders:
            return 400, {"message": "invalid alert rule: folder does not exist"}
        self.intervals.setdefault((document["folderUID"], document["ruleGroup"]), 60)
        return 201, self._store_rule(document, headers)

    def _store_rule(self, document: Document, headers: Any) -> Document:
        provenance = {} if "X-Disable-Provenance" in headers else {"provenance": "api"}
        rule = {key: value for key, value in document.items() if key != "provenance"}
        server_fields = {
            "id": 3,
            "orgID": 4,
            "updated": "2026-11-22T12:00:00Z",
            "notification_settings": None,
            "record": None,
        }
        self.rules[document["uid"]] = rule | server_fields | provenance
        return self.rules[document["uid"]]

    def put_v1_provisioning_alert_rules(self, document: Document, headers: Any, uid: str) -> ApiResponse:
        if uid not in self.rules:
            return 404, None
        provenance = self.rules[uid].get("provenance", "")
        if provenance == "file":
            return 409, {"message": "cannot change provenance from 'file' to ''"}
        return 200, self._store_rule(document | {"uid": uid}, headers)

    def get_v1_provisioning_folder_rule_groups(
        self, document: Document, headers: Any, folder: str, group: str
    ) -> ApiResponse:
        if (folder, group) not in self.intervals:
            return 404, {"message": "rule group not found"}
        rules = [rule for rule in self.rules.values() if (rule["folderUID"], rule["ruleGroup"]) == (folder, group)]
        interval = self.intervals[folder, group]
        return 200, {"title": group, "folderUid": folder, "interval": interval, "rules": rules}

    def put_v1_provisioning_folder_rule_groups(
        self, document: Document, headers: Any, folder: str, group: str
    ) -> ApiResponse:
        if any(rule["uid"] not in self.rules for rule in document["rules"]):
            return 500, {"message": "Internal Server Error"}
        uids = {rule["uid"] for rule in document["rules"]}
        for uid, rule in list(self.rules.items()):
            if (rule["folderUID"], rule["ruleGroup"]) == (folder, group) and uid not in uids:
                del self.rules[uid]
        self.intervals[folder, group] = document["interval"]
        for rule in document["rules"]:
            self._store_rule(rule, headers)
        return 200, document | {"title": group, "folderUid": folder}


def _match_route(method: str, path: str) -> tuple[Document, list[str]] | None:
    """Return the route of the contract and the values in its path; None if no route matches."""
    for route in CONTRACT:
        pattern = re.sub(r"{\w+}", "([^/]+)", route["path"])
        if route["method"] == method and (match := re.fullmatch(pattern, path)):
            return route, [unquote(value) for value in match.groups()]
    return None


@contextmanager
def serve_grafana(grafana: FakeGrafana, prefix: str = "") -> Iterator[str]:
    """Serve the fake Grafana below ``prefix``; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.removeprefix(prefix) if self.path.startswith(f"{prefix}/") else f"/outside{self.path}"
            status, document = grafana.handle_request(self.command, path, self.headers, body)
            data = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815 - names of http.server

        def log_message(self, *_: object) -> None:
            """Log nothing: the requests are in ``FakeGrafana.requests``."""

    with serve_handler(Handler) as url:
        yield f"{url}{prefix}"


@contextmanager
def serve_handler(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run an HTTP server on loopback; yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
