"""Benchmark of queries over months: ``make bench-query``, or ``python -m tests.bench.query``; see docs/benchmarks.md.

50 sites, 2,450 directed pairs, 30 days of rollups and state counts, 100 pairs of raw chunks, on SQLite and PostgreSQL.
Measures the common queries, the compaction of an hour, and the bytes of a probe on disk. Prints a table with the goals.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import psycopg
from sqlalchemy import select, text
from sqlalchemy.engine import URL

from leadline_collector.analysis.matrix import build_matrix
from leadline_collector.analysis.verdicts import VerdictRequest, compute_verdicts
from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from leadline_collector.db.tables import batch
from leadline_collector.db.transactions import Store
from leadline_collector.ingest.batch_store import ingest_batch
from leadline_collector.journal import body_codec
from leadline_collector.live import pairs as live_pairs
from leadline_collector.live.pairs import LastCheckedWindows
from leadline_collector.mesh import registry
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import PathIds
from leadline_collector.rollup import hour_reader, period_counts
from leadline_collector.rollup.worker import run_compaction
from leadline_collector.time_range import TimeRange
from leadline_verdict.decision import VerdictRule
from leadline_verdict.requirements import NO_OVERRIDES
from tests.bench import ingest_load as load
from tests.bench import query_data as data
from tests.bench.ingest_servers import build_mesh
from tests.bench.query_data import DAY_S, HOUR_S
from tests.support import postgres
from tests.support.clock import FakeClock

PROFILE = "vcf9-stretched-cluster"
#: Midnight; the days from here on are compacted. The hour after them is for the measurement of compaction.
START_S = load.START_S - load.START_S % DAY_S
REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMeasurement:
    """One line of the table."""

    what: str
    value: float
    unit: str
    goal: float | None = None

    def format_line(self, kind: str) -> str:
        """Return the printed line."""
        goal = "" if self.goal is None else f"  goal {self.goal:g}: {'met' if self.value <= self.goal else 'NOT MET'}"
        return f"{kind:10} {self.what:52} {self.value:9.2f} {self.unit:8}{goal}"


def main() -> None:
    """Fill the databases, run the queries, print the results."""
    parser = argparse.ArgumentParser(description="queries and compaction over months of data")
    parser.add_argument("--sites", type=int, default=50)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores", flush=True)
    for kind in options.databases.split(","):
        with _open_empty_store(kind) as (store, size, tidy):
            for measurement in _measure_all(store, size, tidy, options.sites, options.days):
                print(measurement.format_line(kind), flush=True)


@contextmanager
def _open_empty_store(kind: str) -> Iterator[tuple[Store, Callable[[Store], int], Callable[[], None]]]:
    """Yield an empty store with durable commits, a function for its bytes on disk, and one to run after filling it."""
    with (
        tempfile.TemporaryDirectory(prefix="leadline-bench-query-") as home,
        postgres.run_server(durable=True) as server,
    ):
        path = Path(home) / "leadline.sqlite"
        url = URL.create("sqlite", database=str(path))
        if kind == "postgresql":
            url = postgres.create_database(server, "bench")
        database = Database(url)
        try:
            schema.upgrade(database)
            store = Store(database)
            yield (
                (store, _measure_sqlite_bytes, lambda: None)
                if kind == "sqlite"
                else (store, _measure_postgresql_bytes, partial(_vacuum, url))
            )
        finally:
            database.close()


def _vacuum(url: URL) -> None:
    """Run VACUUM ANALYZE now; autovacuum would run it in the middle of the queries."""
    with psycopg.connect(postgres.build_conninfo(url), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _measure_sqlite_bytes(store: Store) -> int:
    with store.read() as reader:
        pages, free, size = (
            int(reader.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size


def _measure_postgresql_bytes(store: Store) -> int:
    query = "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'chunk'::regclass"
    with store.read() as reader:
        return int(reader.connection.execute(text(query)).scalar_one())


def _measure_all(
    store: Store, size: Callable[[Store], int], tidy: Callable[[], None], sites: int, days: int
) -> Iterator[QueryMeasurement]:
    begin_s = time.perf_counter()
    names = [f"s{n:02}" for n in range(sites)]
    data.fill_store(store, build_mesh(names), PROFILE, START_S, days)
    before = size(store)
    probes = data.fill_chunks(store, START_S, days)
    yield QueryMeasurement(
        what="bytes a probe in raw chunks, on disk", value=(size(store) - before) / probes, unit="B", goal=1.7
    )
    tidy()
    yield QueryMeasurement(what="filling the database", value=time.perf_counter() - begin_s, unit="s")
    yield from _measure_queries(store, days)
    yield from _measure_compaction(store, names, START_S + days * DAY_S)


def _measure_queries(store: Store, days: int) -> Iterator[QueryMeasurement]:
    end_s = START_S + days * DAY_S
    day, month = TimeRange(start_s=end_s - DAY_S, end_s=end_s), TimeRange(start_s=START_S, end_s=end_s)
    ragged = TimeRange(start_s=end_s - DAY_S - 1_500, end_s=end_s - 1_500)
    with store.read() as reader:
        site_registry = registry.load_registry(reader.connection)
        sources = sorted(site_registry.agents_by_site)
        path = PathIds(
            src_id=mesh_store.load_agents(reader.connection)[0].id,
            dst_id=mesh_store.load_targets(reader.connection)[5].id,
        )
        connection = reader.connection
        yield _measure_query(
            "counts of 24 h, every pair",
            lambda: period_counts.count_pairs(connection, site_registry, sources, PROFILE, day),
            100,
        )
        yield _measure_query(
            "counts of the days, every pair",
            lambda: period_counts.count_pairs(connection, site_registry, sources, PROFILE, month),
            100,
        )
        yield _measure_query(
            "windows of one path over the days, all columns",
            lambda: hour_reader.load_series(reader.connection, path.src_id, path.dst_id, START_S, end_s),
            150,
        )
    yield _measure_query("matrix of 24 h as the API returns it", lambda: build_matrix(store, PROFILE, day), 100)
    yield _measure_query(
        "matrix of 24 h that begin and end within an hour", lambda: build_matrix(store, PROFILE, ragged), None
    )
    yield _measure_query("matrix of the days as the API returns it", lambda: build_matrix(store, PROFILE, month), 100)
    request = VerdictRequest(
        period=month, pair=("s00", "s05"), sites=(), profiles=(PROFILE,), overrides=NO_OVERRIDES, rule=VerdictRule()
    )
    both_directions = _measure_query(
        "the verdict on a pair over the days, a direction", lambda: compute_verdicts(store, request), 150
    )
    yield replace(both_directions, value=both_directions.value / 2)


def _measure_query(what: str, run_query: Callable[[], object], goal_ms: float | None) -> QueryMeasurement:
    run_query()
    times = []
    for _ in range(REPEATS):
        begin_s = time.perf_counter()
        run_query()
        times.append(time.perf_counter() - begin_s)
    return QueryMeasurement(what=what, value=median(times) * 1_000, unit="ms", goal=goal_ms)


def _measure_compaction(store: Store, names: list[str], hour_s: int) -> Iterator[QueryMeasurement]:
    """Ingest an hour of every site, a batch a minute, and measure its compaction."""
    pool = load.generate_windows()
    with store.read() as reader:
        agents = {agent.name: agent for agent in mesh_store.load_agents(reader.connection)}
    for minute in range(60):
        for seed, name in enumerate(names):
            t = hour_s + 60 * minute
            others = [other for other in names if other != name]
            post = load.IngestPost(agent=name, targets=others, seq=minute, start_s=t, seed=seed + 7 * minute)
            ingest_batch(store, agents[name], load.encode_leadline_body(post, pool), "gzip", (t + 80) * 1_000_000)
        if minute == 29:
            yield from _measure_half_hour(store, hour_s)
    clock = FakeClock(wall_ns=(hour_s + HOUR_S + 300) * 1_000_000_000)
    cpu_s, begin_s = time.process_time(), time.perf_counter()
    compaction = run_compaction(store, clock)
    seconds, cpu_s = time.perf_counter() - begin_s, time.process_time() - cpu_s
    assert (compaction.hours, compaction.failed, compaction.left) == (len(names), 0, 0)
    yield QueryMeasurement(what="compaction of an hour of every site", value=seconds, unit="s", goal=2)
    yield QueryMeasurement(what="… CPU time of it in this process", value=cpu_s, unit="s")
    yield QueryMeasurement(
        what="… as a multiple of decoding its batches once", value=cpu_s / _measure_decoding_s(store), unit=""
    )


def _measure_decoding_s(store: Store) -> float:
    """Return the CPU time of decoding every batch of the hour, a reference for the current speed of the machine."""
    with store.read() as reader:
        bodies = reader.connection.execute(select(batch.c.body)).scalars().all()
    begun_s = time.process_time()
    for body in bodies:
        body_codec.decode_stored_batch(body)
    return time.process_time() - begun_s


def _measure_half_hour(store: Store, hour_s: int) -> Iterator[QueryMeasurement]:
    now = TimeRange(start_s=hour_s + 1_800 - DAY_S, end_s=hour_s + 1_800)
    yield _measure_query(
        "matrix of 24 h to now, half an hour not compacted", lambda: build_matrix(store, PROFILE, now), None
    )
    last_checked: LastCheckedWindows = {}
    live_pairs.refresh_pairs(store, hour_s + 1_830, last_checked)
    yield _measure_query(
        "current state of every pair, once a minute",
        lambda: live_pairs.refresh_pairs(store, hour_s + 1_830, last_checked),
        1_000,
    )
    run_compaction(store, FakeClock(wall_ns=(hour_s + 1_830) * 1_000_000_000))
    yield _measure_query("matrix of 24 h to now, after a refresh", lambda: build_matrix(store, PROFILE, now), None)


if __name__ == "__main__":
    main()
