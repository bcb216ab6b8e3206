"""Causes of the minutes out of limit: the sentence of a verdict, and the time of day that it names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from leadline.limits.catalogue import load_catalogue
from leadline_verdict.causes import find_concentration
from leadline_verdict.requirements import build_requirements
from leadline_verdict.series import IntColumn
from tests.support.verdict_requests import build_document, compute_verdict, get_text
from tests.support.window_factories import DAY, START_S, add_delay, build_columns, build_pair, lose_probes


def delay_and_lose(columns: dict[str, IntColumn]) -> None:
    """Three late minutes and an outage of twenty."""
    add_delay(columns, range(100, 103))
    lose_probes(columns, range(700, 720))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda columns: None, "all 40,320 known minutes were within the limits"),
        (
            lambda columns: add_delay(columns, [5 * DAY]),
            "1 of 40,320 minutes was above 5 ms by latency, in 1 episode",
        ),
        (
            lambda columns: lose_probes(columns, [*range(700, 720), *range(9_000, 9_060)]),
            "no minute exceeded 5 ms by latency; 80 of 40,320 minutes lost 20 % of their probes or more, "
            "in 2 episodes, the longest of 60 min",
        ),
        (
            lambda columns: lose_probes(columns, range(700, 720), lost=4),
            "no minute exceeded 5 ms by latency; 20 of 40,320 minutes lost more than 3 of 60 probes, in 1 episode",
        ),
        (
            delay_and_lose,
            "20 of 40,320 minutes lost 20 % of their probes or more, in 1 episode; "
            "3 of 40,320 minutes were above 5 ms by latency, in 1 episode",
        ),
    ],
    ids=["none", "latency", "outage", "loss", "the largest first"],
)
def test_the_sentence_names_each_cause(change: Callable[[dict[str, IntColumn]], None], text: str) -> None:
    """The largest cause comes first."""
    columns = build_columns(28)
    change(columns)

    assert get_text(compute_verdict(build_pair(columns)), "causes") == text


def test_late_and_lost_probes_together_are_a_cause_of_their_own() -> None:
    """Two late and two lost probes of 60: neither exceeds the three that p95 tolerates."""
    columns = build_columns(28)
    minutes = list(range(500, 510))
    columns["received"][minutes] -= 2
    columns["p95_us"][minutes] += 3_000
    columns["latency_p95_us"][minutes] = 4_050

    assert get_text(compute_verdict(build_pair(columns)), "causes") == (
        "no minute exceeded 5 ms by latency; "
        "10 of 40,320 minutes were above 5 ms only by late and lost probes together, in 1 episode"
    )


@pytest.mark.parametrize(
    ("limit", "lost", "tolerance"),
    [("p50 <= 5 ms", 11, None), ("p95 <= 5 ms", 4, "3 of 60 probes"), ("p99 <= 5 ms", 1, "0 of 60 probes"),
     ("max <= 5 ms", 1, "0 probes")],
)  # fmt: skip
def test_the_tolerated_losses_depend_on_the_statistic(limit: str, lost: int, tolerance: str | None) -> None:
    """The median tolerates half of the probes; 11 of 60 are below the 20 % of an outage."""
    columns = build_columns(28)
    lose_probes(columns, range(500, 510), lost)

    text = get_text(compute_verdict(build_pair(columns), limit), "causes")

    assert (f"lost more than {tolerance}," in text) if tolerance else text.startswith("all 40,320")


def test_paths_with_different_numbers_of_probes_get_a_percentage() -> None:
    """30 and 60 probes a minute."""
    columns, few = build_columns(28), build_columns(28)
    for name in ("expected", "sent", "received"):
        few[name][:] = 30
    lose_probes(columns, range(500, 510), lost=4)

    text = get_text(compute_verdict(build_pair(columns, few)), "causes")

    assert "10 of 40,320 minutes lost more than 5 % of their probes, in 1 episode" in text


def test_a_loss_averaged_over_a_day_is_a_cause() -> None:
    """One of 28 days above 0.2 %: its minutes lost one probe in five, not more than p95 tolerates."""
    columns = build_columns(28)
    lose_probes(columns, range(3 * DAY, 4 * DAY, 5), lost=1)
    catalogue = load_catalogue()
    requirements = build_requirements(catalogue, catalogue.get_profile("hp-continuous-access-loss-high"))

    (verdict,) = build_document(build_pair(columns), requirements=requirements).pairs

    assert "1,440 of 40,320 minutes lost more than a loss limit allows on average, in 1 episode" in get_text(
        verdict, "causes"
    )


def concentrate(
    is_bad: Callable[[datetime], bool], time_zone: str, start_s: int = START_S, days: int = 28
) -> str | None:
    """Name the concentration of the minutes of a period for which ``is_bad`` is true in local time."""
    zone = ZoneInfo(time_zone)
    minutes = [minute for minute in range(days * DAY) if is_bad(datetime.fromtimestamp(start_s + 60 * minute, zone))]
    return find_concentration(np.array(minutes, dtype=np.int64), start_s, time_zone)


def is_office_hour(local: datetime) -> bool:
    """True from 9 to 15 h on weekdays."""
    return local.weekday() < 5 and 9 <= local.hour < 15


@pytest.mark.parametrize("time_zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"])
def test_office_hours_are_named_in_the_time_zone_of_the_site(time_zone: str) -> None:
    """Weekdays from 9 to 15 h, local time."""
    assert concentrate(is_office_hour, time_zone) == f"on weekdays 09\N{EN DASH}15 h ({time_zone})"


def test_office_hours_are_named_across_the_end_of_summer_time() -> None:
    """Four weeks around 25 October 2026, when Berlin moves from UTC+2 to UTC+1."""
    start_s = int(datetime(2026, 10, 12, tzinfo=UTC).timestamp())

    assert concentrate(is_office_hour, "Europe/Berlin", start_s) == "on weekdays 09\N{EN DASH}15 h (Europe/Berlin)"
    assert concentrate(is_office_hour, "Europe/Berlin", start_s) != concentrate(is_office_hour, "UTC", start_s)


@pytest.mark.parametrize(
    ("is_bad", "text"),
    [
        (lambda local: local.hour in {2, 3}, "from 02\N{EN DASH}04 h (Europe/Berlin)"),
        (lambda local: local.hour in {23, 0}, "from 23\N{EN DASH}01 h (Europe/Berlin)"),
        (lambda local: local.hour == 23, "from 23\N{EN DASH}24 h (Europe/Berlin)"),
        (lambda local: local.weekday() >= 5 and local.hour >= 20, "on weekends 20\N{EN DASH}24 h (Europe/Berlin)"),
        (lambda local: local.weekday() >= 5, "on weekends (Europe/Berlin)"),
    ],
    ids=["every night", "over midnight", "before midnight", "weekend evenings", "weekends"],
)
def test_other_concentrations(is_bad: Callable[[datetime], bool], text: str) -> None:
    """Minutes that occur every day are not on weekdays, although 71 % of them are."""
    assert concentrate(is_bad, "Europe/Berlin") == text


@pytest.mark.parametrize(
    "is_bad",
    [
        lambda local: local.minute == 0,
        lambda local: local.weekday() == 0 and local.hour == 3,
        lambda local: local.hour == 3 and local.minute == 0,
    ],
    ids=["every hour", "four days", "28 minutes"],
)
def test_spread_or_rare_minutes_have_no_concentration(is_bad: Callable[[datetime], bool]) -> None:
    """70 % of the minutes must be in nine hours; thirty minutes on five days are the minimum."""
    assert concentrate(is_bad, "UTC") is None
