"""The benchmark of months: ``make bench-query``, or ``python -m tests.bench.query``; docs/benchmarks.md.

50 sites, 2,450 directed pairs, 30 days of rollups and tallies, 100 pairs of raw chunks, on SQLite and PostgreSQL: the
questions people ask, the compaction of an hour, and the bytes of a probe on disk. It prints a table with the goals.
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

from leadline_collector.analysis.matrix import matrix
from leadline_collector.analysis.verdicts import Question, verdicts
from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from leadline_collector.db.tables import batch
from leadline_collector.db.transactions import Store
from leadline_collector.ingest.batch_store import ingest
from leadline_collector.journal import body_codec
from leadline_collector.live import pairs as live_pairs
from leadline_collector.live.pairs import Seen
from leadline_collector.mesh import registry
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import PathIds
from leadline_collector.rollup import hour_reader, period_counts
from leadline_collector.rollup.worker import compact
from leadline_collector.time_range import Period
from leadline_verdict.decision import Rule
from leadline_verdict.requirements import NO_WISHES
from tests.bench import ingest_load as load
from tests.bench import query_data as data
from tests.bench.ingest_servers import mesh_of
from tests.bench.query_data import DAY_S, HOUR_S
from tests.support import postgres
from tests.support.clock import FakeClock

PROFILE = "vcf9-stretched-cluster"
#: Midnight; 30 days from here are compacted, and the hour after them is what compaction is measured on.
START_S = load.START_S - load.START_S % DAY_S
REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    what: str
    value: float
    unit: str
    goal: float | None = None

    def line(self, kind: str) -> str:
        """As printed."""
        goal = "" if self.goal is None else f"  goal {self.goal:g}: {'met' if self.value <= self.goal else 'NOT MET'}"
        return f"{kind:10} {self.what:52} {self.value:9.2f} {self.unit:8}{goal}"


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description="matrices, series and compaction of months")
    parser.add_argument("--sites", type=int, default=50)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores", flush=True)
    for kind in options.databases.split(","):
        with _store(kind) as (store, size, tidy):
            for figure in _figures(store, size, tidy, options.sites, options.days):
                print(figure.line(kind), flush=True)


@contextmanager
def _store(kind: str) -> Iterator[tuple[Store, Callable[[Store], int], Callable[[], None]]]:
    """An empty store with durable commits, what says how many bytes its chunks have, and what a fill is followed by."""
    with tempfile.TemporaryDirectory(prefix="leadline-bench-query-") as home, postgres.server(durable=True) as server:
        path = Path(home) / "leadline.sqlite"
        url = URL.create("sqlite", database=str(path))
        if kind == "postgresql":
            url = postgres.create_database(server, "bench")
        database = Database(url)
        try:
            schema.upgrade(database)
            store = Store(database)
            yield (
                (store, _sqlite_bytes, lambda: None)
                if kind == "sqlite"
                else (store, _postgresql_bytes, partial(_vacuum, url))
            )
        finally:
            database.close()


def _vacuum(url: URL) -> None:
    """What PostgreSQL does by itself within minutes, and else in the middle of the questions."""
    with psycopg.connect(postgres.conninfo(url), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _sqlite_bytes(store: Store) -> int:
    with store.read() as reader:
        pages, free, size = (
            int(reader.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size


def _postgresql_bytes(store: Store) -> int:
    query = "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'chunk'::regclass"
    with store.read() as reader:
        return int(reader.connection.execute(text(query)).scalar_one())


def _figures(
    store: Store, size: Callable[[Store], int], tidy: Callable[[], None], sites: int, days: int
) -> Iterator[Figure]:
    begun = time.perf_counter()
    names = [f"s{n:02}" for n in range(sites)]
    data.fill(store, mesh_of(names), PROFILE, START_S, days)
    before = size(store)
    probes = data.fill_chunks(store, START_S, days)
    yield Figure(what="bytes a probe in chunks, on disk", value=(size(store) - before) / probes, unit="B", goal=1.7)
    tidy()
    yield Figure(what="(filling took", value=time.perf_counter() - begun, unit="s)")
    yield from _questions(store, days)
    yield from _compaction(store, names, START_S + days * DAY_S)


def _questions(store: Store, days: int) -> Iterator[Figure]:
    end_s = START_S + days * DAY_S
    day, month = Period(start_s=end_s - DAY_S, end_s=end_s), Period(start_s=START_S, end_s=end_s)
    ragged = Period(start_s=end_s - DAY_S - 1_500, end_s=end_s - 1_500)
    with store.read() as reader:
        known = registry.read(reader.connection)
        sources = sorted(known.agents_of)
        path = PathIds(
            src_id=mesh_store.load_agents(reader.connection)[0].id,
            dst_id=mesh_store.load_targets(reader.connection)[5].id,
        )
        connection = reader.connection
        yield _timed(
            "counts of 24 h, every pair", lambda: period_counts.count(connection, known, sources, PROFILE, day), 100
        )
        yield _timed(
            "counts of the days, every pair",
            lambda: period_counts.count(connection, known, sources, PROFILE, month),
            100,
        )
        yield _timed(
            "one path's series of the days",
            lambda: hour_reader.series(reader.connection, path.src_id, path.dst_id, START_S, end_s),
            150,
        )
    yield _timed("matrix of 24 h as the API answers it", lambda: matrix(store, PROFILE, day), 100)
    yield _timed("matrix of 24 h that begin within an hour", lambda: matrix(store, PROFILE, ragged), None)
    yield _timed("matrix of the days as the API answers it", lambda: matrix(store, PROFILE, month), 100)
    asked = Question(period=month, pair=("s00", "s05"), sites=(), profiles=(PROFILE,), wishes=NO_WISHES, rule=Rule())
    both = _timed("the verdict on a pair over the days, a direction", lambda: verdicts(store, asked), 150)
    yield replace(both, value=both.value / 2)


def _timed(what: str, ask: Callable[[], object], goal_ms: float | None) -> Figure:
    ask()
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begun)
    return Figure(what=what, value=median(times) * 1_000, unit="ms", goal=goal_ms)


def _compaction(store: Store, names: list[str], hour_s: int) -> Iterator[Figure]:
    """An hour of every site, as it came in, a batch a minute."""
    pool = load.rtts()
    with store.read() as reader:
        agents = {agent.name: agent for agent in mesh_store.load_agents(reader.connection)}
    for minute in range(60):
        for seed, name in enumerate(names):
            t = hour_s + 60 * minute
            others = [other for other in names if other != name]
            post = load.Post(agent=name, targets=others, seq=minute, start_s=t, seed=seed + 7 * minute)
            ingest(store, agents[name], load.leadline_body(post, pool), "gzip", (t + 80) * 1_000_000)
        if minute == 29:
            yield from _half_hour(store, hour_s)
    clock = FakeClock(wall_ns=(hour_s + HOUR_S + 300) * 1_000_000_000)
    cpu_s, begun = time.process_time(), time.perf_counter()
    done = compact(store, clock)
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
    assert (done.hours, done.failed, done.left) == (len(names), 0, 0)
    yield Figure(what="compaction of an hour of every site", value=seconds, unit="s", goal=2)
    yield Figure(what="… CPU time of it in this process", value=cpu_s, unit="s")
    yield Figure(what="… in times of decoding its batches once", value=cpu_s / _decoding_s(store), unit="")


def _decoding_s(store: Store) -> float:
    """CPU time of what ingest does first with every batch of the hour: what the machine can do at the moment."""
    with store.read() as reader:
        found = reader.connection.execute(select(batch.c.body)).scalars().all()
    begun_s = time.process_time()
    for body in found:
        body_codec.decode_stored_batch(body)
    return time.process_time() - begun_s


def _half_hour(store: Store, hour_s: int) -> Iterator[Figure]:
    now = Period(start_s=hour_s + 1_800 - DAY_S, end_s=hour_s + 1_800)
    yield _timed("matrix of 24 h to now, half an hour not compacted", lambda: matrix(store, PROFILE, now), None)
    seen: Seen = {}
    live_pairs.bring_up(store, hour_s + 1_830, seen)
    yield _timed(
        "the state of every pair now, once a minute", lambda: live_pairs.bring_up(store, hour_s + 1_830, seen), 1_000
    )
    compact(store, FakeClock(wall_ns=(hour_s + 1_830) * 1_000_000_000))
    yield _timed("matrix of 24 h to now, brought up to date", lambda: matrix(store, PROFILE, now), None)


if __name__ == "__main__":
    main()
