"""Durations with a unit, such as ``10s``, ``100ms``, ``24h``."""

from __future__ import annotations

import re

_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")


def parse_duration_ms(text: str) -> int:
    """Parse a duration into whole milliseconds above 0; raise ValueError for any other text."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a duration: write a number and a unit, such as 100ms, 10s, 5m, 24h or 28d")
    whole, _, fraction = match[1].partition(".")
    thousandths = (int(whole) * 1_000 + int(fraction.ljust(3, "0") or "0")) * _UNIT_MS[match[2]]
    if thousandths % 1_000 or not thousandths:
        raise ValueError(f"{text!r} is not a whole number of milliseconds above 0")
    return thousandths // 1_000


def format_duration(ms: int) -> str:
    """Format milliseconds as the shortest text that ``parse_duration_ms`` accepts: 60000 is ``1m``, 1500 ``1500ms``."""
    unit = next(unit for unit in reversed(_UNIT_MS) if ms % _UNIT_MS[unit] == 0)
    return f"{ms // _UNIT_MS[unit]}{unit}"
