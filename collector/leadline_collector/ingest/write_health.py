"""Whether batches can be stored, as the last one showed: a full or read-only database still answers every question."""

from __future__ import annotations

from leadline.clock import Clock

#: How long one batch that the database refused speaks for the next. A balancer then sends some again, which tell.
FAILURE_TTL_NS = 30_000_000_000


class WriteHealth:
    """What became of the last batch. Safe for several threads: the last word holds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Monotonic time and reason of the refusal; None after a batch that was stored.
        self._failure: tuple[int, str] | None = None

    def record_success(self) -> None:
        """The database took a batch, or knew it."""
        self._failure = None

    def record_failure(self, reason: str) -> None:
        """The database did not take a batch that was well."""
        self._failure = (self._clock.monotonic_ns(), reason)

    def failure_reason(self) -> str | None:
        """Why batches cannot be stored; None when they can, as far as anybody knows."""
        refused = self._failure
        if refused is None or self._clock.monotonic_ns() - refused[0] >= FAILURE_TTL_NS:
            return None
        return refused[1]
