"""Rollup worker: a thread of every collector that compacts dirty hours and days every minute.

Rule 1: no reader depends on its timing: dirty hours are read from the windows.
Rule 2: an hour or day that cannot be compacted is logged and counted, and does not delay the others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter

from leadline.clock import Clock
from leadline.errors import LeadlineError
from leadline_collector.background import run_while
from leadline_collector.config import Retention
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import reference_tables, registry
from leadline_collector.mesh.registry import Registry
from leadline_collector.rollup import compaction, recount
from leadline_collector.rollup.compaction import SETTLE_S
from leadline_collector.rollup.retention import apply_retention
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.dirty_hours import DAY_S, HOUR_S, DirtyHour

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
#: Time between rounds.
POLL_INTERVAL_S = 60.0
#: Time between deletions of expired data.
RETENTION_INTERVAL_S = 3_600
#: An hour that is not over is compacted when readers would read this much of it from windows. The matrix of 50 sites
#: reads 2,450 windows per minute.
OPEN_HOUR_LAG_S_MAX = 300
#: Sites compacted at once: while one waits for the database or deflates, the other computes.
WORKER_THREADS = 2
#: Dirty hours read in one round.
DIRTY_HOURS_MAX = 100_000

#: Called with the done and the total number of days of sites with dirty hours.
ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionResult:
    """Result of a round, counted in days of sites."""

    #: Days with hours that were compacted.
    hours: int = 0
    #: Complete days that were compacted.
    days: int = 0
    #: Days of both kinds that failed.
    failed: int = 0
    #: Days of both kinds to try again: another process works on the site, or the hours changed during compaction.
    left: int = 0


def run_compaction(
    store: Store,
    clock: Clock,
    is_stopping: Callable[[], bool] = lambda: False,
    on_progress: ProgressCallback = lambda done, all_: None,
) -> CompactionResult:
    """Refresh the reference tables and profile revisions, then compact all dirty hours and days that are due."""
    now_s = clock.wall_ns() // NS_PER_S
    reference_tables.refresh_reference_tables(store)
    recount.sync_revisions(store)
    with store.read() as reader:
        sites = registry.load_registry(reader.connection)
        marks = dirty_hours.load_dirty_hours(reader.connection, 0, 1 << 62, limit=DIRTY_HOURS_MAX)
        hours = group_due_hours(marks, sites, now_s)
    results: list[bool | None] = []

    def compact_site(source_id: int) -> None:
        for hours_s in hours[source_id]:
            if not is_stopping():
                work = partial(compaction.compact_hours, store, source_id, hours_s, now_s)
                results.append(_try_compact(work, source_id, hours_s[0]))
                on_progress(len(results), total)

    total = sum(map(len, hours.values()))
    with ThreadPoolExecutor(WORKER_THREADS, "compaction") as pool:
        # One thread per site, because a site has one lock.
        list(pool.map(compact_site, hours))
    day_results = [] if is_stopping() else _compact_due_days(store, now_s, is_stopping)
    return CompactionResult(
        hours=results.count(True),
        days=day_results.count(True),
        failed=results.count(None) + day_results.count(None),
        left=results.count(False) + day_results.count(False),
    )


def group_due_hours(hours: Collection[DirtyHour], registry: Registry, now_s: int) -> dict[int, list[list[int]]]:
    """Return the hours of each source site to compact now, grouped by day, oldest first.

    They are the hours that are over, and open hours with an old watermark.
    """
    due_hours = {(registry.site_by_agent[mark.src_id], mark.hour_s) for mark in hours if _is_due(mark, now_s)}
    return {
        source_id: [
            [hour_s for _, hour_s in day_hours] for _, day_hours in groupby(site_hours, lambda key: key[1] // DAY_S)
        ]
        for source_id, site_hours in groupby(sorted(due_hours), itemgetter(0))
    }


def _is_due(dirty_hour: DirtyHour, now_s: int) -> bool:
    if compaction.is_settled(dirty_hour.hour_s, now_s):
        return True
    # Windows in the future are simulated and complete.
    lags = dirty_hour.watermark_s + OPEN_HOUR_LAG_S_MAX <= now_s or dirty_hour.hour_s > now_s
    return lags and dirty_hour.watermark_s < dirty_hour.hour_s + HOUR_S


def _compact_due_days(store: Store, now_s: int, stopping: Callable[[], bool]) -> list[bool | None]:
    with store.read() as reader:
        due_days = dirty_hours.load_dirty_days(reader.connection, 0, now_s - DAY_S - SETTLE_S + 1)
    return [
        _try_compact(partial(compaction.compact_day, store, source_id, day_s), source_id, day_s)
        for day_s, source_id in due_days
        if not stopping()
    ]


def _try_compact(work: Callable[[], bool], source_id: int, start_s: int) -> bool | None:
    """Return the result of ``work``, None if it failed: the mark stays, and the next round tries again."""
    try:
        return work()
    except (LeadlineError, ValueError) as error:
        log.warning(
            "compaction failed; the next round tries again",
            extra={"source_id": source_id, "start_s": start_s, "reason": str(error)},
        )
        return None


def run_rollup_worker(store: Store, clock: Clock, retention: Retention) -> AbstractContextManager[None]:
    """Run rounds in a background thread during a ``with`` block; the end waits for the hours in progress."""
    return run_while("compactor", partial(_run_loop, store, clock, retention))


def _run_loop(store: Store, clock: Clock, retention: Retention, stopping: threading.Event) -> None:
    retained_ns = None
    while not stopping.wait(POLL_INTERVAL_S):
        try:
            result = run_compaction(store, clock, stopping.is_set)
            if retained_ns is None or clock.monotonic_ns() - retained_ns >= RETENTION_INTERVAL_S * NS_PER_S:
                apply_retention(store, retention, clock.wall_ns() // NS_PER_S)
                retained_ns = clock.monotonic_ns()
        except Exception:
            # The marks stay. An exception must not end the thread, so that the next round tries again.
            log.exception("compaction failed")
            continue
        if result != CompactionResult():
            log.info("compacted", extra=asdict(result))
