"""Time ranges of requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline_collector.errors import InvalidRequestError
from leadline_collector.time_range import SETTLE_S, parse_time_range

NOW_S = 1_795_330_000


@given(st.integers(NOW_S, NOW_S + 86_400))
def test_a_relative_start_is_whole_at_every_second(now_s: int) -> None:
    """The last 24 hours always have 1,440 windows, the last 28 days 40,320."""
    assert parse_time_range("-24h", None, now_s).window_count == 1_440
    assert parse_time_range("-28d", None, now_s).window_count == 40_320
    assert parse_time_range(None, None, now_s) == parse_time_range("-24h", "now", now_s)


@given(st.integers(NOW_S, NOW_S + 86_400))
def test_the_last_minute_is_left_out_until_it_can_arrive(now_s: int) -> None:
    """The end is a whole minute, at least ``SETTLE_S`` ago."""
    end_s = parse_time_range(None, "now", now_s).end_s

    assert end_s % 60 == 0
    assert SETTLE_S <= now_s - end_s < SETTLE_S + 60


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"),
        ("2026-11-20T01:00:00+01:00", "2026-11-21T01:00+01:00"),
        ("1795132800", "1795219200"),
        ("1795132859", "1795219259"),
    ],
)
def test_formats_of_instants(start: str, end: str) -> None:
    """ISO 8601 with a time zone and epoch seconds, rounded down to whole minutes."""
    period = parse_time_range(start, end, NOW_S)

    assert (period.start_s, period.end_s) == (1_795_132_800, 1_795_219_200)


@pytest.mark.parametrize(
    ("start", "end", "detail"),
    [
        ("yesterday", None, "from: 'yesterday' is not a time"),
        ("2026-11-20T00:00:00", None, "has no time zone"),
        ("now", None, "has no complete minute"),
        ("-1h", "-2h", "has no complete minute"),
        ("-401d", None, "longer than 400 days"),
        ("-1x", None, "is not a duration"),
        ("99999999999", None, "outside the years"),
    ],
)
def test_an_invalid_period_is_refused(start: str, end: str | None, detail: str) -> None:
    """The error explains what is wrong with the value."""
    with pytest.raises(InvalidRequestError) as error:
        parse_time_range(start, end, NOW_S)

    assert detail in error.value.detail
