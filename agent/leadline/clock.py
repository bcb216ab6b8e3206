"""Clock interface and random number source.

Durations are differences of monotonic readings. Wall clock readings are labels; no RTT is computed from them.
All other modules take a ``Clock`` as a parameter; tests/support/clock.py has a fake clock that can step.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Source of time."""

    def wall_ns(self) -> int:
        """Return the wall clock of this host in nanoseconds since 1970-01-01 UTC; it may step."""
        ...

    def monotonic_ns(self) -> int:
        """Return nanoseconds from an arbitrary origin; never steps, may stop while the host is suspended."""
        ...

    def boottime_ns(self) -> int:
        """Return nanoseconds since the host booted; never steps and includes the time the host was suspended."""
        ...

    def sleep_until(self, monotonic_ns: int) -> None:
        """Sleep until ``monotonic_ns``; return immediately if that time has passed."""
        ...


class SystemClock:
    """The clock of this host."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def boottime_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def sleep_until(self, monotonic_ns: int) -> None:
        wait_ns = monotonic_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)


def make_rng(seed: int | str | None = None) -> random.Random:
    """Return a random number generator; without ``seed`` the operating system seeds it.

    For schedules, retry jitter and simulation. Keys and tokens come from ``secrets``.
    """
    return random.Random(seed)  # noqa: S311 - not for secrets, see above


def format_iso8601(epoch_s: int) -> str:
    """Format an epoch second as ISO 8601 in UTC: ``2026-11-22T06:00:00Z``."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
