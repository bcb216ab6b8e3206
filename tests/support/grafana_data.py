"""A PostgreSQL with the demo's data as Grafana finds it, and what Grafana makes of SQL before it sends it."""

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
    """The demo's cities over the days before now, compacted."""

    store: Store
    url: URL
    start_s: int
    #: The last whole minute with windows.
    end_s: int


@contextmanager
def demo(server: URL) -> Iterator[Demo]:
    """Filled once for a module: a minute of work."""
    name = f"leadline_test_grafana{next(_numbers)}"
    database = Database(url := postgres.create_database(server, name))
    try:
        schema.upgrade(database)
        yield _filled(Store(database), url)
    finally:
        database.close()
        postgres.drop_database(server, name)


def _filled(store: Store, url: URL) -> Demo:
    end_s = SystemClock().wall_ns() // 60_000_000_000 * 60
    start_s = end_s - end_s % DAY_S - DAYS * DAY_S
    version = mesh_service.apply_mesh(store, SystemClock(), build_mesh_toml().encode()).version
    simulate_windows(store, parse_mesh(build_mesh_toml()), version, start_s, end_s, SEED, lambda _: None)
    run_compaction(store, FakeClock(wall_ns=end_s * 1_000_000_000))
    _add_now(store, end_s)
    return Demo(store=store, url=url, start_s=start_s, end_s=end_s)


def _add_now(store: Store, end_s: int) -> None:
    """A pair beyond its limit, one silent; an agent that is silent, one with a bad clock, most of them never heard."""
    with store.write() as writer:
        connection = writer.connection
        known = registry.load_registry(connection)
        pairs = connection.execute(select(tables.pair_floor.c.source_id, tables.pair_floor.c.destination_id)).all()
        for number, (source_id, destination_id) in enumerate(sorted(pairs)):
            for rule in profile_revisions.load_current_revisions(connection):
                state, known_at = ("bad", end_s - 60) if number == 0 else ("good", end_s - 60)
                if number == 1:
                    state, known_at = "unknown", end_s - 1_800
                counts = {f"{one}_15": 15 * (one == state) for one in ("good", "bad", "unavailable")}
                row = {
                    "source_id": source_id, "rule_id": rule.id, "destination_id": destination_id, "t": end_s - 60,
                    "state": state, "since": end_s - 7_200, "known_at": known_at, "p95_us": 4_321, "simulated": True,
                    "updated_at": end_s,
                }  # fmt: skip
                connection.execute(insert(tables.pair_now).values(row | counts))
        agents = sorted(known.site_by_agent)
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
    """A connection that may do what Grafana's user may, and reads only."""
    with psycopg.connect(postgres.build_conninfo(url), autocommit=True) as connection:
        connection.execute(f"SET ROLE {READER}")
        connection.execute("SET default_transaction_read_only = on")
        yield connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The time range and the interval of a panel."""

    from_s: int
    to_s: int
    interval_s: int = 300


def expanded(sql: str, asked: Asked, variables: Mapping[str, str | tuple[str, ...]]) -> str:
    """The SQL with variables put in as Grafana's front end does and macros as its PostgreSQL datasource does."""
    for name, chosen in variables.items():
        several = (chosen,) if isinstance(chosen, str) else chosen
        quoted = ",".join("'" + value.replace("'", "''") + "'" for value in several)
        sql = sql.replace(f"${{{name}:sqlstring}}", quoted).replace(f"${{{name}:raw}}", ",".join(several))
    sql = sql.replace("$__interval_ms", str(asked.interval_s * 1_000)).replace("$__interval", f"{asked.interval_s}s")
    for pattern, text in _macros(asked).items():
        sql = re.sub(pattern, text, sql)
    left = re.search(r"\$\{?\w+", sql)
    assert left is None, f"nothing is known of {left.group()} in: {sql}"
    return sql


def _macros(asked: Asked) -> dict[str, str]:
    # Literals without a type, as Grafana writes them.
    begin, end = (f"'{format_iso8601(at)}'" for at in (asked.from_s, asked.to_s))
    return {
        r"\$__unixEpochFrom\(\)": str(asked.from_s),
        r"\$__unixEpochTo\(\)": str(asked.to_s),
        r"\$__timeFrom\(\)": begin,
        r"\$__timeTo\(\)": end,
        r"\$__timeFilter\(([\w.]+)\)": rf"\1 BETWEEN {begin} AND {end}",
        r"\$__unixEpochFilter\(([\w.]+)\)": rf"\1 >= {asked.from_s} AND \1 <= {asked.to_s}",
        r"\$__unixEpochGroupAlias\(([\w.]+), (\d+)s(?:, NULL)?\)": r'floor((\1)/\2)*\2 AS "time"',
        r"\$__unixEpochGroup\(([\w.]+), (\d+)s(?:, NULL)?\)": r"floor((\1)/\2)*\2",
    }
