"""Retention of each tier. The SQL is in ``deletion``.

Rule 1: only compacted data is deleted: a dirty hour protects everything from its day on.
Rule 2: rollups and state counts, which evaluations use, are deleted last: after windows, raw RTTs and the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from leadline_collector.config import Retention
from leadline_collector.db import tables
from leadline_collector.db.transactions import Store
from leadline_collector.rollup import deletion

log = logging.getLogger(__name__)

#: First key of the advisory lock: one process at a time.
RETENTION_LOCK = 53235468


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedRows:
    """Deleted rows of one table; in a dry run the rows to be deleted."""

    table: str
    #: Older rows are deleted, in epoch seconds.
    before_s: int
    #: Number of rows, for a dropped partition PostgreSQL's estimate; for ``batch.body`` the number of bodies.
    rows: int


def apply_retention(store: Store, retention: Retention, now_s: int, *, dry_run: bool = False) -> list[DeletedRows]:
    """Delete expired data, or only count it in a dry run; return an empty list if another process does it."""
    with store.try_lock(RETENTION_LOCK, 0) as is_ours:
        return list(_delete_expired(store, retention, now_s, dry_run)) if is_ours else []


def _delete_expired(store: Store, retention: Retention, now_s: int, dry_run: bool) -> Iterator[DeletedRows]:
    rollups = (tables.rollup_hour, tables.tally_hour, tables.tally_day)
    tiers = [
        (retention.windows_s, tables.window_stat),
        (retention.raw_s, tables.chunk),
        *((retention.rollups_s, table) for table in rollups),
    ]
    if retention.journal_s is not None:
        before_s = now_s - retention.journal_s
        yield _report_deletion("batch.body", before_s, deletion.clear_batch_bodies(store, before_s, dry_run), dry_run)
    for tier_s, table in tiers:
        if tier_s is not None:
            yield _report_deletion(
                table.name, now_s - tier_s, deletion.delete_expired_rows(store, table, now_s - tier_s, dry_run), dry_run
            )
    if retention.rollups_s is not None:
        before_s = now_s - retention.rollups_s
        yield _report_deletion("batch", before_s, deletion.delete_batches(store, before_s, dry_run), dry_run)


def _report_deletion(table: str, before_s: int, rows: int, dry_run: bool) -> DeletedRows:
    if rows and not dry_run:
        log.info("expired data deleted", extra={"table": table, "rows": rows, "before_s": before_s})
    return DeletedRows(table=table, before_s=before_s, rows=rows)
