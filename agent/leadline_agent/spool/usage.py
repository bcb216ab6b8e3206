"""How full the spool is, for `agent status` and `agent doctor`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from leadline_agent.spool.index import EvictionPriority, SpoolIndex

#: The rate is taken over the last day: it holds a whole daily rhythm of plan changes and restarts.
RATE_PERIOD_S = 86_400
#: A rate from less than ten minutes of batches says nothing.
RATE_PERIOD_S_MIN = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolUsage:
    """The state of a spool at one moment."""

    bytes: int
    bytes_max: int
    #: Sealed and not yet on disk: lost if the agent dies now. Part of ``unacked`` as well, where not acknowledged.
    pending: int
    unacked: int
    acked: int
    dead: int
    #: Tombstones that the collector does not have yet.
    loss_records: int
    #: Waiting batches that the disk did not read when they were to be sent; they are tried again.
    unreadable: int
    #: Age of the oldest window that waits, by the wall clock; None when nothing waits.
    oldest_unacked_s: int | None
    #: Days of measuring that fit before the oldest waiting batch goes; None while the rate is unknown.
    days_left: float | None
    #: Why batches are held in memory only; None when the disk works.
    degraded: str | None


def estimate_days_left(index: SpoolIndex, available_bytes: int) -> float | None:
    """How long ``room_bytes`` last at the rate of the last day, by whole segments; None while the rate is unknown."""
    spans = [(*segment.times_s, segment.size) for segment in index if segment.times_s]
    newest_s = max((last_s for _, last_s, _ in spans), default=0)
    recent = [(first_s, size) for first_s, last_s, size in spans if last_s > newest_s - RATE_PERIOD_S]
    span_s = newest_s - min((first_s for first_s, _ in recent), default=newest_s)
    if span_s < RATE_PERIOD_S_MIN:
        return None
    bytes_per_s = sum(size for _, size in recent) / span_s
    return max(0, available_bytes) / bytes_per_s / 86_400


def sum_unacked_bytes(index: SpoolIndex) -> int:
    """Bytes of the segments that hold something that still has to be sent; all others go when there is no room."""
    return sum(segment.size for segment in index if segment.eviction_priority is EvictionPriority.UNACKED)
