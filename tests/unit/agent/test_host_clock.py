"""State of the host clock, and the clock offset measured by an upload."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.clock import SystemClock
from leadline.wire.batch import ClockState
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


def read_fake_state(result: int = 0, status: int = 1, offset: int = 0) -> ClockState | None:
    def read(timex: Timex) -> int:
        timex.status, timex.offset, timex.maxerror, timex.esterror = status, offset, 16_000, 500
        return result

    return read_clock_state(read)


def test_a_disciplined_clock_is_synchronised() -> None:
    """The state contains the kernel's error estimates."""
    assert read_fake_state() == ClockState(synchronised=True, offset_us=0, max_error_us=16_000, estimated_error_us=500)


@pytest.mark.parametrize(("result", "status"), [(5, 1), (0, 0x40), (5, 0x40)])
def test_undisciplined_clock_is_not_synchronised(result: int, status: int) -> None:
    """The return value and the status bit each mark the clock as not synchronised."""
    state = read_fake_state(result, status)

    assert state is not None
    assert not state.synchronised


@pytest.mark.parametrize(("status", "offset_us"), [(1, -1_500_000), (1 | 0x2000, -1_500)])
def test_offset_is_in_microseconds(status: int, offset_us: int) -> None:
    """With STA_NANO the kernel's offset is in nanoseconds."""
    state = read_fake_state(status=status, offset=-1_500_000)

    assert state is not None
    assert state.offset_us == offset_us


def test_a_refused_call_is_unknown() -> None:
    """A sandbox may forbid adjtimex; the state is then None."""

    def refuse(timex: Timex) -> int:
        raise PermissionError(errno.EPERM, "no")

    assert read_clock_state(refuse) is None


def test_kernel_of_this_host_returns_a_state() -> None:
    """The structure has the kernel's layout: the 10 ms tick and the time of day have plausible values."""
    timex = Timex()
    read_timex(timex)

    assert 9_000 <= timex.tick <= 11_000
    assert abs(timex.time.tv_sec - SystemClock().wall_ns() // S_NS) <= 5
    assert read_clock_state() is not None


def test_boot_id_is_read(tmp_path: Path) -> None:
    """The result is None for a missing file or an unexpected length."""
    file = tmp_path / "boot_id"
    file.write_text("0a8e2d2a-6c62-4bb1-a43f-1c57f1b5dd1b\n")

    assert read_boot_id(file) == "0a8e2d2a-6c62-4bb1-a43f-1c57f1b5dd1b"
    assert read_boot_id(tmp_path / "none") is None
    file.write_text("x" * 37)
    assert read_boot_id(file) is None


def test_boottime_includes_suspend() -> None:
    """Time since boot is never behind the monotonic clock, for the fake and for the real clock."""
    clock = FakeClock()
    clock.suspend(7 * S_NS)

    assert (clock.boottime_ns(), clock.monotonic_ns()) == (7 * S_NS, 0)
    assert SystemClock().boottime_ns() >= SystemClock().monotonic_ns() - S_NS


@given(st.integers(-(10**12), 10**12), st.integers(0, 30 * S_NS), st.integers(0, 30 * S_NS), st.integers(0, 10**6))
def test_true_offset_is_within_the_error(ahead_us: int, request_ns: int, response_ns: int, origin_ns: int) -> None:
    """The error covers the true offset for any duration of request and response."""
    clock = FakeClock(WALL_NS + origin_ns)
    send_reading = read_clocks(clock)
    clock.advance(request_ns)
    collector_us = clock.wall_ns() // 1_000 - ahead_us
    clock.advance(response_ns)

    estimate = estimate_clock_offset(send_reading, read_clocks(clock), collector_us)

    assert estimate is not None
    assert abs(estimate.offset_us - ahead_us) <= estimate.error_us
    assert estimate.error_us <= (request_ns + response_ns) // 2_000 + 3


@pytest.mark.parametrize("step_ns", [CLOCK_STEP_THRESHOLD_NS + 1, -CLOCK_STEP_THRESHOLD_NS - 1, -37 * S_NS])
def test_step_during_an_upload_gives_no_offset(step_ns: int) -> None:
    """The agent's time of the upload is then ambiguous."""
    send_reading = ClockReading(wall_ns=WALL_NS, monotonic_ns=0)

    assert (
        estimate_clock_offset(send_reading, ClockReading(wall_ns=WALL_NS + step_ns, monotonic_ns=0), WALL_NS // 1_000)
        is None
    )


def test_missing_collector_time_gives_no_offset() -> None:
    """Acknowledgements of wire version 1 have no timestamp."""
    now = ClockReading(wall_ns=WALL_NS, monotonic_ns=0)

    assert estimate_clock_offset(now, now, None) is None
