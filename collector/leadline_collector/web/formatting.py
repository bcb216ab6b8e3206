"""Formatting of numbers and times for the pages.

Rule 1: shares and lower bounds are rounded down, upper bounds up (``leadline.rounding``): "100 %" means all. A share
above zero never prints as "0 %".
Rule 2: round trips are printed with microseconds, as stored: 4.999 ms never prints as 5.00 ms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from leadline import rounding
from leadline.evaluation import WindowCause, WindowState
from leadline.model import Site

#: Keeps a number and its unit on one line.
_NBSP = "\u00a0"
#: Placeholder for a missing value.
NO_VALUE = "\u2013"


def format_ms(us: int) -> str:
    """Format microseconds as milliseconds: ``4.912 ms``."""
    return f"{us // 1_000}.{us % 1_000:03}{_NBSP}ms"


def format_percent(part: int, whole: int) -> str:
    """Format a share, rounded down to hundredths of a percent: ``99.31 %``. ``whole`` is above 0."""
    if part in (0, whole):
        return f"{100 if part else 0}{_NBSP}%"
    if part * 10_000 < whole:
        return f"<{_NBSP}0.01{_NBSP}%"
    return f"{rounding.format_percent_of(part, whole, 2)}{_NBSP}%"


def format_whole_percent(part: int, whole: int) -> str:
    """Format a share, rounded down to whole percent: ``87 %``. ``whole`` is above 0."""
    if 0 < part * 100 < whole:
        return f"<{_NBSP}1{_NBSP}%"
    return f"{rounding.format_percent_of(part, whole, 0)}{_NBSP}%"


def format_ratio(ratio: float, decimals: int = 3, *, up: bool = False) -> str:
    """Format a bound or a share like the reasons of a verdict, ``up`` for an upper bound: ``99.421 %``."""
    return f"{rounding.format_percent(ratio, decimals, up=up)}{_NBSP}%"


def format_target(ratio: float) -> str:
    """Format a given ratio without rounding: ``99.5 %``."""
    return f"{rounding.format_nominal_percent(ratio)}{_NBSP}%"


def format_count(number: int) -> str:
    """Format a number with thousands separators: ``40,140``."""
    return f"{number:,}"


#: Name of each cause in lists, in their order.
CAUSE_NAMES = {
    WindowCause.LATENCY: "latency",
    WindowCause.LOSS: "loss",
    WindowCause.BOTH: "loss and latency",
    WindowCause.OUTAGE: "outage",
}


def format_cause_counts(counts: Mapping[WindowCause, int]) -> str:
    """Format the causes that occur, the most frequent first: ``12 latency, 3 loss``; empty without one."""
    present = sorted((cause for cause in CAUSE_NAMES if counts.get(cause)), key=lambda cause: -counts[cause])
    return ", ".join(f"{counts[cause]:,}{_NBSP}{CAUSE_NAMES[cause]}" for cause in present)


def format_state(state: WindowState, cause: WindowCause | None) -> str:
    """Format a state with the cause of a bad one: ``bad: latency``. The cause of ``unavailable`` is its definition."""
    if state is not WindowState.BAD or cause is None:
        return state.value
    return f"{state.value}: {CAUSE_NAMES[cause]}"


def format_comparison(text: str) -> str:
    """Format a limit or a rule with typographic signs and without a line break in its number and unit: ``≤ 10 ms``."""
    typographic = text.replace("<=", "≤").replace(">=", "≥")
    return re.sub(r"([<≤≥]) ([0-9.]+) (\S+)$", rf"\1{_NBSP}\2{_NBSP}\3", typographic)


def format_time(epoch_s: int) -> str:
    """Format an epoch second in UTC: ``2026-11-22 06:52 UTC``."""
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%d %H:%M} UTC"


def format_url_time(epoch_s: int) -> str:
    """Format an epoch second for a URL: ``2026-11-22T06:52Z``."""
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%dT%H:%MZ}"


def format_day(epoch_s: int) -> str:
    """Format the UTC day of an epoch second: ``22 Nov 2026``."""
    day = datetime.fromtimestamp(epoch_s, UTC)
    return f"{day.day} {day:%b %Y}"


def format_short_time(epoch_s: int, now_s: int) -> str:
    """Format a UTC time: ``06:52`` on the day of ``now_s``, ``21 Nov 06:52`` on another day."""
    time, now = (datetime.fromtimestamp(value, UTC) for value in (epoch_s, now_s))
    return f"{time:%H:%M}" if time.date() == now.date() else f"{time.day} {time:%b %H:%M}"


def format_duration(seconds: int) -> str:
    """Format a duration of whole minutes: ``28 days``, ``1 hour``, ``27 days 23 hours 59 minutes``."""
    minutes = seconds // 60
    parts = ((minutes // 1_440, "day"), (minutes // 60 % 24, "hour"), (minutes % 60, "minute"))
    return " ".join(f"{number}{_NBSP}{name}{'' if number == 1 else 's'}" for number, name in parts if number)


def format_age(seconds: int) -> str:
    """Format an age in its largest unit, rounded down: ``40 s ago``, ``3 min ago``, ``2 days ago``."""
    for unit_s, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit_s or (name != "days" and seconds >= unit_s):
            return f"{seconds // unit_s}{_NBSP}{name} ago"
    return f"{max(0, seconds)}{_NBSP}s ago"


def format_bytes(byte_count: int) -> str:
    """Format a size with three significant digits, in powers of 1024: ``512 B``, ``1.46 MiB``."""
    value, unit = float(byte_count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1_000:
            break
        value, unit = value / 1_024, larger
    return f"{value:.3g}{_NBSP}{unit}"


def format_local_time(site: Site, epoch_s: int) -> str:
    """Format the local time at a site: ``07:52 CET``; empty if the site uses UTC."""
    if site.time_zone == "UTC":
        return ""
    return f"{datetime.fromtimestamp(epoch_s, ZoneInfo(site.time_zone)):%H:%M %Z}"


def format_time_zone(site: Site, epoch_s: int) -> str:
    """Format a site's time zone with its offset at that time: ``Europe/Berlin (UTC+01:00)``."""
    offset = f"{datetime.fromtimestamp(epoch_s, ZoneInfo(site.time_zone)):%z}"
    return f"{site.time_zone} (UTC{offset[:3]}:{offset[3:]})" if site.time_zone != "UTC" else "UTC"
