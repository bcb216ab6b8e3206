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
from leadline_collector.background import going_on
from leadline_collector.config import Retention
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import reference_tables, registry
from leadline_collector.mesh.registry import Directory
from leadline_collector.rollup import compaction, recount
from leadline_collector.rollup.compaction import SETTLE_S
from leadline_collector.rollup.retention import retain
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.dirty_hours import DAY_S, HOUR_S, Mark

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
#: An hour is compacted two minutes after its end at the latest a minute later: nobody waits for it.
ROUND_S = 60.0
#: How often what is past its time is removed.
RETAIN_S = 3_600
#: An hour that is not over is brought up to date when this much of it would be read from windows. The matrix of 50
#: sites reads 2,450 of them a minute.
OPEN_S = 300
#: Sites at once: while one waits for the database or deflates, the other computes.
THREADS = 2
#: Marks looked at in one round; the others come next.
MARKS_MAX = 100_000

#: Called with what is done and how much there is, in days of sites of which hours are marked.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a round did."""

    #: Sites' days of which hours were compacted, days that were compacted as a whole, and those of both that failed.
    hours: int = 0
    days: int = 0
    failed: int = 0
    #: Those of both that were left: somebody else has them, or they changed meanwhile.
    left: int = 0


def compact(
    store: Store,
    clock: Clock,
    stopping: Callable[[], bool] = lambda: False,
    progress: Progress = lambda done, all_: None,
) -> Round:
    """One round over everything that is marked and due."""
    now_s = clock.wall_ns() // NS_PER_S
    reference_tables.bring_up(store)
    recount.bring_up(store)
    with store.read() as reader:
        known = registry.read(reader.connection)
        hours = due(dirty_hours.of_hours(reader.connection, 0, 1 << 62, limit=MARKS_MAX), known, now_s)
    done: list[bool | None] = []

    def of_site(source_id: int) -> None:
        for hours_s in hours[source_id]:
            if not stopping():
                work = partial(compaction.compact_hours, store, source_id, hours_s, now_s)
                done.append(_tried(work, source_id, hours_s[0]))
                progress(len(done), total)

    total = sum(map(len, hours.values()))
    with ThreadPoolExecutor(THREADS, "compaction") as pool:
        # A site is one thread's: two would only find each other in the way.
        list(pool.map(of_site, hours))
    days = [] if stopping() else _days(store, now_s, stopping)
    return Round(
        hours=done.count(True),
        days=days.count(True),
        failed=done.count(None) + days.count(None),
        left=done.count(False) + days.count(False),
    )


def due(found: Collection[Mark], known: Directory, now_s: int) -> dict[int, list[list[int]]]:
    """The hours of each source site to compact now, day by day, oldest first: those over, and open ones that lag."""
    wanted = {(known.source_of[mark.src_id], mark.hour_s) for mark in found if _is_due(mark, now_s)}
    return {
        source_id: [[hour_s for _, hour_s in of_day] for _, of_day in groupby(of_site, lambda one: one[1] // DAY_S)]
        for source_id, of_site in groupby(sorted(wanted), itemgetter(0))
    }


def _is_due(mark: Mark, now_s: int) -> bool:
    if compaction.is_over(mark.hour_s, now_s):
        return True
    # Windows of the future are simulated, and are all there.
    lags = mark.since_s + OPEN_S <= now_s or mark.hour_s > now_s
    return lags and mark.since_s < mark.hour_s + HOUR_S


def _days(store: Store, now_s: int, stopping: Callable[[], bool]) -> list[bool | None]:
    with store.read() as reader:
        waiting = dirty_hours.of_days(reader.connection, 0, now_s - DAY_S - SETTLE_S + 1)
    return [
        _tried(partial(compaction.compact_day, store, source_id, day_s), source_id, day_s)
        for day_s, source_id in waiting
        if not stopping()
    ]


def _tried(work: Callable[[], bool], source_id: int, start_s: int) -> bool | None:
    """None if it failed: the mark stays, and the next round tries again."""
    try:
        return work()
    except (LeadlineError, ValueError) as error:
        log.warning("not compacted", extra={"source_id": source_id, "start_s": start_s, "reason": str(error)})
        return None


def compacting(store: Store, clock: Clock, retention: Retention) -> AbstractContextManager[None]:
    """Rounds in a thread, a minute apart, until the ``with`` ends; it waits for the hours that are under way."""
    return going_on("compactor", partial(_rounds, store, clock, retention))


def _rounds(store: Store, clock: Clock, retention: Retention, stopping: threading.Event) -> None:
    retained_ns = None
    while not stopping.wait(ROUND_S):
        try:
            found = compact(store, clock, stopping.is_set)
            if retained_ns is None or clock.monotonic_ns() - retained_ns >= RETAIN_S * NS_PER_S:
                retain(store, retention, clock.wall_ns() // NS_PER_S)
                retained_ns = clock.monotonic_ns()
        except Exception:
            # The marks stay, so the next round tries again; without the thread nothing would.
            log.exception("compaction failed")
            continue
        if found != Round():
            log.info("compacted", extra=asdict(found))
