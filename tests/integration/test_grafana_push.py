"""``leadline grafana push`` against a fake server that checks the contract of Grafana's API, and optionally a real one.

LEADLINE_TEST_GRAFANA is the URL of a real Grafana, and LEADLINE_TEST_GRAFANA_TOKEN_FILE the token of an administrator.
The tests that use only the API then run against it too, and leave their folder there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from leadline.errors import ConfigError, LeadlineError, UnavailableError
from leadline_cli.__main__ import build_parser
from leadline_cli.commands import grafana
from leadline_cli.grafana.desired_state import Datasource, DesiredState
from leadline_cli.grafana.push import GrafanaPush
from tests.support.grafana.documents import DASHBOARDS, GROUPS, build_dashboard
from tests.support.grafana.server import FakeGrafana, serve_grafana, serve_handler

VARIABLE = "LEADLINE_TEST_GRAFANA"
TOKEN_VARIABLE = "LEADLINE_TEST_GRAFANA_TOKEN_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pusher:
    """Runs the command against one Grafana."""

    url: str
    directory: Path
    capsys: pytest.CaptureFixture[str]
    #: None for a real Grafana.
    fake: FakeGrafana | None
    token_file: Path

    def __call__(
        self, *options: str, documents: dict[str, bytes] = DASHBOARDS, groups: list[dict[str, Any]] = GROUPS
    ) -> tuple[int, list[dict[str, str]]]:
        """Run with ``--json`` and return the exit status and the items."""
        status = grafana.push_dashboards(self.args("--json", *self.source(), *options), documents, groups)
        items: list[dict[str, str]] = json.loads(self.capsys.readouterr().out)["items"]
        return status, items

    def args(self, *options: str) -> argparse.Namespace:
        """Return the parsed arguments of the command."""
        return build_parser().parse_args(
            ["grafana", "push", "--url", self.url, "--token-file", str(self.token_file), *options]
        )

    def source(self) -> list[str]:
        """Return the options of a datasource with a password; a real Grafana has its own."""
        if self.fake is None:
            return []
        (self.directory / "password").write_text("reader-password\n")
        (self.directory / "password").chmod(0o600)
        return ["--datasource-host", "db:5432", "--datasource-password-file", str(self.directory / "password")]

    def actions(self, *options: str, **documents: Any) -> list[str]:
        """Run, and return the actions of the items in order."""
        return [item["action"] for item in self(*options, **documents)[1]]


@pytest.fixture(name="fake")
def _fake() -> Iterator[FakeGrafana]:
    """Yield an empty Grafana; afterwards, check that all requests followed the contract."""
    fake = FakeGrafana()
    yield fake
    assert fake.violations == []


@pytest.fixture(name="push")
def _push(fake: FakeGrafana, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Pusher]:
    with serve_grafana(fake, "/monitoring/grafana") as url:
        yield Pusher(url=url, directory=tmp_path, capsys=capsys, fake=fake, token_file=token(tmp_path, "admin-token"))


@pytest.fixture(name="any_push", params=["contract", "real"])
def _any_push(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Pusher:
    """Return a pusher for the fake, and for a real Grafana if configured."""
    if request.param == "contract":
        pusher: Pusher = request.getfixturevalue("push")
        return pusher
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} is not set")
    file = Path(os.environ[TOKEN_VARIABLE])
    return Pusher(url=os.environ[VARIABLE], directory=tmp_path, capsys=capsys, fake=None, token_file=file)


def token(directory: Path, text: str) -> Path:
    """Create a token file that only its owner can read."""
    file = directory / "token"
    file.write_text(f"{text}\n")
    file.chmod(0o600)
    return file


def push_as_text(push: Pusher, *options: str) -> tuple[int, list[str]]:
    """Run without ``--json`` and return the exit status and the lines."""
    status = grafana.push_dashboards(push.args(*push.source(), *options), DASHBOARDS, GROUPS)
    return status, push.capsys.readouterr().out.splitlines()


def test_the_second_run_changes_nothing(any_push: Pusher) -> None:
    """Also if the server adds fields to the documents."""
    any_push()
    status, items = any_push()

    assert (status, {item["action"] for item in items}) == (0, {"unchanged"})
    assert [item["kind"] for item in items] == [
        "datasource", "folder", "dashboard", "dashboard", "alert rule", "alert rule", "rule group",
    ]  # fmt: skip


def test_a_change_is_written_and_reported(any_push: Pusher) -> None:
    """Only the dashboard that differs is written; the detail is the path of the difference."""
    any_push()
    documents = DASHBOARDS | {"pair.json": DASHBOARDS["pair.json"].replace(b"SELECT 1", b"SELECT 2")}

    items = [item for item in any_push(documents=documents)[1] if item["action"] != "unchanged"]
    any_push()

    assert [(item["name"], item["action"]) for item in items] == [("leadline test: pair", "updated")]
    assert items[0]["detail"] == "panels[0].targets[0].rawSql"


def test_items_are_created_in_the_order_of_dependency(push: Pusher, fake: FakeGrafana) -> None:
    """Datasource and folder come first; rules remain editable in Grafana, and their group has its interval."""
    status, items = push()

    assert (status, [item["action"] for item in items]) == (0, ["created"] * 6 + ["updated"])
    assert [path for _, path in fake.list_writes()] == [
        "/api/datasources", "/api/folders", "/api/dashboards/db", "/api/dashboards/db",
        "/api/v1/provisioning/alert-rules", "/api/v1/provisioning/alert-rules",
        "/api/v1/provisioning/folder/leadline/rule-groups/leadline%20test",
    ]  # fmt: skip
    assert fake.passwords == {"leadline": "reader-password"}
    settings = fake.datasources["leadline"]["jsonData"]
    assert (settings["database"], settings["sslmode"]) == ("leadline", "verify-full")
    assert all("provenance" not in rule for rule in fake.rules.values())
    assert set(fake.rules) == {"leadline-test-beyond", "leadline-test-silent"}
    assert fake.intervals == {("leadline", "leadline test"): 120}


def test_a_dry_run_writes_nothing(push: Pusher, fake: FakeGrafana) -> None:
    """It reports what a run would do, before the first run and after a change."""
    status, lines = push_as_text(push, "--dry-run")
    assert (status, fake.list_writes()) == (0, [])
    assert lines[0] == f"Grafana 12.4.2: {push.url}/api"
    assert lines[1:3] == ["would create  datasource  leadline", "would create  folder      leadline"]

    push()
    fake.requests.clear()
    assert "would update  folder      other: title" in push_as_text(push, "--dry-run", "--folder", "other")[1]
    assert fake.list_writes() == []


def test_a_concurrently_saved_dashboard_is_not_overwritten(push: Pusher, fake: FakeGrafana) -> None:
    """The request contains the version that was read: Grafana refuses it. The others are written, the status is 1."""
    push()
    documents = {name: data.replace(b"SELECT 1", b"SELECT 2") for name, data in DASHBOARDS.items()}
    fake.concurrently_saved.add("leadline-test-overview")

    status, items = push(documents=documents)

    refused = [item for item in items if item["action"] == "refused"]
    assert (status, [item["name"] for item in refused]) == (1, ["leadline test: overview"])
    assert "412 (The dashboard has been changed by someone else)" in refused[0]["detail"]
    assert "another user saved it in the meantime" in refused[0]["detail"]


def test_a_dashboard_in_another_folder_is_moved_back(push: Pusher, fake: FakeGrafana) -> None:
    """The folder determines the permissions."""
    push()
    fake.dashboards["leadline-test-pair"]["meta"]["folderUid"] = "elsewhere"

    items = [item for item in push()[1] if item["action"] == "updated"]

    assert [item["detail"] for item in items] == ["folder"]
    assert fake.dashboards["leadline-test-pair"]["meta"]["folderUid"] == "leadline"


def test_changes_of_file_provisioned_items_are_refused_with_a_remedy(push: Pusher, fake: FakeGrafana) -> None:
    """Grafana would refuse them too, without a remedy. Items without a difference are unchanged."""
    push()
    fake.datasources["leadline"] |= {"readOnly": True, "url": "old:5432"}
    fake.dashboards["leadline-test-pair"]["meta"]["provisioned"] = True
    fake.dashboards["leadline-test-pair"]["dashboard"]["title"] = "old"
    for uid in fake.rules:
        fake.rules[uid]["provenance"] = "file"
    fake.rules["leadline-test-beyond"]["for"] = "1m"
    fake.requests.clear()

    status, items = push()

    refused = [item for item in items if item["action"] == "refused"]
    assert [item["kind"] for item in refused] == ["datasource", "dashboard", "alert rule"]
    assert all("change it there" in item["detail"] for item in refused)
    assert (status, fake.list_writes()) == (1, [])


def test_a_changed_password_is_detected_by_the_health_check(push: Pusher, fake: FakeGrafana) -> None:
    """Grafana returns no password; a failing query means that its password is different."""
    push()
    fake.passwords["leadline"] = "forgotten"

    items = push()[1]

    assert (items[0]["action"], items[0]["detail"]) == ("updated", "password")
    assert fake.passwords["leadline"] == "reader-password"


def test_a_datasource_that_does_not_work_is_refused(push: Pusher, fake: FakeGrafana) -> None:
    """The detail contains Grafana's error."""
    fake.database_password = "another"

    status, items = push()

    assert (status, items[0]["action"]) == (1, "refused")
    assert "password authentication failed" in items[0]["detail"]


def test_without_a_host_the_datasource_must_exist(push: Pusher, fake: FakeGrafana) -> None:
    """The command does not write it."""
    args = push.args("--json")
    assert grafana.push_dashboards(args, DASHBOARDS, GROUPS) == 1
    item = json.loads(push.capsys.readouterr().out)["items"][0]
    assert (item["action"], "--datasource-host" in item["detail"]) == ("refused", True)

    fake.datasources["leadline"] = {"uid": "leadline", "name": "theirs"}
    assert grafana.push_dashboards(args, DASHBOARDS, GROUPS) == 0


def test_rules_can_be_locked_and_unlocked(push: Pusher, fake: FakeGrafana) -> None:
    """Only the API can change a locked rule."""
    push("--lock-rules")
    assert {rule["provenance"] for rule in fake.rules.values()} == {"api"}
    assert set(push.actions("--lock-rules")) == {"unchanged"}

    assert push.actions().count("updated") == 2
    assert all("provenance" not in rule for rule in fake.rules.values())


def test_foreign_rules_in_the_group_stay(push: Pusher, fake: FakeGrafana) -> None:
    """Also if the run changes the interval of the group."""
    push()
    fake.rules["theirs"] = fake.rules["leadline-test-silent"] | {"uid": "theirs", "title": "Theirs"}
    fake.intervals["leadline", "leadline test"] = 60

    assert push.actions()[-1] == "updated"
    assert "theirs" in fake.rules


@pytest.mark.parametrize(("role", "refused"), [("Viewer", ["datasource", "folder"]), ("Editor", ["datasource"])])
def test_an_insufficient_role_is_reported(push: Pusher, fake: FakeGrafana, role: str, refused: list[str]) -> None:
    """With the status, Grafana's message and the necessary role."""
    fake.tokens["admin-token"] = role

    status, items = push()

    refused_items = [item for item in items if item["action"] == "refused"]
    assert (status, [item["kind"] for item in refused_items][: len(refused)]) == (1, refused)
    assert "status 403 (You'll need additional permissions" in refused_items[0]["detail"]
    assert "the role Admin" in refused_items[0]["detail"]


def test_a_foreign_folder_with_the_same_name_is_not_used(push: Pusher, fake: FakeGrafana) -> None:
    """The run stops there."""
    fake.folders["theirs"] = {"uid": "theirs", "title": "leadline"}

    status, items = push()

    assert (status, [item["kind"] for item in items]) == (1, ["datasource", "folder"])
    assert "409" in items[1]["detail"]


def test_an_unknown_token_ends_the_run(push: Pusher, fake: FakeGrafana) -> None:
    """The error contains the URL, and never the token."""
    fake.tokens.clear()

    with pytest.raises(UnavailableError) as info:
        push()
    assert "GET " + push.url in str(info.value)
    assert "status 401 (Invalid API key): the token is unknown" in str(info.value)
    assert "admin-token" not in str(info.value)


def test_an_old_grafana_is_refused(push: Pusher, fake: FakeGrafana) -> None:
    """Before the first write; newer versions are accepted."""
    fake.version = "10.4.19"
    with pytest.raises(UnavailableError, match=r"Grafana 10\.4\.19; these dashboards need 11 or newer"):
        push()
    assert fake.list_writes() == []

    fake.version = "13.0.1+security-01"
    assert push()[0] == 0


class HtmlServer(BaseHTTPRequestHandler):
    """Server that responds with an HTML page to every request."""

    def do_GET(self) -> None:
        self.reply(200, "text/html", b"<html>hello</html>")

    def reply(self, status: int, media_type: str, body: bytes) -> None:
        """Send a response."""
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "https://sso.example.net/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class RedirectingProxy(HtmlServer):
    """Proxy that redirects to its own login page."""

    def do_GET(self) -> None:
        self.reply(302, "text/html", b"")


class ForeignApi(HtmlServer):
    """Server with another API: its errors are lists, which grafana-api does not expect."""

    def do_GET(self) -> None:
        self.reply(404, "application/json", b"[]")


class ForeignHealth(HtmlServer):
    """Server with another health document."""

    def do_GET(self) -> None:
        self.reply(200, "application/json", b'{"status": "ok"}')


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (HtmlServer, "the response is not from Grafana"),
        (RedirectingProxy, "responded with a redirect: pass its target as --url"),
        (ForeignApi, "is not from Grafana"),
        (ForeignHealth, "is not from Grafana"),
    ],
)
def test_a_server_that_is_not_grafana_is_reported(
    handler: type[BaseHTTPRequestHandler], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error contains the URL of the request."""
    with serve_handler(handler) as url, pytest.raises(UnavailableError) as info:
        Pusher(url=url, directory=tmp_path, capsys=capsys, fake=None, token_file=token(tmp_path, "t"))()

    assert message in str(info.value)
    assert f"{url}/api/health" in str(info.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_failed_connection_is_reported(scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A refused connection, or a server without TLS: one line, without names of classes."""
    server = nullcontext("http://127.0.0.1:9") if scheme == "http" else serve_handler(HtmlServer)
    with server as server_url:
        url = server_url.replace("http:", f"{scheme}:")
        push = Pusher(url=url, directory=tmp_path, capsys=capsys, fake=None, token_file=token(tmp_path, "t"))
        with pytest.raises(UnavailableError) as info:
            push()

    assert ("cannot connect" if scheme == "http" else "TLS failed") in str(info.value)
    assert "HTTPConnection" not in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "url", ["grafana.example.net", "ftp://x/", "https://", "https://x/?orgId=2", "https://admin:x@h/", "https://h:x/"]
)
def test_an_invalid_url_is_refused(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So is a URL with a password, because the list of processes would show it."""
    with pytest.raises(ConfigError) as info:
        Pusher(url=url, directory=tmp_path, capsys=capsys, fake=None, token_file=token(tmp_path, "t"))()
    assert info.value.key == "--url"


@pytest.mark.parametrize(("content", "message"), [("", "no secret"), ("two words", "more than one word")])
def test_a_token_file_without_a_token_is_refused(push: Pusher, content: str, message: str) -> None:
    """Before the first request."""
    push.token_file.write_text(content)

    with pytest.raises(ConfigError, match=message):
        push()


def test_a_token_file_that_others_can_read_causes_a_warning(push: Pusher) -> None:
    """The run continues; the warning contains the command that fixes it."""
    push.token_file.chmod(0o644)

    assert push.actions("--dry-run")
    push.token_file.chmod(0o644)
    grafana.push_dashboards(push.args("--dry-run"), DASHBOARDS, GROUPS)
    assert f"chmod 600 {push.token_file}" in push.capsys.readouterr().err


def test_the_packaged_dashboards_are_pushed(push: Pusher, fake: FakeGrafana) -> None:
    """The first run writes at least three dashboards and five rules, the second run nothing."""
    arguments = push.args("--json", *push.source())
    assert arguments.run(arguments) == 0
    first = json.loads(push.capsys.readouterr().out)["items"]
    assert arguments.run(arguments) == 0
    second = json.loads(push.capsys.readouterr().out)["items"]

    assert {item["action"] for item in first[:2]} == {"created"}
    assert {item["action"] for item in second} == {"unchanged"}
    assert (len(fake.dashboards) >= 3, len(fake.rules) >= 5) == (True, True)


def test_a_dashboard_without_a_uid_is_refused(push: Pusher) -> None:
    """Every run would create another one."""
    with pytest.raises(LeadlineError, match=r"broken\.json"):
        push(documents={"broken.json": build_dashboard("", "x")})


class UnreachableApi:
    """API of a Grafana that became unreachable."""

    url = "http://192.0.2.1/api"

    def get(self, path: str) -> Any:
        """Raise a connection error."""
        raise UnavailableError(f"GET {self.url}{path}: cannot connect")

    def send(self, method: str, path: str, document: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        """Fail the test: a failed read must not be followed by a write."""
        raise AssertionError("write after a failed read")


def test_a_lost_connection_ends_the_run() -> None:
    """There is one error, not a refusal of every remaining item."""
    source = Datasource(address="db:5432", database="leadline", user="grafana", password=None, ssl_mode="disable")
    desired_state = DesiredState(folder="leadline", datasource=source, dashboards=(), rule_groups=())

    with pytest.raises(UnavailableError, match="cannot connect"):
        list(GrafanaPush(api=UnreachableApi()).run(desired_state))


def test_without_the_extra_the_error_names_the_package(tmp_path: Path) -> None:
    """For example on an agent's host: one line, and exit status 2."""
    arguments = ["grafana", "push", "--url", "http://127.0.0.1:9", "--token-file", str(token(tmp_path, "t"))]
    code = "import sys; sys.modules['grafana_api'] = None; from leadline_cli.__main__ import main; sys.exit(main())"

    process = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)

    assert process.returncode == 2
    assert process.stderr.splitlines() == [
        "leadline: this needs grafana_api, which is not installed: pip install 'leadline[grafana]'"
    ]
