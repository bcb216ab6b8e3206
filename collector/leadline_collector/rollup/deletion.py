"""Deletion of expired data: dropped partitions on PostgreSQL, small deletes otherwise.

Transactions are short: about a thousand rows, some hundred batches, or one partition.
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

#: Batches in one transaction, up to a megabyte each.
BATCHES_PER_TRANSACTION = 200
#: A partition in use is dropped in a later run: all queries of the table would queue behind a waiting drop.
LOCK_TIMEOUT = "2s"
#: Time range of one path, or of one site and revision, that is deleted in one transaction: about a thousand rows.
_DELETE_INTERVAL_S = {
    tables.window_stat: DAY_S,
    tables.chunk: 10 * DAY_S,
    tables.rollup_hour: 30 * DAY_S,
    tables.tally_hour: DAY_S,
    tables.tally_day: 30 * DAY_S,
}


def clear_batch_bodies(store: Store, before_s: int, dry_run: bool) -> int:
    """Empty the bodies of batches with all windows before ``before_s``; return their number.

    The rows stay, so that a repeated batch is still detected.
    """
    clear_body = batch.update().values(body=b"")
    return sum(
        _change_batches(store, and_(is_expired, tables.HAS_BODY_CONDITION), clear_body, dry_run)
        for is_expired in _iter_expired_conditions(store, before_s)
    )


def delete_batches(store: Store, before_s: int, dry_run: bool) -> int:
    """Delete batches with all windows before ``before_s``; return their number."""
    return sum(
        _change_batches(store, is_expired, batch.delete(), dry_run)
        for is_expired in _iter_expired_conditions(store, before_s)
    )


def _iter_expired_conditions(store: Store, before_s: int) -> Iterator[ColumnElement[bool]]:
    with store.read() as reader:
        cutoffs = _load_cutoffs(reader, before_s)
    for src_id, cutoff_s in cutoffs.items():
        yield and_(batch.c.src_id == src_id, batch.c.t_last < cutoff_s)
        yield and_(batch.c.src_id == src_id, batch.c.t_last.is_(None), batch.c.received_at < cutoff_s)


def _change_batches(store: Store, condition: ColumnElement[bool], change: Update | Delete, dry_run: bool) -> int:
    if dry_run:
        return _count_rows(store, batch, condition)
    key = (batch.c.src_id, batch.c.epoch, batch.c.seq)
    next_keys, total = select(*key).where(condition).limit(BATCHES_PER_TRANSACTION), 0
    while True:
        with store.write() as writer:
            row_count = writer.connection.execute(change.where(tuple_(*key).in_(next_keys))).rowcount
        total += row_count
        if row_count < BATCHES_PER_TRANSACTION:
            return total


def delete_expired_rows(store: Store, table: Table, before_s: int, dry_run: bool) -> int:
    """Delete rows with a time before ``before_s`` and return their number.

    On PostgreSQL, whole partitions are dropped if the table has partitions; then the number is an estimate.
    """
    if table in tables.PARTITIONED_TABLES and not store.is_sqlite:
        return _drop_partitions(store, table, before_s, dry_run)
    with store.read() as reader:
        prefixes = list(_iter_key_prefixes(reader, table, before_s))
    return sum(_delete_rows(store, table, key_prefix, cutoff_s, dry_run) for key_prefix, cutoff_s in prefixes)


def _iter_key_prefixes(
    reader: ReadTransaction, table: Table, before_s: int
) -> Iterator[tuple[ColumnElement[bool], int]]:
    """Yield a condition for every value of the key columns before the time, and the cutoff of its rows."""
    sites, cutoffs = registry.load_registry(reader.connection), _load_cutoffs(reader, before_s)
    if "src_id" in table.c:
        for src_id, dst_id in product(sites.site_by_agent, sites.site_by_target):
            yield and_(table.c.src_id == src_id, table.c.dst_id == dst_id), cutoffs[src_id]
        return
    rule_ids = reader.connection.execute(select(tables.rule.c.id)).scalars().all()
    for source_id, rule_id in product(sites.agents_by_site, rule_ids):
        cutoff_s = min(cutoffs[src_id] for src_id in sites.agents_by_site[source_id])
        yield and_(table.c.source_id == source_id, table.c.rule_id == rule_id), cutoff_s


def _load_cutoffs(reader: ReadTransaction, before_s: int) -> dict[int, int]:
    """Return the cutoff of each agent's data: at most ``before_s``, and never after the day of its first dirty hour."""
    query = select(mark_hour.c.src_id, func.min(mark_hour.c.t)).group_by(mark_hour.c.src_id)
    oldest_dirty_s = {row[0]: row[1] for row in reader.connection.execute(query)}
    agents = registry.load_registry(reader.connection).site_by_agent
    cutoffs = {src_id: min(before_s, oldest_dirty_s.get(src_id, before_s)) for src_id in agents}
    # Whole days, because ``tally_day`` counts days.
    return {src_id: cutoff_s - cutoff_s % DAY_S for src_id, cutoff_s in cutoffs.items()}


def _delete_rows(store: Store, table: Table, key_prefix: ColumnElement[bool], cutoff_s: int, dry_run: bool) -> int:
    if dry_run:
        return _count_rows(store, table, and_(key_prefix, table.c.t < cutoff_s))
    total, interval_s = 0, _DELETE_INTERVAL_S[table]
    while True:
        with store.write() as writer:
            first_s = writer.connection.execute(select(func.min(table.c.t)).where(key_prefix)).scalar_one()
            if first_s is None or first_s >= cutoff_s:
                return total
            until_s = min(cutoff_s, first_s - first_s % interval_s + interval_s)
            total += writer.connection.execute(table.delete().where(key_prefix, table.c.t < until_s)).rowcount


def _count_rows(store: Store, table: Table, condition: ColumnElement[bool]) -> int:
    with store.read() as reader:
        return int(reader.connection.execute(select(func.count()).select_from(table).where(condition)).scalar_one())


def _drop_partitions(store: Store, table: Table, before_s: int, dry_run: bool) -> int:
    """Drop partitions that end before ``before_s`` and the oldest dirty hour; return PostgreSQL's estimate of rows."""
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
        rows = reader.connection.execute(query, {"name": table.name}).all()
    return sorted((row[0], int(row[0].removeprefix(prefix)), row[1]) for row in rows if row[0].startswith(prefix))


def _try_drop_partition(store: Store, name: str, end_s: int) -> bool:
    try:
        with store.write() as writer:
            writer.lock_partitions()
            if writer.connection.execute(select(mark_hour.c.t).where(mark_hour.c.t < end_s).limit(1)).first():
                return False
            writer.connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            writer.connection.execute(text(f"DROP TABLE {name}"))
    except StoreUnavailableError as error:
        log.warning(
            "cannot drop an expired partition; the next retention run tries again",
            extra={"partition": name, "reason": str(error)},
        )
        return False
    store.clear_partition_cache()
    return True
