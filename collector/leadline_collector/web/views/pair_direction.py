"""View of one direction of a pair: verdict, chart, episodes, hours of the week, migration windows, loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from leadline import rounding
from leadline.evaluation import TARGET_SHARE_DEFAULT, Criterion
from leadline.limits.catalogue import Comparison
from leadline.model import WINDOW_S, Failure
from leadline_collector.web.charts.hour_of_week import WEEKDAYS
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.charts.timeline import TimelineChart
from leadline_collector.web.formatting import (
    NO_VALUE,
    format_cause_counts,
    format_comparison,
    format_count,
    format_duration,
    format_ms,
    format_percent,
    format_ratio,
    format_short_time,
    format_state,
    format_time,
    format_url_time,
)
from leadline_collector.web.params import PageParams
from leadline_collector.web.views import pair_charts
from leadline_collector.web.views.causes import count_causes, describe_causes
from leadline_collector.web.views.pair_buckets import evaluate_scenarios, find_current_state
from leadline_collector.web.views.pair_charts import PairChart
from leadline_collector.web.views.pair_data import DirectionData
from leadline_collector.web.views.propagation import INVALID_LABEL, has_invalid_minimum
from leadline_collector.web.views.verdict_labels import VerdictView, build_verdict_view
from leadline_verdict import sections
from leadline_verdict.document import EpisodeSection
from leadline_verdict.hour_of_week import HourOfWeek
from leadline_verdict.migration import (
    compute_usable_ratio,
    count_hours_of_day,
    count_windows_needed,
    find_free_hours,
    find_longest_good_run,
)
from leadline_verdict.pair import PairWindows
from leadline_verdict.states import BAD, GOOD, ScenarioStates, count_state_codes

#: Episodes in the table, the longest ones.
ROWS_MAX = 12
#: Lengths of migrations in minutes: a small virtual machine, a large one, a whole host.
_MIGRATION_MINUTES = (1, 5, 15, 60)
#: Time before and after an episode in its zoom link, at least, in seconds.
_ZOOM_MARGIN_S = 1_800


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentStateView:
    """The state of the latest window."""

    #: Name of the symbol.
    icon: str
    #: The state with its cause.
    state: str
    latest_at: str | None
    since: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCount:
    """Exact number of windows above one limit."""

    criterion: str
    above_count: int
    known_count: int
    above_share: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRow:
    """One episode out of limit."""

    href: str
    start: str
    length: str
    worst_p95: str
    loss: str
    #: "12 latency, 3 outage".
    causes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationRow:
    """Share of start times for which a migration of this length stays within limits."""

    length: str
    usable_share: str
    longest_stretch: str
    #: For each hour of the UTC day: the share of usable start times as text, and whether it reaches the target.
    hours: tuple[tuple[str, bool], ...]
    #: The free hours as numbers, or "none".
    free_hours: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LossView:
    """Probes by result."""

    expected: int
    sent: int
    lost: int
    share: str
    #: Label and number for each failure that counts as loss.
    loss_counts: list[tuple[str, int]]
    #: Label and number for each failure that is not loss.
    unmeasured_counts: list[tuple[str, int]]
    #: Lost probes without a stored reason: their counters are deleted.
    unexplained_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionView:
    """One direction; each chart is a specification and the URL of its image."""

    name: str
    verdict: VerdictView
    current_state: CurrentStateView
    share: str | None
    #: The minutes out of limit by cause, in words; empty if no minute is known.
    causes: str
    chart: Spec
    image: str
    summary: str
    #: Values above the axis.
    notes: list[str]
    has_data: bool
    limit_counts: list[LimitCount]
    episodes: list[EpisodeRow]
    episodes_total: int
    week_chart: Spec
    week_image: str
    worst_hour: str
    #: Weekday, then for each hour its share as text and whether enough windows are known.
    week_rows: list[tuple[str, list[tuple[str, bool]]]]
    migration: list[MigrationRow]
    loss: LossView


def build_direction_view(
    direction: DirectionData,
    criteria: Sequence[Criterion],
    timeline_chart: TimelineChart,
    failures: Mapping[Failure, int],
    params: PageParams,
    now_s: int,
) -> DirectionView:
    """Build the view of one direction for the selected profile."""
    windows = direction.windows
    scenarios = evaluate_scenarios(windows, criteria)
    verdict_scenarios = evaluate_scenarios(direction.verdict_windows, criteria)
    grid = pair_charts.build_week_grid(direction.verdict_windows, criteria)
    episodes, episodes_total = sections.build_episodes_section(windows, scenarios, with_causes=True)
    counts = count_state_codes(scenarios.worst_case)
    notes = (
        [f"The maximum reaches {format_ms(timeline_chart.clipped_max_us)}, above the axis."]
        if timeline_chart.clipped_max_us
        else []
    )
    return DirectionView(
        name=pair_charts.format_direction(windows),
        verdict=build_verdict_view(direction.verdict),
        current_state=_build_current_state_view(windows, scenarios, now_s),
        share=f"{format_percent(counts.good, counts.known)} of {format_count(counts.known)}" if counts.known else None,
        causes=describe_causes(windows, scenarios, criteria),
        chart=timeline_chart.spec,
        image=params.chart_url(direction.pair, PairChart.ROUND_TRIPS.value),
        summary=timeline_chart.spec["description"],
        notes=notes,
        has_data=bool(windows.paths),
        limit_counts=list(_count_above_limits(windows, criteria)),
        episodes=[_to_episode_row(episode, scenarios, direction, params) for episode in _select_longest(episodes)],
        episodes_total=episodes_total,
        week_chart=pair_charts.build_week_chart(direction.verdict_windows, grid),
        week_image=params.chart_url(direction.pair, PairChart.WEEK.value),
        worst_hour=pair_charts.describe_worst_hour(grid),
        week_rows=[
            (name, [_format_hour(cell) for cell in grid.hours[24 * day : 24 * day + 24]])
            for day, name in enumerate(WEEKDAYS)
        ],
        migration=[
            _to_migration_row(minutes, verdict_scenarios, direction.verdict_windows.start_s)
            for minutes in _MIGRATION_MINUTES
        ],
        loss=_build_loss_view(windows, failures),
    )


def _build_current_state_view(windows: PairWindows, scenarios: ScenarioStates, now_s: int) -> CurrentStateView:
    current = find_current_state(windows, scenarios)
    is_invalid = has_invalid_minimum(windows)
    since = None if current.since_s is None else format_short_time(current.since_s, now_s)
    return CurrentStateView(
        icon=INVALID_LABEL if is_invalid else current.state.value,
        state=INVALID_LABEL if is_invalid else format_state(current.state, current.cause),
        latest_at=None if current.latest_start_s is None else format_short_time(current.latest_start_s, now_s),
        since=None if is_invalid else f"before {since}" if current.has_earlier_start else since,
    )


def _count_above_limits(windows: PairWindows, criteria: Sequence[Criterion]) -> Sequence[LimitCount]:
    """Count the windows above each limit on the p95."""
    curve = pair_charts.build_p95_curve(windows)
    rows = []
    for criterion in pair_charts.select_p95_criteria(criteria):
        is_less = criterion.comparison is Comparison.LESS
        within = int(curve.values_us.searchsorted(criterion.limit_us, side="left" if is_less else "right"))
        above = curve.window_count - within
        share = format_percent(above, curve.window_count) if curve.window_count else "none known"
        rule = format_comparison(criterion.description)
        rows.append(LimitCount(criterion=rule, above_count=above, known_count=curve.window_count, above_share=share))
    return rows


def _select_longest(episodes: Sequence[EpisodeSection]) -> list[EpisodeSection]:
    """Return the longest episodes, longest first; of equal length, the latest first."""
    return sorted(episodes, key=lambda episode: (-episode.minutes, -episode.start_s))[:ROWS_MAX]


def _to_episode_row(
    episode: EpisodeSection, scenarios: ScenarioStates, direction: DirectionData, params: PageParams
) -> EpisodeRow:
    first, last = ((second - direction.windows.start_s) // WINDOW_S for second in (episode.start_s, episode.end_s))
    margin_s = max(_ZOOM_MARGIN_S, episode.end_s - episode.start_s)
    start, end = (
        format_url_time(episode.start_s - margin_s),
        format_url_time(episode.end_s + margin_s),
    )
    return EpisodeRow(
        href=replace(params, start=start, end=end).pair_url(direction.pair),
        start=format_time(episode.start_s).removesuffix(" UTC"),
        length=format_duration(episode.end_s - episode.start_s),
        worst_p95="infinite" if episode.p95_us_worst is None else format_ms(episode.p95_us_worst),
        loss=f"{format_percent(episode.lost, episode.sent)} of {format_count(episode.sent)}"
        if episode.sent
        else "none sent",
        causes=format_cause_counts(count_causes(scenarios.causes[first:last])),
    )


def _format_hour(cell: HourOfWeek) -> tuple[str, bool]:
    return (
        format_percent(cell.good, cell.known).replace("\u00a0%", "") if cell.known else NO_VALUE,
        cell.is_covered,
    )


def _to_migration_row(minutes: int, scenarios: ScenarioStates, start_s: int) -> MigrationRow:
    good = scenarios.with_unknown_as(BAD).worst_case == GOOD
    window_count = count_windows_needed(minutes * 60)
    hours = count_hours_of_day(good, window_count, start_s)
    free_hours = find_free_hours(hours, TARGET_SHARE_DEFAULT)
    ratio, longest = compute_usable_ratio(good, window_count), find_longest_good_run(good)
    return MigrationRow(
        length=format_duration(minutes * 60),
        usable_share="not defined" if ratio is None else format_ratio(ratio, 2),
        longest_stretch=format_duration(longest.windows * 60) if longest else "none",
        free_hours=", ".join(f"{hour:02}" for hour in free_hours) or "none",
        hours=tuple(
            (f"{rounding.format_percent(hour.usable_ratio or 0, 1)} %", hour.hour in free_hours) for hour in hours
        ),
    )


_FAILURE_LABELS = {
    Failure.TIMEOUT: "no reply in time",
    Failure.LATE: "reply after the timeout",
    Failure.UNREACHABLE: "ICMP error",
    Failure.SEND_ERROR: "kernel refused to send",
    Failure.LOCAL_DROP: "local receive queue overflow",
    Failure.LOCAL_STALL: "local host stalled",
    Failure.NOT_SENT: "not sent: agent down, late or overloaded",
    Failure.RESOLVE_ERROR: "name did not resolve",
}


def _build_loss_view(windows: PairWindows, failures: Mapping[Failure, int]) -> LossView:
    expected, sent, received = (
        sum(int(series.get_column(name).sum(dtype="int64")) for series in windows.series)
        for name in ("expected", "sent", "received")
    )
    lost = sent - received
    counted = sum(count for failure, count in failures.items() if failure.is_loss)
    return LossView(
        expected=expected,
        sent=sent,
        lost=lost,
        share=format_percent(lost, sent) if sent else "none sent",
        loss_counts=[(_FAILURE_LABELS[failure], failures[failure]) for failure in Failure if failure.is_loss],
        unmeasured_counts=[(_FAILURE_LABELS[failure], failures[failure]) for failure in Failure if not failure.is_loss],
        unexplained_count=max(0, lost - counted),
    )
