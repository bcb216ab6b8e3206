"""Connections that say nothing, little or too much: they are closed, bounded, and keep nobody out."""

from __future__ import annotations

import http.client
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3
from sqlalchemy.engine import URL

from leadline.wire import batch as wire
from leadline_collector.config import CollectorConfig
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.server.connection_limits import (
    CONNECTIONS_MAX,
    TARGET_DESCRIPTORS,
    ConnectionBudget,
    compute_connection_budget,
)
from tests.integration.conftest import Answer, Client
from tests.integration.test_ingest import batches
from tests.integration.test_serve import environment, serving
from tests.support.documents import NOW_S, build_batch, build_steady_window, encode_body

HEAD = "POST /api/v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n"
HEAD_S_MAX = 0.5
WAIT_S = 10


@pytest.fixture(name="config")
def _config(config: CollectorConfig) -> CollectorConfig:
    """A collector that waits half a second for a head."""
    return replace(config, header_timeout_s=HEAD_S_MAX)


def opened(address: str) -> socket.socket:
    """A connection to ``http://host:port``."""
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


@contextmanager
def silent(address: str, count: int) -> Iterator[list[socket.socket]]:
    """Connections on which nobody says anything."""
    with ExitStack() as stack:
        yield [stack.enter_context(opened(address)) for _ in range(count)]


def is_closed(stream: socket.socket) -> bool:
    """True if the other side has closed it, or does within ``WAIT_S``; what it said before is thrown away."""
    try:
        while stream.recv(4_096):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


only_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@only_sqlite
def test_silent_connections_stop_nobody_and_are_closed(client: Client, fra1: str, store: Store) -> None:
    """Two hundred that send no head: an agent's batch is stored beside them, and every one of them is let go."""
    with silent(client.url, 200) as streams:
        answer = client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)

        assert (answer.status, batches(store)) == (200, 1)
        assert all(is_closed(stream) for stream in streams)


@only_sqlite
def test_a_head_that_trickles_is_cut(client: Client, fra1: str) -> None:
    """A byte now and then does not prolong the time for a head."""
    assert trickled_s(opened(client.url), HEAD.format(key=fra1, length=1)) < 5 * HEAD_S_MAX


@only_sqlite
def test_a_second_head_that_trickles_is_cut(client: Client) -> None:
    """Nor does one that came after an answer: the connection does not become anybody's own."""
    stream = opened(client.url)
    stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert stream.recv(4_096).startswith(b"HTTP/1.1 200")

    assert trickled_s(stream, HEAD.format(key="x", length=1)) < 5 * HEAD_S_MAX


@only_sqlite
def test_a_body_that_nobody_reads_cannot_trickle(client: Client) -> None:
    """A stranger is answered before his body; what he goes on sending does not hold the connection."""
    stream = opened(client.url)
    stream.sendall(HEAD.format(key="nobody's", length=1_000).encode())
    assert stream.recv(4_096).startswith(b"HTTP/1.1 401")

    assert trickled_s(stream, "x" * 1_000) < 5 * HEAD_S_MAX


def trickled_s(stream: socket.socket, text: str) -> float:
    """Seconds until a connection on which ``text`` comes a byte at a time is closed."""
    begun_s = time.monotonic()
    stream.settimeout(HEAD_S_MAX / 10)
    with stream:
        for byte in text.encode():
            try:
                stream.sendall(bytes([byte]))
                if not stream.recv(4_096):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    return time.monotonic() - begun_s


@only_sqlite
def test_a_connection_that_is_kept_is_no_silent_one(client: Client, fra1: str) -> None:
    """An agent sends once a minute over one connection: the time between is not the time for a head."""
    connection = http.client.HTTPConnection(client.url.removeprefix("http://"), timeout=WAIT_S)
    sockets = set()
    for seq in range(2):
        sent = encode_body(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60 * seq)), seq=seq))
        headers = {"Authorization": f"Bearer {fra1}", "Content-Encoding": "gzip"}
        connection.request("POST", "/api/v1/batches", sent, headers)
        sockets.add(connection.sock)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
        time.sleep(2 * HEAD_S_MAX * (1 - seq))  # real time is what is asked about
    connection.close()

    assert len(sockets) == 1


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


def posted(client: Client, document: wire.Batch, key: str) -> Answer:
    """As an agent does: sent again if it was let go for others that were still coming in."""
    for _ in range(10):
        with suppress(urllib3.exceptions.ProtocolError):
            return client.post(document, key)
    return client.post(document, key)


def test_who_waits_longest_makes_room(url: URL, tmp_path: Path) -> None:
    """A process of 256 descriptors, 400 connections held open: it goes on, stores what it acknowledges, and recovers.

    The connections are eighty: an agent's new one displaces a silent one and never waits for their ten seconds.
    """
    data_dir = tmp_path / "data"
    with serving(environment(url, data_dir), prepare=few_descriptors) as (process, address):
        client = Client(url=address, admin_key=(data_dir / "admin.key").read_text().strip())
        client.apply()
        key = client.key("fra1", "fra")
        with silent(address, 400) as streams:
            begun_s = time.monotonic()
            during = posted(client, build_batch(("ams1", build_steady_window(4_900)), seq=1), key)
            waited_s = time.monotonic() - begun_s
            descriptors = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        after = client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60)), seq=2), key)
        client.pool.clear()
        assert process.poll() is None

    assert (during.status, after.status, len(streams)) == (200, 200, 400)
    assert waited_s < 5
    assert descriptors < 200


def test_a_process_without_descriptors_recovers(url: URL, tmp_path: Path) -> None:
    """Not one descriptor is left: connections wait or fail and nothing is acknowledged that is not stored; when there
    are some again, it serves by itself.
    """
    data_dir = tmp_path / "data"
    with serving(environment(url, data_dir)) as (process, address):
        client = Client(url=address, admin_key=(data_dir / "admin.key").read_text().strip())
        client.apply()
        key = client.key("fra1", "fra")
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (8, limits[1]))  # fewer than it has open
        with silent(address, 20):
            hurried = Client(url=address, admin_key="", pool=urllib3.PoolManager(retries=False, timeout=1))
            with pytest.raises(urllib3.exceptions.HTTPError):
                hurried.post(build_batch(("ams1", build_steady_window(4_900)), seq=1), key)
            during = client.post(build_batch(("ams1", build_steady_window(4_900)), seq=1), key).status
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        after = [hurried_post(client, key, seq) for seq in (1, 2)]
        client.pool.clear()
        hurried.pool.clear()
        assert process.poll() is None
        process.terminate()
        said = process.communicate(timeout=20)[1]

    assert said.count("no connection can be accepted") == 1
    assert "Traceback" not in said
    assert during in {200, 503}  # by the connection that was open already
    assert after == [200, 200]
    database = Database(url)
    assert batches(Store(database)) == 2
    database.close()


def hurried_post(client: Client, key: str, seq: int) -> int:
    """By a connection of its own; asyncio looks for new ones a second later."""
    client.pool.clear()
    return client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60 * seq - 60)), seq=seq), key).status


@only_sqlite
def test_bytes_that_are_no_http_are_answered_and_let_go(client: Client, fra1: str) -> None:
    """A TLS hello to a plain port, and noise: 400, closed, and nobody else notices."""
    for noise in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", bytes(range(256)) * 300, b"\r\n" * 40_000):
        with opened(client.url) as stream:
            with suppress(ConnectionError):
                stream.sendall(noise)
            assert is_closed(stream)

    assert client.post(build_batch(("ams1", build_steady_window(4_900))), fra1).status == 200


@pytest.mark.parametrize(
    ("descriptors", "expected"),
    [
        (TARGET_DESCRIPTORS, ConnectionBudget(connections_max=CONNECTIONS_MAX, accept_burst=128)),
        (1_024, ConnectionBudget(connections_max=464, accept_burst=116)),
        (64, ConnectionBudget(connections_max=16, accept_burst=4)),
    ],
)
def test_connections_have_their_share_of_the_descriptors(descriptors: int, expected: ConnectionBudget) -> None:
    """The database and the log keep theirs, however few there are."""
    assert compute_connection_budget(descriptors) == expected
