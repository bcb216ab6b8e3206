"""Numbers as people read them."""

from __future__ import annotations

import pytest

from leadline.model import Site
from leadline_collector.web import formatting

NOW_S = 1_795_327_200  # 2026-11-22 06:00 UTC


def plain(text: str) -> str:
    """With ordinary blanks."""
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
    """100 % means every one, 0 % means none."""
    assert plain(formatting.format_percent(part, whole)) == text


@pytest.mark.parametrize(("part", "whole", "text"), [(0, 9, "0 %"), (1, 900, "< 1 %"), (899, 900, "99 %")])
def test_a_coverage_is_never_rounded_up(part: int, whole: int, text: str) -> None:
    """In whole percent the same holds."""
    assert plain(formatting.format_whole_percent(part, whole)) == text


@pytest.mark.parametrize(("us", "text"), [(0, "0.000 ms"), (4_999, "4.999 ms"), (142_030, "142.030 ms")])
def test_a_round_trip_keeps_its_microseconds(us: int, text: str) -> None:
    """What is just below a limit is not printed as the limit."""
    assert plain(formatting.format_ms(us)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3_600, "1 hour"), (28 * 86_400, "28 days"), (28 * 86_400 - 60, "27 days 23 hours 59 minutes"), (60, "1 minute")],
)
def test_a_period_is_named_in_whole_units(seconds: int, text: str) -> None:
    """Units that are zero are left out."""
    assert plain(formatting.format_duration(seconds)) == text


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("<= 10 ms", "≤ 10 ms"),
        ("p95 of each 60 s window < 5 ms", "p95 of each 60 s window < 5 ms"),
        (">= 250 Mbps", "≥ 250 Mbps"),
    ],
)
def test_a_limit_is_printed_with_its_sign(text: str, printed: str) -> None:
    """And does not break between number and unit."""
    assert plain(formatting.format_comparison(text)) == printed
    assert " " not in formatting.format_comparison(text)[-4:]


def test_the_day_is_named_when_it_is_another() -> None:
    """A time alone means today."""
    assert formatting.format_short_time(NOW_S - 60, NOW_S) == "05:59"
    assert formatting.format_short_time(NOW_S - 86_400, NOW_S) == "21 Nov 06:00"


def test_a_site_has_its_own_time() -> None:
    """Beside UTC stands what the clocks at the site show; a site on UTC needs nothing beside it."""
    zurich = Site(name="zrh", latitude_deg=47.4, longitude_deg=8.5, time_zone="Europe/Zurich")
    reykjavik = Site(name="rek", latitude_deg=64.1, longitude_deg=-21.9)

    assert (formatting.format_local_time(zurich, NOW_S), formatting.format_time_zone(zurich, NOW_S)) == (
        "07:00 CET",
        "Europe/Zurich (UTC+01:00)",
    )
    assert (formatting.format_local_time(reykjavik, NOW_S), formatting.format_time_zone(reykjavik, NOW_S)) == (
        "",
        "UTC",
    )
