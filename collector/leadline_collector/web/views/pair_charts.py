"""Charts of a pair, built from its windows; ``web.charts`` defines their appearance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from leadline.evaluation import TARGET_SHARE_DEFAULT, Criterion, WindowCause, WindowStatistic
from leadline.propagation import PropagationDelay
from leadline_collector.time_range import TimeRange
from leadline_collector.web.charts.distribution import (
    DistributionCurve,
    build_distribution_chart,
    select_drawable_lines,
)
from leadline_collector.web.charts.hour_of_week import SHARE_CLASSES, WEEKDAYS, HourCell, build_hour_of_week_chart
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.charts.timeline import ReferenceLine, TimeBucket, TimelineChart, build_timeline_chart
from leadline_collector.web.formatting import format_cause_counts, format_comparison, format_ms, format_percent
from leadline_collector.web.views.pair_buckets import aggregate_buckets, choose_bucket_length_s, evaluate_scenarios
from leadline_verdict.evaluation import mask_known
from leadline_verdict.hour_of_week import HourOfWeek, count_hours_of_week, find_worst_hour
from leadline_verdict.pair import PairWindows
from leadline_verdict.series import MISSING
from leadline_verdict.states import CAUSES_BY_CODE, GOOD


class PairChart(StrEnum):
    """Names of the charts in URLs."""

    ROUND_TRIPS = "round-trips"
    DISTRIBUTION = "distribution"
    WEEK = "week"


def format_direction(windows: PairWindows) -> str:
    """Format a direction: ``fra → ams``."""
    return f"{windows.source} → {windows.destination}"


def build_buckets(windows: PairWindows, criteria: Sequence[Criterion]) -> list[TimeBucket]:
    """Build the buckets of the chart over the period of the windows."""
    length_s = choose_bucket_length_s(TimeRange(start_s=windows.start_s, end_s=windows.end_s))
    return aggregate_buckets(windows, evaluate_scenarios(windows, criteria), length_s)


def build_round_trips_chart(
    windows: PairWindows, buckets: Sequence[TimeBucket], lines: Sequence[ReferenceLine], highest_us: int
) -> TimelineChart:
    """Build the chart of round trips; both directions share one axis, sized for ``highest_us``."""
    return build_timeline_chart(buckets, lines, _describe_round_trips(windows, buckets), highest_us)


def _describe_round_trips(windows: PairWindows, buckets: Sequence[TimeBucket]) -> str:
    p95s = [bucket.p95_us for bucket in buckets if bucket.p95_us is not None]
    medians = [bucket.p50_us for bucket in buckets if bucket.p50_us is not None]
    if not medians:
        return f"Round trips {format_direction(windows)}: no reply in this period."
    gaps = sum(bucket.p50_us is None for bucket in buckets)
    causes = {cause: sum(bucket.cause_counts.get(cause, 0) for bucket in buckets) for cause in WindowCause}
    out_of_limit = f"minutes out of limit by cause: {format_cause_counts(causes) or '0'}"
    high = f"the highest p95 is {format_ms(max(p95s))}" if p95s else "every p95 is infinite"
    return (
        f"Round trips {format_direction(windows)}: the median of a step lies between {format_ms(min(medians))} and "
        f"{format_ms(max(medians))}, {high}; {gaps:,} of {len(buckets):,} steps have no reply; {out_of_limit}."
    )


def build_p95_curve(windows: PairWindows) -> DistributionCurve:
    """Return the p95 of every known minute of a direction, for the worst path."""
    worst = np.full(windows.minutes, MISSING, dtype=np.int32)
    is_known, is_infinite = np.zeros(windows.minutes, np.bool_), np.zeros(windows.minutes, np.bool_)
    for series in windows.series:
        path_known = mask_known(series)
        is_known |= path_known
        is_infinite |= path_known & (series.p95_us == MISSING)
        worst = np.where(path_known, np.maximum(worst, series.p95_us), worst)
    values = np.sort(worst[is_known & ~is_infinite & (worst != MISSING)])
    return DistributionCurve(name=format_direction(windows), values_us=values, infinite_count=int(is_infinite.sum()))


def build_distribution_spec(curves: Sequence[DistributionCurve], lines: Sequence[ReferenceLine]) -> Spec | None:
    """Build the chart of all directions; None if no window is known or every p95 is infinite."""
    known_curves = [curve for curve in curves if curve.window_count]
    if not any(len(curve.values_us) for curve in known_curves):
        return None
    text = " ".join(["Share of windows with a p95 above a round trip.", *map(_describe_curve, known_curves)])
    return build_distribution_chart(known_curves, select_limits(lines), TARGET_SHARE_DEFAULT, text)


def describe_omitted_limits(curves: Sequence[DistributionCurve], lines: Sequence[ReferenceLine]) -> list[str]:
    """List the limits to the right of the axis; empty without values."""
    drawn_curves = [curve for curve in curves if len(curve.values_us)]
    if not drawn_curves:
        return []
    limits = select_limits(lines)
    drawable_lines = select_drawable_lines(drawn_curves, limits)
    return [line.description for line in limits if line not in drawable_lines]


def select_limits(lines: Iterable[ReferenceLine]) -> list[ReferenceLine]:
    """Return the limits, without the minimum RTTs."""
    return [line for line in lines if line.kind == "limit"]


def _describe_curve(curve: DistributionCurve) -> str:
    median = format_ms(int(curve.values_us[len(curve.values_us) // 2])) if len(curve.values_us) else "infinite"
    return (
        f"{curve.name}: half of {curve.window_count:,} windows are at or below {median}, "
        f"{curve.infinite_count:,} are infinite."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekGrid:
    """The hours of the week in the worst case."""

    hours: tuple[HourOfWeek, ...]
    #: Minutes out of limit of each hour by cause, in the order of ``hours``.
    cause_counts: tuple[Mapping[WindowCause, int], ...]


def build_week_grid(windows: PairWindows, criteria: Sequence[Criterion]) -> WeekGrid:
    """Count the hours of the week in the worst case."""
    scenarios = evaluate_scenarios(windows, criteria)
    known = ~scenarios.unknown_minutes
    counts_by_cause = {
        cause: [hour.good for hour in count_hours_of_week(scenarios.causes == code, known, windows.start_s)]
        for code, cause in enumerate(CAUSES_BY_CODE)
        if cause is not None
    }
    return WeekGrid(
        hours=count_hours_of_week(scenarios.worst_case == GOOD, known, windows.start_s),
        cause_counts=tuple(
            dict(zip(counts_by_cause, counts, strict=True)) for counts in zip(*counts_by_cause.values(), strict=True)
        ),
    )


def build_week_chart(windows: PairWindows, grid: WeekGrid) -> Spec:
    """Build the chart of the hours of the week of one direction."""
    worst = find_worst_hour(grid.hours)
    hours = [
        HourCell(
            weekday=cell.weekday,
            hour=cell.hour,
            window_count=cell.windows,
            known_count=cell.known,
            good_count=cell.good,
            cause_counts=cause_counts,
            is_covered=cell.is_covered,
            is_worst=cell is worst,
        )
        for cell, cause_counts in zip(grid.hours, grid.cause_counts, strict=True)
    ]
    return build_hour_of_week_chart(
        hours, f"Hours of the week {format_direction(windows)}: {describe_worst_hour(grid)}"
    )


def describe_worst_hour(grid: WeekGrid) -> str:
    """Describe the worst hour of the week."""
    worst = find_worst_hour(grid.hours)
    if worst is None:
        return "no known hour."
    if worst.good == worst.known:
        return "every known minute was within the limits."
    share = format_percent(worst.good, worst.known)
    sparse_count = sum(not cell.is_covered for cell in grid.hours)
    note = f"; in {sparse_count} of 168 hours less than 80 % of the minutes are known" if sparse_count else ""
    return (
        f"worst hour: {WEEKDAYS[worst.weekday]} {worst.hour:02}:00 UTC, {share} of {worst.known:,} known minutes "
        f"within the limits, the others by cause: {format_cause_counts(grid.cause_counts[worst.index])}{note}."
    )


def list_share_classes() -> list[tuple[str, str]]:
    """Return label and CSS class of each class of shares, best first."""
    return [(label, css_class) for _, label, css_class in SHARE_CLASSES]


def build_reference_lines(criteria: Mapping[str, Sequence[Criterion]], delay: PropagationDelay) -> list[ReferenceLine]:
    """Return one line for each distinct RTT limit of the profiles, and a line for each minimum RTT."""
    names: dict[tuple[int, str], list[str]] = {}
    for profile_id, profile_criteria in criteria.items():
        for criterion in profile_criteria:
            if criterion.is_rtt_limit:
                key = (criterion.limit_us, criterion.comparison.value)
                names.setdefault(key, []).append(f"{criterion.statistic} of {profile_id}")
    limits = [_to_limit_line(limit_us, sign, criterion_names) for (limit_us, sign), criterion_names in names.items()]
    return [*limits, *_build_floor_lines(delay)]


def _to_limit_line(limit_us: int, sign: str, criterion_names: Sequence[str]) -> ReferenceLine:
    label = format_comparison(f"{sign} {limit_us / 1_000:g} ms")
    return ReferenceLine(
        rtt_us=limit_us, label=label, description=f"{label} for {', '.join(criterion_names)}", kind="limit"
    )


def _build_floor_lines(delay: PropagationDelay) -> Iterable[ReferenceLine]:
    # Rounded down: a minimum must not look higher than it is.
    for name, ns in (("glass", delay.glass_ns), ("vacuum", delay.vacuum_ns)):
        if ns:
            text = f"minimum RTT in {name} {format_ms(ns // 1_000)}"
            yield ReferenceLine(
                rtt_us=ns / 1_000, label=f"{name} {ns // 10_000 / 100:.2f}", description=text, kind="floor"
            )


def select_p95_criteria(criteria: Iterable[Criterion]) -> list[Criterion]:
    """Return the limits on the p95: a distribution of p95s can count these."""
    return [criterion for criterion in criteria if criterion.statistic is WindowStatistic.P95]
