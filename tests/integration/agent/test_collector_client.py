"""What each answer of a collector, or of something that is none, means to the agent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

import pytest

from leadline import __version__
from leadline.errors import UnavailableError
from leadline.wire import batch as wire
from leadline.wire import codec, headers
from leadline.wire.headers import SpoolBacklog
from leadline_agent.delivery.collector_client import CollectorClient, RequestFailed, enrol_agent
from leadline_agent.delivery.responses import BatchResponse, ResponseKind
from leadline_agent.identity.state_dir import Credential

BODY = b"a packed batch"
CREDENTIAL = Credential(collector="", agent="fra-a1", site="fra", key="key")
ACK = codec.encode(wire.Ack(digest=wire.compute_digest(BODY), mesh_version=4))


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    """A real HTTP server that gives one answer to everything; its address."""

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
            """Tests are quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def push(status: int, body: bytes = b"", **headers: str) -> BatchResponse:
    with answering(status, body, **headers) as url:
        return CollectorClient(url, CREDENTIAL).send_batch(BODY)


def test_an_acknowledgement_repeats_the_digest() -> None:
    """200 with the digest of the very bytes: stored. What every other answer means is tested in test_answers."""
    answer = push(200, ACK)

    assert answer.kind is ResponseKind.STORED
    assert answer.ack is not None
    assert answer.ack.mesh_version == 4


def test_a_portal_stores_nothing() -> None:
    """It answers 200 too."""
    assert push(200, b"<html>Welcome to the hotel</html>").kind is ResponseKind.NOT_A_COLLECTOR


def test_a_redirect_is_not_followed() -> None:
    """The bytes go to nobody else."""
    assert push(302, Location="http://127.0.0.1:9/").kind is ResponseKind.NOT_A_COLLECTOR


def test_the_collector_says_when_to_come_back() -> None:
    """Retry-After in seconds arrives."""
    answer = push(503, Retry_After="17")

    assert (answer.kind, answer.retry_after_s) == (ResponseKind.UNAVAILABLE, 17.0)


def test_nobody_there() -> None:
    """A refused connection is an answer too, not an exception."""
    assert CollectorClient("http://127.0.0.1:9", CREDENTIAL).send_batch(BODY).kind is ResponseKind.UNAVAILABLE


def test_an_unchanged_plan() -> None:
    """304: the known one stays in force."""
    with answering(304) as url:
        assert CollectorClient(url, CREDENTIAL).fetch_plan(3) is None


def test_a_plan_that_is_none() -> None:
    """200 without a plan keeps the one in force."""
    with answering(200, b"<html>") as url:
        assert isinstance(CollectorClient(url, CREDENTIAL).fetch_plan(None), RequestFailed)


def test_an_enrolment_that_is_refused_says_why() -> None:
    """The collector's own words, and no traceback."""
    problem = b'{"title":"Unauthorized","detail":"the token is not good"}'

    with answering(401, problem) as url, pytest.raises(UnavailableError, match="401 the token is not good"):
        enrol_agent(url, "t" * 32, None)


def test_an_agent_says_who_it_is_and_what_waits() -> None:
    """With every batch; with the plan only who it is."""
    said: list[tuple[str, str | None, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            said.append((self.command, self.headers["User-Agent"], self.headers[headers.SPOOL_HEADER]))
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Tests are quiet."""

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

    agent = f"leadline-agent/{__version__}"
    assert said == [("POST", agent, "batches=2, bytes=300, max=4000"), ("GET", agent, None)]
    assert headers.parse_agent_version(agent) == __version__
