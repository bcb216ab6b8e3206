"""One direction of a pair in words: its verdict, its chart, its episodes, hours, losses and gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from leadline.evaluation import TARGET_SHARE_DEFAULT, Criterion
from leadline.limits.catalogue import Comparison
from leadline.model import Failure
from leadline_collector.web.charts.hour_of_week import WEEKDAYS
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.charts.timeline import TimelineChart
from leadline_collector.web.formatting import (
    format_comparison,
    format_count,
    format_duration,
    format_ms,
    format_percent,
    format_short_time,
    format_time,
    format_url_time,
)
from leadline_collector.web.params import PageParams
from leadline_collector.web.views import pair_charts
from leadline_collector.web.views.pair_buckets import evaluate_scenarios, find_current_state
from leadline_collector.web.views.pair_charts import PairChart
from leadline_collector.web.views.pair_data import DirectionData
from leadline_collector.web.views.verdict_labels import VerdictView, build_verdict_view
from leadline_verdict import sections
from leadline_verdict.compliance_share import count_state_codes
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
from leadline_verdict.states import BAD, GOOD, ScenarioStates

#: Rows of a table: the longest episodes.
ROWS_MAX = 12
#: A small guest, a large one, and a host that is emptied: minutes.
_MIGRATION_MINUTES = (1, 5, 15, 60)
#: A zoom on an episode shows what was around it.
_ZOOM_MARGIN_S = 1_800


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentStateView:
    """The state of the latest window."""

    state: str
    latest_at: str | None
    since: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCount:
    """How many windows of the period a limit was held against, exactly."""

    criterion: str
    above_count: int
    known_count: int
    above_share: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRow:
    """A row: a stretch out of limit."""

    href: str
    start: str
    length: str
    worst_p95: str
    loss: str
    bad: int
    unavailable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationRow:
    """A row: whether a migration of so long works when it is started."""

    length: str
    usable_share: str
    longest_stretch: str
    #: For each hour of the UTC day: the share of usable starts in words, and whether it reaches the target.
    hours: tuple[tuple[str, bool], ...]
    #: The free hours in figures, or "none".
    free_hours: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LossView:
    """Probes by what became of them."""

    expected: int
    sent: int
    lost: int
    share: str
    #: Sent and not answered.
    loss_counts: list[tuple[str, int]]
    #: Not measured: no fault of the path.
    unmeasured_counts: list[tuple[str, int]]
    #: Lost, and the reason is kept no longer.
    unexplained_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionView:
    """One direction; charts are specifications, and addresses of pictures of them."""

    name: str
    key: str
    verdict: VerdictView
    current_state: CurrentStateView
    share: str | None
    chart: Spec
    image: str
    summary: str
    #: What the axis leaves out.
    notes: list[str]
    has_data: bool
    limit_counts: list[LimitCount]
    episodes: list[EpisodeRow]
    episodes_total: int
    week_chart: Spec
    week_image: str
    worst_hour: str
    #: Weekday, then for each hour its share in words and whether enough of it is known.
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
    """Everything about one direction by the chosen profile."""
    shown = direction.windows
    readings, of_days = evaluate_scenarios(shown, criteria), evaluate_scenarios(direction.verdict_windows, criteria)
    grid = pair_charts.build_week_grid(direction.verdict_windows, criteria)
    episodes, episodes_total = sections.build_episodes_section(shown, readings.worst_case)
    counts = count_state_codes(readings.worst_case)
    clipped = (
        [f"The maximum reaches {format_ms(timeline_chart.clipped_max_us)}, above the axis."]
        if timeline_chart.clipped_max_us
        else []
    )
    return DirectionView(
        name=pair_charts.format_direction(shown),
        key=f"{shown.source}-{shown.destination}",
        verdict=build_verdict_view(direction.verdict),
        current_state=_build_current_state_view(shown, readings, now_s),
        share=f"{format_percent(counts.good, counts.known)} of {format_count(counts.known)}" if counts.known else None,
        chart=timeline_chart.spec,
        image=params.chart_url(direction.pair, PairChart.ROUND_TRIPS.value),
        summary=timeline_chart.spec["description"],
        notes=clipped,
        has_data=bool(shown.paths),
        limit_counts=list(_count_above_limits(shown, criteria)),
        episodes=[_to_episode_row(episode, direction, params) for episode in _select_longest(episodes)],
        episodes_total=episodes_total,
        week_chart=pair_charts.build_week_chart(direction.verdict_windows, grid),
        week_image=params.chart_url(direction.pair, PairChart.WEEK.value),
        worst_hour=pair_charts.describe_worst_hour(grid),
        week_rows=[
            (name, [_format_hour(cell) for cell in grid[24 * day : 24 * day + 24]]) for day, name in enumerate(WEEKDAYS)
        ],
        migration=[
            _to_migration_row(minutes, of_days, direction.verdict_windows.start_s) for minutes in _MIGRATION_MINUTES
        ],
        loss=_build_loss_view(shown, failures),
    )


def _build_current_state_view(windows: PairWindows, readings: ScenarioStates, now_s: int) -> CurrentStateView:
    found = find_current_state(windows, readings.worst_case)
    since = None if found.since_s is None else format_short_time(found.since_s, now_s)
    return CurrentStateView(
        state=found.state.value,
        latest_at=None if found.latest_start_s is None else format_short_time(found.latest_start_s, now_s),
        since=f"before {since}" if found.has_earlier_start else since,
    )


def _count_above_limits(windows: PairWindows, criteria: Sequence[Criterion]) -> Sequence[LimitCount]:
    """Each limit on the p95, with the windows above it counted one by one."""
    one = pair_charts.build_p95_curve(windows)
    rows = []
    for criterion in pair_charts.select_p95_criteria(criteria):
        is_less = criterion.comparison is Comparison.LESS
        within = int(one.values_us.searchsorted(criterion.limit_us, side="left" if is_less else "right"))
        above = one.window_count - within
        share = format_percent(above, one.window_count) if one.window_count else "none known"
        rule = format_comparison(criterion.description)
        rows.append(LimitCount(criterion=rule, above_count=above, known_count=one.window_count, above_share=share))
    return rows


def _select_longest(episodes: Sequence[EpisodeSection]) -> list[EpisodeSection]:
    """The longest first, of equal length the newest."""
    return sorted(episodes, key=lambda episode: (-episode.minutes, -episode.start_s))[:ROWS_MAX]


def _to_episode_row(episode: EpisodeSection, direction: DirectionData, params: PageParams) -> EpisodeRow:
    around_s = max(_ZOOM_MARGIN_S, episode.end_s - episode.start_s)
    start, end = (
        format_url_time(episode.start_s - around_s),
        format_url_time(episode.end_s + around_s),
    )
    return EpisodeRow(
        href=replace(params, start=start, end=end).pair_url(direction.pair),
        start=format_time(episode.start_s).removesuffix(" UTC"),
        length=format_duration(episode.end_s - episode.start_s),
        worst_p95="infinite" if episode.p95_us_worst is None else format_ms(episode.p95_us_worst),
        loss=f"{format_percent(episode.lost, episode.sent)} of {format_count(episode.sent)}"
        if episode.sent
        else "none sent",
        bad=episode.bad,
        unavailable=episode.unavailable,
    )


def _format_hour(cell: HourOfWeek) -> tuple[str, bool]:
    return (
        format_percent(cell.good, cell.known).replace("\u00a0%", "") if cell.known else "none sent",
        cell.is_covered,
    )


def _to_migration_row(minutes: int, readings: ScenarioStates, start_s: int) -> MigrationRow:
    good = readings.with_unknown_as(BAD).worst_case == GOOD
    needed = count_windows_needed(minutes * 60)
    table = count_hours_of_day(good, needed, start_s)
    free = find_free_hours(table, TARGET_SHARE_DEFAULT)
    ratio, longest = compute_usable_ratio(good, needed), find_longest_good_run(good)
    return MigrationRow(
        length=format_duration(minutes * 60),
        usable_share="not defined" if ratio is None else f"{int(ratio * 10_000) / 100:.2f}\u00a0%",
        longest_stretch=format_duration(longest.windows * 60) if longest else "none",
        free_hours=", ".join(f"{hour:02}" for hour in free) or "none",
        hours=tuple((f"{int((row.usable_ratio or 0) * 1_000) / 10:.1f} %", row.hour in free) for row in table),
    )


_FAILURE_LABELS = {
    Failure.TIMEOUT: "no reply in time",
    Failure.LATE: "reply after the timeout",
    Failure.UNREACHABLE: "answered with an ICMP error",
    Failure.SEND_ERROR: "the kernel refused to send it",
    Failure.LOCAL_DROP: "own receive queue overflowed",
    Failure.LOCAL_STALL: "own host stood still",
    Failure.NOT_SENT: "not sent: agent down, late or overloaded",
    Failure.RESOLVE_ERROR: "the name had no address",
}


def _build_loss_view(windows: PairWindows, failures: Mapping[Failure, int]) -> LossView:
    expected, sent, received = (
        sum(int(series.get_column(name).sum(dtype="int64")) for series in windows.series)
        for name in ("expected", "sent", "received")
    )
    lost = sent - received
    known = sum(count for failure, count in failures.items() if failure.is_loss)
    return LossView(
        expected=expected,
        sent=sent,
        lost=lost,
        share=format_percent(lost, sent) if sent else "none sent",
        loss_counts=[(_FAILURE_LABELS[failure], failures[failure]) for failure in Failure if failure.is_loss],
        unmeasured_counts=[(_FAILURE_LABELS[failure], failures[failure]) for failure in Failure if not failure.is_loss],
        unexplained_count=max(0, lost - known),
    )
