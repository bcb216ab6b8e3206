"""What each answer of a collector, or of something that is none, means to the agent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from leadline import wire
from leadline.errors import UnavailableError
from leadline_agent.push import Accepted, CollectorClient, Refused, RetryLater, enrol

BODY = b"a packed batch"
ACK = wire.encode(wire.Ack(digest=wire.digest(BODY), mesh_version=4))


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


def push(status: int, body: bytes = b"", **headers: str) -> Accepted | RetryLater | Refused:
    with answering(status, body, **headers) as url:
        return CollectorClient(url, "key").push(BODY)


def test_an_acknowledgement_repeats_the_digest() -> None:
    """200 with the digest of the very bytes: stored."""
    answer = push(200, ACK)

    assert isinstance(answer, Accepted)
    assert answer.ack.mesh_version == 4


@pytest.mark.parametrize(
    "body",
    [b"<html>Welcome to the hotel</html>", b"{}", b"", wire.encode(wire.Ack(digest="0" * 64)), b'"' + b"x" * 100],
)
def test_a_200_that_is_no_acknowledgement_stores_nothing(body: bytes) -> None:
    """A captive portal answers 200 too, and a replaying proxy with another digest."""
    answer = push(200, body)

    assert isinstance(answer, RetryLater)
    assert answer.loud


def test_a_newer_collector_may_say_more() -> None:
    """Keys an older agent does not know are passed over."""
    newer = msgspec.json.encode({**msgspec.json.decode(ACK), "weather": "fine"})

    assert isinstance(push(200, newer), Accepted)


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_what_will_never_be_taken(status: int) -> None:
    """These bytes are refused for ever; the reason is the collector's."""
    answer = push(status, b'{"title":"Bad","detail":"series[0]: an RTT is negative"}')

    assert answer == Refused(f"{status} series[0]: an RTT is negative")


@pytest.mark.parametrize(
    ("status", "loud"),
    [
        (401, True),
        (403, True),
        (404, True),
        (415, True),
        (426, True),
        (302, True),
        (408, False),
        (429, False),
        (503, False),
    ],
)
def test_what_may_be_taken_later(status: int, loud: bool) -> None:
    """Everything is kept; what needs a person is said loudly. A redirect is never followed."""
    answer = push(status, Location="http://127.0.0.1:9/")

    assert isinstance(answer, RetryLater)
    assert answer.loud is loud


def test_the_collector_says_when_to_come_back() -> None:
    """Retry-After in seconds is honoured; a date or rubbish is passed over."""
    assert push(503, Retry_After="17") == RetryLater("503 without a reason", after_s=17.0)
    assert push(503, Retry_After="soon") == RetryLater("503 without a reason", after_s=None)


def test_nobody_there() -> None:
    """A refused connection is a reason to wait, not an exception."""
    answer = CollectorClient("http://127.0.0.1:9", "key").push(BODY)

    assert isinstance(answer, RetryLater)
    assert not answer.loud


def test_an_unchanged_plan() -> None:
    """304: the known one stays in force."""
    with answering(304) as url:
        assert CollectorClient(url, "key").plan(3) is None


def test_a_plan_that_is_none() -> None:
    """200 without a plan keeps the one in force."""
    with answering(200, b"<html>") as url:
        assert isinstance(CollectorClient(url, "key").plan(None), RetryLater)


def test_an_enrolment_that_is_refused_says_why() -> None:
    """The collector's own words, and no traceback."""
    problem = b'{"title":"Unauthorized","detail":"the token is not good"}'

    with answering(401, problem) as url, pytest.raises(UnavailableError, match="401 the token is not good"):
        enrol(url, "t" * 32, None)
