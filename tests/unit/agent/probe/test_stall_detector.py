"""Steps of the wall clock and stalls of the host."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leadline_agent.probe.stall_detector import POLL_INTERVAL_NS, STALL_THRESHOLD_NS, STEP_THRESHOLD_NS, StallDetector
from tests.support.clock import FakeClock


def test_step_above_the_threshold_is_detected() -> None:
    """A step just above the threshold is detected in both directions; a step at the threshold is not."""
    steps = []
    for step_ns in (STEP_THRESHOLD_NS, STEP_THRESHOLD_NS + 1, -STEP_THRESHOLD_NS, -STEP_THRESHOLD_NS - 1):
        clock = FakeClock()
        detector = StallDetector(clock)
        clock.step(step_ns)
        steps.append(detector.poll().has_clock_step)

    assert steps == [False, True, False, True]


def test_step_is_detected_once() -> None:
    """After a step, the new offset is the reference."""
    clock = FakeClock()
    detector = StallDetector(clock)
    clock.step(10**9)

    assert [detector.poll().has_clock_step, detector.poll().has_clock_step] == [True, False]


def test_small_steps_add_up() -> None:
    """Steps below the threshold are detected when their sum exceeds it."""
    clock = FakeClock()
    detector = StallDetector(clock)
    steps = []
    for _ in range(3):
        clock.step(STEP_THRESHOLD_NS // 2 + 1)
        steps.append(detector.poll().has_clock_step)

    assert steps == [False, True, False]


@given(st.integers(min_value=0, max_value=10 * STALL_THRESHOLD_NS))
def test_long_time_between_polls_is_a_stall(gap_ns: int) -> None:
    """A stall is a time between polls longer than poll interval plus threshold."""
    clock = FakeClock()
    detector = StallDetector(clock)
    detector.poll()
    clock.advance(gap_ns)

    assert (gap_ns > POLL_INTERVAL_NS + STALL_THRESHOLD_NS) == detector.poll().has_stall


class InterruptedClock(FakeClock):
    """A clock that advances a millisecond during three of four readings."""

    def __init__(self) -> None:
        super().__init__()
        self._readings = 0

    def wall_ns(self) -> int:
        self._readings += 1
        if self._readings % 4:
            self.advance(1_000_000)
        return super().wall_ns()


def test_interrupted_reading_is_no_step() -> None:
    """An interruption while reading the clocks does not look like a step."""
    detector = StallDetector(InterruptedClock())

    assert [detector.poll().has_clock_step for _ in range(10)] == [False] * 10
