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
from leadline_collector.background import going_on
from leadline_collector.db.transactions import Store
from leadline_collector.live import agents as live_agents
from leadline_collector.live import pairs as live_pairs
from leadline_collector.live.agents import Hearing
from leadline_collector.live.pairs import GRACE_S, Seen

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000


def keeping_up(store: Store, clock: Clock, hearing: Hearing) -> AbstractContextManager[None]:
    """Rounds in a thread until the ``with`` ends; it waits for the one that is under way."""
    return going_on("now", partial(_rounds, store, clock, hearing))


def _rounds(store: Store, clock: Clock, hearing: Hearing, stopping: threading.Event) -> None:
    seen: Seen = {}
    while not stopping.wait(until_due_s(clock)):
        bring_up(store, clock, hearing, seen)


def bring_up(store: Store, clock: Clock, hearing: Hearing, seen: Seen) -> None:
    """One round."""
    now_s = clock.wall_ns() // NS_PER_S
    _tried("pairs", partial(live_pairs.bring_up, store, now_s, seen))
    _tried("agents", partial(live_agents.bring_up, store, now_s, hearing))


def until_due_s(clock: Clock) -> float:
    """Seconds until the next minute is due: more than 0, a minute at most."""
    past_s = (clock.wall_ns() / NS_PER_S - GRACE_S) % WINDOW_S
    return WINDOW_S - past_s


def _tried(what: str, work: Callable[[], int | None]) -> None:
    try:
        rows = work()
    except Exception:
        # Without the thread every state would stand still, and nobody would notice.
        log.exception("what is true now was not brought up to date", extra={"what": what})
    else:
        log.debug("brought up to date", extra={"what": what, "rows": rows})
