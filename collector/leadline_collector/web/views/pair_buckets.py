"""A directed pair over a period, minute by minute and added up in steps for a chart.

The judgement is ``leadline_verdict.evaluation``, the one of matrix and verdicts; a test compares the pages with the API.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from leadline.evaluation import Criterion, State
from leadline.model import WINDOW_S
from leadline_collector.analysis.matrix import RECENT_WINDOWS
from leadline_collector.time_range import Period
from leadline_collector.web.charts.timeline import Step
from leadline_verdict.evaluation import merged, path_readings
from leadline_verdict.pair import PairWindows
from leadline_verdict.series import COLUMNS, NONE, IntColumn, PathSeries
from leadline_verdict.states import STATES, UNKNOWN, Readings, States, nothing_known

#: Steps in a chart: a screen has no more columns to show them in.
STEPS_MAX = 400
#: Minutes in a step: divisors of a day, so that steps begin at hours and at midnight UTC.
_STEP_MINUTES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1_440)
#: A minute of a step that lies outside of the period.
_OUTSIDE = len(STATES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a pair is now, as measured, and since when."""

    state: State
    #: Start of the latest window; None without any.
    latest_t: int | None
    #: Start of the first window of the unbroken run of this state; None where the state is unknown.
    since_s: int | None
    #: The run began no later than the period that was read.
    is_older: bool


def step_length_s(period: Period) -> int:
    """The shortest step of which the period has at most ``STEPS_MAX``, and one that is cut at each end."""
    minutes = next((one for one in _STEP_MINUTES if period.windows <= one * STEPS_MAX), _STEP_MINUTES[-1])
    return minutes * WINDOW_S


def cut(windows: PairWindows, period: Period) -> PairWindows:
    """The part of these windows that lies in a period within theirs."""
    first, last = ((second - windows.start_s) // WINDOW_S for second in (period.start_s, period.end_s))
    assert 0 <= first < last <= windows.minutes
    return replace(
        windows,
        start_s=period.start_s,
        minutes=last - first,
        paths=tuple(replace(path, series=_cut(path.series, first, last)) for path in windows.paths),
        ambiguous=windows.ambiguous[first:last],
        explained=windows.explained[first:last],
    )


def _cut(series: PathSeries, first: int, last: int) -> PathSeries:
    columns = {name: series.column(name)[first:last] for name in COLUMNS}
    return PathSeries.of(series.start_s + first * WINDOW_S, columns, simulated=series.simulated)


def readings_of(windows: PairWindows, criteria: Sequence[Criterion]) -> Readings:
    """Both readings of every minute as the matrix counts them: by the windows alone."""
    if not windows.paths or not criteria:
        return nothing_known(windows.minutes)
    return merged([path_readings(series, criteria) for series in windows.series], windows.minutes)


def standing(windows: PairWindows, states: States) -> Standing:
    """The state at the end of what was read, with the matrix's patience for windows on their way."""
    there = minutes_there(windows)
    if not len(there):
        return Standing(state=State.UNKNOWN, latest_t=None, since_s=None, is_older=False)
    last = int(there[-1])
    latest_t = windows.start_s + last * WINDOW_S
    if last < windows.minutes - RECENT_WINDOWS or states[last] == UNKNOWN:
        return Standing(state=State.UNKNOWN, latest_t=latest_t, since_s=None, is_older=False)
    others = np.flatnonzero(states[: last + 1] != states[last])
    first = int(others[-1]) + 1 if len(others) else 0
    since_s = windows.start_s + first * WINDOW_S
    return Standing(state=STATES[states[last]], latest_t=latest_t, since_s=since_s, is_older=first == 0)


def minutes_there(windows: PairWindows) -> NDArray[np.intp]:
    """The minutes that have a window of any path, by their place."""
    there = np.zeros(windows.minutes, np.bool_)
    for series in windows.series:
        there |= series.expected > 0
    return np.flatnonzero(there)


def steps(windows: PairWindows, states: States, length_s: int) -> list[Step]:
    """Every step of the period, also those without a window."""
    first_s = windows.start_s // length_s * length_s
    lead, size = (windows.start_s - first_s) // WINDOW_S, length_s // WINDOW_S
    count = -(-(lead + windows.minutes) // size)
    tail = count * size - lead - windows.minutes

    def rows(values: NDArray[np.integer], outside: int) -> NDArray[np.integer]:
        return np.pad(values, (lead, tail), constant_values=outside).reshape(count, size)

    minute = _minutes(windows)
    columns = zip(
        _least(rows(minute.min_us, NONE)),
        _middle(rows(minute.p50_us, NONE)),
        rows(minute.p95_us, NONE).max(axis=1).tolist(),
        rows(minute.max_us, NONE).max(axis=1).tolist(),
        rows(minute.infinite, 0).sum(axis=1).tolist(),
        np.stack([(rows(states, _OUTSIDE) == code).sum(axis=1) for code in range(len(STATES))], axis=1).tolist(),
        strict=True,
    )
    return [
        Step(
            start_s=max(first_s + number * length_s, windows.start_s),
            end_s=min(first_s + (number + 1) * length_s, windows.end_s),
            min_us=_or_none(least),
            p50_us=_or_none(middle),
            p95_us=_or_none(p95),
            max_us=_or_none(longest),
            infinite=infinite,
            states=dict(zip(STATES, counts, strict=True)),
        )
        for number, (least, middle, p95, longest, infinite, counts) in enumerate(columns)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Minutes:
    """The paths of a pair as one: the least and the longest of all, the worst percentiles."""

    min_us: IntColumn
    p50_us: IntColumn
    p95_us: IntColumn
    max_us: IntColumn
    infinite: IntColumn


def _minutes(windows: PairWindows) -> _Minutes:
    nothing = np.full(windows.minutes, NONE, dtype=np.int32)
    series = windows.series
    infinite = [(one.sent > 0) & (one.p95_us == NONE) for one in series]
    return _Minutes(
        min_us=reduce(_smaller, [one.min_us for one in series], nothing),
        p50_us=reduce(np.maximum, [one.p50_us for one in series], nothing),
        p95_us=reduce(np.maximum, [one.p95_us for one in series], nothing),
        max_us=reduce(np.maximum, [one.max_us for one in series], nothing),
        infinite=reduce(np.logical_or, infinite, np.zeros(windows.minutes, np.bool_)).astype(np.int32),
    )


def _smaller(a: IntColumn, b: IntColumn) -> IntColumn:
    return np.where(a == NONE, b, np.where(b == NONE, a, np.minimum(a, b)))


def _least(rows: NDArray[np.integer]) -> list[int]:
    least = np.where(rows == NONE, _HUGE, rows).min(axis=1)
    return [NONE if value == _HUGE else value for value in least.tolist()]


def _middle(rows: NDArray[np.integer]) -> list[int]:
    """The lower median of each row's figures."""
    ordered = np.sort(np.where(rows == NONE, _HUGE, rows), axis=1)
    known = (rows != NONE).sum(axis=1)
    middle = ordered[np.arange(len(rows)), np.maximum(0, known - 1) // 2]
    return [value if count else NONE for value, count in zip(middle.tolist(), known.tolist(), strict=True)]


_HUGE = 2**31 - 1


def _or_none(value: int) -> int | None:
    return None if value == NONE else value
