"""The charts of a pair, from its windows; ``leadline_collector.web.charts`` knows how they look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import numpy as np

from leadline.evaluation import TARGET_SHARE_DEFAULT, Criterion, WindowStatistic
from leadline.propagation import PropagationDelay
from leadline_collector.time_range import TimeRange
from leadline_collector.web import formatting
from leadline_collector.web.charts.distribution import (
    DistributionCurve,
    build_distribution_chart,
    select_drawable_lines,
)
from leadline_collector.web.charts.hour_of_week import SHARE_CLASSES, WEEKDAYS, HourCell, build_hour_of_week_chart
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.charts.timeline import ReferenceLine, TimeBucket, TimelineChart, build_timeline_chart
from leadline_collector.web.views.pair_buckets import aggregate_buckets, choose_bucket_length_s, evaluate_scenarios
from leadline_verdict.evaluation import mask_known
from leadline_verdict.hour_of_week import HourOfWeek, count_hours_of_week, find_worst_hour
from leadline_verdict.pair import PairWindows
from leadline_verdict.series import MISSING
from leadline_verdict.states import GOOD


class PairChart(StrEnum):
    """The charts, as their addresses call them."""

    ROUND_TRIPS = "round-trips"
    DISTRIBUTION = "distribution"
    WEEK = "week"


def format_direction(windows: PairWindows) -> str:
    """The direction, in print."""
    return f"{windows.source} → {windows.destination}"


def build_buckets(windows: PairWindows, criteria: Sequence[Criterion]) -> list[TimeBucket]:
    """The steps of the chart over the period of the windows."""
    length_s = choose_bucket_length_s(TimeRange(start_s=windows.start_s, end_s=windows.end_s))
    return aggregate_buckets(windows, evaluate_scenarios(windows, criteria).worst_case, length_s)


def build_round_trips_chart(
    windows: PairWindows, buckets: Sequence[TimeBucket], lines: Sequence[ReferenceLine], highest_us: int
) -> TimelineChart:
    """Round trips over the period; both directions have one axis, made for ``highest_us``."""
    return build_timeline_chart(buckets, lines, _describe_round_trips(windows, buckets), highest_us)


def _describe_round_trips(windows: PairWindows, buckets: Sequence[TimeBucket]) -> str:
    p95s = [step.p95_us for step in buckets if step.p95_us is not None]
    middles = [step.p50_us for step in buckets if step.p50_us is not None]
    if not middles:
        return f"Round trips {format_direction(windows)}: nothing came back in this period."
    gaps = sum(step.p50_us is None for step in buckets)
    high = f"the highest p95 is {formatting.format_ms(max(p95s))}" if p95s else "every p95 is infinite"
    return (
        f"Round trips {format_direction(windows)}: the median of a step lies between {formatting.format_ms(min(middles))} and "
        f"{formatting.format_ms(max(middles))}, {high}; {gaps:,} of {len(buckets):,} steps have no reply."
    )


def build_p95_curve(windows: PairWindows) -> DistributionCurve:
    """The p95 of every known minute of a direction, the worst path of each."""
    worst = np.full(windows.minutes, MISSING, dtype=np.int32)
    seen, infinite = np.zeros(windows.minutes, np.bool_), np.zeros(windows.minutes, np.bool_)
    for series in windows.series:
        is_known = mask_known(series)
        seen |= is_known
        infinite |= is_known & (series.p95_us == MISSING)
        worst = np.where(is_known, np.maximum(worst, series.p95_us), worst)
    values = np.sort(worst[seen & ~infinite & (worst != MISSING)])
    return DistributionCurve(name=format_direction(windows), values_us=values, infinite_count=int(infinite.sum()))


def build_distribution_spec(curves: Sequence[DistributionCurve], lines: Sequence[ReferenceLine]) -> Spec | None:
    """The chart of all directions; None if no window is known."""
    found = [one for one in curves if one.window_count]
    if not any(len(one.values_us) for one in found):
        return None
    text = "Share of windows whose p95 is above a round trip. " + " ".join(_describe_curve(one, lines) for one in found)
    return build_distribution_chart(found, select_limits(lines), TARGET_SHARE_DEFAULT, text)


def describe_omitted_limits(curves: Sequence[DistributionCurve], lines: Sequence[ReferenceLine]) -> list[str]:
    """The limits that this chart has no room for, in words; none without a value."""
    found = [one for one in curves if len(one.values_us)]
    return [
        line.description
        for line in select_limits(lines)
        if found and line not in select_drawable_lines(found, select_limits(lines))
    ]


def select_limits(lines: Iterable[ReferenceLine]) -> list[ReferenceLine]:
    """Without the floors of light."""
    return [line for line in lines if line.kind == "limit"]


def _describe_curve(curve: DistributionCurve, lines: Sequence[ReferenceLine]) -> str:
    middle = (
        formatting.format_ms(int(curve.values_us[len(curve.values_us) // 2])) if len(curve.values_us) else "infinite"
    )
    return f"{curve.name}: half of {curve.window_count:,} windows are at or below {middle}, {curve.infinite_count:,} are infinite."


def build_week_grid(windows: PairWindows, criteria: Sequence[Criterion]) -> tuple[HourOfWeek, ...]:
    """The hours of the week in the pessimistic reading."""
    readings = evaluate_scenarios(windows, criteria)
    return count_hours_of_week(readings.worst_case == GOOD, ~readings.unknown_minutes, windows.start_s)


def build_week_chart(windows: PairWindows, grid: tuple[HourOfWeek, ...]) -> Spec:
    """The chart of one direction."""
    worst = find_worst_hour(grid)
    hours = [
        HourCell(
            weekday=cell.weekday, hour=cell.hour, window_count=cell.windows, known_count=cell.known, good_count=cell.good,
            is_covered=cell.is_covered, is_worst=cell is worst,
        )
        for cell in grid
    ]  # fmt: skip
    return build_hour_of_week_chart(
        hours, f"Hours of the week {format_direction(windows)}: {describe_worst_hour(grid)}"
    )


def describe_worst_hour(grid: tuple[HourOfWeek, ...]) -> str:
    """The worst hour of the week in words."""
    worst = find_worst_hour(grid)
    if worst is None:
        return "no hour is known."
    if worst.good == worst.known:
        return "every known minute of every hour was within."
    share = formatting.format_percent(worst.good, worst.known)
    thin = sum(not cell.is_covered for cell in grid)
    told = f"; {thin} of 168 hours are known to less than 80 %" if thin else ""
    return (
        f"the worst is {WEEKDAYS[worst.weekday]} {worst.hour:02}:00 UTC with {share} of {worst.known:,} minutes{told}."
    )


def list_share_classes() -> list[tuple[str, str]]:
    """Words and colour of each class of the week, best first."""
    return [(words, colour) for _, words, colour in SHARE_CLASSES]


def build_reference_lines(criteria: Mapping[str, Sequence[Criterion]], floors: PropagationDelay) -> list[ReferenceLine]:
    """The limits on the round trip of each profile, equal ones as one line, and the floors of light."""
    names: dict[tuple[int, str], list[str]] = {}
    for profile_id, several in criteria.items():
        for one in several:
            if one.is_rtt_limit:
                names.setdefault((one.limit_us, one.comparison.value), []).append(f"{one.statistic} of {profile_id}")
    limits = [_to_limit_line(us, sign, of) for (us, sign), of in names.items()]
    return [*limits, *_build_floor_lines(floors)]


def _to_limit_line(limit_us: int, sign: str, criterion_names: Sequence[str]) -> ReferenceLine:
    label = formatting.format_comparison(f"{sign} {limit_us / 1_000:g} ms")
    return ReferenceLine(
        rtt_us=limit_us, label=label, description=f"{label} for {', '.join(criterion_names)}", kind="limit"
    )


def _build_floor_lines(floors: PropagationDelay) -> Iterable[ReferenceLine]:
    # Rounded down: a floor must not look higher than it is.
    for name, ns in (("glass", floors.glass_ns), ("vacuum", floors.vacuum_ns)):
        if ns:
            text = f"{name} floor {formatting.format_ms(ns // 1_000)}"
            yield ReferenceLine(
                rtt_us=ns / 1_000, label=f"{name} {ns // 10_000 / 100:.2f}", description=text, kind="floor"
            )


def select_p95_criteria(criteria: Iterable[Criterion]) -> list[Criterion]:
    """The limits that windows are held against by their p95: what a distribution of p95s can count."""
    return [one for one in criteria if one.statistic is WindowStatistic.P95]
