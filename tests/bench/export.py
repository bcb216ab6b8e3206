"""The benchmark of ``leadline export rtts``: ``python -m tests.bench.export``; docs/benchmarks.md.

A collector on SQLite with a month of chunks of one path at one probe a second, in a process of its own. The command
downloads all of them in another process. The table has the time, the peak memory of both, and the time of one hour.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from sqlalchemy.engine import URL

from leadline.clock import SystemClock, format_iso8601
from leadline.wire.probes import ProbeOrigin
from leadline_collector.analysis.probe_encoding import CsvEncoder, PathLabel
from leadline_collector.config import DAY_S
from leadline_collector.db import schema, tables
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.ingest.batch_store import ingest_batch
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import NamedId
from leadline_collector.rollup import path_rollups, probe_reader
from tests.bench import ingest_load as load
from tests.bench import query_data as data
from tests.bench.ingest_servers import _start_collector, build_mesh
from tests.bench.query_data import HOUR_S

SITES = 50
REPEATS = 9
#: Midnight at the end of the exported days.
END_S = load.START_S - load.START_S % DAY_S
NAMES = [f"s{number:02}" for number in range(SITES)]


def main() -> None:
    """Fill, export, print."""
    parser = argparse.ArgumentParser(description="export of every probe of a pair")
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--formats", default="csv,jsonl")
    options = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory(prefix="leadline-bench-export-") as home:
        _measure_journal_hour(URL.create("sqlite", database=str(Path(home) / "journal.sqlite")))
        url = URL.create("sqlite", database=str(Path(home) / "leadline.sqlite"))
        _fill_chunks(url, options.days)
        with _start_collector(Path(home), url) as server:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            before_kb = _read_peak_kb(server.pid)
            for name in options.formats.split(","):
                _measure_export(Path(home), address, server.pid, options.days, name)
            print(f"collector, peak before the exports: {before_kb / 1_024:.0f} MiB")


@contextmanager
def _open_store(url: URL) -> Iterator[tuple[Store, Mapping[str, NamedId], Mapping[str, int]]]:
    """Open a new store with the mesh; yield it with its agents, and the ids of its targets."""
    database = Database(url)
    try:
        schema.upgrade(database)
        store = Store(database)
        mesh_service.apply_mesh(store, SystemClock(), build_mesh(NAMES).encode())
        with store.read() as reader:
            agents = {agent.name: agent for agent in mesh_store.load_agents(reader.connection)}
            targets = {target.name: target.id for target in mesh_store.load_targets(reader.connection)}
        yield store, agents, targets
    finally:
        database.close()


def _fill_chunks(url: URL, days: int) -> None:
    """Store chunks and rollups of one path; print the time of an hour."""
    with _open_store(url) as (store, agents, targets):
        src_id, dst_id = agents["s00"].id, targets["s01"]
        pool = [data._build_hour(np.random.default_rng(number), number) for number in range(24)]
        for day_s in range(END_S - days * DAY_S, END_S, DAY_S):
            hours = [replace(hour, key=(src_id, dst_id, day_s + n * HOUR_S)) for n, hour in enumerate(pool)]
            with store.write() as writer:
                writer.replace_rows(tables.rollup_hour, [path_rollups.build_hour_row(hour) for hour in hours])
                writer.replace_rows(tables.chunk, [(*hour.key, hour.chunk.encode()) for hour in hours if hour.chunk])
        _print_hour("an hour from its chunk", store, src_id, {"s01": dst_id}, END_S - HOUR_S)


def _measure_journal_hour(url: URL) -> None:
    """Store an hour that is not compacted, of an agent with many targets; print the time of one path."""
    windows = load.generate_windows()
    with _open_store(url) as (store, agents, targets):
        for minute in range(60):
            start_s = END_S + 60 * minute
            post = load.IngestPost(agent="s00", targets=NAMES[1:], seq=minute, start_s=start_s, seed=minute)
            body = load.encode_leadline_body(post, windows)
            ingest_batch(store, agents["s00"], body, "gzip", (start_s + 80) * 1_000_000)
        what = f"an hour from the journal of an agent with {SITES - 1} targets"
        _print_hour(what, store, agents["s00"].id, {"s01": targets["s01"]}, END_S)


def _print_hour(what: str, store: Store, src_id: int, dst_ids: dict[str, int], hour_s: int) -> None:
    times, label = [], PathLabel(agent="s00", target="s01", origin=ProbeOrigin.MEASURED)
    for _ in range(REPEATS):
        begun = time.perf_counter()
        with store.read() as reader:
            ((_, windows),) = probe_reader.load_hour_probes(reader.connection, {src_id}, dst_ids, hour_s).items()
        encoder = CsvEncoder()
        rows = "".join(encoder.encode_window(label, window) for window in windows)
        times.append(time.perf_counter() - begun)
        assert rows.count("\n") == HOUR_S
    print(f"{what}: {median(times) * 1_000:.1f} ms", flush=True)


def _measure_export(home: Path, address: str, server_pid: int, days: int, name: str) -> None:
    output = home / f"probes.{name}"
    command = [
        sys.executable, "-m", "leadline_cli", "export", "rtts", "--pair", "s00,s01", "--collector", address,
        "--from", format_iso8601(END_S - days * DAY_S), "--to", format_iso8601(END_S), "--format", name,
        "--output", str(output), "--admin-key-file", str(home / "admin.key"),
    ]  # fmt: skip
    begun = time.perf_counter()
    process, peak_kb = subprocess.Popen(command), 0
    while process.poll() is None:
        # After its end a process has no memory to read; until the exec it has that of its parent.
        peak_kb = _read_peak_kb(process.pid) or peak_kb
        time.sleep(0.02)
    seconds = time.perf_counter() - begun
    assert process.returncode == 0
    with output.open("rb") as file:
        rows = sum(1 for _ in file) - (name == "csv")
    assert rows == days * DAY_S
    print(
        f"{days} days as {name}: {rows:,} probes, {output.stat().st_size / 1e6:.0f} MB, {seconds:.1f} s, peak memory "
        f"command {peak_kb / 1_024:.0f} MiB, collector {_read_peak_kb(server_pid) / 1_024:.0f} MiB",
        flush=True,
    )


def _read_peak_kb(pid: int) -> int:
    """Return the peak of the resident memory of a process; 0 after its end."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    main()
