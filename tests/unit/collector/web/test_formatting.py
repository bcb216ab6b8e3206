"""Formatting of numbers and times."""

from __future__ import annotations

import pytest

from leadline.model import Site
from leadline_collector.web.formatting import (
    format_comparison,
    format_duration,
    format_local_time,
    format_ms,
    format_percent,
    format_short_time,
    format_time_zone,
    format_whole_percent,
)

NOW_S = 1_795_327_200  # 2026-11-22 06:00 UTC


def plain(text: str) -> str:
    """Replace non-breaking spaces by spaces."""
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 7, "0 %"),
        (7, 7, "100 %"),
        (40_319, 40_320, "99.99 %"),
        (1, 40_320, "< 0.01 %"),
        (1_402, 1_412, "99.29 %"),
        (1, 3, "33.33 %"),
    ],
)
def test_a_share_is_never_rounded_up(part: int, whole: int, text: str) -> None:
    """100 % means all, 0 % means nothing."""
    assert plain(format_percent(part, whole)) == text


@pytest.mark.parametrize(("part", "whole", "text"), [(0, 9, "0 %"), (1, 900, "< 1 %"), (899, 900, "99 %")])
def test_a_coverage_is_never_rounded_up(part: int, whole: int, text: str) -> None:
    """Whole percent are rounded down too."""
    assert plain(format_whole_percent(part, whole)) == text


@pytest.mark.parametrize(("us", "text"), [(0, "0.000 ms"), (4_999, "4.999 ms"), (142_030, "142.030 ms")])
def test_a_round_trip_is_printed_with_microseconds(us: int, text: str) -> None:
    """A value just below a limit does not print as the limit."""
    assert plain(format_ms(us)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3_600, "1 hour"), (28 * 86_400, "28 days"), (28 * 86_400 - 60, "27 days 23 hours 59 minutes"), (60, "1 minute")],
)
def test_a_duration_is_printed_in_whole_units(seconds: int, text: str) -> None:
    """Units with zero are omitted."""
    assert plain(format_duration(seconds)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<= 10 ms", "≤ 10 ms"),
        ("p95 of each 60 s window < 5 ms", "p95 of each 60 s window < 5 ms"),
        (">= 250 Mbps", "≥ 250 Mbps"),
    ],
)
def test_a_limit_is_printed_with_its_sign(text: str, expected: str) -> None:
    """There is no line break between number and unit."""
    assert plain(format_comparison(text)) == expected
    assert " " not in format_comparison(text)[-4:]


def test_a_short_time_has_the_day_unless_it_is_today() -> None:
    """A time without a day means today."""
    assert format_short_time(NOW_S - 60, NOW_S) == "05:59"
    assert format_short_time(NOW_S - 86_400, NOW_S) == "21 Nov 06:00"


def test_local_time_is_empty_for_utc_sites() -> None:
    """Other sites have their local time and their offset."""
    zurich = Site(name="zrh", latitude_deg=47.4, longitude_deg=8.5, time_zone="Europe/Zurich")
    reykjavik = Site(name="rek", latitude_deg=64.1, longitude_deg=-21.9)

    assert (format_local_time(zurich, NOW_S), format_time_zone(zurich, NOW_S)) == (
        "07:00 CET",
        "Europe/Zurich (UTC+01:00)",
    )
    assert (format_local_time(reykjavik, NOW_S), format_time_zone(reykjavik, NOW_S)) == (
        "",
        "UTC",
    )
