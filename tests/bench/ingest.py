"""Benchmark of ingest: ``make bench-ingest``, or ``python -m tests.bench.ingest``; see docs/benchmarks.md.

Compares a collector on SQLite and on PostgreSQL, both with durable commits, with VictoriaMetrics from the packages of
the distribution with its defaults. All get the same samples over HTTP on loopback: first at full speed, then those of
500 simulated sites at their real rate. Prints a table and the goals, and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from leadline.model import Window
from tests.bench import ingest_load as load
from tests.bench.ingest_load import IngestPost, LoadResult
from tests.bench.ingest_servers import IngestServer, has_victoria, run_collector, run_victoria

SITES = 500
#: Windows in the six POSTs of an agent per minute: 499 targets.
PARTS = (83, 83, 83, 83, 83, 84)
POSTS_PER_S = 50
#: Agents in the run at full speed; each POST is one minute of an agent with 499 targets.
AGENTS = 20
CONNECTIONS = 8
OPEN_CONNECTIONS = 64
TARGETS = 499

Body: TypeAlias = Callable[[IngestPost, Sequence[Window]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestMeasurement:
    """Results of one run against one server."""

    server: str
    run: str
    posts: int
    samples: int
    refused: int
    seconds: float
    samples_per_s: float
    #: Per second of CPU time of the server, its database included.
    samples_per_core: float
    #: CPU seconds per second.
    cores: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    bytes_sent_per_sample: float
    bytes_on_disk_per_sample: float
    #: Samples reported by the server afterwards; must equal ``samples``.
    samples_stored: int


def main() -> None:
    """Run the benchmark, print the results, write JSON."""
    options = _parse_options()
    sites = [f"s{n:03}" for n in range(SITES)]
    pool = load.generate_windows()
    fast = load.build_minute_posts(sites[:AGENTS], TARGETS, options.minutes)
    # A mesh of 20 agents has no 499 targets: an agent of the fast run probes the first 499 of all sites.
    fast = [_replace_targets(post, sites) for post in fast]
    paced = load.build_open_posts(sites, POSTS_PER_S * options.seconds, PARTS)
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores", flush=True)
    results = []
    for open_server, body in _select_servers(sites, options.servers):
        results += [
            _run_load(open_server, body, "full speed", fast, pool),
            _run_load(open_server, body, "500 sites", paced, pool),
        ]
    print("\n".join(_format_goals(results)))
    document = {"machine": _describe_machine(), "results": [asdict(result) for result in results]}
    options.json.write_text(json.dumps(document, indent=1) + "\n")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="samples per second, per core, and p99 of a POST")
    parser.add_argument(
        "--minutes", type=int, default=20, help="minutes of 20 agents at full speed (600,000 samples each)"
    )
    parser.add_argument("--seconds", type=int, default=20, help="seconds of 500 sites at their real rate, at most 60")
    parser.add_argument("--servers", default="sqlite,postgresql,victoria")
    parser.add_argument("--json", type=Path, default=Path("bench-ingest.json"))
    return parser.parse_args()


def _select_servers(
    sites: Sequence[str], names: str
) -> Iterator[tuple[Callable[[], AbstractContextManager[IngestServer]], Body]]:
    for name in names.split(","):
        if name == "victoria":
            if has_victoria():
                yield run_victoria, load.encode_victoria_body
            else:
                print("VictoriaMetrics is not installed: apt-get install victoria-metrics")
        else:
            yield partial(run_collector, name, sites), load.encode_leadline_body


def _replace_targets(post: IngestPost, sites: Sequence[str]) -> IngestPost:
    targets = [site for site in sites if site != post.agent][:TARGETS]
    return IngestPost(agent=post.agent, targets=targets, seq=post.seq, start_s=post.start_s, seed=post.seed)


def _run_load(
    open_server: Callable[[], AbstractContextManager[IngestServer]],
    body: Body,
    run: str,
    posts: Sequence[IngestPost],
    pool: Sequence[Window],
) -> IngestMeasurement:
    bodies = [body(post, pool) for post in posts]
    with open_server() as server:
        requests = [
            load.build_request(server.path, data, server.keys.get(post.agent))
            for post, data in zip(posts, bodies, strict=True)
        ]
        disk, cpu_s = server.disk_bytes(), server.read_cpu_s()
        if run == "full speed":
            load_result = load.run_closed_loop(server.port, requests, CONNECTIONS)
        else:
            load_result = load.run_open_loop(server.port, requests, POSTS_PER_S, OPEN_CONNECTIONS)
        cpu_s = server.read_cpu_s() - cpu_s
        result = _build_result(
            server, run, posts, load_result, cpu_s, sum(map(len, bodies)), server.disk_bytes() - disk
        )
    print(_format_result(result), flush=True)
    return result


def _build_result(
    server: IngestServer,
    run: str,
    posts: Sequence[IngestPost],
    load_result: LoadResult,
    cpu_s: float,
    sent_bytes: int,
    disk_bytes: int,
) -> IngestMeasurement:
    samples = sum(post.count_samples for post in posts)
    return IngestMeasurement(
        server=server.name,
        run=run,
        posts=len(posts),
        samples=samples,
        refused=load_result.refused,
        seconds=load_result.seconds,
        samples_per_s=samples / load_result.seconds,
        samples_per_core=samples / cpu_s,
        cores=cpu_s / load_result.seconds,
        p50_ms=_compute_quantile_ms(load_result.latencies_s, 0.5),
        p99_ms=_compute_quantile_ms(load_result.latencies_s, 0.99),
        max_ms=load_result.latencies_s[-1] * 1_000,
        bytes_sent_per_sample=sent_bytes / samples,
        bytes_on_disk_per_sample=disk_bytes / samples,
        samples_stored=server.count_stored(),
    )


def _compute_quantile_ms(latencies_s: Sequence[float], q: float) -> float:
    return latencies_s[max(0, -(-int(q * 1_000) * len(latencies_s) // 1_000) - 1)] * 1_000


def _format_result(result: IngestMeasurement) -> str:
    return (
        f"{result.server:22} {result.run:10} {result.posts:5} POSTs {result.samples_per_s / 1e6:6.2f} M/s "
        f"{result.samples_per_core / 1e6:6.2f} M/core {result.cores:5.2f} cores  p50 {result.p50_ms:7.1f} "
        f"p99 {result.p99_ms:7.1f} max {result.max_ms:7.1f} ms  {result.bytes_sent_per_sample:4.2f} B sent "
        f"{result.bytes_on_disk_per_sample:5.2f} B on disk  refused {result.refused}"
    )


def _format_goals(results: Sequence[IngestMeasurement]) -> Iterator[str]:
    results_by_run = {(result.server, result.run): result for result in results}
    peer = results_by_run.get(("VictoriaMetrics", "full speed"))
    for kind, goal in (("sqlite", 3e6), ("postgresql", 2e6)):
        fast, paced = (
            results_by_run.get((f"leadline, {kind}", "full speed")),
            results_by_run.get((f"leadline, {kind}", "500 sites")),
        )
        if fast is None or paced is None:
            continue
        yield _format_goal(
            f"{kind}: every sample stored", all(result.samples_stored == result.samples for result in (fast, paced))
        )
        yield _format_goal(f"{kind}: {goal / 1e6:.0f} M samples/s", fast.samples_per_s >= goal)
        yield _format_goal(f"{kind}: 500 sites under half a core", paced.cores <= 0.5)
        yield _format_goal(
            f"{kind}: 500 sites, p99 of a POST at most 100 ms", paced.p99_ms <= 100 and not paced.refused
        )
        if peer is not None:
            better = fast.samples_per_core >= peer.samples_per_core
            yield _format_goal(f"{kind}: samples per core at least VictoriaMetrics'", better)


def _format_goal(text: str, met: bool) -> str:
    return f"{'met    ' if met else 'NOT MET'} {text}"


def _describe_machine() -> dict[str, str]:
    package = subprocess.run(["dpkg-query", "-W", "victoria-metrics"], capture_output=True, text=True, check=False)
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "victoria_metrics": package.stdout.strip(),
    }


if __name__ == "__main__":
    main()
