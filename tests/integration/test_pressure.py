"""Slow, large and many bodies: cut, bounded, told to come again; and what is under way when the collector stops."""

from __future__ import annotations

import gzip
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
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
    """A collector that waits half a second for a body."""
    return replace(config, body_timeout_s=0.5)


def connected(client: Client) -> socket.socket:
    host, port = client.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_a_body_that_trickles_is_cut(client: Client, fra1: str) -> None:
    """A byte now and then does not hold a request for ever: 408, and the connection is closed."""
    with connected(client) as stream:
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
        while piece := stream.recv(4_096):
            answer += piece

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer


def test_others_are_served_while_bodies_trickle(client: Client, fra1: str) -> None:
    """Sixty half-sent bodies hold no thread: a batch beside them is stored."""
    streams = [connected(client) for _ in range(60)]
    for stream in streams:
        stream.sendall(HEAD.format(key=fra1, length=1_000).encode() + b"x")

    answer = client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)

    assert answer.status == 200
    for stream in streams:
        stream.close()


def test_a_body_that_is_cut_off_is_no_bug(client: Client, fra1: str, store: Store) -> None:
    """The connection ends in the midst of a batch: nothing is stored, and it is counted as damaged, not as a bug."""
    with connected(client) as stream:
        stream.sendall(HEAD.format(key=fra1, length=1_000).encode() + b"x")
        settled(client)

    for _ in range(100):
        if refused(client, "damaged"):
            break
        threading.Event().wait(0.02)
    assert (refused(client, "damaged"), refused(client, "bug"), batches(store)) == (1, 0, 0)


def settled(client: Client) -> None:
    """Return when the collector has begun what came before."""
    assert client.send("GET", "/healthz").status == 200


def refused(client: Client, reason: str) -> int:
    """How many batches were refused for that reason."""
    text = client.send("GET", "/metrics").body.decode()
    line = next(line for line in text.splitlines() if f'refused_total{{reason="{reason}"}}' in line)
    return int(float(line.split()[-1]))


def test_ten_thousand_targets_are_refused(client: Client, fra1: str, store: Store) -> None:
    """More windows than a batch may have is 422 at ``series``, whatever stands behind it."""
    one = msgspec.json.decode(codec.encode(build_batch(("ams1", build_steady_window(4_900)))))
    series = [one["series"][0] | {"target": f"t{n}", "interval_ms": 60_000, "rtt_us": [1]} for n in range(10_000)]

    answer = client.post_bytes(gzip.compress(msgspec.json.encode(one | {"series": series})), fra1)

    assert (answer.status, answer.json()["path"]) == (422, "series")
    assert batches(store) == 0


def test_unknown_targets_by_the_thousand_are_refused(client: Client, fra1: str, store: Store) -> None:
    """As many as a batch may have, none of them known: 422 at the first, nothing stored."""
    one = build_batch(("ams1", build_steady_window(4_900)))
    many = [msgspec.structs.replace(one.series[0], target=f"t{n}") for n in range(SERIES_MAX)]

    answer = client.post(msgspec.structs.replace(one, series=many), fra1)

    assert (answer.status, answer.json()["path"]) == (422, "series[0].target")
    assert batches(store) == 0


def bomb() -> bytes:
    """A batch that inflates to nearly 8 MiB of numbers in long columns: the most memory a body can cost."""
    column = b"[" + b",".join([b"1000"] * 6_000) + b"]"
    one = b'{"target":"t","address":"1","start_s":60,"interval_ms":10,"rtt_us":' + column + b"}"
    plain = codec.encode(build_batch()).replace(b'"series":[]', b'"series":[' + b",".join([one] * 270) + b"]")
    return gzip.compress(plain)


def resident_mb() -> float:
    """Memory of this process, which the collector runs in."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096 / 1e6


def test_memory_stays_bounded_under_many_bombs(client: Client, fra1: str) -> None:
    """Twenty at once of the worst bodies take the memory of two of them, and every one has its answer."""
    worst = bomb()
    peak = before = resident_mb()
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.005):
            peak = max(peak, resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(20) as pool:
        statuses = {answer.status for answer in pool.map(lambda _: client.post_bytes(worst, fra1), range(40))}
    over.set()
    watcher.join()

    assert statuses == {422}
    assert peak - before < 300


def test_large_bodies_beyond_the_room_are_told_to_come_again(client: Client, fra1: str) -> None:
    """Seventy bodies of a megabyte held back at their last byte: more than the room has, so some are 503."""
    streams = [connected(client) for _ in range(70)]
    head = HEAD.format(key=fra1, length=BODY_BYTES_MAX).encode()
    answers: set[bytes] = set()

    def send(stream: socket.socket) -> bytes:
        with stream:
            try:
                stream.sendall(head + bytes(BODY_BYTES_MAX - 1))
                return stream.recv(12)
            except OSError:
                return b"reset"

    with ThreadPoolExecutor(70) as pool:
        answers = set(pool.map(send, streams))

    assert answers & {b"HTTP/1.1 503", b"reset"}
    assert client.post(build_batch(("ams1", build_steady_window(4_900))), fra1).status == 200


def test_a_stop_drains_what_is_under_way(config: CollectorConfig, store: Store, clock: FakeClock) -> None:
    """Forty batches on their way when the collector stops: exactly what was acknowledged is stored."""
    with serve_in_thread(config, store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        client.apply()
        key = client.key("fra1", "fra")
        sent = [
            encode_body(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60 * n)), seq=n)) for n in range(40)
        ]
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(client.post_bytes, data, key) for data in sent]
            answers[0].result(10)
    acknowledged = sum(not future.exception() and future.result().status == 200 for future in answers)
    client.pool.clear()

    assert acknowledged >= 1
    assert batches(store) == acknowledged
