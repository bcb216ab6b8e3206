"""Collector with the demo's mesh and simulated month, at a fixed time.

The demo itself uses the current time, so its pages always differ. This collector reuses its mesh and simulation. In
addition, three of the four local agents have delivered an hour of windows: two are up to date, one became silent, and
the fourth never connected.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from leadline import __version__
from leadline.clock import make_rng
from leadline.mesh.parser import parse_mesh
from leadline.wire.batch import ClockState
from leadline_cli.commands.demo import DAY_S, HISTORY_DAYS, SEED, build_mesh_toml
from leadline_collector.config import read_config
from leadline_collector.demo.simulation import simulate_windows
from leadline_collector.mesh import service as mesh_service
from leadline_collector.rollup.worker import run_compaction
from leadline_collector.server.serve import open_store
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.documents import build_batch, build_window, encode_body

#: Thursday, 2026-11-19 10:31:25 UTC: working hours in Europe, and five seconds before the live worker is due. With the
#: fixed clock, it runs every five seconds.
NOW_S = 1_795_084_285
START_S = (NOW_S // DAY_S - HISTORY_DAYS) * DAY_S
#: The latest window that could have arrived.
LAST_S = NOW_S // 60 * 60 - 120
LOCAL = ("north", "east", "south", "west")
#: Minutes since the last batch of each local agent; the fourth never sent one.
SILENT_MINUTES = {"north": 0, "east": 0, "south": 25}
WINDOWS = 60
VIEWER_KEY = "llv_" + "browser" * 6
STOP_S_MAX = 20.0
ROOT = Path(__file__).parents[2]


@contextmanager
def demo_collector(directory: Path) -> Iterator[str]:
    """Run a collector with all data and yield its URL."""
    _fill(directory)
    with _process(directory, []) as url:
        client = Client(url=url, admin_key=(directory / "admin.key").read_text().strip())
        for site, minutes in SILENT_MINUTES.items():
            _deliver(client, site, LAST_S - 60 * minutes)
        client.pool.clear()
        yield url


@contextmanager
def locked_collector(directory: Path) -> Iterator[str]:
    """Run a collector without data and with ``VIEWER_KEY`` as its viewer key, and yield its URL."""
    key_file = directory / "viewer.key"
    key_file.write_text(f"{VIEWER_KEY}\n")
    key_file.chmod(0o600)
    with _process(directory, ["--viewer-key-file", str(key_file)]) as url:
        yield url


def _fill(directory: Path) -> None:
    config, clock = read_config({"data_dir": directory}, {}), FakeClock(wall_ns=NOW_S * 1_000_000_000)
    with open_store(config) as store:
        version = mesh_service.apply_mesh(store, clock, build_mesh_toml().encode()).version
        simulate_windows(store, parse_mesh(build_mesh_toml()), version, START_S, LAST_S + 60, SEED, lambda _: None)
        # Compact now; otherwise the worker does so during the tests.
        run_compaction(store, clock)


@contextmanager
def _process(directory: Path, options: Sequence[str]) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.browser.collector_process", *options]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(directory), "--now-s", str(NOW_S)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield _read_url(process.stdout, directory / "log")
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _read_url(output: IO[str] | None, log: Path) -> str:
    assert output is not None
    if url := output.readline().strip():
        return url
    raise RuntimeError(f"the collector ended: {log.read_text(encoding='utf-8', errors='replace')}")


def _deliver(client: Client, site: str, last_s: int) -> None:
    """Send an hour of windows up to ``last_s`` from the agent of a site to the three others."""
    rng, agent = make_rng(f"{SEED} {site}"), f"{site}-a1"
    windows = [
        (f"{target}-a1", build_window([rng.randint(60, 140) for _ in range(60)], start_s))
        for target in LOCAL
        if target != site
        for start_s in range(last_s - 60 * (WINDOWS - 1), last_s + 1, 60)
    ]
    document = msgspec.structs.replace(
        build_batch(*windows, agent=agent, sealed_at_s=last_s + 76),
        clock=ClockState(synchronised=True, offset_us=40, max_error_us=9_000, estimated_error_us=300),
        clock_offset_us=rng.randint(-900, 900),
        clock_offset_error_us=1_200,
    )
    answer = client.send(
        "POST",
        "/api/v1/batches",
        encode_body(document),
        client.key(agent, site),
        Content_Encoding="gzip",
        User_Agent=f"leadline-agent/{__version__}",
        Leadline_Spool=f"batches={SILENT_MINUTES[site]}, bytes={9_000 * SILENT_MINUTES[site]}, max={512 << 20}",
    )
    assert answer.status == 200, answer.body
