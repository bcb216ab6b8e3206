"""Fakes of the ports: maintained code, used by tests of both sides."""

from __future__ import annotations


class FakeClock:
    """A clock that jumps: ``sleep_until`` arrives at once, ``step`` moves the wall without the monotonic reading."""

    def __init__(self, wall_ns: int = 1_700_000_000_000_000_000) -> None:
        self._wall_origin_ns = wall_ns
        self._monotonic_ns = 0
        #: How long the host was suspended so far.
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
        """Let time pass on both clocks."""
        self._monotonic_ns += ns

    def step(self, ns: int) -> None:
        """Step the wall clock, as NTP or an operator does."""
        self._wall_origin_ns += ns

    def suspend(self, ns: int) -> None:
        """Let the host sleep: the wall and the time since boot go on, the monotonic reading stands still."""
        self._wall_origin_ns += ns
        self._suspended_ns += ns
