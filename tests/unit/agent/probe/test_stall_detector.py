"""Steps of the wall clock and standstills of the host."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leadline_agent.probe.stall_detector import POLL_INTERVAL_NS, STALL_THRESHOLD_NS, STEP_THRESHOLD_NS, StallDetector
from tests.support.clock import FakeClock


def test_steps_are_seen_from_the_limit_on() -> None:
    """A step just past the limit is seen, in both directions; one at the limit is not."""
    found = []
    for step_ns in (STEP_THRESHOLD_NS, STEP_THRESHOLD_NS + 1, -STEP_THRESHOLD_NS, -STEP_THRESHOLD_NS - 1):
        clock = FakeClock()
        watch = StallDetector(clock)
        clock.step(step_ns)
        found.append(watch.poll().has_clock_step)

    assert found == [False, True, False, True]


def test_a_step_is_seen_once() -> None:
    """After a step the new offset is the right one."""
    clock = FakeClock()
    watch = StallDetector(clock)
    clock.step(10**9)

    assert [watch.poll().has_clock_step, watch.poll().has_clock_step] == [True, False]


def test_small_steps_add_up() -> None:
    """A clock set in steps too small to matter is caught when they matter together."""
    clock = FakeClock()
    watch = StallDetector(clock)
    found = []
    for _ in range(3):
        clock.step(STEP_THRESHOLD_NS // 2 + 1)
        found.append(watch.poll().has_clock_step)

    assert found == [False, True, False]


@given(st.integers(min_value=0, max_value=10 * STALL_THRESHOLD_NS))
def test_a_gap_beyond_plan_is_a_standstill(gap_ns: int) -> None:
    """A standstill is a gap longer than the longest planned wait and the allowance together."""
    clock = FakeClock()
    watch = StallDetector(clock)
    watch.poll()
    clock.advance(gap_ns)

    assert (gap_ns > POLL_INTERVAL_NS + STALL_THRESHOLD_NS) == watch.poll().has_stall


class InterruptedClock(FakeClock):
    """A clock whose reader is put aside for a millisecond between two readings, three times of four."""

    def __init__(self) -> None:
        super().__init__()
        self._readings = 0

    def wall_ns(self) -> int:
        self._readings += 1
        if self._readings % 4:
            self.advance(1_000_000)
        return super().wall_ns()


def test_an_interrupted_reading_is_no_step() -> None:
    """Being put aside while reading the clocks does not look like a step."""
    watch = StallDetector(InterruptedClock())

    assert [watch.poll().has_clock_step for _ in range(10)] == [False] * 10
