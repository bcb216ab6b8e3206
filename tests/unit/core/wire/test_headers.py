"""What an agent tells in its headers: written by one side, read by the other, and nothing else is believed."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline import __version__
from leadline.wire import headers
from leadline.wire.headers import Backlog
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.identity.state_dir import Credential

NUMBER = st.integers(0, 10**15 - 1)


@given(NUMBER, NUMBER, NUMBER)
def test_a_backlog_is_read_as_it_was_written(batches: int, size: int, size_max: int) -> None:
    """Any numbers within fifteen digits."""
    one = Backlog(batches=batches, bytes=size, bytes_max=size_max)

    assert headers.backlog(one.header()) == one


@pytest.mark.parametrize(
    "header",
    [
        "", "batches=1", "batches=1, bytes=2", "batches=1,bytes=2,max=3", "batches=-1, bytes=2, max=3",
        "batches=01, bytes=2, max=3", "batches=1, bytes=2, max=1000000000000000", "batches=1, bytes=2, max=3 ",
        "batches=1, bytes=2, max=3\n", "batches=1.5, bytes=2, max=3", "batches=٣, bytes=2, max=3",
    ],
)  # fmt: skip
def test_anything_else_is_no_backlog(header: str) -> None:
    """Signs, leading zeros, sixteen digits, other spaces, digits of other scripts."""
    assert headers.backlog(header) is None


@pytest.mark.parametrize("header", ["", "curl/8", "leadline-agent/", "leadline-agent/x", "leadline-agent/1 (x)"])
def test_only_an_agent_has_a_version(header: str) -> None:
    """Nobody else's User-Agent is one."""
    assert headers.agent_version(header) is None


def test_a_version_has_at_most_32_characters() -> None:
    """As many as the column; one more is no version."""
    assert headers.agent_version("leadline-agent/" + "1" * 32) == "1" * 32
    assert headers.agent_version("leadline-agent/" + "1" * 33) is None


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
            backlog=lambda: Backlog(batches=2, bytes=300, bytes_max=4_000),
        )
        client.push(b"body")
        client.plan(None)
        server.shutdown()
        thread.join()

    agent = f"leadline-agent/{__version__}"
    assert said == [("POST", agent, "batches=2, bytes=300, max=4000"), ("GET", agent, None)]
    assert headers.agent_version(agent) == __version__
