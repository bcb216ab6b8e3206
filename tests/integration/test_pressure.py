"""Slow, large and many bodies: timeouts, limits, 503; and requests in progress when the collector stops."""

from __future__ import annotations

import gzip
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from leadline.wire import codec
from leadline.wire.batch import BODY_BYTES_MAX, SERIES_MAX
from leadline_collector.config import CollectorConfig
from leadline_collector.db.transactions import Store
from leadline_collector.server.serve import serve_in_thread
from tests.integration.conftest import Client
from tests.integration.test_ingest import batches
from tests.support.clock import FakeClock
from tests.support.documents import NOW_S, build_batch, build_steady_window, encode_body

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
HEAD = "POST /api/v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n"


@pytest.fixture(name="config")
def _config(config: CollectorConfig) -> CollectorConfig:
    """Return a configuration with a body timeout of half a second."""
    return replace(config, body_timeout_s=0.5)


def connect(client: Client) -> socket.socket:
    host, port = client.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_a_slow_body_times_out(client: Client, fra1: str) -> None:
    """A byte now and then does not extend the timeout: 408, and the connection is closed."""
    with connect(client) as stream:
        stream.sendall(HEAD.format(key=fra1, length=1_000).encode())
        answer = b""
        for _ in range(40):
            stream.sendall(b"x")
            stream.settimeout(0.05)
            try:
                answer += stream.recv(4_096)
                break
            except TimeoutError:
                continue
        stream.settimeout(10)
        while chunk := stream.recv(4_096):
            answer += chunk

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer


def test_slow_bodies_do_not_block_other_clients(client: Client, fra1: str) -> None:
    """Sixty incomplete bodies occupy no thread: another batch is stored."""
    streams = [connect(client) for _ in range(60)]
    for stream in streams:
        stream.sendall(HEAD.format(key=fra1, length=1_000).encode() + b"x")

    answer = client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)

    assert answer.status == 200
    for stream in streams:
        stream.close()


def test_a_disconnect_within_a_body_is_no_bug(client: Client, fra1: str, store: Store) -> None:
    """Nothing is stored, and the batch counts as damaged, not as a bug."""
    with connect(client) as stream:
        stream.sendall(HEAD.format(key=fra1, length=1_000).encode() + b"x")
        wait_until_processed(client)

    for _ in range(100):
        if refused_count(client, "damaged"):
            break
        threading.Event().wait(0.02)
    assert (refused_count(client, "damaged"), refused_count(client, "bug"), batches(store)) == (1, 0, 0)


def wait_until_processed(client: Client) -> None:
    """Return when the collector has started to process earlier requests."""
    assert client.send("GET", "/healthz").status == 200


def refused_count(client: Client, reason: str) -> int:
    """Return the number of batches refused for the reason."""
    text = client.send("GET", "/metrics").body.decode()
    line = next(line for line in text.splitlines() if f'refused_total{{reason="{reason}"}}' in line)
    return int(float(line.split()[-1]))


def test_ten_thousand_targets_are_refused(client: Client, fra1: str, store: Store) -> None:
    """More windows than a batch may have get 422 with the path ``series``."""
    document = msgspec.json.decode(codec.encode(build_batch(("ams1", build_steady_window(4_900)))))
    row = document["series"][0] | {"interval_ms": 60_000, "rtt_us": [1]}
    series = [row | {"target": f"t{n}"} for n in range(10_000)]

    answer = client.post_bytes(gzip.compress(msgspec.json.encode(document | {"series": series})), fra1)

    assert (answer.status, answer.json()["path"]) == (422, "series")
    assert batches(store) == 0


def test_thousands_of_unknown_targets_are_refused(client: Client, fra1: str, store: Store) -> None:
    """A batch of the maximum size with unknown targets gets 422 at the first one; nothing is stored."""
    batch = build_batch(("ams1", build_steady_window(4_900)))
    series = [msgspec.structs.replace(batch.series[0], target=f"t{n}") for n in range(SERIES_MAX)]

    answer = client.post(msgspec.structs.replace(batch, series=series), fra1)

    assert (answer.status, answer.json()["path"]) == (422, "series[0].target")
    assert batches(store) == 0


def bomb() -> bytes:
    """Return a batch that inflates to nearly 8 MiB of numbers in long columns: the most memory a body can need."""
    column = b"[" + b",".join([b"1000"] * 6_000) + b"]"
    series = b'{"target":"t","address":"1","start_s":60,"interval_ms":10,"rtt_us":' + column + b"}"
    plain = codec.encode(build_batch()).replace(b'"series":[]', b'"series":[' + b",".join([series] * 270) + b"]")
    return gzip.compress(plain)


def resident_mb() -> float:
    """Return the resident memory of this process, which runs the collector."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096 / 1e6


def test_memory_stays_bounded_under_many_bombs(client: Client, fra1: str) -> None:
    """Twenty concurrent bodies of the worst kind need the memory of two, and each gets a response."""
    body = bomb()
    peak = before = resident_mb()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(20) as pool:
        statuses = {answer.status for answer in pool.map(lambda _: client.post_bytes(body, fra1), range(40))}
    done.set()
    watcher.join()

    assert statuses == {422}
    assert peak - before < 300


def test_large_bodies_beyond_the_memory_limit_get_503(config: CollectorConfig, store: Store, clock: FakeClock) -> None:
    """Seventy bodies of a megabyte, each without its last byte, exceed the limit.

    No body times out here, and every stream closes after the first refusal.
    """
    refused = threading.Event()

    def send(stream: socket.socket, head: bytes) -> bytes:
        with stream:
            try:
                stream.sendall(head + bytes(BODY_BYTES_MAX - 1))
                stream.settimeout(0.1)
                while not refused.is_set():
                    with suppress(TimeoutError):
                        answer = stream.recv(12)
                        refused.set()
                        return answer
            except OSError:
                refused.set()
                return b"reset"
        return b""

    with serve_in_thread(replace(config, body_timeout_s=60), store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        client.apply()
        key = client.key("fra1", "fra")
        head = HEAD.format(key=key, length=BODY_BYTES_MAX).encode()
        with ThreadPoolExecutor(70) as pool:
            answers = set(pool.map(lambda stream: send(stream, head), [connect(client) for _ in range(70)]))

        assert answers & {b"HTTP/1.1 503", b"reset"}
        assert client.post(build_batch(("ams1", build_steady_window(4_900))), key).status == 200
        client.pool.clear()


def test_a_stop_completes_requests_in_progress(config: CollectorConfig, store: Store, clock: FakeClock) -> None:
    """The collector stops while forty batches arrive: exactly the acknowledged ones are stored."""
    with serve_in_thread(config, store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        client.apply()
        key = client.key("fra1", "fra")
        bodies = [
            encode_body(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60 * n)), seq=n)) for n in range(40)
        ]
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(client.post_bytes, body, key) for body in bodies]
            futures[0].result(10)
    acknowledged_count = sum(not future.exception() and future.result().status == 200 for future in futures)
    client.pool.clear()

    assert acknowledged_count >= 1
    assert batches(store) == acknowledged_count
