"""Numbers and times as people read them on the pages.

Rule 1: a share is rounded down, so that "100 %" means every one, and what happened never reads "0 %".
Rule 2: round trips are printed to the microsecond they are stored with: 4.999 ms is not 5.00 ms.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from leadline.model import Site

#: Keeps a number and its unit on one line.
_NBSP = "\u00a0"
#: In place of a figure that there is not.
NO_VALUE = "\u2013"


def format_ms(us: int) -> str:
    """Microseconds as milliseconds: ``4.912 ms``."""
    return f"{us // 1_000}.{us % 1_000:03}{_NBSP}ms"


def format_percent(part: int, whole: int) -> str:
    """``99.31 %``, rounded down to hundredths; ``whole`` is above 0."""
    if part in (0, whole):
        return f"{100 if part else 0}{_NBSP}%"
    hundredths = part * 10_000 // whole
    return f"{hundredths // 100}.{hundredths % 100:02}{_NBSP}%" if hundredths else f"<{_NBSP}0.01{_NBSP}%"


def format_whole_percent(part: int, whole: int) -> str:
    """``87 %``, rounded down; ``whole`` is above 0."""
    hundredths = part * 100 // whole
    return f"{hundredths}{_NBSP}%" if hundredths or not part else f"<{_NBSP}1{_NBSP}%"


def format_count(number: int) -> str:
    """``40,140``."""
    return f"{number:,}"


def format_comparison(text: str) -> str:
    """A limit or a rule with the sign of print, kept on one line with its number and unit: ``≤ 10 ms``."""
    signed = text.replace("<=", "≤").replace(">=", "≥")
    return re.sub(r"([<≤≥]) ([0-9.]+) (\S+)$", rf"\1{_NBSP}\2{_NBSP}\3", signed)


def format_time(epoch_s: int) -> str:
    """``2026-11-22 06:52 UTC``."""
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%d %H:%M} UTC"


def format_url_time(epoch_s: int) -> str:
    """As in an address: ``2026-11-22T06:52Z``."""
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%dT%H:%MZ}"


def format_day(epoch_s: int) -> str:
    """``22 Nov 2026``; UTC."""
    moment_ = datetime.fromtimestamp(epoch_s, UTC)
    return f"{moment_.day} {moment_:%b %Y}"


def format_short_time(epoch_s: int, now_s: int) -> str:
    """``06:52`` on the day of ``now_s``, ``21 Nov 06:52`` on any other; UTC."""
    then, now = (datetime.fromtimestamp(value, UTC) for value in (epoch_s, now_s))
    return f"{then:%H:%M}" if then.date() == now.date() else f"{then.day} {then:%b %H:%M}"


def format_duration(seconds: int) -> str:
    """A period of whole minutes: ``28 days``, ``1 hour``, ``27 days 23 hours 59 minutes``."""
    minutes = seconds // 60
    parts = ((minutes // 1_440, "day"), (minutes // 60 % 24, "hour"), (minutes % 60, "minute"))
    return " ".join(f"{number}{_NBSP}{name}{'' if number == 1 else 's'}" for number, name in parts if number)


def format_age(seconds: int) -> str:
    """How long ago, in the largest unit that fits, rounded down: ``40 s ago``, ``3 min ago``, ``2 days ago``."""
    for unit_s, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit_s or (name != "days" and seconds >= unit_s):
            return f"{seconds // unit_s}{_NBSP}{name} ago"
    return f"{max(0, seconds)}{_NBSP}s ago"


def format_bytes(byte_count: int) -> str:
    """A number of bytes with three significant digits, in powers of 1024: ``512 B``, ``1.46 MiB``."""
    value, unit = float(byte_count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1_000:
            break
        value, unit = value / 1_024, larger
    return f"{value:.3g}{_NBSP}{unit}"


def format_local_time(site: Site, epoch_s: int) -> str:
    """What the clocks at a site show: ``07:52 CET``; empty where they show UTC."""
    if site.time_zone == "UTC":
        return ""
    return f"{datetime.fromtimestamp(epoch_s, ZoneInfo(site.time_zone)):%H:%M %Z}"


def format_time_zone(site: Site, epoch_s: int) -> str:
    """A site's time zone with its offset at that time: ``Europe/Berlin (UTC+01:00)``."""
    offset = f"{datetime.fromtimestamp(epoch_s, ZoneInfo(site.time_zone)):%z}"
    return f"{site.time_zone} (UTC{offset[:3]}:{offset[3:]})" if site.time_zone != "UTC" else "UTC"
