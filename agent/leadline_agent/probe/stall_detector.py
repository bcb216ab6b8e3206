"""Notices when this host stood still or its wall clock stepped, so that neither is ever taken for the path's delay.

Kernel stamps are CLOCK_REALTIME. On Linux, NTP slews CLOCK_REALTIME and CLOCK_MONOTONIC alike (one timekeeper, one
rate), so the difference of the two is constant to the nanosecond but for steps: settimeofday, a leap second, an
offset set by NTP, and the resume after a suspend, during which CLOCK_MONOTONIC does not run. Any change of the
difference beyond the noise of reading it is therefore a step.

A standstill without a step is a gap between two looks: the process was stopped (SIGSTOP, a debugger, no CPU) or the
whole machine was (a paused or migrated VM whose clocks went on). The two cannot be told apart from inside, and they
differ in what kernel stamps are worth: while only the process stood still the kernel went on stamping; while the
machine did, packets waited outside and were all stamped at the end of the gap. So the end of the gap is what must be
distrusted, and nothing else (see ``EDGE_NS``).
"""

from __future__ import annotations

from dataclasses import dataclass

from leadline.clock import Clock

#: How seldom the prober may look: delivery.md asks for a 50 ms tick.
POLL_INTERVAL_NS = 50_000_000
#: A gap this much longer than planned is a standstill. A busy host delays a process by 10 to 50 ms every day, and that
#: costs nothing with kernel stamps; the pause of a live migration is 100 ms and more, and that does.
STALL_THRESHOLD_NS = 100_000_000
#: Arrivals stamped this close to the end of a standstill may have waited outside of a paused machine. As long as the
#: standstill that can be missed: there is no use in a finer edge than the guard's own resolution.
STALL_END_MARGIN_NS = STALL_THRESHOLD_NS
#: A smaller step would alter an RTT by less than the accuracy promised (p99 of 50 µs, issue of the engine).
STEP_THRESHOLD_NS = 50_000
#: A pair of readings this close together is good enough; a wider one was interrupted and is taken again.
_BRACKET_NS = 5_000
_READINGS_MAX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HostEvent:
    """What one look found. Monotonic nanoseconds."""

    now_ns: int
    #: The last look before this one; whatever happened, happened after it.
    since_ns: int
    has_clock_step: bool
    has_stall: bool


class StallDetector:
    """Compares the two clocks at every look."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._polled_at_ns: int | None = None
        #: Wall minus monotonic nanoseconds, since the last step.
        self.wall_offset_ns, _ = self._read_offset()

    def poll(self) -> HostEvent:
        """Compare with the last look. To be called after the sockets were read, so that it vouches for their stamps."""
        offset_ns, noise_ns = self._read_offset()
        stepped = abs(offset_ns - self.wall_offset_ns) > STEP_THRESHOLD_NS + noise_ns
        if stepped:
            self.wall_offset_ns = offset_ns
        now_ns = self._clock.monotonic_ns()
        since_ns = now_ns if self._polled_at_ns is None else self._polled_at_ns
        self._polled_at_ns = now_ns
        stalled = now_ns - since_ns > POLL_INTERVAL_NS + STALL_THRESHOLD_NS
        return HostEvent(now_ns=now_ns, since_ns=since_ns, has_clock_step=stepped, has_stall=stalled)

    def _read_offset(self) -> tuple[int, int]:
        """Wall minus monotonic, and the width of the bracket it was read in, the narrowest of a few readings."""
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
