"""The thread that brings what is true now up to date: once a minute, as soon as the newest minute is due.

It is not the compactor's: a new rule lets that one count months for hours, and a state must not stand still meanwhile.
Rule 1: what fails is logged, does not keep the other from being done, and is done anew a minute later.
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
    """Rounds in a thread until the ``with`` ends; it waits for the one that is under way."""
    return run_while("now", partial(_run_loop, store, clock, report_cache))


def _run_loop(store: Store, clock: Clock, hearing: ReportCache, stopping: threading.Event) -> None:
    seen: LastCheckedWindows = {}
    while not stopping.wait(compute_delay_s(clock)):
        refresh(store, clock, hearing, seen)


def refresh(store: Store, clock: Clock, report_cache: ReportCache, last_checked: LastCheckedWindows) -> None:
    """One round."""
    now_s = clock.wall_ns() // NS_PER_S
    _run_logged("pairs", partial(live_pairs.refresh_pairs, store, now_s, last_checked))
    _run_logged("agents", partial(live_agents.refresh_agents, store, now_s, report_cache))


def compute_delay_s(clock: Clock) -> float:
    """Seconds until the next minute is due: more than 0, a minute at most."""
    past_s = (clock.wall_ns() / NS_PER_S - GRACE_S) % WINDOW_S
    return WINDOW_S - past_s


def _run_logged(task: str, work: Callable[[], int | None]) -> None:
    try:
        rows = work()
    except Exception:
        # Without the thread every state would stand still, and nobody would notice.
        log.exception("what is true now was not brought up to date", extra={"what": task})
    else:
        log.debug("brought up to date", extra={"what": task, "rows": rows})
