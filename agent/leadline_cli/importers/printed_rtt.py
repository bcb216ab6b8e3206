"""RTTs as printed by a program: the interval of each printed value.

Rule 1: an RTT is stored as the upper edge of its interval, and its error bound is the width. So the true value is in
[stored - bound, stored], as for the RTTs of an agent.
Rule 2: a file does not name the version of the program, and versions round differently. The interval covers all of
them.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from leadline.model import RTT_US_MAX, ErrorBound

#: Microseconds of the last digit, by the number of decimals of a value in milliseconds.
_RESOLUTIONS_US = (1_000, 100, 10, 1)


class Rounding(StrEnum):
    """How a program rounds an RTT to the digits that it prints."""

    #: To the microsecond. The RTT is stored as in the file.
    EXACT = "exact"
    #: To the nearest value by some versions, down by others.
    NEAREST_OR_DOWN = "nearest or down"
    #: Unknown program: to the nearest value, down or up.
    UNKNOWN = "unknown"


class PrintedRtt(NamedTuple):
    """A printed RTT in microseconds."""

    #: The printed value. A fraction of a microsecond is rounded up.
    printed_us: int
    #: Value of the last printed digit.
    resolution_us: int
    #: Upper edge of the interval of the true value.
    rtt_us: int
    #: Width of the interval.
    error_us: int


def parse_printed_rtt(milliseconds: str, rounding: Rounding) -> PrintedRtt:
    """Parse printed milliseconds; ValueError if they are invalid."""
    printed_us, resolution_us = parse_rtt_us(milliseconds), parse_resolution_us(milliseconds)
    rtt_us, error_us = compute_interval_us(printed_us, resolution_us, rounding)
    return PrintedRtt(printed_us, resolution_us, rtt_us, error_us)


def compute_interval_us(printed_us: int, resolution_us: int, rounding: Rounding) -> tuple[int, int]:
    """Return the upper edge and the width of the interval of a printed value, in microseconds.

    ``NEAREST_OR_DOWN`` includes a microsecond below, because ping subtracts two times in whole microseconds. The upper
    edge of an RTT of up to a minute is at most a minute, because a longer RTT is a loss.
    """
    match rounding:
        case Rounding.EXACT:
            return printed_us, 1
        case Rounding.NEAREST_OR_DOWN:
            width_us = resolution_us + resolution_us // 2 + 1
        case Rounding.UNKNOWN:
            width_us = 2 * resolution_us
    return max(printed_us, min(printed_us + resolution_us, RTT_US_MAX)), width_us


@lru_cache(maxsize=1_024)
def build_error_bound(p50_us: int, p99_us: int) -> ErrorBound:
    """Return the error bound; equal bounds share one object, because a file has millions of probes."""
    return ErrorBound(p50_us=p50_us, p99_us=p99_us)


def parse_rtt_us(milliseconds: str) -> int:
    """Convert printed milliseconds to microseconds, rounded up; ValueError if invalid."""
    try:
        value = Decimal(milliseconds) * 1_000
    except InvalidOperation:
        raise ValueError(f"{milliseconds!r} is not a number of milliseconds") from None
    if not value.is_finite() or value < 0:
        raise ValueError(f"{milliseconds!r} is not a number of milliseconds")
    return ceil(value)


def parse_resolution_us(milliseconds: str) -> int:
    """Return the value of the last digit of printed milliseconds, in microseconds."""
    return _RESOLUTIONS_US[min(3, len(milliseconds.partition(".")[2]))]
