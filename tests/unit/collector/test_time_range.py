"""The period a question is about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline_collector.errors import InvalidRequestError
from leadline_collector.time_range import SETTLE_S, parse_time_range

NOW_S = 1_795_330_000


@given(st.integers(NOW_S, NOW_S + 86_400))
def test_a_relative_start_is_whole_at_every_second(now_s: int) -> None:
    """The last 24 hours have 1,440 windows, the last 28 days 40,320, whenever they are asked for."""
    assert parse_time_range("-24h", None, now_s).window_count == 1_440
    assert parse_time_range("-28d", None, now_s).window_count == 40_320
    assert parse_time_range(None, None, now_s) == parse_time_range("-24h", "now", now_s)


@given(st.integers(NOW_S, NOW_S + 86_400))
def test_a_minute_nobody_has_sent_yet_is_not_in_it(now_s: int) -> None:
    """The end is a whole minute that ended at least so long ago as agents need."""
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
def test_instants_as_people_write_them(start: str, end: str) -> None:
    """ISO 8601 with a zone and epoch seconds; cut to whole minutes."""
    period = parse_time_range(start, end, NOW_S)

    assert (period.start_s, period.end_s) == (1_795_132_800, 1_795_219_200)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("yesterday", None, "from: 'yesterday' is no time"),
        ("2026-11-20T00:00:00", None, "has no time zone"),
        ("now", None, "holds no complete minute"),
        ("-1h", "-2h", "holds no complete minute"),
        ("-401d", None, "longer than 400 days"),
        ("-1x", None, "is not a duration"),
        ("99999999999", None, "outside the years"),
    ],
)
def test_what_is_no_period(start: str, end: str | None, said: str) -> None:
    """422 with the value."""
    with pytest.raises(InvalidRequestError) as refused:
        parse_time_range(start, end, NOW_S)

    assert said in refused.value.detail
