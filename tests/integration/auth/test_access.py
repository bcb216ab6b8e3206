"""Access control: every route has a role, and every wrong key gets the same response."""

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

#: Routes without a key, and why. A sixth entry needs a very good reason.
PUBLIC = {
    "/healthz": "for service managers",
    "/readyz": "for load balancers",
    "/api/v1/enroll": "the token in the body is the credential",
    "/login": "the key in the form is the credential",
    "/static/{name}": "the login page needs its style sheet; no file contains data",
}


def routes(app: FastAPI) -> Iterator[APIRoute]:
    """Yield every route of the application, including those of included routers."""

    def walk(items: Any) -> Iterator[APIRoute]:
        for item in items:
            if isinstance(item, APIRoute):
                yield item
            elif (router := getattr(item, "original_router", None)) is not None:
                yield from walk(router.routes)

    yield from walk(app.routes)


#: Every route has exactly one of these dependencies.
ROLES: tuple[Callable[..., object], ...] = (
    http_roles.public,
    http_roles.viewer,
    http_roles.metrics,
    http_roles.agent,
    http_roles.admin,
)


def roles(route: APIRoute) -> list[str]:
    """Return the roles that a route declares."""
    return [call.__name__ for dependency in route.dependant.dependencies if (call := dependency.call) in ROLES]


def test_every_route_has_one_role(config: CollectorConfig, store: Store, clock: FakeClock) -> None:
    """Only the routes in ``PUBLIC`` are public."""
    app_routes = list(routes(create_app(config, store, clock)))

    assert len(app_routes) >= 18
    assert len(PUBLIC) <= 5
    assert {route.path: len(roles(route)) for route in app_routes} == {route.path: 1 for route in app_routes}
    assert {route.path for route in app_routes if roles(route) == ["public"]} <= PUBLIC.keys()


#: Checks an import for another agent than the one that delivers in these tests.
IMPORT = f"/api/v1/imports/fra2?file=a.log&sha256={'0' * 64}&format=ping&check=true"

#: (method, path) of the routes of each role.
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
        ("GET", "/api/v1/pairs/fra/ams/probes"),
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
    """``ROUTES`` lists each route once, under the role it declares, so a new route is tested with every role."""
    app_routes = {
        (roles(route)[0], method, route.path_regex)
        for route in routes(create_app(config, store, clock))
        for method in route.methods or ()
    }
    listed = [(role, method, path.partition("?")[0]) for role, requests in ROUTES.items() for method, path in requests]

    assert len(app_routes) == len(listed)
    for role, method, regex in app_routes:
        assert [entry for entry in listed if entry[:2] == (role, method) and regex.match(entry[2])], (method, regex)


@pytest.fixture(name="guarded")
def _guarded(config: CollectorConfig, store: Store, clock: FakeClock, tmp_path: Path) -> Iterator[Client]:
    """Yield a collector with a viewer key and a metrics key."""
    viewer_file, metrics_file = tmp_path / "viewer.key", tmp_path / "metrics.key"
    viewer_file.write_text(VIEWER_KEY + "\n")
    metrics_file.write_text(METRICS_KEY + "\n")
    guarded_config = replace(config, viewer_key_file=viewer_file, metrics_key_file=metrics_file)
    with serve_in_thread(guarded_config, store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        assert client.apply().status == 200
        yield client
        client.pool.clear()


@pytest.mark.parametrize("key_role", ["none", "agent", "admin", "viewer", "metrics"])
def test_each_key_gives_access_to_its_own_routes(guarded: Client, key_role: str) -> None:
    """Every key gets 401 on the routes of other roles; the administrator may also read and scrape.

    A page without any key redirects to the login.
    """
    keys = {
        "none": None,
        "agent": guarded.key("fra1", "fra"),
        "admin": guarded.admin_key,
        "viewer": VIEWER_KEY,
        "metrics": METRICS_KEY,
    }
    permitted_roles = {key_role, "public"} | ({"viewer", "metrics"} if key_role == "admin" else set())

    for role, requests in ROUTES.items():
        for method, path in requests:
            data = None if method == "GET" else BODIES.get(path) or mesh_text(guarded)
            headers = {"Content_Encoding": "gzip"} if path.endswith("batches") else {}
            answer = guarded.send(method, path, data, keys[key_role], **headers)
            refusal = 303 if key_role == "none" and method == "GET" and is_page(path) else 401
            expected = PERMITTED_STATUS.get(path, 200) if role in permitted_roles else refusal
            assert answer.status == expected, (key_role, method, path, answer.body)


#: Status with a permitted key if it is not 200; these requests fail on purpose, so that they change nothing.
PERMITTED_STATUS = {
    "/api/v1/enroll": 400,
    "/api/v1/tokens/0123456789abcdef": 404,
    "/api/v1/pairs/fra/ams/probes": 404,
    "/login": 401,
    "/logout": 303,
}


def is_page(path: str) -> bool:
    """Return True for an HTML page or a static file, False for a route for programs."""
    return not path.startswith(("/api/", "/openapi", "/metrics"))


def mesh_text(client: Client) -> bytes:
    """Return the active mesh file: applying it again changes nothing."""
    return str(client.get("/api/v1/mesh", **admin_header(client))["text"]).encode()


def admin_header(client: Client) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.admin_key}"}


def test_every_refusal_is_the_same(guarded: Client) -> None:
    """A missing key, a wrong key, a key of another role and a malformed header get the same response."""
    attempts = ["", "Bearer", "Bearer wrong", f"Bearer {VIEWER_KEY}", "Basic %%%", "Digest x", "Bearer " + "x" * 5_000]
    attempts += ["Basic", "Basic \xff", "Bearer \xff", basic(b"no colon"), basic(b"\xff:\xff"), basic(b":")]

    answers = [guarded.send("GET", "/api/v1/plan", Authorization=value) for value in attempts]

    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}


def test_a_browser_reads_with_a_password(guarded: Client) -> None:
    """The viewer key is the password of any user; the 401 requests one."""
    path = "/api/v1/profiles"
    header = basic(f"anyone:{VIEWER_KEY}".encode())

    assert guarded.send("GET", path).headers["WWW-Authenticate"] == 'Basic realm="leadline", charset="UTF-8"'
    assert guarded.send("GET", path, Authorization=header).status == 200


def test_the_scheme_is_case_insensitive_and_extra_space_is_ignored(guarded: Client) -> None:
    """For Bearer and Basic; the user name in Basic is UTF-8."""
    credentials = basic(f"jürgen:{VIEWER_KEY}".encode()).partition(" ")[2]
    headers = [f"bearer   {VIEWER_KEY}  ", f"BEARER {VIEWER_KEY}", f"basic  {credentials} ", f"BASIC {credentials}"]

    statuses = [guarded.send("GET", "/api/v1/profiles", Authorization=value).status for value in headers]

    assert statuses == [200] * 4


def test_a_malformed_basic_header_gets_the_same_response_as_no_key(guarded: Client) -> None:
    """Byte for byte."""
    path = "/api/v1/profiles"
    without_key = guarded.send("GET", path)

    for value in ("Basic %%%", "Basic \xff", basic(b"\xff"), basic(b"no colon")):
        answer = guarded.send("GET", path, Authorization=value)
        assert (answer.status, answer.body) == (without_key.status, without_key.body)
        assert answer.headers["WWW-Authenticate"] == without_key.headers["WWW-Authenticate"]


def basic(credentials: bytes) -> str:
    """Return the value of an HTTP Basic header."""
    return "Basic " + base64.b64encode(credentials).decode()


def test_reading_is_public_without_a_viewer_key(client: Client, fra1: str) -> None:
    """This is the default on loopback."""
    assert client.send("GET", "/api/v1/mesh").status == 200


def test_without_a_metrics_key_the_viewer_key_gives_access_to_metrics(
    config: CollectorConfig, store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    """Requests without the viewer key get 401."""
    file = tmp_path / "viewer.key"
    file.write_text(VIEWER_KEY)
    with serve_in_thread(replace(config, viewer_key_file=file), store, clock) as url:
        client = Client(url=url, admin_key="")
        statuses = [client.send("GET", "/metrics", key=key).status for key in (None, METRICS_KEY, VIEWER_KEY)]
        client.pool.clear()

    assert statuses == [401, 401, 200]


def test_an_unauthorised_body_is_not_read(client: Client) -> None:
    """A large body without a key gets 401, not 413."""
    answer = client.send("POST", "/api/v1/batches", bytes(1 << 21))

    assert answer.status == 401


def test_the_database_contains_no_keys(client: Client, fra1: str, config: CollectorConfig) -> None:
    """It contains digests only."""
    files = Path(str(config.database.database)).parent.glob("leadline.sqlite*")
    content = b"".join(path.read_bytes() for path in files)

    assert fra1.encode() not in content
    assert client.admin_key.encode() not in content


def test_the_admin_key_file_is_private(client: Client, config: CollectorConfig) -> None:
    """Only its owner may read it."""
    assert (config.data_dir / "admin.key").stat().st_mode & 0o777 == 0o600


def test_the_admin_key_survives_a_restart(client: Client, config: CollectorConfig, store: Store) -> None:
    """A second start creates no other key."""
    with serve_in_thread(config, store, FakeClock()) as url:
        second_client = Client(url=url, admin_key=client.admin_key)
        assert second_client.apply().status == 200
        second_client.pool.clear()


def test_a_configured_admin_key_replaces_the_old_one(
    client: Client, config: CollectorConfig, store: Store, tmp_path: Path
) -> None:
    """A collector with an admin key file accepts only the key in it."""
    file = tmp_path / "operator.key"
    file.write_text("ll_admin_chosen_by_the_operator")
    with serve_in_thread(replace(config, admin_key_file=file), store, FakeClock()) as url:
        for key, status in ((client.admin_key, 401), (file.read_text(), 200)):
            key_client = Client(url=url, admin_key=key)
            assert key_client.apply().status == status
            key_client.pool.clear()


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
    """As in RFC 9457, for errors of routes and of the framework."""
    answer = client.send(method, path)

    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json().keys() >= {"type", "title", "status", "detail"}


def test_a_bug_reveals_no_internals(
    config: CollectorConfig, store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The 500 contains an id; the log has the traceback with that id, once."""
    with serve_in_thread(config, store, BrokenClock()) as url:
        client = Client(url=url, admin_key="")
        answer = client.send("GET", "/api/v1/matrix?profile=vcf9-stretched-cluster")
        client.pool.clear()

    assert answer.status == 500
    assert "broken on purpose" not in answer.body.decode()
    (record,) = [record for record in caplog.records if record.message == "unexpected error"]
    assert answer.json()["error_id"] == vars(record)["error_id"]
    assert "broken on purpose" in caplog.text


class BrokenClock(FakeClock):
    """Clock that raises in the threads of requests only."""

    def wall_ns(self) -> int:
        if threading.current_thread().name.startswith("AnyIO"):
            raise RuntimeError("broken on purpose")
        return super().wall_ns()


def test_the_openapi_document_describes_every_response(client: Client) -> None:
    """Every 200 and every reference names an existing schema."""
    document = client.get("/openapi.json")
    schemas = document["components"]["schemas"]

    for path, operations in document["paths"].items():
        for operation in operations.values():
            content = operation["responses"]["200"]["content"]
            if "text/csv" in content:
                continue
            reference = content["application/json"]["schema"]["$ref"]
            assert reference.rpartition("/")[2] in schemas, path
    assert set(find_references(document)) <= {f"#/components/schemas/{name}" for name in schemas}


def test_the_openapi_document_declares_the_security_of_every_operation(client: Client) -> None:
    """Bearer or basic; nothing for public routes."""
    document = client.get("/openapi.json")
    schemes = {name: scheme["scheme"] for name, scheme in document["components"]["securitySchemes"].items()}
    operations = [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]

    assert schemes == {"bearer": "bearer", "basic": "basic"}
    for path, operation in operations:
        assert operation.get("security", []) == ([] if path in PUBLIC else [{"bearer": []}, {"basic": []}]), path


def find_references(document: Any) -> Iterator[str]:
    """Yield every $ref in a document."""
    if isinstance(document, dict):
        if isinstance(document.get("$ref"), str):
            yield document["$ref"]
        for value in document.values():
            yield from find_references(value)
    elif isinstance(document, list):
        for value in document:
            yield from find_references(value)
