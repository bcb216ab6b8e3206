"""Write health: whether the last batch could be stored. A full or read-only database still answers every query."""

from __future__ import annotations

from leadline.clock import Clock

#: How long a failed write counts. After that, a load balancer sends batches again, and they show the current state.
FAILURE_TTL_NS = 30_000_000_000


class WriteHealth:
    """Result of the last write of a batch. Safe for several threads: the last record wins."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Monotonic time and reason of the failure; None after a success.
        self._failure: tuple[int, str] | None = None

    def record_success(self) -> None:
        """Record that the database stored a batch, or already had it."""
        self._failure = None

    def record_failure(self, reason: str) -> None:
        """Record that the database could not store a valid batch."""
        self._failure = (self._clock.monotonic_ns(), reason)

    def failure_reason(self) -> str | None:
        """Return why batches cannot be stored; None if there was no recent failure."""
        failure = self._failure
        if failure is None or self._clock.monotonic_ns() - failure[0] >= FAILURE_TTL_NS:
            return None
        return failure[1]
