"""Usage of the spool, for `agent status` and `agent doctor`. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from leadline_agent.spool.index import EvictionPriority, SpoolIndex

#: The rate is an average over one day, which covers daily plan changes and restarts.
RATE_PERIOD_S = 86_400
#: Minimum data for a rate; a shorter period is too noisy.
RATE_PERIOD_S_MIN = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolUsage:
    """Usage of a spool at one time."""

    bytes: int
    bytes_max: int
    #: Batches that are not on disk yet; a crash loses them. ``unacked`` or ``acked`` counts them too.
    pending: int
    unacked: int
    acked: int
    dead: int
    #: Loss records that the collector does not have yet.
    loss_records: int
    #: Unacknowledged batches that currently fail to read; they are retried.
    unreadable: int
    #: Age of the oldest unacknowledged window, by the wall clock; None without one.
    oldest_unacked_s: int | None
    #: Days until the oldest unacknowledged batch is evicted, at the current rate; None while the rate is unknown.
    days_left: float | None
    #: Why batches are in memory only; None when the disk works.
    degraded: str | None


def estimate_days_left(index: SpoolIndex, available_bytes: int) -> float | None:
    """Return the days until ``available_bytes`` are full, at the rate of the segments of the last day.

    None while the rate is unknown.
    """
    spans = [(*segment.times_s, segment.size) for segment in index if segment.times_s]
    newest_s = max((last_s for _, last_s, _ in spans), default=0)
    recent = [(first_s, size) for first_s, last_s, size in spans if last_s > newest_s - RATE_PERIOD_S]
    span_s = newest_s - min((first_s for first_s, _ in recent), default=newest_s)
    if span_s < RATE_PERIOD_S_MIN:
        return None
    bytes_per_s = sum(size for _, size in recent) / span_s
    return max(0, available_bytes) / bytes_per_s / 86_400


def sum_unacked_bytes(index: SpoolIndex) -> int:
    """Return the bytes of the segments with unacknowledged batches. All other segments are evicted before them."""
    return sum(segment.size for segment in index if segment.eviction_priority is EvictionPriority.UNACKED)
