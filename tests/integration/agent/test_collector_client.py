"""HTTP client of the agent against real servers: responses of collectors and of other servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

import pytest

from leadline import __version__
from leadline.errors import UnavailableError
from leadline.wire import codec
from leadline.wire.batch import Ack, compute_digest
from leadline.wire.headers import SPOOL_HEADER, SpoolBacklog, parse_agent_version
from leadline_agent.delivery.collector_client import CollectorClient, RequestFailed, enrol_agent
from leadline_agent.delivery.responses import BatchResponse, ResponseKind
from leadline_agent.identity.state_dir import Credential

BODY = b"a packed batch"
CREDENTIAL = Credential(collector="", agent="fra-a1", site="fra", key="key")
ACK = codec.encode(Ack(digest=compute_digest(BODY), mesh_version=4))


@contextmanager
def serve_response(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    """Run an HTTP server that returns the same response to every request; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def send_batch(status: int, body: bytes = b"", **headers: str) -> BatchResponse:
    with serve_response(status, body, **headers) as url:
        return CollectorClient(url, CREDENTIAL).send_batch(BODY)


def test_an_acknowledgement_repeats_the_digest() -> None:
    """200 with the digest of the sent bytes is STORED. test_responses.py tests all other responses."""
    response = send_batch(200, ACK)

    assert response.kind is ResponseKind.STORED
    assert response.ack is not None
    assert response.ack.mesh_version == 4


def test_a_portal_stores_nothing() -> None:
    """A captive portal returns 200 too."""
    assert send_batch(200, b"<html>Welcome to the hotel</html>").kind is ResponseKind.NOT_A_COLLECTOR


def test_a_redirect_is_not_followed() -> None:
    """The batch is not sent to another host."""
    assert send_batch(302, Location="http://127.0.0.1:9/").kind is ResponseKind.NOT_A_COLLECTOR


def test_retry_after_is_read() -> None:
    """Retry-After in seconds is part of the result."""
    response = send_batch(503, Retry_After="17")

    assert (response.kind, response.retry_after_s) == (ResponseKind.UNAVAILABLE, 17.0)


def test_refused_connection_is_unavailable() -> None:
    """A refused connection is a result, not an exception."""
    assert CollectorClient("http://127.0.0.1:9", CREDENTIAL).send_batch(BODY).kind is ResponseKind.UNAVAILABLE


def test_unchanged_plan_is_none() -> None:
    """A 304 keeps the current plan."""
    with serve_response(304) as url:
        assert CollectorClient(url, CREDENTIAL).fetch_plan(3) is None


def test_invalid_plan_is_a_failed_request() -> None:
    """A 200 without a valid plan keeps the current one."""
    with serve_response(200, b"<html>") as url:
        assert isinstance(CollectorClient(url, CREDENTIAL).fetch_plan(None), RequestFailed)


def test_refused_enrolment_contains_the_reason() -> None:
    """The error contains the detail of the collector's problem document."""
    problem = b'{"title":"Unauthorized","detail":"the token is not good"}'

    with serve_response(401, problem) as url, pytest.raises(UnavailableError, match="401 the token is not good"):
        enrol_agent(url, "t" * 32, None)


def test_requests_contain_version_and_backlog() -> None:
    """Every upload contains agent version and backlog; a plan request only the version."""
    requests: list[tuple[str, str | None, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            requests.append((self.command, self.headers["User-Agent"], self.headers[SPOOL_HEADER]))
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        client = CollectorClient(
            f"http://127.0.0.1:{server.server_address[1]}",
            Credential(collector="", agent="a", site="s", key="k"),
            get_backlog=lambda: SpoolBacklog(batches=2, bytes=300, bytes_max=4_000),
        )
        client.send_batch(b"body")
        client.fetch_plan(None)
        server.shutdown()
        thread.join()

    user_agent = f"leadline-agent/{__version__}"
    assert requests == [("POST", user_agent, "batches=2, bytes=300, max=4000"), ("GET", user_agent, None)]
    assert parse_agent_version(user_agent) == __version__
