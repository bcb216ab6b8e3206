"""The SQL of retention, beside ``store``: dropped partitions on PostgreSQL, small deletes everywhere else.

No transaction is long: a thousand rows, some hundred batches, or a partition.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import product

from sqlalchemy import ColumnElement, Delete, Table, Update, and_, func, select, text, tuple_

from leadline_collector.db import tables
from leadline_collector.db.engine import StoreUnavailableError
from leadline_collector.db.tables import PARTITION_S, batch, mark_hour
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.mesh import registry
from leadline_collector.windows.dirty_hours import DAY_S

log = logging.getLogger(__name__)

#: Batches in one transaction: of up to a megabyte each.
BATCHES_PER_TRANSACTION = 200
#: A partition that is in use is dropped next time: queries that queue behind the drop would wait with it.
LOCK_TIMEOUT = "2s"
#: How much of a path, or of a site and rule, goes in one transaction: a thousand rows or so.
_DELETE_INTERVAL_S = {
    tables.window_stat: DAY_S,
    tables.chunk: 10 * DAY_S,
    tables.rollup_hour: 30 * DAY_S,
    tables.tally_hour: DAY_S,
    tables.tally_day: 30 * DAY_S,
}


def clear_batch_bodies(store: Store, before_s: int, dry_run: bool) -> int:
    """Empty the bodies of batches whose windows all start before: the same batch is still known when it comes again."""
    has_body = tables.HAS_BODY_CONDITION
    empty = batch.update().values(body=b"")
    return sum(
        _change_batches(store, and_(old, has_body), empty, dry_run) for old in _iter_expired_conditions(store, before_s)
    )


def delete_batches(store: Store, before_s: int, dry_run: bool) -> int:
    """Delete batches whose windows all start before."""
    return sum(
        _change_batches(store, old, batch.delete(), dry_run) for old in _iter_expired_conditions(store, before_s)
    )


def _iter_expired_conditions(store: Store, before_s: int) -> Iterator[ColumnElement[bool]]:
    with store.read() as reader:
        limits = _load_cutoffs(reader, before_s)
    for src_id, limit_s in limits.items():
        yield and_(batch.c.src_id == src_id, batch.c.t_last < limit_s)
        yield and_(batch.c.src_id == src_id, batch.c.t_last.is_(None), batch.c.received_at < limit_s)


def _change_batches(store: Store, condition: ColumnElement[bool], change: Update | Delete, dry_run: bool) -> int:
    if dry_run:
        return _count_rows(store, batch, condition)
    key = (batch.c.src_id, batch.c.epoch, batch.c.seq)
    some, total = select(*key).where(condition).limit(BATCHES_PER_TRANSACTION), 0
    while True:
        with store.write() as writer:
            changed = writer.connection.execute(change.where(tuple_(*key).in_(some))).rowcount
        total += changed
        if changed < BATCHES_PER_TRANSACTION:
            return total


def delete_expired_rows(store: Store, table: Table, before_s: int, dry_run: bool) -> int:
    """Remove what starts before ``before_s``; on PostgreSQL whole partitions, of the tables that have some."""
    if table in tables.PARTITIONED_TABLES and not store.is_sqlite:
        return _drop_partitions(store, table, before_s, dry_run)
    with store.read() as reader:
        heads = list(_iter_key_prefixes(reader, table, before_s))
    return sum(_delete_rows(store, table, head, limit_s, dry_run) for head, limit_s in heads)


def _iter_key_prefixes(
    reader: ReadTransaction, table: Table, before_s: int
) -> Iterator[tuple[ColumnElement[bool], int]]:
    """What the key of a table begins with, before the time, and before when rows of it may go."""
    known, limits = registry.load_registry(reader.connection), _load_cutoffs(reader, before_s)
    if "src_id" in table.c:
        for src_id, dst_id in product(known.site_by_agent, known.site_by_target):
            yield and_(table.c.src_id == src_id, table.c.dst_id == dst_id), limits[src_id]
        return
    rule_ids = reader.connection.execute(select(tables.rule.c.id)).scalars().all()
    for source_id, rule_id in product(known.agents_by_site, rule_ids):
        limit_s = min(limits[src_id] for src_id in known.agents_by_site[source_id])
        yield and_(table.c.source_id == source_id, table.c.rule_id == rule_id), limit_s


def _load_cutoffs(reader: ReadTransaction, before_s: int) -> dict[int, int]:
    """Before when what an agent sent may go: never on or after a day with an hour that is marked."""
    oldest = select(mark_hour.c.src_id, func.min(mark_hour.c.t)).group_by(mark_hour.c.src_id)
    marked = {row[0]: row[1] for row in reader.connection.execute(oldest)}
    agents = registry.load_registry(reader.connection).site_by_agent
    # Whole days, because those have tallies too.
    until = {src_id: min(before_s, marked.get(src_id, before_s)) for src_id in agents}
    return {src_id: limit_s - limit_s % DAY_S for src_id, limit_s in until.items()}


def _delete_rows(store: Store, table: Table, key_prefix: ColumnElement[bool], cutoff_s: int, dry_run: bool) -> int:
    if dry_run:
        return _count_rows(store, table, and_(key_prefix, table.c.t < cutoff_s))
    total, span_s = 0, _DELETE_INTERVAL_S[table]
    while True:
        with store.write() as writer:
            first_s = writer.connection.execute(select(func.min(table.c.t)).where(key_prefix)).scalar_one()
            if first_s is None or first_s >= cutoff_s:
                return total
            until_s = min(cutoff_s, first_s - first_s % span_s + span_s)
            total += writer.connection.execute(table.delete().where(key_prefix, table.c.t < until_s)).rowcount


def _count_rows(store: Store, table: Table, condition: ColumnElement[bool]) -> int:
    with store.read() as reader:
        return int(reader.connection.execute(select(func.count()).select_from(table).where(condition)).scalar_one())


def _drop_partitions(store: Store, table: Table, before_s: int, dry_run: bool) -> int:
    """Partitions that end before, and before the oldest mark of all; their rows as PostgreSQL estimates them."""
    total = 0
    for name, number, estimate in _load_partitions(store, table):
        end_s = (number + 1) * PARTITION_S
        if end_s <= before_s and (dry_run or _try_drop_partition(store, name, end_s)):
            total += estimate
    return total


def _load_partitions(store: Store, table: Table) -> list[tuple[str, int, int]]:
    query = text(
        "SELECT c.relname, greatest(c.reltuples, 0)::bigint FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = to_regclass(:name)"
    )
    prefix = f"{table.name}_p"
    with store.read() as reader:
        found = reader.connection.execute(query, {"name": table.name}).all()
    return sorted((row[0], int(row[0].removeprefix(prefix)), row[1]) for row in found if row[0].startswith(prefix))


def _try_drop_partition(store: Store, name: str, end_s: int) -> bool:
    try:
        with store.write() as writer:
            writer.lock_partitions()
            if writer.connection.execute(select(mark_hour.c.t).where(mark_hour.c.t < end_s).limit(1)).first():
                return False
            writer.connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            writer.connection.execute(text(f"DROP TABLE {name}"))
    except StoreUnavailableError as error:
        log.warning("partition not dropped", extra={"partition": name, "reason": str(error)})
        return False
    store.clear_partition_cache()
    return True
