"""Detects stalls of this host and steps of its wall clock, so that they never count as delay of the path.

Kernel timestamps use CLOCK_REALTIME. On Linux, NTP slews CLOCK_REALTIME and CLOCK_MONOTONIC by the same rate. So their
difference is constant to the nanosecond, except for steps: settimeofday, a leap second, an offset set by NTP, and the
resume from suspend (CLOCK_MONOTONIC does not run during suspend). A change of the difference above the read noise is a
step.

A stall without a step is a long time between two polls. Either the process was stopped (SIGSTOP, a debugger, no CPU) or
the whole machine was (a paused or migrated VM with running clocks). The process cannot distinguish the two. If only the
process stalled, the kernel timestamps are correct. If the machine stalled, packets were queued outside and got their
timestamps at the end of the stall. So only timestamps close to the end of a stall are unreliable
(``STALL_END_MARGIN_NS``).
"""

from __future__ import annotations

from dataclasses import dataclass

from leadline.clock import Clock

#: Longest time between two polls.
POLL_INTERVAL_NS = 50_000_000
#: Delay beyond the poll interval that counts as a stall. Scheduling delays of 10 to 50 ms are common and harmless with
#: kernel timestamps. The pause of a live migration is 100 ms or more.
STALL_THRESHOLD_NS = 100_000_000
#: Replies with a timestamp this close to the end of a stall may have been queued outside a paused machine. Equal to the
#: longest undetected stall, the resolution of this detector.
STALL_END_MARGIN_NS = STALL_THRESHOLD_NS
#: A smaller step changes an RTT by less than the specified accuracy (p99 of 50 µs).
STEP_THRESHOLD_NS = 50_000
#: Target width of a clock reading. A wider reading was interrupted and is repeated.
_BRACKET_NS = 5_000
_READINGS_MAX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HostEvent:
    """Result of one poll. Times are monotonic nanoseconds."""

    now_ns: int
    #: Time of the previous poll: any event happened after it.
    since_ns: int
    has_clock_step: bool
    has_stall: bool


class StallDetector:
    """Compares the two clocks at every poll."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._polled_at_ns: int | None = None
        #: Wall minus monotonic nanoseconds, since the last step.
        self.wall_offset_ns, _ = self._read_offset()

    def poll(self) -> HostEvent:
        """Compare the clocks with the last poll. Call it after the socket reads, so that it covers their timestamps."""
        offset_ns, noise_ns = self._read_offset()
        has_step = abs(offset_ns - self.wall_offset_ns) > STEP_THRESHOLD_NS + noise_ns
        if has_step:
            self.wall_offset_ns = offset_ns
        now_ns = self._clock.monotonic_ns()
        since_ns = now_ns if self._polled_at_ns is None else self._polled_at_ns
        self._polled_at_ns = now_ns
        has_stall = now_ns - since_ns > POLL_INTERVAL_NS + STALL_THRESHOLD_NS
        return HostEvent(now_ns=now_ns, since_ns=since_ns, has_clock_step=has_step, has_stall=has_stall)

    def _read_offset(self) -> tuple[int, int]:
        """Return wall minus monotonic time and the width of the reading: the narrowest of a few readings."""
        best = self._read_offset_once()
        for _ in range(_READINGS_MAX):
            if best[1] <= _BRACKET_NS:
                break
            best = min(best, self._read_offset_once(), key=lambda reading: reading[1])
        return best

    def _read_offset_once(self) -> tuple[int, int]:
        before_ns = self._clock.monotonic_ns()
        wall_ns = self._clock.wall_ns()
        width_ns = self._clock.monotonic_ns() - before_ns
        return wall_ns - before_ns - width_ns // 2, width_ns
