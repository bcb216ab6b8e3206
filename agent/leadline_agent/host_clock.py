"""State of the host clock and its offset from the collector's clock; every batch carries both.

No timestamp is corrected. RTTs are differences of one clock; these values show how accurate the timestamps are.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from leadline.clock import Clock
from leadline.model import us_ceil
from leadline.wire.batch import ClockState

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
#: Status bits of linux/timex.h: the clock is not synchronised; offsets are nanoseconds instead of microseconds.
_STA_UNSYNC, _STA_NANO = 0x0040, 0x2000
#: Return value of adjtimex(2) for an unsynchronised clock.
_TIME_ERROR = 5
#: A larger change of wall clock against monotonic clock during an upload is a clock step. Slewing at the maximum rate
#: (500 ppm) changes it by 15 ms within the 30 s that a POST may take.
CLOCK_STEP_THRESHOLD_NS = 20_000_000


class _Timeval(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_usec", ctypes.c_long))


class Timex(ctypes.Structure):
    """``struct timex`` of linux/timex.h. The unused fields keep the offsets right."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", _Timeval),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


#: Fills a ``Timex`` with modes 0 and returns the result of adjtimex(2); raises OSError if the call fails.
TimexReader = Callable[[Timex], int]


def read_timex(timex: Timex) -> int:
    """Call adjtimex(2) and return its result. With modes 0 it only reads and needs no privilege."""
    assert timex.modes == 0
    result: int = _adjtimex(ctypes.byref(timex))
    if result < 0:
        error_number = ctypes.get_errno()
        raise OSError(error_number, os.strerror(error_number))
    return result


def _adjtimex(timex: object) -> int:
    # CDLL(None) uses the C library of this process; glibc and musl both have the call.
    result: int = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    return result


def read_clock_state(read: TimexReader = read_timex) -> ClockState | None:
    """Return the kernel's NTP state; None if the call is not allowed (a sandbox)."""
    timex = Timex()
    try:
        result = read(timex)
    except (OSError, AttributeError):
        return None
    return ClockState(
        synchronised=result != _TIME_ERROR and not timex.status & _STA_UNSYNC,
        offset_us=timex.offset // 1_000 if timex.status & _STA_NANO else timex.offset,
        max_error_us=max(timex.maxerror, 0),
        estimated_error_us=max(timex.esterror, 0),
    )


def read_boot_id(file: Path = BOOT_ID_FILE) -> str | None:
    """Return the kernel's boot id; None if the file cannot be read or has an unexpected length."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if 0 < len(text) <= 36 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """Wall clock and monotonic clock of the agent at one time, nanoseconds."""

    wall_ns: int
    monotonic_ns: int


def read_clocks(clock: Clock) -> ClockReading:
    """Return the current reading of both clocks."""
    return ClockReading(wall_ns=clock.wall_ns(), monotonic_ns=clock.monotonic_ns())


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """Wall clock of the agent minus that of the collector: ``offset_us`` ± ``error_us``."""

    offset_us: int
    error_us: int


def estimate_clock_offset(
    send_reading: ClockReading, receive_reading: ClockReading, collector_us: int | None
) -> ClockOffset | None:
    """Estimate the clock offset from one upload and the collector's timestamp ``Ack.received_at_us``.

    The collector read its clock at some time between request and response. The midpoint is the best estimate; half of
    the round trip bounds its error even if the two directions differ. Return None without a timestamp, or if the
    agent's clock was stepped during the upload.
    """
    round_trip_ns = receive_reading.monotonic_ns - send_reading.monotonic_ns
    drift_ns = receive_reading.wall_ns - send_reading.wall_ns - round_trip_ns
    if collector_us is None or round_trip_ns < 0 or abs(drift_ns) > CLOCK_STEP_THRESHOLD_NS:
        return None
    midpoint_us = (send_reading.wall_ns + round_trip_ns // 2) // 1_000
    # One microsecond each for the rounding of the collector and of the agent.
    error_us = us_ceil(round_trip_ns // 2 + abs(drift_ns)) + 2
    return ClockOffset(offset_us=midpoint_us - collector_us, error_us=error_us)
