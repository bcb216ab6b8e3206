"""Fake clock for tests of the agent and of the collector."""

from __future__ import annotations


class FakeClock:
    """A clock without real time: ``sleep_until`` returns at once, ``step`` changes only the wall clock."""

    def __init__(self, wall_ns: int = 1_700_000_000_000_000_000) -> None:
        self._wall_origin_ns = wall_ns
        self._monotonic_ns = 0
        #: Total time in suspend.
        self._suspended_ns = 0

    def wall_ns(self) -> int:
        return self._wall_origin_ns + self._monotonic_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def boottime_ns(self) -> int:
        return self._monotonic_ns + self._suspended_ns

    def sleep_until(self, monotonic_ns: int) -> None:
        self._monotonic_ns = max(self._monotonic_ns, monotonic_ns)

    def advance(self, ns: int) -> None:
        """Advance all clocks."""
        self._monotonic_ns += ns

    def step(self, ns: int) -> None:
        """Step the wall clock, like NTP or an operator."""
        self._wall_origin_ns += ns

    def suspend(self, ns: int) -> None:
        """Suspend the host: wall clock and boottime advance, the monotonic clock does not."""
        self._wall_origin_ns += ns
        self._suspended_ns += ns
