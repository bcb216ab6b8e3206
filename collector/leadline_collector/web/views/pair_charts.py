"""The charts of a pair, from its windows; ``leadline_collector.web.charts`` knows how they look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import numpy as np

from leadline.evaluation import TARGET_SHARE_DEFAULT, Criterion, Measure
from leadline.propagation import Floors
from leadline_collector.time_range import Period
from leadline_collector.web import formatting
from leadline_collector.web.charts.distribution import Curve, distribution, near
from leadline_collector.web.charts.hour_of_week import CLASSES, DAYS, Hour, week
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.charts.timeline import Drawn, Line, Step, timeline
from leadline_collector.web.views.pair_buckets import readings_of, step_length_s, steps
from leadline_verdict.evaluation import known
from leadline_verdict.hour_of_week import HourOfWeek, hours_of_week, worst_hour
from leadline_verdict.pair import PairWindows
from leadline_verdict.series import NONE
from leadline_verdict.states import GOOD


class Name(StrEnum):
    """The charts, as their addresses call them."""

    ROUND_TRIPS = "round-trips"
    DISTRIBUTION = "distribution"
    WEEK = "week"


def name_of(windows: PairWindows) -> str:
    """The direction, in print."""
    return f"{windows.source} → {windows.destination}"


def steps_of(windows: PairWindows, criteria: Sequence[Criterion]) -> list[Step]:
    """The steps of the chart over the period of the windows."""
    length_s = step_length_s(Period(start_s=windows.start_s, end_s=windows.end_s))
    return steps(windows, readings_of(windows, criteria).pessimistic, length_s)


def round_trips(windows: PairWindows, found: Sequence[Step], lines: Sequence[Line], highest_us: int) -> Drawn:
    """Round trips over the period; both directions have one axis, made for ``highest_us``."""
    return timeline(found, lines, _round_trip_text(windows, found), highest_us)


def _round_trip_text(windows: PairWindows, found: Sequence[Step]) -> str:
    p95s = [step.p95_us for step in found if step.p95_us is not None]
    middles = [step.p50_us for step in found if step.p50_us is not None]
    if not middles:
        return f"Round trips {name_of(windows)}: nothing came back in this period."
    gaps = sum(step.p50_us is None for step in found)
    high = f"the highest p95 is {formatting.ms(max(p95s))}" if p95s else "every p95 is infinite"
    return (
        f"Round trips {name_of(windows)}: the median of a step lies between {formatting.ms(min(middles))} and "
        f"{formatting.ms(max(middles))}, {high}; {gaps:,} of {len(found):,} steps have no reply."
    )


def curve(windows: PairWindows) -> Curve:
    """The p95 of every known minute of a direction, the worst path of each."""
    worst = np.full(windows.minutes, NONE, dtype=np.int32)
    seen, infinite = np.zeros(windows.minutes, np.bool_), np.zeros(windows.minutes, np.bool_)
    for series in windows.series:
        is_known = known(series)
        seen |= is_known
        infinite |= is_known & (series.p95_us == NONE)
        worst = np.where(is_known, np.maximum(worst, series.p95_us), worst)
    values = np.sort(worst[seen & ~infinite & (worst != NONE)])
    return Curve(name=name_of(windows), values_us=values, infinite=int(infinite.sum()))


def distribution_of(curves: Sequence[Curve], lines: Sequence[Line]) -> Spec | None:
    """The chart of all directions; None if no window is known."""
    found = [one for one in curves if one.total]
    if not any(len(one.values_us) for one in found):
        return None
    text = "Share of windows whose p95 is above a round trip. " + " ".join(_curve_text(one, lines) for one in found)
    return distribution(found, limits_of(lines), TARGET_SHARE_DEFAULT, text)


def too_far(curves: Sequence[Curve], lines: Sequence[Line]) -> list[str]:
    """The limits that this chart has no room for, in words; none without a value."""
    found = [one for one in curves if len(one.values_us)]
    return [line.text for line in limits_of(lines) if found and line not in near(found, limits_of(lines))]


def limits_of(lines: Iterable[Line]) -> list[Line]:
    """Without the floors of light."""
    return [line for line in lines if line.look == "limit"]


def _curve_text(one: Curve, lines: Sequence[Line]) -> str:
    middle = formatting.ms(int(one.values_us[len(one.values_us) // 2])) if len(one.values_us) else "infinite"
    return f"{one.name}: half of {one.total:,} windows are at or below {middle}, {one.infinite:,} are infinite."


def grid_of(windows: PairWindows, criteria: Sequence[Criterion]) -> tuple[HourOfWeek, ...]:
    """The hours of the week in the pessimistic reading."""
    readings = readings_of(windows, criteria)
    return hours_of_week(readings.pessimistic == GOOD, ~readings.unknown, windows.start_s)


def week_of(windows: PairWindows, grid: tuple[HourOfWeek, ...]) -> Spec:
    """The chart of one direction."""
    worst = worst_hour(grid)
    hours = [
        Hour(
            day=cell.weekday, hour=cell.hour, windows=cell.windows, known=cell.known, good=cell.good,
            covered=cell.covered, worst=cell is worst,
        )
        for cell in grid
    ]  # fmt: skip
    return week(hours, f"Hours of the week {name_of(windows)}: {worst_text(grid)}")


def worst_text(grid: tuple[HourOfWeek, ...]) -> str:
    """The worst hour of the week in words."""
    worst = worst_hour(grid)
    if worst is None:
        return "no hour is known."
    if worst.good == worst.known:
        return "every known minute of every hour was within."
    share = formatting.percent(worst.good, worst.known)
    thin = sum(not cell.covered for cell in grid)
    told = f"; {thin} of 168 hours are known to less than 80 %" if thin else ""
    return f"the worst is {DAYS[worst.weekday]} {worst.hour:02}:00 UTC with {share} of {worst.known:,} minutes{told}."


def classes() -> list[tuple[str, str]]:
    """Words and colour of each class of the week, best first."""
    return [(words, colour) for _, words, colour in CLASSES]


def lines_of(criteria: Mapping[str, Sequence[Criterion]], floors: Floors) -> list[Line]:
    """The limits on the round trip of each profile, equal ones as one line, and the floors of light."""
    names: dict[tuple[int, str], list[str]] = {}
    for profile_id, several in criteria.items():
        for one in several:
            if one.bounds_rtt:
                names.setdefault((one.limit_us, one.comparison.value), []).append(f"{one.measure} of {profile_id}")
    limits = [_limit(us, sign, of) for (us, sign), of in names.items()]
    return [*limits, *_floors(floors)]


def _limit(us: int, sign: str, of: Sequence[str]) -> Line:
    label = formatting.comparison(f"{sign} {us / 1_000:g} ms")
    return Line(us=us, label=label, text=f"{label} for {', '.join(of)}", look="limit")


def _floors(floors: Floors) -> Iterable[Line]:
    # Rounded down: a floor must not look higher than it is.
    for name, ns in (("glass", floors.glass_ns), ("vacuum", floors.vacuum_ns)):
        if ns:
            text = f"{name} floor {formatting.ms(ns // 1_000)}"
            yield Line(us=ns / 1_000, label=f"{name} {ns // 10_000 / 100:.2f}", text=text, look="floor")


def p95_limits(criteria: Iterable[Criterion]) -> list[Criterion]:
    """The limits that windows are held against by their p95: what a distribution of p95s can count."""
    return [one for one in criteria if one.measure is Measure.P95]
