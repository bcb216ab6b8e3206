"""Send times of probes: pure arithmetic on wall clock nanoseconds.

Time is divided into slots of one interval, aligned to and numbered by multiples of the interval since 1970-01-01 UTC.
So a slot has the same number on every host and after every restart. Each slot contains exactly one probe at a uniformly
random time (stratified sampling): 60 in every window at the default interval, no gap of two intervals, and no aliasing
with periodic events (method.md §3.2, RFC 3432 §4). The schedule never waits for a reply.
"""

from __future__ import annotations

NS_PER_MS = 1_000_000
#: A send may be late by interval / this divisor. A later slot is "not sent" (method.md §3.2, unsent).
SEND_LAG_DIVISOR = 2


def find_slot(wall_ns: int, interval_ms: int) -> int:
    """Return the number of the slot that contains ``wall_ns``."""
    return wall_ns // (interval_ms * NS_PER_MS)


def compute_slot_start_ns(slot: int, interval_ms: int) -> int:
    """Return the start of ``slot`` in wall nanoseconds."""
    return slot * interval_ms * NS_PER_MS


def find_first_slot(wall_ns: int, interval_ms: int) -> int:
    """Return the first slot that begins at or after ``wall_ns``."""
    return -(-wall_ns // (interval_ms * NS_PER_MS))


def compute_due_ns(slot: int, interval_ms: int, slot_fraction: float) -> int:
    """Return the due time of the probe of ``slot`` in wall nanoseconds; ``slot_fraction`` in [0, 1) is random."""
    interval_ns = interval_ms * NS_PER_MS
    # The product of the largest fraction below 1 rounds up to the whole interval, which is the next slot.
    return slot * interval_ns + min(int(slot_fraction * interval_ns), interval_ns - 1)


def is_missed(lag_ns: int, interval_ms: int) -> bool:
    """Return True if a probe ``lag_ns`` after its due time is too late for its slot."""
    return lag_ns * SEND_LAG_DIVISOR > interval_ms * NS_PER_MS


def find_first_reachable_slot(wall_ns: int, interval_ms: int) -> int:
    """Return the first slot with a probe that can still be in time at ``wall_ns``.

    All earlier slots are missed for any due time, so they need no random draw.
    """
    interval_ns = interval_ms * NS_PER_MS
    return (wall_ns - interval_ns // SEND_LAG_DIVISOR) // interval_ns
