"""The one door through which time and randomness come in.

Differences are taken between monotonic readings; wall readings are labels and are never subtracted to get an RTT.
Everything else receives a ``Clock``; tests/support/clock.py has one that jumps.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC, as this host believes; may step."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds from an arbitrary origin; never steps, may stand still while the host is suspended."""
        ...

    def boottime_ns(self) -> int:
        """Nanoseconds since the host booted; never steps, and goes on while the host is suspended."""
        ...

    def sleep_until(self, monotonic_ns: int) -> None:
        """Return at or soon after ``monotonic_ns``; at once if that is past."""
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
    """A source of random numbers; without a seed, one from the operating system.

    For schedules, jitter of retries and simulation; keys and tokens come from ``secrets``.
    """
    return random.Random(seed)


def format_iso8601(epoch_s: int) -> str:
    """An epoch second in ISO 8601, UTC: ``2026-11-22T06:00:00Z``."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
