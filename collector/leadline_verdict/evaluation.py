"""From columns of windows to both readings of every minute: ``leadline.evaluation`` at the speed of arrays.

``leadline.evaluation`` is the definition; a test holds that both say the same of any window. Here it is written once more
because a month of a pair is 43,200 windows, and every row of a sensitivity table judges them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from leadline.evaluation import (
    COVERAGE_PARTS,
    COVERAGE_WHOLE,
    ERRORS_OFF_AND_ON,
    UNAVAILABLE_PARTS,
    UNAVAILABLE_WHOLE,
    Criterion,
    Measure,
)
from leadline.limits.catalogue import Comparison
from leadline_verdict.series import NONE, IntColumn, PathSeries
from leadline_verdict.states import BAD, GOOD, UNAVAILABLE, UNKNOWN, Minutes, Readings, States

_COLUMN_OF = {
    Measure.MEAN: "mean_us",
    Measure.P50: "p50_us",
    Measure.P95: "p95_us",
    Measure.P99: "p99_us",
    Measure.MAX: "max_us",
    Measure.PDV: "pdv_us",
}


def path_readings(series: PathSeries, criteria: Sequence[Criterion], *, with_error: bool = True) -> Readings:
    """The worst of each reading over the criteria; unknown when there are none.

    ``with_error`` False takes the agent's own delay for 0 in both.
    """
    both = [_by_criterion(series, criterion, with_error) for criterion in criteria]
    unknown = np.full(len(series), UNKNOWN, dtype=np.uint8)
    return Readings(
        pessimistic=reduce(np.maximum, [reading.pessimistic for reading in both]) if both else unknown,
        optimistic=reduce(np.maximum, [reading.optimistic for reading in both]) if both else unknown,
    )


def merged(paths: Sequence[Readings], minutes: int) -> Readings:
    """A pair from its paths: known where any path knows it, then the worse and the better of those that do."""
    worst = np.zeros(minutes, dtype=np.uint8)
    best = np.full(minutes, UNKNOWN, dtype=np.uint8)
    for path in paths:
        known = ~path.unknown
        worst = np.where(known, np.maximum(worst, path.pessimistic), worst)
        best = np.where(known, np.minimum(best, path.optimistic), best)
    worst[best == UNKNOWN] = UNKNOWN
    return Readings(pessimistic=worst, optimistic=best)


def excused(readings: Readings, ambiguous: Minutes) -> Readings:
    """With the minutes in which the peer itself may have been down good in the optimistic reading (method.md §3.2).

    Loss elsewhere stays a fact in both.
    """
    doubtful = ambiguous & (readings.optimistic == UNAVAILABLE)
    return Readings(
        pessimistic=readings.pessimistic, optimistic=np.where(doubtful, np.uint8(GOOD), readings.optimistic)
    )


def known(series: PathSeries) -> Minutes:
    """Where enough was sent to judge."""
    return (series.sent > 0) & (COVERAGE_WHOLE * series.sent >= COVERAGE_PARTS * series.expected)


def unavailable(series: PathSeries) -> Minutes:
    """Where too much of what was sent was lost; true only where something was sent."""
    lost = series.sent - series.received
    return (series.sent > 0) & (UNAVAILABLE_WHOLE * lost >= UNAVAILABLE_PARTS * series.sent)


def observed_high_us(series: PathSeries, measure: Measure) -> IntColumn:
    """The number of each window that the pessimistic reading compares; NONE where it is +infinity or nothing came."""
    value = _observed(series, measure)
    _, on = ERRORS_OFF_AND_ON.get(measure, (1, 0))
    return np.where(value == NONE, np.int32(NONE), value + on * _error(series, with_error=True))


def _by_criterion(series: PathSeries, criterion: Criterion, with_error: bool) -> Readings:
    if criterion.peak_us is not None:
        return _by_peaks(series, criterion, criterion.peak_us, with_error)
    value = _observed(series, criterion.measure)
    off, on = ERRORS_OFF_AND_ON.get(criterion.measure, (1, 0))
    error = _error(series, with_error)
    low, high = np.maximum(0, value - off * error), value + on * error
    return Readings(
        pessimistic=_states(series, criterion, value, high), optimistic=_states(series, criterion, value, low)
    )


def _by_peaks(series: PathSeries, criterion: Criterion, peak_us: int, with_error: bool) -> Readings:
    """As ``leadline.evaluation._peak_bounds_us``: p95 for the pessimist, p50 for the optimist, no reply above the peak."""
    error = _error(series, with_error)
    high = np.where(series.max_us <= peak_us, series.p95_us, NONE)
    low = np.where(series.max_us - error <= peak_us, series.p50_us, NONE)
    return Readings(
        pessimistic=_states(series, criterion, high, high),
        optimistic=_states(series, criterion, low, np.maximum(0, low - error)),
    )


def _error(series: PathSeries, with_error: bool) -> IntColumn:
    return np.where(with_error & (series.error_p99_us != NONE), series.error_p99_us, 0)


def _observed(series: PathSeries, measure: Measure) -> IntColumn:
    if measure is Measure.P95_PLUS_PDV:
        sum_us = series.p95_us + series.pdv_us
        return np.where((series.p95_us == NONE) | (series.pdv_us == NONE), np.int32(NONE), sum_us)
    value = series.column(_COLUMN_OF[measure])
    if measure is Measure.MAX:
        return np.where(series.sent > series.received, np.int32(NONE), value)
    return value


def _states(series: PathSeries, criterion: Criterion, observed: IntColumn, value_us: IntColumn) -> States:
    limit_us = criterion.limit_us
    holds = value_us < limit_us if criterion.comparison is Comparison.LESS else value_us <= limit_us
    states = np.where((observed != NONE) & holds, np.uint8(GOOD), np.uint8(BAD))
    states[unavailable(series)] = UNAVAILABLE
    states[~known(series)] = UNKNOWN
    return states
