"""Who may do what: every route has a role, and every wrong key gets the same answer."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from leadline.wire import codec
from leadline_collector.config import CollectorConfig
from leadline_collector.db.transactions import Store
from leadline_collector.http import roles as http_roles
from leadline_collector.server.app import create_app
from leadline_collector.server.serve import serve_in_thread
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.documents import build_batch, build_steady_window, encode_body

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

VIEWER_KEY = "ll_viewer_0123456789abcdef"
METRICS_KEY = "ll_metrics_0123456789abcdef"

#: Everything that needs no key, and why. A sixth entry needs a very good reason.
PUBLIC = {
    "/healthz": "whoever restarts the process asks it",
    "/readyz": "load balancers ask it",
    "/api/v1/enroll": "the token in the body is the credential",
    "/login": "the key in the form is the credential",
    "/static/{name}": "the login page's style; no file of it holds data",
}


def routes(app: FastAPI) -> Iterator[APIRoute]:
    """Every route of the application, those of included routers too."""

    def of(items: Any) -> Iterator[APIRoute]:
        for item in items:
            if isinstance(item, APIRoute):
                yield item
            elif (router := getattr(item, "original_router", None)) is not None:
                yield from of(router.routes)

    yield from of(app.routes)


#: A route without one of them is a bug.
ROLES: tuple[Callable[..., object], ...] = (
    http_roles.public,
    http_roles.viewer,
    http_roles.metrics,
    http_roles.agent,
    http_roles.admin,
)


def roles(route: APIRoute) -> list[str]:
    """The roles a route declares."""
    return [call.__name__ for one in route.dependant.dependencies if (call := one.call) in ROLES]


def test_every_route_has_one_role(config: CollectorConfig, store: Store, clock: FakeClock) -> None:
    """Each declares exactly one, and only the listed ones are public."""
    found = list(routes(create_app(config, store, clock)))

    assert len(found) >= 18
    assert len(PUBLIC) <= 5
    assert {route.path: len(roles(route)) for route in found} == {route.path: 1 for route in found}
    assert {route.path for route in found if roles(route) == ["public"]} <= PUBLIC.keys()


#: Tries an import of another host than the one that delivers here, and undoes it.
IMPORT = f"/api/v1/imports/fra2?file=a.log&sha256={'0' * 64}&format=ping&check=true"

#: role: (method, path) of its routes; {body} is whatever is well-formed there.
ROUTES = {
    "public": [
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("POST", "/api/v1/enroll"),
        ("GET", "/login?next=/map"),
        ("POST", "/login"),
        ("GET", "/static/leadline.css"),
    ],
    "metrics": [("GET", "/metrics")],
    "agent": [("GET", "/api/v1/plan"), ("POST", "/api/v1/batches"), ("POST", "/api/v1/rotate")],
    "admin": [
        ("PUT", "/api/v1/mesh"),
        ("POST", "/api/v1/tokens"),
        ("GET", "/api/v1/tokens"),
        ("DELETE", "/api/v1/tokens/0123456789abcdef"),
        ("GET", "/api/v1/agents"),
        ("DELETE", "/api/v1/agents/ams1/keys"),
        ("GET", "/api/v1/audit"),
        ("POST", IMPORT),
    ],
    "viewer": [
        ("GET", "/api/v1/mesh"),
        ("GET", "/api/v1/profiles"),
        ("GET", "/api/v1/matrix?profile=vcf9-stretched-cluster"),
        ("GET", "/api/v1/pairs/fra/ams/windows"),
        ("GET", "/api/v1/verdicts?pair=fra,ams&profile=vsan-stretched"),
        ("GET", "/api/v1/verdicts/windows?pair=fra,ams&profile=vsan-stretched"),
        ("GET", "/api/v1/agents/fra1/gaps"),
        ("GET", "/openapi.json"),
        ("GET", "/"),
        ("GET", "/pairs/fra/ams"),
        ("GET", "/pairs/fra/ams/gaps"),
        ("GET", "/static/vega.js"),
        ("GET", "/pairs/fra/ams/chart/week.svg"),
        ("GET", "/verdicts"),
        ("GET", "/agents"),
        ("GET", "/agents/fra1"),
        ("GET", "/map"),
        ("GET", "/map.svg"),
        ("GET", "/limits"),
        ("GET", "/limits/vsan-stretched"),
        ("POST", "/logout"),
    ],
}
BODIES = {
    "/api/v1/batches": encode_body(build_batch(("ams1", build_steady_window(4_900)))),
    "/api/v1/tokens": b'{"site": "fra"}',
    IMPORT: codec.encode(build_batch(("ams1", build_steady_window(4_900)), agent="import:fra2")),
    "/api/v1/rotate": b"{}",
}


def test_every_route_is_in_the_matrix(config: CollectorConfig, store: Store, clock: FakeClock) -> None:
    """A new route is tested with every role, or this fails: under the role it declares, each once."""
    found = {
        (roles(route)[0], method, route.path_regex)
        for route in routes(create_app(config, store, clock))
        for method in route.methods or ()
    }
    listed = [(role, method, path.partition("?")[0]) for role, requests in ROUTES.items() for method, path in requests]

    assert len(found) == len(listed)
    for role, method, regex in found:
        assert [one for one in listed if one[:2] == (role, method) and regex.match(one[2])], (role, method, regex)


@pytest.fixture(name="guarded")
def _guarded(config: CollectorConfig, store: Store, clock: FakeClock, tmp_path: Path) -> Iterator[Client]:
    """A collector whose readers and scrapers need a key."""
    viewer, metrics = tmp_path / "viewer.key", tmp_path / "metrics.key"
    viewer.write_text(VIEWER_KEY + "\n")
    metrics.write_text(METRICS_KEY + "\n")
    with serve_in_thread(replace(config, viewer_key_file=viewer, metrics_key_file=metrics), store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        assert client.apply().status == 200
        yield client
        client.pool.clear()


@pytest.mark.parametrize("holder", ["nobody", "agent", "admin", "viewer", "metrics"])
def test_each_key_opens_its_own_routes(guarded: Client, holder: str) -> None:
    """Every role at every route: 401 everywhere but at home; the administrator may read and scrape too.

    Whoever opens a page without any key is shown the login instead.
    """
    keys = {
        "nobody": None,
        "agent": guarded.key("fra1", "fra"),
        "admin": guarded.admin_key,
        "viewer": VIEWER_KEY,
        "metrics": METRICS_KEY,
    }
    opens = {holder, "public"} | ({"viewer", "metrics"} if holder == "admin" else set())

    for role, requests in ROUTES.items():
        for method, path in requests:
            data = None if method == "GET" else BODIES.get(path) or mesh_text(guarded)
            headers = {"Content_Encoding": "gzip"} if path.endswith("batches") else {}
            answer = guarded.send(method, path, data, keys[holder], **headers)
            refused = 303 if holder == "nobody" and method == "GET" and is_page(path) else 401
            expected = WRONG_BODY.get(path, 200) if role in opens else refused
            assert answer.status == expected, (holder, method, path, answer.body)


#: What a request with the right key gets that is not 200: these change nothing, so that the matrix can go on.
WRONG_BODY = {"/api/v1/enroll": 400, "/api/v1/tokens/0123456789abcdef": 404, "/login": 401, "/logout": 303}


def is_page(path: str) -> bool:
    """True for what a person opens, False for what a program asks."""
    return not path.startswith(("/api/", "/openapi", "/metrics"))


def mesh_text(client: Client) -> bytes:
    """The mesh in force: applying it again changes nothing."""
    return str(client.get("/api/v1/mesh", **admin(client))["text"]).encode()


def admin(client: Client) -> dict[str, str]:
    """The administrator's header."""
    return {"Authorization": f"Bearer {client.admin_key}"}


def test_every_refusal_is_the_same(guarded: Client) -> None:
    """No key, a wrong key, a key of another role, a malformed header: the answers do not differ."""
    attempts = ["", "Bearer", "Bearer wrong", f"Bearer {VIEWER_KEY}", "Basic %%%", "Digest x", "Bearer " + "x" * 5_000]
    attempts += ["Basic", "Basic \xff", "Bearer \xff", basic(b"no colon"), basic(b"\xff:\xff"), basic(b":")]

    answers = [guarded.send("GET", "/api/v1/plan", Authorization=value) for value in attempts]

    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}


def test_a_browser_reads_with_a_password(guarded: Client) -> None:
    """The viewer key as the password of any user; the refusal asks for one."""
    path = "/api/v1/profiles"
    given = basic(f"anyone:{VIEWER_KEY}".encode())

    assert guarded.send("GET", path).headers["WWW-Authenticate"] == 'Basic realm="leadline", charset="UTF-8"'
    assert guarded.send("GET", path, Authorization=given).status == 200


def test_the_scheme_has_no_case_and_may_be_followed_by_more_space(guarded: Client) -> None:
    """Bearer and Basic alike; the user name of the latter is UTF-8."""
    given = basic(f"jürgen:{VIEWER_KEY}".encode()).partition(" ")[2]
    headers = [f"bearer   {VIEWER_KEY}  ", f"BEARER {VIEWER_KEY}", f"basic  {given} ", f"BASIC {given}"]

    found = [guarded.send("GET", "/api/v1/profiles", Authorization=value).status for value in headers]

    assert found == [200] * 4


def test_a_basic_value_that_is_malformed_gets_the_refusal_of_its_role(guarded: Client) -> None:
    """The answer to no key, byte for byte."""
    path = "/api/v1/profiles"
    without = guarded.send("GET", path)

    for value in ("Basic %%%", "Basic \xff", basic(b"\xff"), basic(b"no colon")):
        answer = guarded.send("GET", path, Authorization=value)
        assert (answer.status, answer.body) == (without.status, without.body)
        assert answer.headers["WWW-Authenticate"] == without.headers["WWW-Authenticate"]


def basic(credentials: bytes) -> str:
    """The header of HTTP Basic."""
    return "Basic " + base64.b64encode(credentials).decode()


def test_reading_is_open_without_a_viewer_key(client: Client, fra1: str) -> None:
    """On loopback, whoever can connect may read."""
    assert client.send("GET", "/api/v1/mesh").status == 200


def test_without_a_metrics_key_whoever_reads_may_scrape(
    config: CollectorConfig, store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    """And nobody else: a viewer key guards the figures too."""
    file = tmp_path / "viewer.key"
    file.write_text(VIEWER_KEY)
    with serve_in_thread(replace(config, viewer_key_file=file), store, clock) as url:
        client = Client(url=url, admin_key="")
        found = [client.send("GET", "/metrics", key=key).status for key in (None, METRICS_KEY, VIEWER_KEY)]
        client.pool.clear()

    assert found == [401, 401, 200]


def test_an_unauthorised_body_is_not_read(client: Client) -> None:
    """A large body without a key gets 401, not 413: nothing is taken from strangers."""
    answer = client.send("POST", "/api/v1/batches", bytes(1 << 21))

    assert answer.status == 401


def test_keys_are_nowhere_in_the_database(client: Client, fra1: str, config: CollectorConfig) -> None:
    """The file holds digests only."""
    stored = b"".join(path.read_bytes() for path in Path(str(config.database.database)).parent.glob("leadline.sqlite*"))

    assert fra1.encode() not in stored
    assert client.admin_key.encode() not in stored


def test_the_admin_key_file_is_private(client: Client, config: CollectorConfig) -> None:
    """Nobody else may read what the collector made."""
    assert (config.data_dir / "admin.key").stat().st_mode & 0o777 == 0o600


def test_the_admin_key_survives_a_restart(client: Client, config: CollectorConfig, store: Store) -> None:
    """A second start finds the key of the first and makes no other."""
    with serve_in_thread(config, store, FakeClock()) as url:
        again = Client(url=url, admin_key=client.admin_key)
        assert again.apply().status == 200
        again.pool.clear()


def test_a_given_admin_key_replaces_the_old_one(
    client: Client, config: CollectorConfig, store: Store, tmp_path: Path
) -> None:
    """A collector that is given a key file accepts that key and no other."""
    file = tmp_path / "given.key"
    file.write_text("ll_admin_given_by_the_operator")
    with serve_in_thread(replace(config, admin_key_file=file), store, FakeClock()) as url:
        for key, status in ((client.admin_key, 401), (file.read_text(), 200)):
            one = Client(url=url, admin_key=key)
            assert one.apply().status == status
            one.pool.clear()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("DELETE", "/healthz", 405),
        ("GET", "/api/v1/matrix", 422),
        ("GET", "/api/v1/matrix?profile=nonsense", 422),
        ("GET", "/docs", 404),
        ("GET", "/redoc", 404),
    ],
)
def test_every_error_is_a_problem_document(client: Client, method: str, path: str, status: int) -> None:
    """RFC 9457, whatever made the error."""
    answer = client.send(method, path)

    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json().keys() >= {"type", "title", "status", "detail"}


def test_a_bug_shows_nothing_of_the_inside(
    config: CollectorConfig, store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """500 carries an id; the traceback stands in the log under it, once."""
    with serve_in_thread(config, store, BrokenClock()) as url:
        client = Client(url=url, admin_key="")
        answer = client.send("GET", "/api/v1/matrix?profile=vcf9-stretched-cluster")
        client.pool.clear()

    assert answer.status == 500
    assert "broken on purpose" not in answer.body.decode()
    (record,) = [one for one in caplog.records if one.message == "unexpected error"]
    assert answer.json()["error_id"] == vars(record)["error_id"]
    assert "broken on purpose" in caplog.text


class BrokenClock(FakeClock):
    """A clock that works for whoever is not answering a request."""

    def wall_ns(self) -> int:
        if threading.current_thread().name.startswith("AnyIO"):
            raise RuntimeError("broken on purpose")
        return super().wall_ns()


def test_the_openapi_document_describes_every_answer(client: Client) -> None:
    """Each operation's 200 names a schema that is there, and so does every reference."""
    document = client.get("/openapi.json")
    schemas = document["components"]["schemas"]

    for path, operations in document["paths"].items():
        for operation in operations.values():
            content = operation["responses"]["200"]["content"]
            if "text/csv" in content:
                continue
            reference = content["application/json"]["schema"]["$ref"]
            assert reference.rpartition("/")[2] in schemas, path
    assert set(references(document)) <= {f"#/components/schemas/{name}" for name in schemas}


def test_the_openapi_document_names_the_keys_of_every_operation(client: Client) -> None:
    """A bearer key or a password; none where the role is public."""
    document = client.get("/openapi.json")
    schemes = {name: scheme["scheme"] for name, scheme in document["components"]["securitySchemes"].items()}
    operations = [(path, one) for path, methods in document["paths"].items() for one in methods.values()]

    assert schemes == {"bearer": "bearer", "basic": "basic"}
    for path, operation in operations:
        assert operation.get("security", []) == ([] if path in PUBLIC else [{"bearer": []}, {"basic": []}]), path


def references(document: Any) -> Iterator[str]:
    """Every $ref anywhere in a document."""
    if isinstance(document, dict):
        if isinstance(document.get("$ref"), str):
            yield document["$ref"]
        for value in document.values():
            yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)
