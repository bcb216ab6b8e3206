"""Minute states of a directed pair over a period, and their aggregation into time buckets for a chart.

``leadline_verdict.evaluation`` evaluates the minutes, as for the matrix and the verdicts. A test compares the pages
with the API.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from leadline.evaluation import Criterion, WindowCause, WindowState
from leadline.model import WINDOW_S
from leadline_collector.analysis.matrix import RECENT_WINDOWS
from leadline_collector.time_range import DAY_S, TimeRange
from leadline_collector.web.charts.timeline import TimeBucket
from leadline_verdict.evaluation import combine_paths, evaluate_path
from leadline_verdict.pair import PairWindows
from leadline_verdict.series import COLUMNS, MISSING, IntColumn, PathSeries
from leadline_verdict.states import (
    CAUSES_BY_CODE,
    NO_CAUSE,
    STATES_BY_CODE,
    UNKNOWN,
    ScenarioStates,
    make_unknown_states,
)

#: Buckets in a chart.
BUCKETS_MAX = 400
#: Lengths of a bucket in minutes: divisors of a day, so that buckets start at full hours and at midnight UTC.
_BUCKET_MINUTES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1_440)
#: State code of a bucket's minute outside the period.
_OUTSIDE_PERIOD = len(STATES_BY_CODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentState:
    """The measured current state of a pair, and its start."""

    state: WindowState
    #: Cause of the latest window; None if it is good or unknown.
    cause: WindowCause | None = None
    #: Start of the latest window; None without windows.
    latest_start_s: int | None
    #: Start of the first window of the current run of this state; None if the state is unknown.
    since_s: int | None
    #: The run reaches the start of the period, so it may have begun earlier.
    has_earlier_start: bool


def choose_bucket_length_s(period: TimeRange) -> int:
    """Return the shortest bucket length in seconds that gives at most ``BUCKETS_MAX`` full buckets."""
    lengths = (length for length in _BUCKET_MINUTES if period.window_count <= length * BUCKETS_MAX)
    minutes = next(lengths, _BUCKET_MINUTES[-1])
    return minutes * WINDOW_S


def slice_windows(windows: PairWindows, period: TimeRange) -> PairWindows:
    """Return the part of these windows within a shorter period, as ``PairWindowLoader`` would load it.

    Paths without a window in the shorter period are left out. A pair without any has ``measured_since_s`` if its first
    window is in the day after the period.
    """
    first, last = ((second - windows.start_s) // WINDOW_S for second in (period.start_s, period.end_s))
    assert 0 <= first < last <= windows.minutes
    sliced = (replace(path, series=_slice_series(path.series, first, last)) for path in windows.paths)
    paths = tuple(path for path in sliced if path.series.expected.any())
    return replace(
        windows,
        start_s=period.start_s,
        minutes=last - first,
        paths=paths,
        ambiguous_minutes=windows.ambiguous_minutes[first:last],
        explained_minutes=windows.explained_minutes[first:last],
        measured_since_s=None if paths else _find_first_window_after(windows, period.end_s),
    )


def _find_first_window_after(windows: PairWindows, end_s: int) -> int | None:
    """Return the start of the first window if it is in the day after ``end_s``; None otherwise."""
    first_s = windows.measured_since_s
    if windows.paths:
        first_s = windows.start_s + min(series.find_first_minute() for series in windows.series) * WINDOW_S
    return first_s if first_s is not None and end_s <= first_s < end_s + DAY_S else None


def _slice_series(series: PathSeries, first: int, last: int) -> PathSeries:
    columns = {name: series.get_column(name)[first:last] for name in COLUMNS}
    return PathSeries.from_columns(series.start_s + first * WINDOW_S, columns, simulated=series.simulated)


def evaluate_scenarios(windows: PairWindows, criteria: Sequence[Criterion]) -> ScenarioStates:
    """Evaluate worst case and best case of every minute as the matrix does: from the windows alone."""
    if not windows.paths or not criteria:
        return make_unknown_states(windows.minutes)
    return combine_paths([evaluate_path(series, criteria) for series in windows.series], windows.minutes)


def find_current_state(windows: PairWindows, scenarios: ScenarioStates) -> CurrentState:
    """Return the worst-case state at the end of the windows.

    It is unknown if the latest window is older than ``RECENT_WINDOWS`` minutes.
    """
    states = scenarios.worst_case
    minutes = find_present_minutes(windows)
    if not len(minutes):
        return CurrentState(state=WindowState.UNKNOWN, latest_start_s=None, since_s=None, has_earlier_start=False)
    last = int(minutes[-1])
    latest_t = windows.start_s + last * WINDOW_S
    if last < windows.minutes - RECENT_WINDOWS or states[last] == UNKNOWN:
        return CurrentState(state=WindowState.UNKNOWN, latest_start_s=latest_t, since_s=None, has_earlier_start=False)
    others = np.flatnonzero(states[: last + 1] != states[last])
    first = int(others[-1]) + 1 if len(others) else 0
    since_s = windows.start_s + first * WINDOW_S
    return CurrentState(
        state=STATES_BY_CODE[states[last]],
        cause=CAUSES_BY_CODE[scenarios.causes[last]],
        latest_start_s=latest_t,
        since_s=since_s,
        has_earlier_start=first == 0,
    )


def find_present_minutes(windows: PairWindows) -> NDArray[np.intp]:
    """Return the indices of the minutes with a window of any path."""
    is_present = np.zeros(windows.minutes, np.bool_)
    for series in windows.series:
        is_present |= series.expected > 0
    return np.flatnonzero(is_present)


def aggregate_buckets(windows: PairWindows, scenarios: ScenarioStates, length_s: int) -> list[TimeBucket]:
    """Aggregate the windows into all buckets of the period, including empty ones."""
    first_s = windows.start_s // length_s * length_s
    lead, size = (windows.start_s - first_s) // WINDOW_S, length_s // WINDOW_S
    count = -(-(lead + windows.minutes) // size)
    tail = count * size - lead - windows.minutes

    def split_rows(values: NDArray[np.integer], outside: int) -> NDArray[np.integer]:
        return np.pad(values, (lead, tail), constant_values=outside).reshape(count, size)

    pair_columns = _combine_paths(windows)
    columns = zip(
        _find_row_minima(split_rows(pair_columns.min_us, MISSING)),
        _find_row_medians(split_rows(pair_columns.p50_us, MISSING)),
        split_rows(pair_columns.p95_us, MISSING).max(axis=1).tolist(),
        split_rows(pair_columns.max_us, MISSING).max(axis=1).tolist(),
        split_rows(pair_columns.infinite_count, 0).sum(axis=1).tolist(),
        _count_codes(split_rows(scenarios.worst_case, _OUTSIDE_PERIOD), range(len(STATES_BY_CODE))),
        _count_codes(split_rows(scenarios.causes, NO_CAUSE), _CAUSE_CODES),
        strict=True,
    )
    return [
        TimeBucket(
            start_s=max(first_s + number * length_s, windows.start_s),
            end_s=min(first_s + (number + 1) * length_s, windows.end_s),
            min_us=_none_if_missing(min_us),
            p50_us=_none_if_missing(p50_us),
            p95_us=_none_if_missing(p95_us),
            max_us=_none_if_missing(max_us),
            infinite_count=infinite_count,
            state_counts=dict(zip(STATES_BY_CODE, state_counts, strict=True)),
            cause_counts=dict(zip(_CAUSE_CODES.values(), cause_counts, strict=True)),
        )
        for number, (min_us, p50_us, p95_us, max_us, infinite_count, state_counts, cause_counts) in enumerate(columns)
    ]


#: The causes by code.
_CAUSE_CODES = {code: cause for code, cause in enumerate(CAUSES_BY_CODE) if cause is not None}


def _count_codes(rows: NDArray[np.integer], codes: Iterable[int]) -> list[list[int]]:
    """Count each of these codes in each row."""
    counts: list[list[int]] = np.stack([(rows == code).sum(axis=1) for code in codes], axis=1).tolist()
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class _PairColumns:
    """Columns of all paths of a pair combined: overall minimum and maximum, worst percentiles."""

    min_us: IntColumn
    p50_us: IntColumn
    p95_us: IntColumn
    max_us: IntColumn
    infinite_count: IntColumn


def _combine_paths(windows: PairWindows) -> _PairColumns:
    missing = np.full(windows.minutes, MISSING, dtype=np.int32)
    series = windows.series
    is_infinite = [(path.sent > 0) & (path.p95_us == MISSING) for path in series]
    return _PairColumns(
        min_us=reduce(_min_ignoring_none, [path.min_us for path in series], missing),
        p50_us=reduce(np.maximum, [path.p50_us for path in series], missing),
        p95_us=reduce(np.maximum, [path.p95_us for path in series], missing),
        max_us=reduce(np.maximum, [path.max_us for path in series], missing),
        infinite_count=reduce(np.logical_or, is_infinite, np.zeros(windows.minutes, np.bool_)).astype(np.int32),
    )


def _min_ignoring_none(a: IntColumn, b: IntColumn) -> IntColumn:
    return np.where(a == MISSING, b, np.where(b == MISSING, a, np.minimum(a, b)))


def _find_row_minima(rows: NDArray[np.integer]) -> list[int]:
    minima = np.where(rows == MISSING, _INT32_MAX, rows).min(axis=1)
    return [MISSING if value == _INT32_MAX else value for value in minima.tolist()]


def _find_row_medians(rows: NDArray[np.integer]) -> list[int]:
    """Return the lower median of each row's values."""
    ordered = np.sort(np.where(rows == MISSING, _INT32_MAX, rows), axis=1)
    counts = (rows != MISSING).sum(axis=1)
    medians = ordered[np.arange(len(rows)), np.maximum(0, counts - 1) // 2]
    return [value if count else MISSING for value, count in zip(medians.tolist(), counts.tolist(), strict=True)]


_INT32_MAX = 2**31 - 1


def _none_if_missing(value: int) -> int | None:
    return None if value == MISSING else value
