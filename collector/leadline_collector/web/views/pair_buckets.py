"""A directed pair over a period, minute by minute and added up in steps for a chart.

The judgement is ``leadline_verdict.evaluation``, the one of matrix and verdicts; a test compares the pages with the API.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from leadline.evaluation import Criterion, WindowState
from leadline.model import WINDOW_S
from leadline_collector.analysis.matrix import RECENT_WINDOWS
from leadline_collector.time_range import TimeRange
from leadline_collector.web.charts.timeline import TimeBucket
from leadline_verdict.evaluation import combine_paths, evaluate_path
from leadline_verdict.pair import PairWindows
from leadline_verdict.series import COLUMNS, MISSING, IntColumn, PathSeries
from leadline_verdict.states import STATES_BY_CODE, UNKNOWN, ScenarioStates, StateArray, make_unknown_states

#: Steps in a chart: a screen has no more columns to show them in.
BUCKETS_MAX = 400
#: Minutes in a step: divisors of a day, so that steps begin at hours and at midnight UTC.
_BUCKET_MINUTES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1_440)
#: A minute of a step that lies outside of the period.
_OUTSIDE_PERIOD = len(STATES_BY_CODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentState:
    """What a pair is now, as measured, and since when."""

    state: WindowState
    #: Start of the latest window; None without any.
    latest_start_s: int | None
    #: Start of the first window of the unbroken run of this state; None where the state is unknown.
    since_s: int | None
    #: The run began no later than the period that was read.
    has_earlier_start: bool


def choose_bucket_length_s(period: TimeRange) -> int:
    """The shortest step of which the period has at most ``STEPS_MAX``, and one that is cut at each end."""
    minutes = next((one for one in _BUCKET_MINUTES if period.window_count <= one * BUCKETS_MAX), _BUCKET_MINUTES[-1])
    return minutes * WINDOW_S


def slice_windows(windows: PairWindows, period: TimeRange) -> PairWindows:
    """The part of these windows that lies in a period within theirs."""
    first, last = ((second - windows.start_s) // WINDOW_S for second in (period.start_s, period.end_s))
    assert 0 <= first < last <= windows.minutes
    return replace(
        windows,
        start_s=period.start_s,
        minutes=last - first,
        paths=tuple(replace(path, series=_slice_series(path.series, first, last)) for path in windows.paths),
        ambiguous_minutes=windows.ambiguous_minutes[first:last],
        explained_minutes=windows.explained_minutes[first:last],
    )


def _slice_series(series: PathSeries, first: int, last: int) -> PathSeries:
    columns = {name: series.get_column(name)[first:last] for name in COLUMNS}
    return PathSeries.from_columns(series.start_s + first * WINDOW_S, columns, simulated=series.simulated)


def evaluate_scenarios(windows: PairWindows, criteria: Sequence[Criterion]) -> ScenarioStates:
    """Both readings of every minute as the matrix counts them: by the windows alone."""
    if not windows.paths or not criteria:
        return make_unknown_states(windows.minutes)
    return combine_paths([evaluate_path(series, criteria) for series in windows.series], windows.minutes)


def find_current_state(windows: PairWindows, states: StateArray) -> CurrentState:
    """The state at the end of what was read, with the matrix's patience for windows on their way."""
    there = find_present_minutes(windows)
    if not len(there):
        return CurrentState(state=WindowState.UNKNOWN, latest_start_s=None, since_s=None, has_earlier_start=False)
    last = int(there[-1])
    latest_t = windows.start_s + last * WINDOW_S
    if last < windows.minutes - RECENT_WINDOWS or states[last] == UNKNOWN:
        return CurrentState(state=WindowState.UNKNOWN, latest_start_s=latest_t, since_s=None, has_earlier_start=False)
    others = np.flatnonzero(states[: last + 1] != states[last])
    first = int(others[-1]) + 1 if len(others) else 0
    since_s = windows.start_s + first * WINDOW_S
    return CurrentState(
        state=STATES_BY_CODE[states[last]], latest_start_s=latest_t, since_s=since_s, has_earlier_start=first == 0
    )


def find_present_minutes(windows: PairWindows) -> NDArray[np.intp]:
    """The minutes that have a window of any path, by their place."""
    there = np.zeros(windows.minutes, np.bool_)
    for series in windows.series:
        there |= series.expected > 0
    return np.flatnonzero(there)


def aggregate_buckets(windows: PairWindows, states: StateArray, length_s: int) -> list[TimeBucket]:
    """Every step of the period, also those without a window."""
    first_s = windows.start_s // length_s * length_s
    lead, size = (windows.start_s - first_s) // WINDOW_S, length_s // WINDOW_S
    count = -(-(lead + windows.minutes) // size)
    tail = count * size - lead - windows.minutes

    def rows(values: NDArray[np.integer], outside: int) -> NDArray[np.integer]:
        return np.pad(values, (lead, tail), constant_values=outside).reshape(count, size)

    minute = _combine_paths(windows)
    columns = zip(
        _find_row_minima(rows(minute.min_us, MISSING)),
        _find_row_medians(rows(minute.p50_us, MISSING)),
        rows(minute.p95_us, MISSING).max(axis=1).tolist(),
        rows(minute.max_us, MISSING).max(axis=1).tolist(),
        rows(minute.infinite_count, 0).sum(axis=1).tolist(),
        np.stack(
            [(rows(states, _OUTSIDE_PERIOD) == code).sum(axis=1) for code in range(len(STATES_BY_CODE))], axis=1
        ).tolist(),
        strict=True,
    )
    return [
        TimeBucket(
            start_s=max(first_s + number * length_s, windows.start_s),
            end_s=min(first_s + (number + 1) * length_s, windows.end_s),
            min_us=_none_if_missing(least),
            p50_us=_none_if_missing(middle),
            p95_us=_none_if_missing(p95),
            max_us=_none_if_missing(longest),
            infinite_count=infinite,
            state_counts=dict(zip(STATES_BY_CODE, counts, strict=True)),
        )
        for number, (least, middle, p95, longest, infinite, counts) in enumerate(columns)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _PairColumns:
    """The paths of a pair as one: the least and the longest of all, the worst percentiles."""

    min_us: IntColumn
    p50_us: IntColumn
    p95_us: IntColumn
    max_us: IntColumn
    infinite_count: IntColumn


def _combine_paths(windows: PairWindows) -> _PairColumns:
    nothing = np.full(windows.minutes, MISSING, dtype=np.int32)
    series = windows.series
    infinite = [(one.sent > 0) & (one.p95_us == MISSING) for one in series]
    return _PairColumns(
        min_us=reduce(_min_ignoring_none, [one.min_us for one in series], nothing),
        p50_us=reduce(np.maximum, [one.p50_us for one in series], nothing),
        p95_us=reduce(np.maximum, [one.p95_us for one in series], nothing),
        max_us=reduce(np.maximum, [one.max_us for one in series], nothing),
        infinite_count=reduce(np.logical_or, infinite, np.zeros(windows.minutes, np.bool_)).astype(np.int32),
    )


def _min_ignoring_none(a: IntColumn, b: IntColumn) -> IntColumn:
    return np.where(a == MISSING, b, np.where(b == MISSING, a, np.minimum(a, b)))


def _find_row_minima(rows: NDArray[np.integer]) -> list[int]:
    least = np.where(rows == MISSING, _INT32_MAX, rows).min(axis=1)
    return [MISSING if value == _INT32_MAX else value for value in least.tolist()]


def _find_row_medians(rows: NDArray[np.integer]) -> list[int]:
    """The lower median of each row's figures."""
    ordered = np.sort(np.where(rows == MISSING, _INT32_MAX, rows), axis=1)
    known = (rows != MISSING).sum(axis=1)
    middle = ordered[np.arange(len(rows)), np.maximum(0, known - 1) // 2]
    return [value if count else MISSING for value, count in zip(middle.tolist(), known.tolist(), strict=True)]


_INT32_MAX = 2**31 - 1


def _none_if_missing(value: int) -> int | None:
    return None if value == MISSING else value
