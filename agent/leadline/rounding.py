"""Rounding of bounds and shares for people.

Rule 1: a lower bound is rounded down and an upper bound up, so the printed bound is true. A share is rounded down.
Rule 2: a share below 1 never prints as 100 %, and one above 0 never as 0 %: it gets more decimals.
Rule 3: a float means the shortest decimal number that reads back as it: 0.995 is 99.5 %, not a little less.
Rule 4: documents for programs keep full precision.
"""

from __future__ import annotations

from decimal import Decimal

#: A share of 1e-12 has all its decimals; a smaller one is printed with an exponent.
_DECIMALS_MAX = 12


def round_down(value: float | Decimal, decimals: int) -> Decimal:
    """Round toward minus infinity; the result keeps trailing zeros."""
    numerator, denominator = _to_decimal(value).as_integer_ratio()
    return Decimal(numerator * 10**decimals // denominator).scaleb(-decimals)


def round_up(value: float | Decimal, decimals: int) -> Decimal:
    """Round toward plus infinity; the result keeps trailing zeros."""
    return -round_down(-_to_decimal(value), decimals)


def format_percent(ratio: float, decimals: int = 3, *, up: bool = False, apart_from: float | None = None) -> str:
    """Format a ratio as percent without the unit, rounded down: ``99.499`` for 0.9949996.

    ``up`` is for an upper bound. ``apart_from`` is a ratio that the bound differs from: both print differently.
    """
    numerator, denominator = _to_decimal(ratio).as_integer_ratio()
    different = None if apart_from is None or apart_from == ratio else _to_decimal(apart_from).as_integer_ratio()
    return _format_percent(numerator, denominator, decimals, up=up, different=different)


def format_percent_of(part: int, whole: int, decimals: int = 3) -> str:
    """Format a share as percent without the unit, rounded down; ``whole`` is above 0."""
    return _format_percent(part, whole, decimals)


def format_nominal_percent(ratio: float, decimals: int = 0) -> str:
    """Format a given ratio, such as a target, as percent without rounding: ``99.5``. ``decimals`` is the minimum."""
    percent = _to_decimal(ratio).scaleb(2).normalize()
    exponent = percent.as_tuple().exponent
    assert isinstance(exponent, int)
    return f"{percent:.{max(decimals, -exponent)}f}"


def _to_decimal(value: float | Decimal) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(repr(float(value)))


def _format_percent(
    numerator: int, denominator: int, decimals: int, *, up: bool = False, different: tuple[int, int] | None = None
) -> str:
    while True:
        scale = 10**decimals
        scaled = -(-100 * scale * numerator // denominator) if up else 100 * scale * numerator // denominator
        is_zero = scaled == 0 and numerator != 0
        is_whole = scaled == 100 * scale and numerator != denominator
        is_equal = different is not None and scaled * different[1] == 100 * scale * different[0]
        if not (is_zero or is_whole or is_equal):
            break
        decimals += 1
    if decimals > _DECIMALS_MAX and 2 * numerator < denominator:
        return f"{scaled}e-{decimals}"
    sign, (whole, rest) = "-" * (scaled < 0), divmod(abs(scaled), scale)
    return f"{sign}{whole}.{rest:0{decimals}}" if decimals else f"{sign}{whole}"
