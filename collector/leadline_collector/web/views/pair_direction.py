"""One direction of a pair in words: its verdict, its chart, its episodes, hours, losses and gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from leadline.evaluation import TARGET_SHARE_DEFAULT, Criterion
from leadline.limits.catalogue import Comparison
from leadline.model import Failure
from leadline_collector.web import formatting
from leadline_collector.web.charts.hour_of_week import DAYS
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.charts.timeline import Drawn
from leadline_collector.web.params import Asked
from leadline_collector.web.views import pair_charts
from leadline_collector.web.views.pair_buckets import readings_of, standing
from leadline_collector.web.views.pair_charts import Name
from leadline_collector.web.views.pair_data import Direction
from leadline_collector.web.views.verdict_labels import VerdictView, view
from leadline_verdict import sections
from leadline_verdict.compliance_share import tally
from leadline_verdict.document import EpisodeAnswer
from leadline_verdict.hour_of_week import HourOfWeek
from leadline_verdict.migration import free_hours, hours_of_day, longest_stretch, usable_ratio, windows_for
from leadline_verdict.pair import PairWindows
from leadline_verdict.states import BAD, GOOD, Readings

#: Rows of a table: the longest episodes.
ROWS_MAX = 12
#: A small guest, a large one, and a host that is emptied: minutes.
_MIGRATIONS = (1, 5, 15, 60)
#: A zoom on an episode shows what was around it.
_AROUND_S = 1_800


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The state of the latest window."""

    state: str
    at: str | None
    since: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCount:
    """How many windows of the period a limit was held against, exactly."""

    rule: str
    above: int
    known: int
    share: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A row: a stretch out of limit."""

    href: str
    start: str
    length: str
    worst: str
    loss: str
    bad: int
    unavailable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """A row: whether a migration of so long works when it is started."""

    length: str
    pessimistic: str
    longest: str
    #: For each hour of the UTC day: the share of usable starts in words, and whether it reaches the target.
    hours: tuple[tuple[str, bool], ...]
    #: The free hours in figures, or "none".
    free: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Probes by what became of them."""

    expected: int
    sent: int
    lost: int
    share: str
    #: Sent and not answered.
    reasons: list[tuple[str, int]]
    #: Not measured: no fault of the path.
    unmeasured: list[tuple[str, int]]
    #: Lost, and the reason is kept no longer.
    unexplained: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionView:
    """One direction; charts are specifications, and addresses of pictures of them."""

    name: str
    key: str
    verdict: VerdictView
    now: Now
    share: str | None
    chart: Spec
    image: str
    summary: str
    #: What the axis leaves out.
    notes: list[str]
    has_data: bool
    limits: list[LimitCount]
    episodes: list[Episode]
    episodes_total: int
    week: Spec
    week_image: str
    worst_hour: str
    #: Weekday, then for each hour its share in words and whether enough of it is known.
    week_rows: list[tuple[str, list[tuple[str, bool]]]]
    migration: list[Migration]
    loss: Loss


def direction_view(
    one: Direction,
    criteria: Sequence[Criterion],
    drawn: Drawn,
    failures: Mapping[Failure, int],
    asked: Asked,
    now_s: int,
) -> DirectionView:
    """Everything about one direction by the chosen profile."""
    shown = one.shown
    readings, of_days = readings_of(shown, criteria), readings_of(one.judged, criteria)
    grid = pair_charts.grid_of(one.judged, criteria)
    episodes, episodes_total = sections.episodes_answer(shown, readings.pessimistic)
    counts = tally(readings.pessimistic)
    clipped = [f"The maximum reaches {formatting.ms(drawn.clipped_us)}, above the axis."] if drawn.clipped_us else []
    return DirectionView(
        name=pair_charts.name_of(shown),
        key=f"{shown.source}-{shown.destination}",
        verdict=view(one.verdict),
        now=_now(shown, readings, now_s),
        share=f"{formatting.percent(counts.good, counts.known)} of {formatting.count(counts.known)}"
        if counts.known
        else None,
        chart=drawn.spec,
        image=asked.chart(one.pair, Name.ROUND_TRIPS.value),
        summary=drawn.spec["description"],
        notes=clipped,
        has_data=bool(shown.paths),
        limits=list(_limits(shown, criteria)),
        episodes=[_episode(episode, one, asked) for episode in _longest(episodes)],
        episodes_total=episodes_total,
        week=pair_charts.week_of(one.judged, grid),
        week_image=asked.chart(one.pair, Name.WEEK.value),
        worst_hour=pair_charts.worst_text(grid),
        week_rows=[(name, [_hour(cell) for cell in grid[24 * day : 24 * day + 24]]) for day, name in enumerate(DAYS)],
        migration=[_migration(minutes, of_days, one.judged.start_s) for minutes in _MIGRATIONS],
        loss=_loss(shown, failures),
    )


def _now(windows: PairWindows, readings: Readings, now_s: int) -> Now:
    found = standing(windows, readings.pessimistic)
    since = None if found.since_s is None else formatting.short_moment(found.since_s, now_s)
    return Now(
        state=found.state.value,
        at=None if found.latest_t is None else formatting.short_moment(found.latest_t, now_s),
        since=f"before {since}" if found.is_older else since,
    )


def _limits(windows: PairWindows, criteria: Sequence[Criterion]) -> Sequence[LimitCount]:
    """Each limit on the p95, with the windows above it counted one by one."""
    one = pair_charts.curve(windows)
    rows = []
    for criterion in pair_charts.p95_limits(criteria):
        is_less = criterion.comparison is Comparison.LESS
        within = int(one.values_us.searchsorted(criterion.limit_us, side="left" if is_less else "right"))
        above = one.total - within
        share = formatting.percent(above, one.total) if one.total else "none known"
        rule = formatting.comparison(criterion.rule)
        rows.append(LimitCount(rule=rule, above=above, known=one.total, share=share))
    return rows


def _longest(episodes: Sequence[EpisodeAnswer]) -> list[EpisodeAnswer]:
    """The longest first, of equal length the newest."""
    return sorted(episodes, key=lambda episode: (-episode.minutes, -episode.start_s))[:ROWS_MAX]


def _episode(episode: EpisodeAnswer, one: Direction, asked: Asked) -> Episode:
    around_s = max(_AROUND_S, episode.end_s - episode.start_s)
    start, end = formatting.written(episode.start_s - around_s), formatting.written(episode.end_s + around_s)
    return Episode(
        href=replace(asked, start=start, end=end).pair(one.pair),
        start=formatting.moment(episode.start_s).removesuffix(" UTC"),
        length=formatting.length(episode.end_s - episode.start_s),
        worst="infinite" if episode.p95_us_worst is None else formatting.ms(episode.p95_us_worst),
        loss=f"{formatting.percent(episode.lost, episode.sent)} of {formatting.count(episode.sent)}"
        if episode.sent
        else "none sent",
        bad=episode.bad,
        unavailable=episode.unavailable,
    )


def _hour(cell: HourOfWeek) -> tuple[str, bool]:
    return (
        formatting.percent(cell.good, cell.known).replace("\u00a0%", "") if cell.known else "none sent",
        cell.covered,
    )


def _migration(minutes: int, readings: Readings, start_s: int) -> Migration:
    good = readings.supposed(BAD).pessimistic == GOOD
    needed = windows_for(minutes * 60)
    table = hours_of_day(good, needed, start_s)
    free = free_hours(table, TARGET_SHARE_DEFAULT)
    ratio, longest = usable_ratio(good, needed), longest_stretch(good)
    return Migration(
        length=formatting.length(minutes * 60),
        pessimistic="not defined" if ratio is None else f"{int(ratio * 10_000) / 100:.2f}\u00a0%",
        longest=formatting.length(longest.windows * 60) if longest else "none",
        free=", ".join(f"{hour:02}" for hour in free) or "none",
        hours=tuple((f"{int((row.usable_ratio or 0) * 1_000) / 10:.1f} %", row.hour in free) for row in table),
    )


_WORDS = {
    Failure.TIMEOUT: "no reply in time",
    Failure.LATE: "reply after the timeout",
    Failure.UNREACHABLE: "answered with an ICMP error",
    Failure.SEND_ERROR: "the kernel refused to send it",
    Failure.LOCAL_DROP: "own receive queue overflowed",
    Failure.LOCAL_STALL: "own host stood still",
    Failure.NOT_SENT: "not sent: agent down, late or overloaded",
    Failure.RESOLVE_ERROR: "the name had no address",
}


def _loss(windows: PairWindows, failures: Mapping[Failure, int]) -> Loss:
    expected, sent, received = (
        sum(int(series.column(name).sum(dtype="int64")) for series in windows.series)
        for name in ("expected", "sent", "received")
    )
    lost = sent - received
    known = sum(count for failure, count in failures.items() if failure.is_loss)
    return Loss(
        expected=expected,
        sent=sent,
        lost=lost,
        share=formatting.percent(lost, sent) if sent else "none sent",
        reasons=[(_WORDS[failure], failures[failure]) for failure in Failure if failure.is_loss],
        unmeasured=[(_WORDS[failure], failures[failure]) for failure in Failure if not failure.is_loss],
        unexplained=max(0, lost - known),
    )
