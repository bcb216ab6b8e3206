"""Load of the ingest benchmark: the same samples for every server, prebuilt bodies, plain sockets.

The sender shares the machine with the server, so all requests are built before the clock starts.
"""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

from leadline.model import ErrorBound, Window
from leadline.wire import codec
from leadline.wire.batch import WIRE_VERSION, Batch, TargetWindow, to_target_window
from leadline_agent.delivery.batch_builder import GZIP_LEVEL

PROBES = 60
#: Number of different windows: enough that gzip finds no repetition within its 32 KiB.
POOL = 2_000
EPOCH = "0123456789abcdef" * 2
START_S = 1_795_327_200
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestPost:
    """Content of one POST: windows of one agent in one minute."""

    agent: str
    targets: Sequence[str]
    seq: int
    start_s: int
    seed: int

    @property
    def count_samples(self) -> int:
        return PROBES * len(self.targets)


def generate_windows(seed: int = 8_427) -> list[Window]:
    """Return windows of quiet paths: a minimum RTT, some queueing, rare spikes."""
    rng = Random(seed)
    return [
        Window(
            start_s=START_S,
            interval_ms=1_000,
            rtt_us=tuple(
                floor + int(rng.expovariate(1 / 40)) + (rng.random() < 0.01) * 3_000 for floor in [base] * PROBES
            ),
            error_bound=ErrorBound(p50_us=3, p99_us=17),
        )
        for base in (rng.randrange(800, 90_000) for _ in range(POOL))
    ]


def build_minute_posts(agents: Sequence[str], targets: int, minutes: int) -> list[IngestPost]:
    """Return a POST per agent and minute, each with windows of all its targets."""
    return [
        IngestPost(
            agent=agent,
            targets=_select_other_targets(agents, agent, targets),
            seq=minute,
            start_s=START_S + 60 * minute,
            seed=seed,
        )
        for minute in range(minutes)
        for seed, agent in enumerate(agents)
    ]


def build_open_posts(agents: Sequence[str], count: int, windows: Sequence[int]) -> list[IngestPost]:
    """Return ``count`` POSTs of the agents in turn; the targets of an agent are split over its POSTs of a minute."""
    posts = []
    for n in range(count):
        agent, part = agents[n % len(agents)], n // len(agents)
        others = _select_other_targets(agents, agent, len(agents) - 1)
        first = sum(windows[:part])
        targets = others[first : first + windows[part]]
        posts.append(IngestPost(agent=agent, targets=targets, seq=part, start_s=START_S, seed=n))
    return posts


def _select_other_targets(agents: Sequence[str], agent: str, count: int) -> list[str]:
    return [other for other in agents if other != agent][:count]


def encode_leadline_body(post: IngestPost, pool: Sequence[Window]) -> bytes:
    """Return the body of an agent's batch."""
    template = [to_target_window(target, "192.0.2.1", window) for target, window in _iter_windows(post, pool)]
    series = [
        TargetWindow(
            target=window.target,
            address=window.address,
            start_s=post.start_s,
            interval_ms=window.interval_ms,
            rtt_us=window.rtt_us,
            error_us=window.error_us,
        )
        for window in template
    ]
    batch = Batch(
        v=WIRE_VERSION,
        agent=post.agent,
        epoch=EPOCH,
        seq=post.seq,
        mesh_version=1,
        sealed_at_us=(post.start_s + 70) * 1_000_000,
        monotonic_us=1,
        series=series,
    )
    return gzip.compress(codec.encode(batch), compresslevel=GZIP_LEVEL, mtime=0)


def encode_victoria_body(post: IngestPost, pool: Sequence[Window]) -> bytes:
    """Return the same samples as lines of VictoriaMetrics' /api/v1/import: one series per target."""
    times = [(post.start_s + second) * 1_000 for second in range(PROBES)]
    lines = (
        json.dumps(
            {
                "metric": {"__name__": "rtt_us", "src": post.agent, "dst": target},
                "values": window.rtt_us,
                "timestamps": times,
            },
            separators=(",", ":"),
        )
        for target, window in _iter_windows(post, pool)
    )
    return gzip.compress("\n".join(lines).encode(), compresslevel=GZIP_LEVEL, mtime=0)


def _iter_windows(post: IngestPost, pool: Sequence[Window]) -> Iterator[tuple[str, Window]]:
    rng = Random(post.seed * 100_003 + post.seq)
    for target in post.targets:
        yield target, pool[rng.randrange(len(pool))]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """Results of a run, measured by the sender."""

    seconds: float
    #: Of every POST, from its due time to the end of its response, in ascending order.
    latencies_s: Sequence[float]
    refused: int


def run_closed_loop(port: int, requests: Sequence[bytes], connections: int) -> LoadResult:
    """Send all requests on a number of connections, each after the response to the previous one."""
    start = time.monotonic()
    return _send_all(port, [(start, request) for request in requests], connections, due_matters=False)


def run_open_loop(port: int, requests: Sequence[bytes], per_second: float, connections: int) -> LoadResult:
    """Send at a fixed rate, independent of the responses; the wait for a free connection counts as latency."""
    start = time.monotonic() + 0.1
    due = [(start + n / per_second, request) for n, request in enumerate(requests)]
    return _send_all(port, due, connections, due_matters=True)


def _send_all(port: int, requests: Sequence[tuple[float, bytes]], connections: int, *, due_matters: bool) -> LoadResult:
    queue = iter(requests)

    def work() -> tuple[list[float], int]:
        latencies, refused = [], 0
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for due, request in queue:  # next() of a list's iterator is atomic: one thread gets each request
                time.sleep(max(0.0, due - time.monotonic()))
                since = due if due_matters else time.monotonic()
                refused += send_request(stream, request) >= 300
                latencies.append(time.monotonic() - since)
        return latencies, refused

    start = time.monotonic()
    with ThreadPoolExecutor(connections) as pool:
        results = [future.result() for future in [pool.submit(work) for _ in range(connections)]]
    return LoadResult(
        seconds=time.monotonic() - start,
        latencies_s=sorted(latency for latencies, _ in results for latency in latencies),
        refused=sum(refused for _, refused in results),
    )


def send_request(stream: socket.socket, request: bytes) -> int:
    """Send one request, read the whole response and return its status."""
    stream.sendall(request)
    response = b""
    while (end := response.find(b"\r\n\r\n")) < 0:
        response += _read_chunk(stream)
    head = response[:end].decode().lower()
    length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
    missing = length - (len(response) - end - 4)
    while missing > 0:
        missing -= len(_read_chunk(stream))
    return int(head.split(" ", 2)[1])


def _read_chunk(stream: socket.socket) -> bytes:
    chunk = stream.recv(65_536)
    if not chunk:
        raise ConnectionError("the server closed the connection")
    return chunk


def build_request(path: str, body: bytes, key: str | None = None) -> bytes:
    """Return the bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: bench", "Content-Encoding: gzip", f"Content-Length: {len(body)}"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join([*lines, "", ""]).encode() + body
