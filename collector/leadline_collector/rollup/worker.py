"""The compactor: a thread of every collector that does what marks ask for, every minute, a site's hour at a time.

Rule 1: nobody depends on it being in time: whatever is marked is read from the windows themselves.
Rule 2: an hour or day that cannot be compacted is logged and counted, and does not keep the others waiting.
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
#: An hour is compacted two minutes after its end at the latest a minute later: nobody waits for it.
POLL_INTERVAL_S = 60.0
#: How often what is past its time is removed.
RETENTION_INTERVAL_S = 3_600
#: An hour that is not over is brought up to date when this much of it would be read from windows. The matrix of 50
#: sites reads 2,450 of them a minute.
OPEN_HOUR_LAG_S_MAX = 300
#: Sites at once: while one waits for the database or deflates, the other computes.
WORKER_THREADS = 2
#: Marks looked at in one round; the others come next.
DIRTY_HOURS_MAX = 100_000

#: Called with what is done and how much there is, in days of sites of which hours are marked.
ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionResult:
    """What a round did."""

    #: Sites' days of which hours were compacted, days that were compacted as a whole, and those of both that failed.
    hours: int = 0
    days: int = 0
    failed: int = 0
    #: Those of both that were left: somebody else has them, or they changed meanwhile.
    left: int = 0


def run_compaction(
    store: Store,
    clock: Clock,
    is_stopping: Callable[[], bool] = lambda: False,
    on_progress: ProgressCallback = lambda done, all_: None,
) -> CompactionResult:
    """One round over everything that is marked and due."""
    now_s = clock.wall_ns() // NS_PER_S
    reference_tables.refresh_reference_tables(store)
    recount.sync_revisions(store)
    with store.read() as reader:
        known = registry.load_registry(reader.connection)
        hours = group_due_hours(
            dirty_hours.load_dirty_hours(reader.connection, 0, 1 << 62, limit=DIRTY_HOURS_MAX), known, now_s
        )
    done: list[bool | None] = []

    def compact_site(source_id: int) -> None:
        for hours_s in hours[source_id]:
            if not is_stopping():
                work = partial(compaction.compact_hours, store, source_id, hours_s, now_s)
                done.append(_try_compact(work, source_id, hours_s[0]))
                on_progress(len(done), total)

    total = sum(map(len, hours.values()))
    with ThreadPoolExecutor(WORKER_THREADS, "compaction") as pool:
        # A site is one thread's: two would only find each other in the way.
        list(pool.map(compact_site, hours))
    days = [] if is_stopping() else _compact_due_days(store, now_s, is_stopping)
    return CompactionResult(
        hours=done.count(True),
        days=days.count(True),
        failed=done.count(None) + days.count(None),
        left=done.count(False) + days.count(False),
    )


def group_due_hours(hours: Collection[DirtyHour], registry: Registry, now_s: int) -> dict[int, list[list[int]]]:
    """The hours of each source site to compact now, day by day, oldest first: those over, and open ones that lag."""
    wanted = {(registry.site_by_agent[mark.src_id], mark.hour_s) for mark in hours if _is_due(mark, now_s)}
    return {
        source_id: [[hour_s for _, hour_s in of_day] for _, of_day in groupby(of_site, lambda one: one[1] // DAY_S)]
        for source_id, of_site in groupby(sorted(wanted), itemgetter(0))
    }


def _is_due(dirty_hour: DirtyHour, now_s: int) -> bool:
    if compaction.is_settled(dirty_hour.hour_s, now_s):
        return True
    # Windows of the future are simulated, and are all there.
    lags = dirty_hour.watermark_s + OPEN_HOUR_LAG_S_MAX <= now_s or dirty_hour.hour_s > now_s
    return lags and dirty_hour.watermark_s < dirty_hour.hour_s + HOUR_S


def _compact_due_days(store: Store, now_s: int, stopping: Callable[[], bool]) -> list[bool | None]:
    with store.read() as reader:
        waiting = dirty_hours.load_dirty_days(reader.connection, 0, now_s - DAY_S - SETTLE_S + 1)
    return [
        _try_compact(partial(compaction.compact_day, store, source_id, day_s), source_id, day_s)
        for day_s, source_id in waiting
        if not stopping()
    ]


def _try_compact(work: Callable[[], bool], source_id: int, start_s: int) -> bool | None:
    """None if it failed: the mark stays, and the next round tries again."""
    try:
        return work()
    except (LeadlineError, ValueError) as error:
        log.warning("not compacted", extra={"source_id": source_id, "start_s": start_s, "reason": str(error)})
        return None


def run_rollup_worker(store: Store, clock: Clock, retention: Retention) -> AbstractContextManager[None]:
    """Rounds in a thread, a minute apart, until the ``with`` ends; it waits for the hours that are under way."""
    return run_while("compactor", partial(_run_loop, store, clock, retention))


def _run_loop(store: Store, clock: Clock, retention: Retention, stopping: threading.Event) -> None:
    retained_ns = None
    while not stopping.wait(POLL_INTERVAL_S):
        try:
            found = run_compaction(store, clock, stopping.is_set)
            if retained_ns is None or clock.monotonic_ns() - retained_ns >= RETENTION_INTERVAL_S * NS_PER_S:
                apply_retention(store, retention, clock.wall_ns() // NS_PER_S)
                retained_ns = clock.monotonic_ns()
        except Exception:
            # The marks stay, so the next round tries again; without the thread nothing would.
            log.exception("compaction failed")
            continue
        if found != CompactionResult():
            log.info("compacted", extra=asdict(found))
