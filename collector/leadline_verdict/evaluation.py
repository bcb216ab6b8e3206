"""Evaluation of windows in arrays: the worst-case and best-case state of every minute.

``leadline.evaluation`` is the definition; a test compares the results of both. The array version exists for speed: a
month of a pair has 43,200 windows, and every row of a sensitivity table evaluates them again.
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
    """Return the worst state over the criteria, in each case; unknown if there are no criteria.

    ``use_error_bound`` False takes the error bound as 0.
    """
    evaluations = [_evaluate_criterion(series, criterion, use_error_bound) for criterion in criteria]
    unknown = np.full(len(series), UNKNOWN, dtype=np.uint8)
    return ScenarioStates(
        worst_case=reduce(np.maximum, [evaluation.worst_case for evaluation in evaluations])
        if evaluations
        else unknown,
        best_case=reduce(np.maximum, [evaluation.best_case for evaluation in evaluations]) if evaluations else unknown,
    )


def combine_paths(paths: Sequence[ScenarioStates], minutes: int) -> ScenarioStates:
    """Combine the states of all paths of a pair.

    A minute is known if any path is known. The worst case is the worst of the known paths, the best case the best.
    """
    worst = np.zeros(minutes, dtype=np.uint8)
    best = np.full(minutes, UNKNOWN, dtype=np.uint8)
    for path in paths:
        known = ~path.unknown_minutes
        worst = np.where(known, np.maximum(worst, path.worst_case), worst)
        best = np.where(known, np.minimum(best, path.best_case), best)
    worst[best == UNKNOWN] = UNKNOWN
    return ScenarioStates(worst_case=worst, best_case=best)


def excuse_ambiguous(states: ScenarioStates, ambiguous_minutes: MinuteMask) -> ScenarioStates:
    """Count an unavailable minute as good in the best case if the peer itself may have been down (method.md §3.2).

    Other losses count in both cases.
    """
    ambiguous = ambiguous_minutes & (states.best_case == UNAVAILABLE)
    return ScenarioStates(worst_case=states.worst_case, best_case=np.where(ambiguous, np.uint8(GOOD), states.best_case))


def mask_known(series: PathSeries) -> MinuteMask:
    """Return the mask of windows with enough probes sent."""
    return (series.sent > 0) & (COVERAGE_DENOMINATOR * series.sent >= COVERAGE_NUMERATOR * series.expected)


def mask_unavailable(series: PathSeries) -> MinuteMask:
    """Return the mask of windows with too much loss; False if nothing was sent."""
    lost = series.sent - series.received
    return (series.sent > 0) & (UNAVAILABLE_DENOMINATOR * lost >= UNAVAILABLE_NUMERATOR * series.sent)


def select_worst_case_us(series: PathSeries, statistic: WindowStatistic) -> IntColumn:
    """Return the worst-case value of a statistic per window; MISSING if it is +infinity or there is no reply."""
    value = _select_statistic_us(series, statistic)
    _, added = ERROR_MULTIPLIERS.get(statistic, (1, 0))
    return np.where(value == MISSING, np.int32(MISSING), value + added * _error_bound_us(series, use_error_bound=True))


def _evaluate_criterion(series: PathSeries, criterion: Criterion, use_error_bound: bool) -> ScenarioStates:
    if criterion.peak_limit_us is not None:
        return _evaluate_bounded_peaks(series, criterion, criterion.peak_limit_us, use_error_bound)
    value = _select_statistic_us(series, criterion.statistic)
    subtracted, added = ERROR_MULTIPLIERS.get(criterion.statistic, (1, 0))
    error = _error_bound_us(series, use_error_bound)
    low, high = np.maximum(0, value - subtracted * error), value + added * error
    return ScenarioStates(
        worst_case=_classify_states(series, criterion, value, high),
        best_case=_classify_states(series, criterion, value, low),
    )


def _evaluate_bounded_peaks(
    series: PathSeries, criterion: Criterion, peak_us: int, use_error_bound: bool
) -> ScenarioStates:
    """Evaluate a limit with allowed peaks, as ``leadline.evaluation`` does.

    p95 in the worst case, p50 in the best case; no reply may be above the peak limit.
    """
    error = _error_bound_us(series, use_error_bound)
    high = np.where(series.max_us <= peak_us, series.p95_us, MISSING)
    low = np.where(series.max_us - error <= peak_us, series.p50_us, MISSING)
    return ScenarioStates(
        worst_case=_classify_states(series, criterion, high, high),
        best_case=_classify_states(series, criterion, low, np.maximum(0, low - error)),
    )


def _error_bound_us(series: PathSeries, use_error_bound: bool) -> IntColumn:
    return np.where(use_error_bound & (series.error_p99_us != MISSING), series.error_p99_us, 0)


def _select_statistic_us(series: PathSeries, statistic: WindowStatistic) -> IntColumn:
    if statistic is WindowStatistic.P95_PLUS_PDV:
        sum_us = series.p95_us + series.pdv_us
        return np.where((series.p95_us == MISSING) | (series.pdv_us == MISSING), np.int32(MISSING), sum_us)
    value = series.get_column(_STATISTIC_COLUMNS[statistic])
    if statistic is WindowStatistic.MAX:
        return np.where(series.sent > series.received, np.int32(MISSING), value)
    return value


def _classify_states(series: PathSeries, criterion: Criterion, observed: IntColumn, value_us: IntColumn) -> StateArray:
    limit_us = criterion.limit_us
    is_met = value_us < limit_us if criterion.comparison is Comparison.LESS else value_us <= limit_us
    states = np.where((observed != MISSING) & is_met, np.uint8(GOOD), np.uint8(BAD))
    states[mask_unavailable(series)] = UNAVAILABLE
    states[~mask_known(series)] = UNKNOWN
    return states
