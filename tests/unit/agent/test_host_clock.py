"""What a host says of its clock, and the offset a POST shows."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.clock import SystemClock
from leadline.wire import batch as wire
from leadline_agent.host_clock import (
    CLOCK_STEP_THRESHOLD_NS,
    ClockReading,
    Timex,
    estimate_clock_offset,
    read_boot_id,
    read_clock_state,
    read_clocks,
    read_timex,
)
from tests.support.clock import FakeClock

S_NS = 1_000_000_000
WALL_NS = 1_700_000_000 * S_NS


def said(returned: int = 0, status: int = 1, offset: int = 0) -> wire.ClockState | None:
    def read(timex: Timex) -> int:
        timex.status, timex.offset, timex.maxerror, timex.esterror = status, offset, 16_000, 500
        return returned

    return read_clock_state(read)


def test_a_disciplined_clock_is_synchronised() -> None:
    """With the errors the kernel reckons with."""
    assert said() == wire.ClockState(synchronised=True, offset_us=0, max_error_us=16_000, estimated_error_us=500)


@pytest.mark.parametrize(("returned", "status"), [(5, 1), (0, 0x40), (5, 0x40)])
def test_a_clock_nobody_disciplines_is_not(returned: int, status: int) -> None:
    """Either way in which the kernel says so."""
    state = said(returned, status)

    assert state is not None
    assert not state.synchronised


@pytest.mark.parametrize(("status", "offset_us"), [(1, -1_500_000), (1 | 0x2000, -1_500)])
def test_the_offset_is_microseconds_whatever_the_kernel_counts_in(status: int, offset_us: int) -> None:
    """STA_NANO says that it is nanoseconds."""
    state = said(status=status, offset=-1_500_000)

    assert state is not None
    assert state.offset_us == offset_us


def test_a_refused_call_is_unknown() -> None:
    """A sandbox may forbid adjtimex."""

    def refuse(timex: Timex) -> int:
        raise PermissionError(errno.EPERM, "no")

    assert read_clock_state(refuse) is None


def test_this_kernel_answers() -> None:
    """The structure has the kernel's layout: the tick of 10 ms and the time of day stand where they belong."""
    timex = Timex()
    read_timex(timex)

    assert 9_000 <= timex.tick <= 11_000
    assert abs(timex.time.tv_sec - SystemClock().wall_ns() // S_NS) <= 5
    assert read_clock_state() is not None


def test_the_boot_has_a_name(tmp_path: Path) -> None:
    """None where there is none."""
    file = tmp_path / "boot_id"
    file.write_text("0a8e2d2a-6c62-4bb1-a43f-1c57f1b5dd1b\n")

    assert read_boot_id(file) == "0a8e2d2a-6c62-4bb1-a43f-1c57f1b5dd1b"
    assert read_boot_id(tmp_path / "none") is None
    file.write_text("x" * 37)
    assert read_boot_id(file) is None


def test_time_since_boot_goes_on_while_the_host_sleeps() -> None:
    """On paper and in the kernel it is never behind the monotonic clock."""
    clock = FakeClock()
    clock.suspend(7 * S_NS)

    assert (clock.boottime_ns(), clock.monotonic_ns()) == (7 * S_NS, 0)
    assert SystemClock().boottime_ns() >= SystemClock().monotonic_ns() - S_NS


@given(st.integers(-(10**12), 10**12), st.integers(0, 30 * S_NS), st.integers(0, 30 * S_NS), st.integers(0, 10**6))
def test_the_true_offset_lies_within_the_error(ahead_us: int, there_ns: int, back_ns: int, origin_ns: int) -> None:
    """Whatever the way there and the way back took, and however much they differ."""
    clock = FakeClock(WALL_NS + origin_ns)
    sent = read_clocks(clock)
    clock.advance(there_ns)
    collector_us = clock.wall_ns() // 1_000 - ahead_us
    clock.advance(back_ns)

    found = estimate_clock_offset(sent, read_clocks(clock), collector_us)

    assert found is not None
    assert abs(found.offset_us - ahead_us) <= found.error_us
    assert found.error_us <= (there_ns + back_ns) // 2_000 + 3


@pytest.mark.parametrize("step_ns", [CLOCK_STEP_THRESHOLD_NS + 1, -CLOCK_STEP_THRESHOLD_NS - 1, -37 * S_NS])
def test_a_step_during_the_exchange_shows_nothing(step_ns: int) -> None:
    """Which of the two times was the agent's?"""
    sent = ClockReading(wall_ns=WALL_NS, monotonic_ns=0)

    assert (
        estimate_clock_offset(sent, ClockReading(wall_ns=WALL_NS + step_ns, monotonic_ns=0), WALL_NS // 1_000) is None
    )


def test_a_collector_that_does_not_tell_its_time_shows_nothing() -> None:
    """Version 1 of the wire."""
    now = ClockReading(wall_ns=WALL_NS, monotonic_ns=0)

    assert estimate_clock_offset(now, now, None) is None
