"""Silent, slow and too many connections: they are closed and do not block other clients."""

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

from leadline.wire.batch import Batch
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
    """Return a configuration with a header timeout of half a second."""
    return replace(config, header_timeout_s=HEAD_S_MAX)


def connect(address: str) -> socket.socket:
    """Connect to ``http://host:port``."""
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


@contextmanager
def silent_connections(address: str, count: int) -> Iterator[list[socket.socket]]:
    """Open connections that send nothing."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(address)) for _ in range(count)]


def is_closed(stream: socket.socket) -> bool:
    """Return True if the other side closes the connection within ``WAIT_S``; discard the bytes before that."""
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
def test_silent_connections_are_closed_and_block_no_client(client: Client, fra1: str, store: Store) -> None:
    """With two hundred of them open, an agent's batch is stored; then all of them are closed."""
    with silent_connections(client.url, 200) as streams:
        answer = client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)

        assert (answer.status, batches(store)) == (200, 1)
        assert all(is_closed(stream) for stream in streams)


@only_sqlite
def test_a_slow_header_times_out(client: Client, fra1: str) -> None:
    """A byte now and then does not extend the timeout."""
    assert send_slowly_s(connect(client.url), HEAD.format(key=fra1, length=1)) < 5 * HEAD_S_MAX


@only_sqlite
def test_a_slow_second_header_times_out(client: Client) -> None:
    """The timeout also applies after a response."""
    stream = connect(client.url)
    stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert stream.recv(4_096).startswith(b"HTTP/1.1 200")

    assert send_slowly_s(stream, HEAD.format(key="x", length=1)) < 5 * HEAD_S_MAX


@only_sqlite
def test_a_slow_body_after_a_refusal_times_out(client: Client) -> None:
    """A request without a valid key gets its response before its body; the rest of the body keeps nothing open."""
    stream = connect(client.url)
    stream.sendall(HEAD.format(key="unknown", length=1_000).encode())
    assert stream.recv(4_096).startswith(b"HTTP/1.1 401")

    assert send_slowly_s(stream, "x" * 1_000) < 5 * HEAD_S_MAX


def send_slowly_s(stream: socket.socket, text: str) -> float:
    """Send ``text`` byte by byte until the connection is closed, and return the seconds that took."""
    start_s = time.monotonic()
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
    return time.monotonic() - start_s


@only_sqlite
def test_an_idle_connection_outlives_the_header_timeout(client: Client, fra1: str) -> None:
    """An agent sends once a minute over one connection; the pause does not count as a slow header."""
    connection = http.client.HTTPConnection(client.url.removeprefix("http://"), timeout=WAIT_S)
    sockets = set()
    for seq in range(2):
        body = encode_body(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60 * seq)), seq=seq))
        headers = {"Authorization": f"Bearer {fra1}", "Content-Encoding": "gzip"}
        connection.request("POST", "/api/v1/batches", body, headers)
        sockets.add(connection.sock)
        response = connection.getresponse()
        assert (response.status, bool(response.read())) == (200, True)
        time.sleep(2 * HEAD_S_MAX * (1 - seq))  # this test needs real time
    connection.close()

    assert len(sockets) == 1


def limit_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


def post_with_retries(client: Client, document: Batch, key: str) -> Answer:
    """Send a batch like an agent: again, if the connection was evicted while others arrived."""
    for _ in range(10):
        with suppress(urllib3.exceptions.ProtocolError):
            return client.post(document, key)
    return client.post(document, key)


def test_the_longest_idle_connection_is_evicted(url: URL, tmp_path: Path) -> None:
    """With 256 descriptors and 400 open connections, the collector stores what it acknowledges, and recovers.

    The limit is eighty connections: an agent's new one evicts a silent one, without waiting for the header timeout.
    """
    data_dir = tmp_path / "data"
    with serving(environment(url, data_dir), prepare=limit_descriptors) as (process, address):
        client = Client(url=address, admin_key=(data_dir / "admin.key").read_text().strip())
        client.apply()
        key = client.key("fra1", "fra")
        with silent_connections(address, 400) as streams:
            start_s = time.monotonic()
            during = post_with_retries(client, build_batch(("ams1", build_steady_window(4_900)), seq=1), key)
            duration_s = time.monotonic() - start_s
            descriptors = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        after = client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60)), seq=2), key)
        client.pool.clear()
        assert process.poll() is None

    assert (during.status, after.status, len(streams)) == (200, 200, 400)
    assert duration_s < 5
    assert descriptors < 200


def test_a_process_without_descriptors_recovers(url: URL, tmp_path: Path) -> None:
    """Connections wait or fail, no batch is acknowledged without being stored, and the collector recovers without a
    restart.
    """
    data_dir = tmp_path / "data"
    with serving(environment(url, data_dir)) as (process, address):
        client = Client(url=address, admin_key=(data_dir / "admin.key").read_text().strip())
        client.apply()
        key = client.key("fra1", "fra")
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (8, limits[1]))  # fewer than it has open
        with silent_connections(address, 20):
            impatient_client = Client(url=address, admin_key="", pool=urllib3.PoolManager(retries=False, timeout=1))
            with pytest.raises(urllib3.exceptions.HTTPError):
                impatient_client.post(build_batch(("ams1", build_steady_window(4_900)), seq=1), key)
            during = client.post(build_batch(("ams1", build_steady_window(4_900)), seq=1), key).status
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        after = [post_on_new_connection(client, key, seq) for seq in (1, 2)]
        client.pool.clear()
        impatient_client.pool.clear()
        assert process.poll() is None
        process.terminate()
        log = process.communicate(timeout=20)[1]

    assert log.count("cannot accept connections") == 1
    assert "Traceback" not in log
    assert during in {200, 503}  # over the connection that was already open
    assert after == [200, 200]
    database = Database(url)
    assert batches(Store(database)) == 2
    database.close()


def post_on_new_connection(client: Client, key: str, seq: int) -> int:
    """Send a batch over a new connection; asyncio accepts it within a second."""
    client.pool.clear()
    return client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60 * seq - 60)), seq=seq), key).status


@only_sqlite
def test_bytes_that_are_not_http_are_refused(client: Client, fra1: str) -> None:
    """A TLS hello on a plain port, and noise: the connection is closed, other clients are not affected."""
    for noise in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", bytes(range(256)) * 300, b"\r\n" * 40_000):
        with connect(client.url) as stream:
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
def test_connections_get_a_share_of_the_descriptors(descriptors: int, expected: ConnectionBudget) -> None:
    """The rest is for the database and the log."""
    assert compute_connection_budget(descriptors) == expected
