"""The parts of a pair's verdict that say how the period went: round trips, episodes, hours, migrations, segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from leadline.clock import iso
from leadline.model import WINDOW_S
from leadline_verdict.compliance_share import Interval, tally
from leadline_verdict.days_needed import days_needed
from leadline_verdict.decision import Measured, Rule, measured
from leadline_verdict.document import (
    EpisodeAnswer,
    HourAnswer,
    IntervalAnswer,
    MigrationAnswer,
    ReadingAnswer,
    RoundTrips,
    SegmentAnswer,
    SharesAnswer,
    StateCounts,
    Word,
)
from leadline_verdict.episodes import EpisodeFacts, Runs, episode_facts, runs
from leadline_verdict.evaluation import known
from leadline_verdict.hour_of_week import HourOfWeek
from leadline_verdict.migration import longest_stretch, usable_ratio
from leadline_verdict.pair import PairWindows
from leadline_verdict.series import NONE, IntColumn
from leadline_verdict.states import BAD, GOOD, UNAVAILABLE, Minutes, Readings, States

if TYPE_CHECKING:
    from leadline_verdict.change_points import Segment

#: Episodes in one document; the longest are shown.
EPISODES_MAX = 100
#: A small guest, a large one, and a host that is emptied.
MIGRATION_MINUTES = (1, 5, 15, 60)


def shares_answer(readings: Readings, found: Measured, rule: Rule) -> SharesAnswer:
    """How often the windows were within the limits, as seen and as may be claimed."""
    seen = tally(readings.pessimistic)
    low = found.claim.pessimistic
    return SharesAnswer(
        observed=seen.good_ratio,
        observed_when_available=seen.good / (seen.good + seen.bad) if seen.good + seen.bad else None,
        unavailable=seen.unavailable / seen.known if seen.known else None,
        demonstrated=low.low if low else None,
        days_needed=None
        if low is None or found.pessimistic is None
        else days_needed(found.pessimistic, rule.target_share, unseen_windows=rule.unseen_windows),
        pessimistic=_reading(readings.pessimistic, low),
        optimistic=_reading(readings.optimistic, found.claim.optimistic),
    )


def _reading(states: States, interval: Interval | None) -> ReadingAnswer:
    counts = tally(states)
    return ReadingAnswer(
        states=StateCounts(good=counts.good, bad=counts.bad, unavailable=counts.unavailable, unknown=counts.unknown),
        interval=None if interval is None else _interval(interval),
    )


def _interval(found: Interval) -> IntervalAnswer:
    return IntervalAnswer(
        low=found.low,
        high=found.high,
        share=found.share,
        rule=found.rule.value,
        counted=found.counted.value,
        episodes=found.k,
        mean_length=found.mean_length,
        n_eff=found.n_eff,
        days=found.days,
        windows=found.windows,
    )


def rtt_answer(pair: PairWindows) -> RoundTrips:
    """Round trips over all paths of the period."""
    p95 = np.concatenate([_known_p95(series.p95_us, known(series)) for series in pair.series] or [_NOTHING])
    p95.sort()
    largest = [int(series.max_us.max(initial=NONE)) for series in pair.series]
    errors = [int(series.error_p99_us.max(initial=NONE)) for series in pair.series]
    sent = sum(int(series.sent.sum(dtype=np.int64)) for series in pair.series)
    return RoundTrips(
        min_us=pair.smallest_us(),
        p95_p50_us=_rank(p95, 0.50),
        p95_p95_us=_rank(p95, 0.95),
        p95_p99_us=_rank(p95, 0.99),
        p95_max_us=_rank(p95, 1.0),
        max_us=_or_none(max(largest, default=NONE)),
        error_max_us=_or_none(max(errors, default=NONE)),
        sent=sent,
        lost=sent - sum(int(series.received.sum(dtype=np.int64)) for series in pair.series),
    )


_INFINITE = np.int32(2**31 - 1)
_NOTHING = np.zeros(0, dtype=np.int32)


def _known_p95(p95_us: IntColumn, is_known: Minutes) -> IntColumn:
    values = p95_us[is_known]
    return np.where(values == NONE, _INFINITE, values)


def _rank(values: IntColumn, quantile: float) -> int | None:
    """Nearest rank; None when it falls on a window without one."""
    if not len(values):
        return None
    value = int(values[max(0, int(np.ceil(quantile * len(values))) - 1)])
    return None if value == _INFINITE else value


def _or_none(value: int) -> int | None:
    return None if value == NONE else value


def episodes_answer(pair: PairWindows, states: States) -> tuple[list[EpisodeAnswer], int]:
    """The longest episodes of the pessimistic reading in order of time, and how many there are."""
    found = runs((states == BAD) | (states == UNAVAILABLE))
    total = len(found)
    if total > EPISODES_MAX:
        longest = np.sort(np.argsort(-found.lengths, kind="stable")[:EPISODES_MAX])
        found = Runs(starts=found.starts[longest], ends=found.ends[longest])
    by_path = [episode_facts(found, series) for series in pair.series]
    return [
        _episode(pair, states, found, index, [facts[index] for facts in by_path]) for index in range(len(found))
    ], total


def _episode(
    pair: PairWindows, states: States, found: Runs, index: int, facts: Sequence[EpisodeFacts]
) -> EpisodeAnswer:
    first, last = int(found.starts[index]), int(found.ends[index])
    start_s, end_s = pair.start_s + first * WINDOW_S, pair.start_s + last * WINDOW_S
    within = states[first:last]
    worst = [one.p95_us_worst for one in facts if one.p95_us_worst is not None]
    is_lost = any(one.p95_lost_windows for one in facts)
    return EpisodeAnswer(
        start_s=start_s,
        start_iso=iso(start_s),
        end_s=end_s,
        end_iso=iso(end_s),
        minutes=last - first,
        bad=int(np.count_nonzero(within == BAD)),
        unavailable=int(np.count_nonzero(within == UNAVAILABLE)),
        p95_us_worst=None if is_lost or not worst else max(worst),
        rtt_us_max=max((one.rtt_us_max for one in facts if one.rtt_us_max is not None), default=None),
        sent=sum(one.sent for one in facts),
        lost=sum(one.lost for one in facts),
    )


def migration_answers(readings: Readings) -> list[MigrationAnswer]:
    """Whether it works when somebody presses the button, for some durations."""
    low, high = readings.supposed(BAD).pessimistic == GOOD, readings.supposed(GOOD).optimistic == GOOD
    longest = longest_stretch(low)
    return [
        MigrationAnswer(
            minutes=minutes,
            pessimistic=usable_ratio(low, minutes),
            optimistic=usable_ratio(high, minutes),
            longest_minutes=longest.windows if longest else 0,
        )
        for minutes in MIGRATION_MINUTES
    ]


def hour_answers(grid: Sequence[HourOfWeek]) -> list[HourAnswer]:
    """The 168 hours of the week."""
    return [
        HourAnswer(
            day=cell.weekday, hour=cell.hour, windows=cell.windows, known=cell.known, good=cell.good, visits=cell.visits
        )
        for cell in grid
    ]


def routes_of(pair: PairWindows) -> Sequence[Segment] | None:
    """The stretches between changes of the shortest round trip of any path; None where ruptures is not installed."""
    try:
        from leadline_verdict.change_points import segments
    except ModuleNotFoundError:
        return None
    nothing = np.full(pair.minutes, NONE, dtype=np.int32)
    return segments(reduce(_smaller, [series.min_us for series in pair.series], nothing))


def segment_answers(
    pair: PairWindows, readings: Readings, rule: Rule, routes: Sequence[Segment]
) -> list[SegmentAnswer]:
    """Each stretch with what its own windows say."""
    return [
        SegmentAnswer(
            start_s=pair.start_s + route.start * WINDOW_S,
            start_iso=iso(pair.start_s + route.start * WINDOW_S),
            end_s=pair.start_s + route.end * WINDOW_S,
            end_iso=iso(pair.start_s + route.end * WINDOW_S),
            median_us=round(route.median_us),
            change_us=None if route.change_us is None else round(route.change_us),
            share=tally(readings.between(route.start, route.end).pessimistic).good_ratio,
            verdict=_word_of(readings, route, rule),
        )
        for route in routes
    ]


def _smaller(a: IntColumn, b: IntColumn) -> IntColumn:
    return np.where(a == NONE, b, np.where(b == NONE, a, np.minimum(a, b)))


def _word_of(readings: Readings, route: Segment, rule: Rule) -> str | None:
    """What the whole days of a segment say; None if there are too few for any word."""
    days = route.whole_days()
    if days is None:
        return None
    word = measured(readings.between(days.start, days.stop), rule).word
    return None if word is Word.INSUFFICIENT_DATA else word.value


def words_of(segments: Sequence[SegmentAnswer]) -> Iterator[str]:
    """The words that segments say, in order of time."""
    return (segment.verdict for segment in segments if segment.verdict is not None)
