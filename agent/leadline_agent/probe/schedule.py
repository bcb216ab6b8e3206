"""When probes are due: pure arithmetic on wall clock nanoseconds.

Time is cut into slots of one interval, aligned to multiples of the interval since 1970-01-01 UTC and numbered from
there, so that a slot has the same number on every host and after every restart. Each slot holds exactly one probe at a
uniformly random place (stratified sampling): 60 of them in every window, no gap of two intervals, and no aliasing with
anything periodic (method.md §3.2, RFC 3432 §4). The schedule never waits for a reply.
"""

from __future__ import annotations

NS_PER_MS = 1_000_000
#: How much of an interval a send may be late; past it the slot is "not sent" (method.md §3.2, unsent).
LATE_INTERVAL_DIVISOR = 2


def find_slot(wall_ns: int, interval_ms: int) -> int:
    """The number of the slot that ``wall_ns`` lies in."""
    return wall_ns // (interval_ms * NS_PER_MS)


def compute_slot_start_ns(slot: int, interval_ms: int) -> int:
    """Wall nanoseconds at which ``slot`` begins."""
    return slot * interval_ms * NS_PER_MS


def find_first_slot(wall_ns: int, interval_ms: int) -> int:
    """The first slot that begins at or after ``wall_ns``."""
    return -(-wall_ns // (interval_ms * NS_PER_MS))


def compute_due_ns(slot: int, interval_ms: int, slot_fraction: float) -> int:
    """Wall nanoseconds at which the probe of ``slot`` is due; ``share`` in [0, 1) is its random place in the slot."""
    interval_ns = interval_ms * NS_PER_MS
    return slot * interval_ns + int(slot_fraction * interval_ns)


def is_missed(late_ns: int, interval_ms: int) -> bool:
    """True when a probe that would leave ``late_ns`` after it was due no longer counts as this slot's."""
    return late_ns * LATE_INTERVAL_DIVISOR > interval_ms * NS_PER_MS


def find_first_reachable_slot(wall_ns: int, interval_ms: int) -> int:
    """The first slot whose probe can still be in time at ``wall_ns``, wherever in the slot it is due.

    All slots before it are missed for certain, so nobody needs to draw a place for them.
    """
    interval_ns = interval_ms * NS_PER_MS
    return (wall_ns - interval_ns // LATE_INTERVAL_DIVISOR) // interval_ns
