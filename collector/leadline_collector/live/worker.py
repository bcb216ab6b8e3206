"""Thread that refreshes the current state once a minute, as soon as the newest minute is due.

The thread is separate from the compactor's: after a new profile revision the compactor counts months of data for hours.
Rule 1: a failed task is logged, does not stop the other task, and runs again a minute later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from leadline.clock import Clock
from leadline.model import WINDOW_S
from leadline_collector.background import run_while
from leadline_collector.db.transactions import Store
from leadline_collector.live import agents as live_agents
from leadline_collector.live import pairs as live_pairs
from leadline_collector.live.agents import ReportCache
from leadline_collector.live.pairs import GRACE_S, LastCheckedWindows

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000


def run_live_worker(store: Store, clock: Clock, report_cache: ReportCache) -> AbstractContextManager[None]:
    """Run the worker for the duration of the ``with`` block; the exit waits for a refresh in progress."""
    return run_while("now", partial(_run_loop, store, clock, report_cache))


def _run_loop(store: Store, clock: Clock, report_cache: ReportCache, stopping: threading.Event) -> None:
    last_checked: LastCheckedWindows = {}
    while not stopping.wait(compute_delay_s(clock)):
        refresh(store, clock, report_cache, last_checked)


def refresh(store: Store, clock: Clock, report_cache: ReportCache, last_checked: LastCheckedWindows) -> None:
    """Refresh pairs and agents once."""
    now_s = clock.wall_ns() // NS_PER_S
    _run_logged("pairs", partial(live_pairs.refresh_pairs, store, now_s, last_checked))
    _run_logged("agents", partial(live_agents.refresh_agents, store, now_s, report_cache))


def compute_delay_s(clock: Clock) -> float:
    """Return the seconds until the next minute is due: more than 0, at most 60."""
    past_s = (clock.wall_ns() / NS_PER_S - GRACE_S) % WINDOW_S
    return WINDOW_S - past_s


def _run_logged(task: str, work: Callable[[], int | None]) -> None:
    try:
        rows = work()
    except Exception:
        # The thread must continue: without it the current state would become stale unnoticed.
        log.exception("refreshing current state failed", extra={"what": task})
    else:
        log.debug("current state refreshed", extra={"what": task, "rows": rows})
