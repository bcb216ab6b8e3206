"""Benchmark of all queries of the dashboards and alert rules on a full mesh with months of data.

``python -m tests.bench.grafana --sites 50 --days 30``. It runs on PostgreSQL, as the role that reads the views, with
macros and variables expanded as in the tests. The first run of each query is left out; the result is the median of
five.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator
from statistics import median

import psycopg
from sqlalchemy import text

from leadline.clock import SystemClock
from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import reference_tables
from tests.bench import query_data as data
from tests.bench.ingest_servers import build_mesh
from tests.bench.query import PROFILE, REPEATS, QueryMeasurement
from tests.integration.test_grafana_dashboards import QUERIES
from tests.support import postgres
from tests.support.grafana_data import PanelRange, expand_macros, reader

DAY_S = 86_400
GOAL_MS = 1_000


def main() -> None:
    """Fill the database, run the queries, print the results."""
    parser = argparse.ArgumentParser(description="queries of the dashboards on months of a full mesh")
    parser.add_argument("--sites", type=int, default=50)
    parser.add_argument("--days", type=int, default=30)
    options = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores", flush=True)
    now_s = SystemClock().wall_ns() // 1_000_000_000
    start_s = now_s - now_s % DAY_S - options.days * DAY_S
    with postgres.run_server(durable=True) as server:
        database = Database(url := postgres.create_database(server, "bench_grafana"))
        try:
            schema.upgrade(database)
            _fill_store(Store(database), [f"s{number:02}" for number in range(options.sites)], start_s, options.days)
            with psycopg.connect(postgres.build_conninfo(url), autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")
            with reader(url) as connection:
                for measurement in _measure_queries(
                    connection, PanelRange(from_s=start_s, to_s=now_s, interval_s=3_600)
                ):
                    print(measurement.format_line("postgresql"), flush=True)
        finally:
            database.close()


def _fill_store(store: Store, names: list[str], start_s: int, days: int) -> None:
    """Fill as ``query_data`` does; add current state of pairs and agents, a batch a minute, windows of one agent."""
    data.fill_store(store, build_mesh(names), PROFILE, start_s, days)
    reference_tables.refresh_reference_tables(store)
    end_s = start_s + days * DAY_S
    counts = ", ".join("0" for _ in range(9))
    store.ensure_partitions(range(start_s, end_s, DAY_S))
    for statement in (
        "INSERT INTO pair_now SELECT f.source_id, r.id, f.destination_id, :end - 60, 'good', :start, :end - 60, 4000, "
        "15, 0, 0, false, :end FROM pair_floor f CROSS JOIN rule r",
        "INSERT INTO agent_now SELECT id, :end, :end - 60, '1', 0, 0, 1000000000, 100, 50, true, :end FROM agent",
        "INSERT INTO gap SELECT a.id, decode(repeat('00', 16), 'hex'), n, 0, 'agent', :end, 'agent_down', "
        ":start + 86400 * n, :start + 86400 * n + 600, 10 FROM agent a CROSS JOIN generate_series(1, 25) n",
        "INSERT INTO batch (src_id, epoch, seq, received_at, sha256, mesh_version, t_first, t_last, body) "
        "SELECT a.id, decode(repeat('00', 16), 'hex'), t / 60, t + 80, decode(repeat('00', 32), 'hex'), 1, t, t, '' "
        "FROM agent a CROSS JOIN generate_series(:start ::bigint, :end - 60, 60) t ORDER BY t",
        "INSERT INTO window_stat SELECT a.id, b.id, t, 1000, 60, 60, 60, 3000, 3200, 3100, 3900 + t % 97, 4100, 4500, "
        f"900, 50, {counts}, 5, 20, 1, decode(repeat('00', 16), 'hex'), 1 FROM agent a CROSS JOIN target b "
        "CROSS JOIN generate_series(:start ::bigint, :end - 60, 60) t WHERE a.name IN "
        # In order of arrival, minute by minute, so that the windows of a path are spread over the table.
        "(SELECT min(name) FROM agent) AND b.site_id <> a.site_id ORDER BY t",
    ):
        with store.write() as writer:
            writer.connection.execute(text(statement), {"start": start_s, "end": end_s})


def _measure_queries(connection: psycopg.Connection, panel_range: PanelRange) -> Iterator[QueryMeasurement]:
    names = [row[0] for row in connection.execute("SELECT DISTINCT site FROM grafana_agent ORDER BY 1").fetchall()]
    variables = {"profile": PROFILE, "source": names[0], "destination": names[1], "site": tuple(names)}
    for name, sql in QUERIES.items():
        statement = expand_macros(sql, panel_range, variables)
        times = [_measure_seconds(connection, statement) for _ in range(REPEATS + 1)]
        yield QueryMeasurement(what=name[:52], value=median(times[1:]) * 1_000, unit="ms", goal=GOAL_MS)


def _measure_seconds(connection: psycopg.Connection, statement: str) -> float:
    start_s = time.perf_counter()
    connection.execute(statement).fetchall()
    return time.perf_counter() - start_s


if __name__ == "__main__":
    main()
