"""Parsing and formatting of timestamps. The time zone is never guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_timestamp_us(text: str) -> int:
    """Parse seconds since 1970, or ISO 8601 with a time zone, to microseconds since 1970; ValueError otherwise."""
    try:
        seconds = Decimal(text)
    except InvalidOperation:
        return _parse_iso_us(text)
    if not seconds.is_finite() or abs(seconds) > 10**15:
        raise ValueError(f"{text!r} is not a time")
    return int(seconds * 1_000_000)


def _parse_iso_us(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time: use seconds since 1970, or ISO 8601 such as 2026-11-22T06:00:00Z"
        ) from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: use {text}Z for UTC, or for example {text}+01:00")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def format_timestamp(time_us: int) -> str:
    """Format a time for people, to the millisecond."""
    at = _EPOCH + timedelta(microseconds=time_us)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1_000:03d} UTC"
