"""Sections of a pair's verdict about the period: shares, RTTs, episodes, migrations, hours, segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from msgspec import UNSET

from leadline.clock import format_iso8601
from leadline.model import WINDOW_S
from leadline_verdict.causes import count_causes
from leadline_verdict.decision import MeasuredVerdict
from leadline_verdict.document import (
    EpisodeSection,
    HourSection,
    IntervalSection,
    MigrationSection,
    RttSection,
    ScenarioSection,
    SegmentSection,
    SharesSection,
    StateCounts,
    VerdictClass,
)
from leadline_verdict.episodes import PathEpisodeStats, WindowRuns, compute_episode_stats, find_runs
from leadline_verdict.evaluation import mask_known
from leadline_verdict.hour_of_week import HourOfWeek
from leadline_verdict.migration import compute_usable_ratio, find_longest_good_run
from leadline_verdict.pair import PairWindows
from leadline_verdict.series import MISSING, IntColumn
from leadline_verdict.share_interval import ShareInterval
from leadline_verdict.states import BAD, GOOD, UNAVAILABLE, MinuteMask, ScenarioStates, StateArray, count_state_codes

if TYPE_CHECKING:
    from leadline_verdict.change_points import ChangePointSegment

#: Episodes in one document: the longest ones.
EPISODES_MAX = 100
#: Durations for a small guest, larger guests, and the evacuation of a host.
MIGRATION_MINUTES = (1, 5, 15, 60)


def build_shares_section(
    states: ScenarioStates, measured_verdict: MeasuredVerdict, days_needed: int | None
) -> SharesSection:
    """Build the section of the shares of good windows, observed and demonstrated."""
    counts = count_state_codes(states.worst_case)
    low = measured_verdict.intervals.worst_case
    return SharesSection(
        observed=counts.good_ratio,
        observed_when_available=counts.good / (counts.good + counts.bad) if counts.good + counts.bad else None,
        unavailable=counts.unavailable / counts.known if counts.known else None,
        demonstrated=low.low if low else None,
        days_needed=days_needed,
        pessimistic=_build_scenario_section(states.worst_case, low),
        optimistic=_build_scenario_section(states.best_case, measured_verdict.intervals.best_case),
    )


def _build_scenario_section(states: StateArray, interval: ShareInterval | None) -> ScenarioSection:
    counts = count_state_codes(states)
    return ScenarioSection(
        states=StateCounts(good=counts.good, bad=counts.bad, unavailable=counts.unavailable, unknown=counts.unknown),
        interval=None if interval is None else _build_interval_section(interval),
    )


def _build_interval_section(found: ShareInterval) -> IntervalSection:
    return IntervalSection(
        low=found.low,
        high=found.high,
        share=found.share,
        rule=found.method.value,
        counted=found.counted_state.value,
        episodes=found.episodes,
        mean_length=found.mean_length,
        n_eff=found.n_eff,
        days=found.days,
        windows=found.windows,
    )


def build_rtt_section(pair: PairWindows) -> RttSection:
    """Build the section of RTTs over all paths of the period."""
    p95 = np.concatenate(
        [_select_known_p95(series.p95_us, mask_known(series)) for series in pair.series] or [_EMPTY_COLUMN]
    )
    p95.sort()
    largest = [int(series.max_us.max(initial=MISSING)) for series in pair.series]
    errors = [int(series.error_p99_us.max(initial=MISSING)) for series in pair.series]
    sent = sum(int(series.sent.sum(dtype=np.int64)) for series in pair.series)
    return RttSection(
        min_us=pair.min_rtt_us(),
        p95_p50_us=_nearest_rank(p95, 0.50),
        p95_p95_us=_nearest_rank(p95, 0.95),
        p95_p99_us=_nearest_rank(p95, 0.99),
        p95_max_us=_nearest_rank(p95, 1.0),
        max_us=_none_if_missing(max(largest, default=MISSING)),
        error_max_us=_none_if_missing(max(errors, default=MISSING)),
        sent=sent,
        lost=sent - sum(int(series.received.sum(dtype=np.int64)) for series in pair.series),
    )


_INFINITE = np.int32(2**31 - 1)
_EMPTY_COLUMN = np.zeros(0, dtype=np.int32)


def _select_known_p95(p95_us: IntColumn, is_known: MinuteMask) -> IntColumn:
    values = p95_us[is_known]
    return np.where(values == MISSING, _INFINITE, values)


def _nearest_rank(values: IntColumn, quantile: float) -> int | None:
    """Return the nearest-rank quantile; None if it falls on a window without a p95."""
    if not len(values):
        return None
    value = int(values[max(0, int(np.ceil(quantile * len(values))) - 1)])
    return None if value == _INFINITE else value


def _none_if_missing(value: int) -> int | None:
    return None if value == MISSING else value


def build_episodes_section(
    pair: PairWindows, scenario: ScenarioStates, *, with_causes: bool
) -> tuple[list[EpisodeSection], int]:
    """Build the sections of the longest worst-case episodes, in order of time; return them and the total number."""
    states = scenario.worst_case
    episodes = find_runs((states == BAD) | (states == UNAVAILABLE))
    total = len(episodes)
    if total > EPISODES_MAX:
        longest = np.sort(np.argsort(-episodes.lengths, kind="stable")[:EPISODES_MAX])
        episodes = WindowRuns(starts=episodes.starts[longest], ends=episodes.ends[longest])
    by_path = [compute_episode_stats(episodes, series) for series in pair.series]
    return [
        _build_episode(
            pair,
            states,
            episodes,
            index,
            [path_stats[index] for path_stats in by_path],
            scenario.causes if with_causes else None,
        )
        for index in range(len(episodes))
    ], total


def _build_episode(
    pair: PairWindows,
    states: StateArray,
    episodes: WindowRuns,
    index: int,
    path_stats: Sequence[PathEpisodeStats],
    causes: StateArray | None,
) -> EpisodeSection:
    first, last = int(episodes.starts[index]), int(episodes.ends[index])
    start_s, end_s = pair.start_s + first * WINDOW_S, pair.start_s + last * WINDOW_S
    episode_states = states[first:last]
    worst = [stats.p95_us_worst for stats in path_stats if stats.p95_us_worst is not None]
    is_lost = any(stats.windows_without_p95 for stats in path_stats)
    return EpisodeSection(
        start_s=start_s,
        start_iso=format_iso8601(start_s),
        end_s=end_s,
        end_iso=format_iso8601(end_s),
        minutes=last - first,
        bad=int(np.count_nonzero(episode_states == BAD)),
        unavailable=int(np.count_nonzero(episode_states == UNAVAILABLE)),
        p95_us_worst=None if is_lost or not worst else max(worst),
        rtt_us_max=max((stats.rtt_us_max for stats in path_stats if stats.rtt_us_max is not None), default=None),
        sent=sum(stats.sent for stats in path_stats),
        lost=sum(stats.lost for stats in path_stats),
        causes=UNSET if causes is None else count_causes(causes[first:last]),
    )


def build_migration_section(states: ScenarioStates) -> list[MigrationSection]:
    """Build the section of usable start times for some durations of a migration."""
    low, high = states.with_unknown_as(BAD).worst_case == GOOD, states.with_unknown_as(GOOD).best_case == GOOD
    longest = find_longest_good_run(low)
    return [
        MigrationSection(
            minutes=minutes,
            pessimistic=compute_usable_ratio(low, minutes),
            optimistic=compute_usable_ratio(high, minutes),
            longest_minutes=longest.windows if longest else 0,
        )
        for minutes in MIGRATION_MINUTES
    ]


def build_hours_section(hours: Sequence[HourOfWeek]) -> list[HourSection]:
    """Build the section of the 168 hours of the week."""
    return [
        HourSection(
            day=cell.weekday, hour=cell.hour, windows=cell.windows, known=cell.known, good=cell.good, visits=cell.visits
        )
        for cell in hours
    ]


def detect_pair_segments(pair: PairWindows) -> Sequence[ChangePointSegment] | None:
    """Split the period at changes of the minimum RTT of all paths; None if ruptures is not installed."""
    try:
        from leadline_verdict.change_points import detect_segments
    except ModuleNotFoundError:
        return None
    missing = np.full(pair.minutes, MISSING, dtype=np.int32)
    return detect_segments(reduce(_elementwise_min, [series.min_us for series in pair.series], missing))


#: Returns the class of whole days; None if they are too few.
ClassifySegment = Callable[[ScenarioStates], VerdictClass | None]


def build_segments_section(
    pair: PairWindows, states: ScenarioStates, segments: Sequence[ChangePointSegment], classify: ClassifySegment
) -> list[SegmentSection]:
    """Build the section of the segments, each with the verdict class of its own windows."""
    return [
        SegmentSection(
            start_s=pair.start_s + segment.start * WINDOW_S,
            start_iso=format_iso8601(pair.start_s + segment.start * WINDOW_S),
            end_s=pair.start_s + segment.end * WINDOW_S,
            end_iso=format_iso8601(pair.start_s + segment.end * WINDOW_S),
            median_us=round(segment.median_us),
            change_us=None if segment.change_us is None else round(segment.change_us),
            share=count_state_codes(states.slice_minutes(segment.start, segment.end).worst_case).good_ratio,
            verdict=_classify_segment(states, segment, classify),
        )
        for segment in segments
    ]


def _elementwise_min(a: IntColumn, b: IntColumn) -> IntColumn:
    return np.where(a == MISSING, b, np.where(b == MISSING, a, np.minimum(a, b)))


def _classify_segment(states: ScenarioStates, segment: ChangePointSegment, classify: ClassifySegment) -> str | None:
    """Return the verdict class of the whole days of a segment; None if there are too few."""
    days = segment.whole_days()
    verdict_class = None if days is None else classify(states.slice_minutes(days.start, days.stop))
    return None if verdict_class is None else verdict_class.value


def iter_segment_classes(segments: Sequence[SegmentSection]) -> Iterator[str]:
    """Return the verdict classes of the segments that have one, in order of time."""
    return (segment.verdict for segment in segments if segment.verdict is not None)
