"""What this host says of its own clock, and how far it is from the collector's: the anchors a batch carries.

Nothing here corrects a time. RTTs come from differences of one clock; this is evidence about the labels (delivery.md).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from leadline.clock import Clock
from leadline.model import us_ceil
from leadline.wire import batch as wire

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
#: Of linux/timex.h: the kernel's clock is not disciplined; offsets are nanoseconds and not microseconds.
_STA_UNSYNC, _STA_NANO = 0x0040, 0x2000
#: What adjtimex(2) returns then, too.
_TIME_ERROR = 5
#: A wall clock that moved against the monotonic one by more than this during an exchange was stepped; slewing at its
#: fastest (500 ppm) moves it by 15 ms in the 30 s a POST may take.
CLOCK_STEP_THRESHOLD_NS = 20_000_000


class _Timeval(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_usec", ctypes.c_long))


class Timex(ctypes.Structure):
    """struct timex of linux/timex.h; only what is read has a name that matters, the rest keeps its place."""

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


#: Fills in a ``Timex`` whose modes are 0 and gives what adjtimex(2) returns; OSError where it is refused.
TimexReader = Callable[[Timex], int]


def read_timex(timex: Timex) -> int:
    """adjtimex(2) of this host. With modes 0 it reads, changes nothing and needs no privilege."""
    assert timex.modes == 0
    returned: int = _adjtimex(ctypes.byref(timex))
    if returned < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return returned


def _adjtimex(timex: object) -> int:
    # The C library that is loaded already, whichever it is (glibc and musl have the call).
    returned: int = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    return returned


def read_clock_state(read: TimexReader = read_timex) -> wire.ClockState | None:
    """What NTP has told the kernel; None where the kernel does not say (a sandbox that refuses the call)."""
    timex = Timex()
    try:
        returned = read(timex)
    except (OSError, AttributeError):
        return None
    return wire.ClockState(
        synchronised=returned != _TIME_ERROR and not timex.status & _STA_UNSYNC,
        offset_us=timex.offset // 1_000 if timex.status & _STA_NANO else timex.offset,
        max_error_us=max(timex.maxerror, 0),
        estimated_error_us=max(timex.esterror, 0),
    )


def read_boot_id(file: Path = BOOT_ID_FILE) -> str | None:
    """The random name of this run of the kernel; None where it cannot be read or is none."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if 0 < len(text) <= 36 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """Both clocks of the agent at one moment, nanoseconds."""

    wall_ns: int
    monotonic_ns: int


def read_clocks(clock: Clock) -> ClockReading:
    """Now."""
    return ClockReading(wall_ns=clock.wall_ns(), monotonic_ns=clock.monotonic_ns())


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """The agent's wall clock minus the collector's: ``offset_us`` ± ``error_us``."""

    offset_us: int
    error_us: int


def estimate_clock_offset(
    send_reading: ClockReading, receive_reading: ClockReading, collector_us: int | None
) -> ClockOffset | None:
    """The offset that a POST shows, from ``Ack.received_at_us``; None if it shows none.

    The collector read its clock at some moment between the sending and the answer. Half of the way is the best guess,
    and half of the time between the two bounds its error whichever way was the slower. None without a reading, and
    when the agent's own clock was stepped meanwhile.
    """
    took_ns = receive_reading.monotonic_ns - send_reading.monotonic_ns
    moved_ns = receive_reading.wall_ns - send_reading.wall_ns - took_ns
    if collector_us is None or took_ns < 0 or abs(moved_ns) > CLOCK_STEP_THRESHOLD_NS:
        return None
    middle_us = (send_reading.wall_ns + took_ns // 2) // 1_000
    # A microsecond for the collector's rounding, one for ours.
    error_us = us_ceil(took_ns // 2 + abs(moved_ns)) + 2
    return ClockOffset(offset_us=middle_us - collector_us, error_us=error_us)
