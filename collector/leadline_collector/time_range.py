"""Time ranges of requests: half-open, whole UTC minutes or days, parsed from query parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from leadline.clock import format_iso8601
from leadline.durations import parse_duration_ms
from leadline.model import WINDOW_S
from leadline.wire.batch import TIME_S_MAX
from leadline_collector.errors import InvalidRequestError

#: A window is sealed 16 s after its end and sent at once; before that it does not count as missing.
SETTLE_S = 30
RANGE_S_DEFAULT = 86_400
#: Thirteen months: a year and the month it is compared with.
RANGE_S_MAX = 400 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """[start_s, end_s) in epoch seconds; at least one whole minute."""

    start_s: int
    end_s: int

    @property
    def window_count(self) -> int:
        """Number of windows in the range."""
        return (self.end_s - self.start_s) // WINDOW_S


def parse_time_range(start: str | None, end: str | None, now_s: int) -> TimeRange:
    """Return the range between two instants; raise InvalidRequestError if they form none.

    The range ends at the latest with the last minute that every agent has had time to send. ``now`` is that end, and
    -24h counts back from it, so it always has 1,440 windows. The default is the last 24 h.
    """
    settled_s = _floor_to_minute(now_s - SETTLE_S)
    end_s = min(_floor_to_minute(parse_instant("to", end, settled_s)) if end else settled_s, settled_s)
    start_s = _floor_to_minute(parse_instant("from", start, settled_s)) if start else end_s - RANGE_S_DEFAULT
    if start_s >= end_s:
        raise InvalidRequestError(
            f"from: the period has no complete minute ({format_iso8601(start_s)} to {format_iso8601(end_s)})",
            path="from",
        )
    if end_s - start_s > RANGE_S_MAX:
        raise InvalidRequestError(f"from: the period is longer than {RANGE_S_MAX // 86_400} days", path="from")
    return TimeRange(start_s=start_s, end_s=end_s)


#: Every hour of the week four times.
VERDICT_DAYS_DEFAULT = 28
DAY_S = 86_400


def parse_day_range(start: str | None, end: str | None, now_s: int) -> TimeRange:
    """Return whole UTC days, both ends rounded down to midnight; the default is the last 28 complete days.

    A date without a time, such as 2026-11-01, is its midnight. Raise InvalidRequestError if there is no whole day.
    """
    end_s = _floor_to_day(parse_instant("to", end, now_s)) if end else _floor_to_day(now_s)
    start_s = _floor_to_day(parse_instant("from", start, now_s)) if start else end_s - VERDICT_DAYS_DEFAULT * DAY_S
    if start_s >= end_s:
        raise InvalidRequestError(
            f"from: there is no whole UTC day between {format_iso8601(start_s)} and {format_iso8601(end_s)}",
            path="from",
        )
    if end_s - start_s > RANGE_S_MAX:
        raise InvalidRequestError(f"from: the period is longer than {RANGE_S_MAX // DAY_S} days", path="from")
    if end_s > _floor_to_day(now_s):
        raise InvalidRequestError(
            f"to: {format_iso8601(end_s)} is in the future; a verdict needs complete UTC days", path="to"
        )
    return TimeRange(start_s=start_s, end_s=end_s)


def _floor_to_day(second: int) -> int:
    return second - second % DAY_S


def parse_instant(name: str, text: str, now_s: int) -> int:
    """Return the epoch second of ``text``: a number, ``now``, ``-24h``, or ISO 8601 with a time zone.

    Raise InvalidRequestError that names the parameter ``name``.
    """
    try:
        second = _parse_instant(text.strip(), now_s)
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(f"{name}: {error}", path=name) from error
    if not 0 <= second <= TIME_S_MAX:
        raise InvalidRequestError(f"{name}: {text!r} is outside the years 1970 to 2100", path=name)
    return second


def _parse_instant(text: str, now_s: int) -> int:
    if text == "now":
        return now_s
    if re.fullmatch(r"\d{1,12}", text, re.ASCII):
        return int(text)
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        return _parse_iso(f"{text}T00:00:00Z")
    if re.match(r"-\d", text):
        return now_s - parse_duration_ms(text[1:]) // 1_000
    return _parse_iso(text)


def _parse_iso(text: str) -> int:
    # An unescaped '+' in a URL arrives as a space.
    iso_text = re.sub(r" (?=\d\d:?\d\d$)", "+", text) if "T" in text else text
    try:
        instant = datetime.fromisoformat(iso_text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time: use epoch seconds, ISO 8601 such as 2026-11-22T06:00:00Z, now, or -24h"
        ) from None
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: add Z or an offset such as +01:00")
    return int(instant.timestamp() // 1)


def _floor_to_minute(second: int) -> int:
    return second - second % WINDOW_S
