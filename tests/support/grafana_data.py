"""PostgreSQL with demo data for Grafana's queries, and the expansion of Grafana's SQL macros."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import psycopg
from sqlalchemy import insert, select
from sqlalchemy.engine import URL

from leadline.clock import SystemClock, format_iso8601
from leadline.mesh.parser import parse_mesh
from leadline_cli.commands.demo import SEED, build_mesh_toml
from leadline_collector.db import schema, tables
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.demo.simulation import simulate_windows
from leadline_collector.mesh import registry
from leadline_collector.mesh import service as mesh_service
from leadline_collector.rollup import profile_revisions
from leadline_collector.rollup.worker import run_compaction
from tests.support import postgres
from tests.support.clock import FakeClock

HOUR_S, DAY_S = 3_600, 86_400
DAYS = 8
READER = "leadline_reader"

_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """The demo's data of the last days, compacted."""

    store: Store
    url: URL
    start_s: int
    #: The last whole minute with windows.
    end_s: int


@contextmanager
def demo(server: URL) -> Iterator[Demo]:
    """Yield a database with demo data; it takes a minute, so modules create it once."""
    name = f"leadline_test_grafana{next(_numbers)}"
    database = Database(url := postgres.create_database(server, name))
    try:
        schema.upgrade(database)
        yield _fill(Store(database), url)
    finally:
        database.close()
        postgres.drop_database(server, name)


def _fill(store: Store, url: URL) -> Demo:
    end_s = SystemClock().wall_ns() // 60_000_000_000 * 60
    start_s = end_s - end_s % DAY_S - DAYS * DAY_S
    version = mesh_service.apply_mesh(store, SystemClock(), build_mesh_toml().encode()).version
    simulate_windows(store, parse_mesh(build_mesh_toml()), version, start_s, end_s, SEED, lambda _: None)
    run_compaction(store, FakeClock(wall_ns=end_s * 1_000_000_000))
    _add_now(store, end_s)
    return Demo(store=store, url=url, start_s=start_s, end_s=end_s)


def _add_now(store: Store, end_s: int) -> None:
    """Add current state: a pair beyond its limit and a silent one; a silent agent and one with a bad clock."""
    with store.write() as writer:
        connection = writer.connection
        site_by_agent = registry.load_registry(connection).site_by_agent
        pairs = connection.execute(select(tables.pair_floor.c.source_id, tables.pair_floor.c.destination_id)).all()
        for number, (source_id, destination_id) in enumerate(sorted(pairs)):
            for rule in profile_revisions.load_current_revisions(connection):
                state, known_at = ("bad", end_s - 60) if number == 0 else ("good", end_s - 60)
                if number == 1:
                    state, known_at = "unknown", end_s - 1_800
                counts = {f"{name}_15": 15 * (name == state) for name in ("good", "bad", "unavailable")}
                row = {
                    "source_id": source_id, "rule_id": rule.id, "destination_id": destination_id, "t": end_s - 60,
                    "state": state, "since": end_s - 7_200, "known_at": known_at, "p95_us": 4_321, "simulated": True,
                    "updated_at": end_s, "cause": "latency" if state == "bad" else None,
                    "bad_latency_15": 15 * (state == "bad"),
                }  # fmt: skip
                connection.execute(insert(tables.pair_now).values(row | counts))
        agents = sorted(site_by_agent)
        for number, src_id in enumerate(agents[:3]):
            heard_at = end_s - (3_600 if number == 1 else 5)
            connection.execute(
                insert(tables.agent_now).values(
                    src_id=src_id, heard_at=heard_at, latest_t=heard_at - 80, version="1.0", spool_batches=2,
                    spool_bytes=8_192, spool_bytes_max=1 << 30, clock_offset_us=2_000_000 if number == 2 else 150,
                    clock_offset_error_us=90, ntp_synchronised=number != 2, updated_at=end_s,
                )
            )  # fmt: skip
            rows = [
                {
                    "src_id": src_id, "epoch": b"e" * 16, "seq": seq, "received_at": end_s - 60 * seq, "body": b"",
                    "sha256": bytes(32), "mesh_version": 1, "t_first": end_s - 60 * seq - 120,
                    "t_last": end_s - 60 * seq - 120,
                }
                for seq in range(1, 200)
            ]  # fmt: skip
            connection.execute(insert(tables.batch), rows)
        connection.execute(
            insert(tables.gap).values(
                src_id=agents[0], told_epoch=b"e" * 16, told_seq=1, place=0, source="agent", noted_at=end_s,
                reason="agent_down", from_s=end_s - 7_200, to_s=end_s - 6_600, windows=10,
            )
        )  # fmt: skip


@contextmanager
def reader(url: URL) -> Iterator[psycopg.Connection]:
    """Yield a read-only connection with the rights of Grafana's user."""
    with psycopg.connect(postgres.build_conninfo(url), autocommit=True) as connection:
        connection.execute(f"SET ROLE {READER}")
        connection.execute("SET default_transaction_read_only = on")
        yield connection


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelRange:
    """Time range and interval of a panel."""

    from_s: int
    to_s: int
    interval_s: int = 300


def expand_macros(sql: str, panel_range: PanelRange, variables: Mapping[str, str | tuple[str, ...]]) -> str:
    """Expand variables like Grafana's front end, and macros like its PostgreSQL datasource."""
    for name, value in variables.items():
        values = (value,) if isinstance(value, str) else value
        quoted = ",".join("'" + text.replace("'", "''") + "'" for text in values)
        sql = sql.replace(f"${{{name}:sqlstring}}", quoted).replace(f"${{{name}:raw}}", ",".join(values))
    sql = sql.replace("$__interval_ms", str(panel_range.interval_s * 1_000)).replace(
        "$__interval", f"{panel_range.interval_s}s"
    )
    for pattern, text in _build_macros(panel_range).items():
        sql = re.sub(pattern, text, sql)
    unknown = re.search(r"\$\{?\w+", sql)
    assert unknown is None, f"unknown variable {unknown.group()} in: {sql}"
    return sql


def _build_macros(panel_range: PanelRange) -> dict[str, str]:
    # Untyped literals, like Grafana's.
    begin, end = (f"'{format_iso8601(at)}'" for at in (panel_range.from_s, panel_range.to_s))
    return {
        r"\$__unixEpochFrom\(\)": str(panel_range.from_s),
        r"\$__unixEpochTo\(\)": str(panel_range.to_s),
        r"\$__timeFrom\(\)": begin,
        r"\$__timeTo\(\)": end,
        r"\$__timeFilter\(([\w.]+)\)": rf"\1 BETWEEN {begin} AND {end}",
        r"\$__unixEpochFilter\(([\w.]+)\)": rf"\1 >= {panel_range.from_s} AND \1 <= {panel_range.to_s}",
        r"\$__unixEpochGroupAlias\(([\w.]+), (\d+)s(?:, NULL)?\)": r'floor((\1)/\2)*\2 AS "time"',
        r"\$__unixEpochGroup\(([\w.]+), (\d+)s(?:, NULL)?\)": r"floor((\1)/\2)*\2",
    }
