"""``leadline grafana push`` against a server that keeps the contract of Grafana's API, and against a real one if named.

LEADLINE_TEST_GRAFANA names a real Grafana (and LEADLINE_TEST_GRAFANA_TOKEN_FILE the token of one of its
administrators): the tests that know nothing but the API run against it too, and leave their folder there.
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
    #: None for a real one.
    fake: FakeGrafana | None
    token_file: Path

    def __call__(
        self, *options: str, documents: dict[str, bytes] = DASHBOARDS, groups: list[dict[str, Any]] = GROUPS
    ) -> tuple[int, list[dict[str, str]]]:
        """Exit status and items of a run with ``--json``."""
        status = grafana.push_dashboards(self.args("--json", *self.source(), *options), documents, groups)
        items: list[dict[str, str]] = json.loads(self.capsys.readouterr().out)["items"]
        return status, items

    def args(self, *options: str) -> argparse.Namespace:
        """The command line of the command."""
        return build_parser().parse_args(
            ["grafana", "push", "--url", self.url, "--token-file", str(self.token_file), *options]
        )

    def source(self) -> list[str]:
        """A datasource with a password; a real Grafana has its own."""
        if self.fake is None:
            return []
        (self.directory / "password").write_text("reader-password\n")
        (self.directory / "password").chmod(0o600)
        return ["--datasource-host", "db:5432", "--datasource-password-file", str(self.directory / "password")]

    def actions(self, *options: str, **documents: Any) -> list[str]:
        """What became of the items, in order."""
        return [item["action"] for item in self(*options, **documents)[1]]


@pytest.fixture(name="fake")
def _fake() -> Iterator[FakeGrafana]:
    """An empty Grafana; the contract was kept by whoever asked it."""
    fake = FakeGrafana()
    yield fake
    assert fake.violations == []


@pytest.fixture(name="push")
def _push(fake: FakeGrafana, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Pusher]:
    with serve_grafana(fake, "/monitoring/grafana") as url:
        yield Pusher(url=url, directory=tmp_path, capsys=capsys, fake=fake, token_file=token(tmp_path, "admin-token"))


@pytest.fixture(name="any_push", params=["contract", "real"])
def _any_push(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Pusher:
    """Against the contract and against a real Grafana."""
    if request.param == "contract":
        pusher: Pusher = request.getfixturevalue("push")
        return pusher
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no Grafana")
    file = Path(os.environ[TOKEN_VARIABLE])
    return Pusher(url=os.environ[VARIABLE], directory=tmp_path, capsys=capsys, fake=None, token_file=file)


def token(directory: Path, text: str) -> Path:
    """A file with a token, for its owner only."""
    file = directory / "token"
    file.write_text(f"{text}\n")
    file.chmod(0o600)
    return file


def in_words(push: Pusher, *options: str) -> tuple[int, list[str]]:
    """Exit status and lines of a run for a person."""
    status = grafana.push_dashboards(push.args(*push.source(), *options), DASHBOARDS, GROUPS)
    return status, push.capsys.readouterr().out.splitlines()


def test_the_second_run_changes_nothing(any_push: Pusher) -> None:
    """Whatever the server made of what it was given."""
    any_push()
    status, items = any_push()

    assert (status, {item["action"] for item in items}) == (0, {"unchanged"})
    assert [item["kind"] for item in items] == [
        "datasource", "folder", "dashboard", "dashboard", "alert rule", "alert rule", "rule group",
    ]  # fmt: skip


def test_a_change_is_put_and_named(any_push: Pusher) -> None:
    """Only the dashboard that differs is written, and the line says where."""
    any_push()
    changed = DASHBOARDS | {"pair.json": DASHBOARDS["pair.json"].replace(b"SELECT 1", b"SELECT 2")}

    items = [item for item in any_push(documents=changed)[1] if item["action"] != "unchanged"]
    any_push()

    assert [(item["name"], item["action"]) for item in items] == [("leadline test: pair", "updated")]
    assert items[0]["detail"] == "panels[0].targets[0].rawSql"


def test_everything_is_created_in_the_order_of_need(push: Pusher, fake: FakeGrafana) -> None:
    """Datasource and folder first; the rules can be edited in Grafana, and their group has its interval."""
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


def test_a_dry_run_reads_and_says(push: Pusher, fake: FakeGrafana) -> None:
    """Nothing is written, before the first run and after a change."""
    status, lines = in_words(push, "--dry-run")
    assert (status, fake.list_writes()) == (0, [])
    assert lines[0] == f"Grafana 12.4.2: {push.url}/api"
    assert lines[1:3] == ["would create  datasource  leadline", "would create  folder      leadline"]

    push()
    fake.requests.clear()
    assert "would update  folder      other: title" in in_words(push, "--dry-run", "--folder", "other")[1]
    assert fake.list_writes() == []


def test_a_dashboard_saved_in_the_meantime_is_not_overwritten(push: Pusher, fake: FakeGrafana) -> None:
    """The version that was read is sent: Grafana refuses, the others are put, and the status is 1."""
    push()
    changed = {name: data.replace(b"SELECT 1", b"SELECT 2") for name, data in DASHBOARDS.items()}
    fake.concurrently_saved.add("leadline-test-overview")

    status, items = push(documents=changed)

    refused = [item for item in items if item["action"] == "refused"]
    assert (status, [item["name"] for item in refused]) == (1, ["leadline test: overview"])
    assert "412 (The dashboard has been changed by someone else)" in refused[0]["detail"]
    assert "somebody saved it in the meantime" in refused[0]["detail"]


def test_a_dashboard_moved_elsewhere_is_brought_back(push: Pusher, fake: FakeGrafana) -> None:
    """The links between dashboards do not care, but permissions are the folder's."""
    push()
    fake.dashboards["leadline-test-pair"]["meta"]["folderUid"] = "elsewhere"

    items = [item for item in push()[1] if item["action"] == "updated"]

    assert [item["detail"] for item in items] == ["folder"]
    assert fake.dashboards["leadline-test-pair"]["meta"]["folderUid"] == "leadline"


def test_what_files_provide_is_refused_with_the_remedy(push: Pusher, fake: FakeGrafana) -> None:
    """Grafana would refuse it too, and say less; what is as wanted stays unchanged."""
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


def test_a_changed_password_is_noticed_by_the_database(push: Pusher, fake: FakeGrafana) -> None:
    """Grafana shows no password; that its query fails says that the one it has is another."""
    push()
    fake.passwords["leadline"] = "forgotten"

    items = push()[1]

    assert (items[0]["action"], items[0]["detail"]) == ("updated", "password")
    assert fake.passwords["leadline"] == "reader-password"


def test_a_datasource_that_does_not_work_is_no_success(push: Pusher, fake: FakeGrafana) -> None:
    """With what Grafana says of it."""
    fake.database_password = "another"

    status, items = push()

    assert (status, items[0]["action"]) == (1, "refused")
    assert "password authentication failed" in items[0]["detail"]


def test_without_a_host_the_datasource_is_somebody_elses(push: Pusher, fake: FakeGrafana) -> None:
    """It is not written, and has to be there."""
    args = push.args("--json")
    assert grafana.push_dashboards(args, DASHBOARDS, GROUPS) == 1
    said = json.loads(push.capsys.readouterr().out)["items"][0]
    assert (said["action"], "--datasource-host" in said["detail"]) == ("refused", True)

    fake.datasources["leadline"] = {"uid": "leadline", "name": "theirs"}
    assert grafana.push_dashboards(args, DASHBOARDS, GROUPS) == 0


def test_rules_can_be_locked_and_unlocked(push: Pusher, fake: FakeGrafana) -> None:
    """Locked ones can be changed through the API only."""
    push("--lock-rules")
    assert {rule["provenance"] for rule in fake.rules.values()} == {"api"}
    assert set(push.actions("--lock-rules")) == {"unchanged"}

    assert push.actions().count("updated") == 2
    assert all("provenance" not in rule for rule in fake.rules.values())


def test_rules_of_others_in_the_group_stay(push: Pusher, fake: FakeGrafana) -> None:
    """Also when the interval of the group is put right."""
    push()
    fake.rules["theirs"] = fake.rules["leadline-test-silent"] | {"uid": "theirs", "title": "Theirs"}
    fake.intervals["leadline", "leadline test"] = 60

    assert push.actions()[-1] == "updated"
    assert "theirs" in fake.rules


@pytest.mark.parametrize(("role", "refused"), [("Viewer", ["datasource", "folder"]), ("Editor", ["datasource"])])
def test_a_role_that_is_too_low_is_said(push: Pusher, fake: FakeGrafana, role: str, refused: list[str]) -> None:
    """Status, Grafana's words, and the role that is needed."""
    fake.tokens["admin-token"] = role

    status, items = push()

    found = [item for item in items if item["action"] == "refused"]
    assert (status, [item["kind"] for item in found][: len(refused)]) == (1, refused)
    assert "answered 403 (You'll need additional permissions" in found[0]["detail"]
    assert "the role Admin" in found[0]["detail"]


def test_a_folder_of_that_name_of_others_is_not_taken(push: Pusher, fake: FakeGrafana) -> None:
    """Nothing is put anywhere else instead."""
    fake.folders["theirs"] = {"uid": "theirs", "title": "leadline"}

    status, items = push()

    assert (status, [item["kind"] for item in items]) == (1, ["datasource", "folder"])
    assert "409" in items[1]["detail"]


def test_a_token_that_is_not_known_ends_the_run(push: Pusher, fake: FakeGrafana) -> None:
    """With the address, and never with the token."""
    fake.tokens.clear()

    with pytest.raises(UnavailableError) as refused:
        push()
    assert "GET " + push.url in str(refused.value)
    assert "answered 401 (Invalid API key): the token is not known there" in str(refused.value)
    assert "admin-token" not in str(refused.value)


def test_an_old_grafana_is_refused(push: Pusher, fake: FakeGrafana) -> None:
    """Before anything is written; the next version is fine."""
    fake.version = "10.4.19"
    with pytest.raises(UnavailableError, match=r"Grafana 10\.4\.19; these dashboards need 11 or newer"):
        push()
    assert fake.list_writes() == []

    fake.version = "13.0.1+security-01"
    assert push()[0] == 0


class NoGrafana(BaseHTTPRequestHandler):
    """Something else: a page, whatever is asked."""

    def do_GET(self) -> None:
        """A page."""
        self.reply(200, "text/html", b"<html>hello</html>")

    def reply(self, status: int, kind: str, body: bytes) -> None:
        """One answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "https://sso.example.net/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Redirecting(NoGrafana):
    """A proxy with a login page of its own."""

    def do_GET(self) -> None:
        """To somewhere else."""
        self.reply(302, "text/html", b"")


class Elsewhere(NoGrafana):
    """A server with another API."""

    def do_GET(self) -> None:
        """A list of errors, which grafana-api does not expect."""
        self.reply(404, "application/json", b"[]")


class AnotherHealth(NoGrafana):
    """A server with a health of its own."""

    def do_GET(self) -> None:
        """Not Grafana's."""
        self.reply(200, "application/json", b'{"status": "ok"}')


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (NoGrafana, "the answer is none of Grafana's"),
        (Redirecting, "answered with a redirect: give --url the address it leads to"),
        (Elsewhere, "is not that of a Grafana"),
        (AnotherHealth, "is not that of a Grafana"),
    ],
)
def test_what_is_no_grafana_is_told_apart(
    handler: type[BaseHTTPRequestHandler], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the address that was asked."""
    with serve_handler(handler) as url, pytest.raises(UnavailableError) as refused:
        Pusher(url=url, directory=tmp_path, capsys=capsys, fake=None, token_file=token(tmp_path, "t"))()

    assert said in str(refused.value)
    assert f"{url}/api/health" in str(refused.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_that_fails_is_said(scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused, or no TLS where TLS is asked for: in one line, without the names of classes."""
    server = nullcontext("http://127.0.0.1:9") if scheme == "http" else serve_handler(NoGrafana)
    with server as url:
        where = url.replace("http:", f"{scheme}:")
        push = Pusher(url=where, directory=tmp_path, capsys=capsys, fake=None, token_file=token(tmp_path, "t"))
        with pytest.raises(UnavailableError) as refused:
            push()

    assert ("no connection" if scheme == "http" else "TLS failed") in str(refused.value)
    assert "HTTPConnection" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["grafana.example.net", "ftp://x/", "https://", "https://x/?orgId=2", "https://admin:x@h/", "https://h:x/"]
)
def test_an_address_that_is_none_is_named(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A password in it, too, for it would stand in the list of processes."""
    with pytest.raises(ConfigError) as refused:
        Pusher(url=url, directory=tmp_path, capsys=capsys, fake=None, token_file=token(tmp_path, "t"))()
    assert refused.value.key == "--url"


@pytest.mark.parametrize(("content", "said"), [("", "no secret"), ("two words", "more than one word")])
def test_a_token_file_without_a_token_is_named(push: Pusher, content: str, said: str) -> None:
    """Before anybody is asked."""
    push.token_file.write_text(content)

    with pytest.raises(ConfigError, match=said):
        push()


def test_a_token_that_others_may_read_is_warned_of(push: Pusher) -> None:
    """The run goes on; the remedy is one command."""
    push.token_file.chmod(0o644)

    assert push.actions("--dry-run")
    push.token_file.chmod(0o644)
    grafana.push_dashboards(push.args("--dry-run"), DASHBOARDS, GROUPS)
    assert f"chmod 600 {push.token_file}" in push.capsys.readouterr().err


def test_what_is_packaged_is_pushed(push: Pusher, fake: FakeGrafana) -> None:
    """The generated dashboards and rules: three, five and more, and the second time nothing."""
    arguments = push.args("--json", *push.source())
    assert arguments.run(arguments) == 0
    first = json.loads(push.capsys.readouterr().out)["items"]
    assert arguments.run(arguments) == 0
    second = json.loads(push.capsys.readouterr().out)["items"]

    assert {item["action"] for item in first[:2]} == {"created"}
    assert {item["action"] for item in second} == {"unchanged"}
    assert (len(fake.dashboards) >= 3, len(fake.rules) >= 5) == (True, True)


def test_a_dashboard_without_a_uid_is_refused(push: Pusher) -> None:
    """Every run would make another one."""
    with pytest.raises(LeadlineError, match=r"broken\.json"):
        push(documents={"broken.json": build_dashboard("", "x")})


class Gone:
    """A Grafana that has answered before, and does no longer."""

    url = "http://192.0.2.1/api"

    def get(self, path: str) -> Any:
        """Nobody is there."""
        raise UnavailableError(f"GET {self.url}{path}: no connection")

    def send(self, method: str, path: str, document: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        """Nor here."""
        raise AssertionError("nothing is written where nothing can be read")


def test_a_connection_lost_on_the_way_ends_the_run() -> None:
    """It is said once, and not as a refusal of every item that is left."""
    source = Datasource(address="db:5432", database="leadline", user="grafana", password=None, ssl_mode="disable")
    wanted = DesiredState(folder="leadline", datasource=source, dashboards=(), rule_groups=())

    with pytest.raises(UnavailableError, match="no connection"):
        list(GrafanaPush(api=Gone()).run(wanted))


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """On an agent's host, for instance: one line, and exit status 2."""
    arguments = ["grafana", "push", "--url", "http://127.0.0.1:9", "--token-file", str(token(tmp_path, "t"))]
    code = "import sys; sys.modules['grafana_api'] = None; from leadline_cli.__main__ import main; sys.exit(main())"

    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "leadline: this needs grafana_api, which is not installed: pip install 'leadline[grafana]'"
    ]
