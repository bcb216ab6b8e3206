"""The clock of agents and collectors in a chaos run: hours in seconds, so that every wait of the product really ends.

Only the port ``leadline.clock.Clock`` runs faster; sockets and locks wait in real time.
"""

from __future__ import annotations

from leadline.clock import SystemClock

#: An hour in 15 s: the longest wait of the sending (a second rewind) ends within a run.
SPEED = 240


class FastClock:
    """Wall and monotonic time ``SPEED`` times as fast, from real wall ``origin_ns`` on; the same in every process."""

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
