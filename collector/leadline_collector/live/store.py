"""SQL of the current state: ``pair_now`` and ``agent_now``.

Rule 1: if several collectors write a row, the later minute wins; a row of a collector with a clock far ahead is
replaced.
Rule 2: rows are written in the order of their key, so that two transactions cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Boolean, Connection, Integer, SmallInteger, String, Table, func, select, text

from leadline_collector.db.tables import agent, agent_now, pair_now, target, window_stat

#: (source site, profile revision, destination site).
PairKey: TypeAlias = tuple[int, int, int]


class PairNowRow(NamedTuple):
    """A row of ``pair_now``, in the order of its columns."""

    source_id: int
    rule_id: int
    destination_id: int
    t: int
    state: str
    since: int
    known_at: int | None
    p95_us: int | None
    good_15: int
    bad_15: int
    unavailable_15: int
    simulated: bool
    updated_at: int
    cause: str | None
    bad_loss_15: int
    bad_latency_15: int
    bad_both_15: int
    imported: bool
    invalid: bool


class AgentNowRow(NamedTuple):
    """A row of ``agent_now``, in the order of its columns."""

    src_id: int
    heard_at: int | None
    latest_t: int | None
    version: str | None
    spool_batches: int | None
    spool_bytes: int | None
    spool_bytes_max: int | None
    clock_offset_us: int | None
    clock_offset_error_us: int | None
    ntp_synchronised: bool | None
    updated_at: int


assert PairNowRow._fields == tuple(pair_now.columns.keys())
assert AgentNowRow._fields == tuple(agent_now.columns.keys())


def load_pairs(connection: Connection) -> dict[PairKey, PairNowRow]:
    """Return all rows of ``pair_now`` by key."""
    return {(row[0], row[1], row[2]): PairNowRow(*row) for row in connection.execute(select(pair_now))}


def load_pairs_by_rule(connection: Connection, rule_id: int) -> dict[tuple[int, int], PairNowRow]:
    """Return the rows of a profile revision by (source site, destination site)."""
    rows = connection.execute(select(pair_now).where(pair_now.c.rule_id == rule_id))
    return {(row[0], row[2]): PairNowRow(*row) for row in rows}


def load_agents(connection: Connection) -> dict[int, AgentNowRow]:
    """Return all rows of ``agent_now`` by agent."""
    return {row[0]: AgentNowRow(*row) for row in connection.execute(select(agent_now))}


#: Maximum difference between the clocks of collectors.
CLOCK_AHEAD_S_MAX = 600
#: Conditions under which a new row replaces the stored one.
_PAIR_CONDITION = f"excluded.t >= pair_now.t OR pair_now.updated_at > excluded.updated_at + {CLOCK_AHEAD_S_MAX}"
_AGENT_CONDITION = (
    f"excluded.updated_at >= agent_now.updated_at OR agent_now.updated_at > excluded.updated_at + {CLOCK_AHEAD_S_MAX}"
)


def upsert_pairs(connection: Connection, rows: Sequence[PairNowRow]) -> None:
    """Insert rows, or update those of the same or an earlier minute."""
    _upsert(connection, pair_now, sorted(rows), _PAIR_CONDITION)


def upsert_agents(connection: Connection, rows: Sequence[AgentNowRow]) -> None:
    """Insert rows, or update those written earlier."""
    _upsert(connection, agent_now, sorted(rows), _AGENT_CONDITION)


def _upsert(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]], condition: str) -> None:
    if not rows:
        return
    names = table.columns.keys()
    keys = [column.name for column in table.primary_key]
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    conflict = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes} WHERE {condition}"
    if connection.dialect.name != "postgresql":
        marks = ", ".join("?" * len(names))
        connection.exec_driver_sql(
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks}) {conflict}",  # noqa: S608
            list(rows),
        )
        return
    # One statement for all rows, with one array per column.
    arrays = ", ".join(f"%s::{_PG_TYPES.get(type(column.type), 'int8')}[]" for column in table.columns)
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM unnest({arrays}) {conflict}",  # noqa: S608
        tuple(map(list, zip(*rows, strict=True))),
    )


#: PostgreSQL array types of columns that are not BIGINT.
_PG_TYPES = {Integer: "int4", SmallInteger: "int2", Boolean: "bool", String: "text"}


def delete_pairs(connection: Connection, keys: Collection[PairKey]) -> None:
    """Delete the rows of these keys."""
    if keys:
        rows = [dict(zip(("source", "rule", "destination"), key, strict=True)) for key in sorted(keys)]
        connection.execute(_DELETE_PAIR, rows)


_DELETE_PAIR = text(
    "DELETE FROM pair_now WHERE source_id = :source AND rule_id = :rule AND destination_id = :destination"
)


def delete_agents(connection: Connection, src_ids: Collection[int]) -> None:
    """Delete the rows of these agents."""
    if src_ids:
        connection.execute(
            text("DELETE FROM agent_now WHERE src_id = :src"), [{"src": src_id} for src_id in sorted(src_ids)]
        )


def load_newest_windows(
    connection: Connection, src_ids: Collection[int], start_s: int, end_s: int
) -> Mapping[tuple[int, int], int]:
    """Return the start of the newest window in [start_s, end_s) by path of these agents: one index lookup per path."""
    window = window_stat.c
    newest = (
        select(func.max(window.t))
        .where(window.src_id == agent.c.id, window.dst_id == target.c.id, window.t >= start_s, window.t < end_s)
        .scalar_subquery()
    )
    paths = agent.join(target, agent.c.site_id != target.c.site_id)
    query = select(agent.c.id, target.c.id, newest).select_from(paths).where(agent.c.id.in_(src_ids))
    return {(row[0], row[1]): row[2] for row in connection.execute(query) if row[2] is not None}


class NewestBatch(NamedTuple):
    """The batch of an agent that has the newest window."""

    received_at: int
    latest_t: int
    clock_offset_us: int | None
    clock_offset_error_us: int | None
    ntp_synchronised: bool | None


def load_newest_batches(connection: Connection, src_ids: Iterable[int]) -> dict[int, NewestBatch]:
    """Return the newest batch by agent; omit agents without one. One lookup in the index (src_id, t_last) per agent."""
    batches = {}
    for src_id in src_ids:
        row = connection.execute(_NEWEST_BATCH_QUERY, {"src": src_id}).first()
        if row is not None:
            ntp_synchronised = row[4] if row[4] is None else bool(row[4])
            batches[src_id] = NewestBatch(row[0], row[1], row[2], row[3], ntp_synchronised)
    return batches


_NEWEST_BATCH_QUERY = text(
    "SELECT received_at, t_last, clock_offset_us, clock_offset_error_us, ntp_synchronised "
    "FROM batch WHERE src_id = :src AND t_last IS NOT NULL ORDER BY t_last DESC, seq DESC LIMIT 1"
)
