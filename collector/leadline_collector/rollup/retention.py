"""What is kept for how long. The deleting itself is in ``removal``.

Rule 1: nothing goes that is not compacted: an hour that is marked keeps everything from its day on.
Rule 2: what is judged by goes last: rollups and tallies outlive windows, raw round trips and the journal.
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
    """What went of one table, or would."""

    table: str
    #: Epoch second before which it is not kept any more.
    before_s: int
    #: Rows, as PostgreSQL estimates them where a partition goes; of ``batch.body``, bodies.
    rows: int


def apply_retention(store: Store, retention: Retention, now_s: int, *, dry_run: bool = False) -> list[DeletedRows]:
    """Remove what is past its time, or only count it. Nothing, if another process is at it."""
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
    for kept_s, table in tiers:
        if kept_s is not None:
            yield _report_deletion(
                table.name, now_s - kept_s, deletion.delete_expired_rows(store, table, now_s - kept_s, dry_run), dry_run
            )
    if retention.rollups_s is not None:
        before_s = now_s - retention.rollups_s
        yield _report_deletion("batch", before_s, deletion.delete_batches(store, before_s, dry_run), dry_run)


def _report_deletion(table: str, before_s: int, rows: int, dry_run: bool) -> DeletedRows:
    if rows and not dry_run:
        log.info("removed", extra={"table": table, "rows": rows, "before_s": before_s})
    return DeletedRows(table=table, before_s=before_s, rows=rows)
