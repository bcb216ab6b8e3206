"""From columns of windows to both readings of every minute: ``leadline.evaluation`` at the speed of arrays.

``leadline.evaluation`` is the definition; a test holds that both say the same of any window. Here it is written once more
because a month of a pair is 43,200 windows, and every row of a sensitivity table judges them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from leadline.evaluation import (
    COVERAGE_DENOMINATOR,
    COVERAGE_NUMERATOR,
    ERROR_MULTIPLIERS,
    UNAVAILABLE_DENOMINATOR,
    UNAVAILABLE_NUMERATOR,
    Criterion,
    WindowStatistic,
)
from leadline.limits.catalogue import Comparison
from leadline_verdict.series import MISSING, IntColumn, PathSeries
from leadline_verdict.states import BAD, GOOD, UNAVAILABLE, UNKNOWN, MinuteMask, ScenarioStates, StateArray

_STATISTIC_COLUMNS = {
    WindowStatistic.MEAN: "mean_us",
    WindowStatistic.P50: "p50_us",
    WindowStatistic.P95: "p95_us",
    WindowStatistic.P99: "p99_us",
    WindowStatistic.MAX: "max_us",
    WindowStatistic.PDV: "pdv_us",
}


def evaluate_path(series: PathSeries, criteria: Sequence[Criterion], *, use_error_bound: bool = True) -> ScenarioStates:
    """The worst of each reading over the criteria; unknown when there are none.

    ``with_error`` False takes the agent's own delay for 0 in both.
    """
    both = [_evaluate_criterion(series, criterion, use_error_bound) for criterion in criteria]
    unknown = np.full(len(series), UNKNOWN, dtype=np.uint8)
    return ScenarioStates(
        worst_case=reduce(np.maximum, [reading.worst_case for reading in both]) if both else unknown,
        best_case=reduce(np.maximum, [reading.best_case for reading in both]) if both else unknown,
    )


def combine_paths(paths: Sequence[ScenarioStates], minutes: int) -> ScenarioStates:
    """A pair from its paths: known where any path knows it, then the worse and the better of those that do."""
    worst = np.zeros(minutes, dtype=np.uint8)
    best = np.full(minutes, UNKNOWN, dtype=np.uint8)
    for path in paths:
        known = ~path.unknown_minutes
        worst = np.where(known, np.maximum(worst, path.worst_case), worst)
        best = np.where(known, np.minimum(best, path.best_case), best)
    worst[best == UNKNOWN] = UNKNOWN
    return ScenarioStates(worst_case=worst, best_case=best)


def excuse_ambiguous(states: ScenarioStates, ambiguous_minutes: MinuteMask) -> ScenarioStates:
    """With the minutes in which the peer itself may have been down good in the optimistic reading (method.md §3.2).

    Loss elsewhere stays a fact in both.
    """
    doubtful = ambiguous_minutes & (states.best_case == UNAVAILABLE)
    return ScenarioStates(worst_case=states.worst_case, best_case=np.where(doubtful, np.uint8(GOOD), states.best_case))


def mask_known(series: PathSeries) -> MinuteMask:
    """Where enough was sent to judge."""
    return (series.sent > 0) & (COVERAGE_DENOMINATOR * series.sent >= COVERAGE_NUMERATOR * series.expected)


def mask_unavailable(series: PathSeries) -> MinuteMask:
    """Where too much of what was sent was lost; true only where something was sent."""
    lost = series.sent - series.received
    return (series.sent > 0) & (UNAVAILABLE_DENOMINATOR * lost >= UNAVAILABLE_NUMERATOR * series.sent)


def select_worst_case_us(series: PathSeries, statistic: WindowStatistic) -> IntColumn:
    """The number of each window that the pessimistic reading compares; NONE where it is +infinity or nothing came."""
    value = _select_statistic_us(series, statistic)
    _, on = ERROR_MULTIPLIERS.get(statistic, (1, 0))
    return np.where(value == MISSING, np.int32(MISSING), value + on * _error_bound_us(series, with_error=True))


def _evaluate_criterion(series: PathSeries, criterion: Criterion, with_error: bool) -> ScenarioStates:
    if criterion.peak_limit_us is not None:
        return _evaluate_bounded_peaks(series, criterion, criterion.peak_limit_us, with_error)
    value = _select_statistic_us(series, criterion.statistic)
    off, on = ERROR_MULTIPLIERS.get(criterion.statistic, (1, 0))
    error = _error_bound_us(series, with_error)
    low, high = np.maximum(0, value - off * error), value + on * error
    return ScenarioStates(
        worst_case=_classify_states(series, criterion, value, high),
        best_case=_classify_states(series, criterion, value, low),
    )


def _evaluate_bounded_peaks(series: PathSeries, criterion: Criterion, peak_us: int, with_error: bool) -> ScenarioStates:
    """As ``leadline.evaluation._peak_bounds_us``: p95 for the pessimist, p50 for the optimist, no reply above the peak."""
    error = _error_bound_us(series, with_error)
    high = np.where(series.max_us <= peak_us, series.p95_us, MISSING)
    low = np.where(series.max_us - error <= peak_us, series.p50_us, MISSING)
    return ScenarioStates(
        worst_case=_classify_states(series, criterion, high, high),
        best_case=_classify_states(series, criterion, low, np.maximum(0, low - error)),
    )


def _error_bound_us(series: PathSeries, with_error: bool) -> IntColumn:
    return np.where(with_error & (series.error_p99_us != MISSING), series.error_p99_us, 0)


def _select_statistic_us(series: PathSeries, measure: WindowStatistic) -> IntColumn:
    if measure is WindowStatistic.P95_PLUS_PDV:
        sum_us = series.p95_us + series.pdv_us
        return np.where((series.p95_us == MISSING) | (series.pdv_us == MISSING), np.int32(MISSING), sum_us)
    value = series.get_column(_STATISTIC_COLUMNS[measure])
    if measure is WindowStatistic.MAX:
        return np.where(series.sent > series.received, np.int32(MISSING), value)
    return value


def _classify_states(series: PathSeries, criterion: Criterion, observed: IntColumn, value_us: IntColumn) -> StateArray:
    limit_us = criterion.limit_us
    holds = value_us < limit_us if criterion.comparison is Comparison.LESS else value_us <= limit_us
    states = np.where((observed != MISSING) & holds, np.uint8(GOOD), np.uint8(BAD))
    states[mask_unavailable(series)] = UNAVAILABLE
    states[~mask_known(series)] = UNKNOWN
    return states
