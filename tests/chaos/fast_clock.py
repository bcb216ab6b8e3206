"""Clock of agents and collectors in a chaos run: an hour takes seconds, so that every delay of the product ends.

Only ``leadline.clock.Clock`` runs faster; sockets and locks use real time.
"""

from __future__ import annotations

from leadline.clock import SystemClock

#: An hour takes 15 s: the longest delay of the uploads (between two rewinds) ends within a run.
SPEED = 240


class FastClock:
    """Clock that runs ``SPEED`` times as fast, from the real wall time ``origin_ns`` on; equal in all processes."""

    def __init__(self, origin_ns: int) -> None:
        self._origin_ns, self._real = origin_ns, SystemClock()

    def wall_ns(self) -> int:
        return self._origin_ns + (self._real.wall_ns() - self._origin_ns) * SPEED

    def monotonic_ns(self) -> int:
        return self._real.monotonic_ns() * SPEED

    def boottime_ns(self) -> int:
        return self._real.boottime_ns() * SPEED

    def sleep_until(self, monotonic_ns: int) -> None:
        self._real.sleep_until(monotonic_ns // SPEED)
