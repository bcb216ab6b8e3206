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
    PERCENTILE_STATISTICS,
    PROBES_MIN_FOR_P95,
    TOLERATED_LOSS_DENOMINATOR,
    TOLERATED_LOSS_DENOMINATORS,
    UNAVAILABLE_DENOMINATOR,
    UNAVAILABLE_NUMERATOR,
    Criterion,
    WindowStatistic,
)
from leadline.limits.catalogue import Comparison
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.series import MISSING, IntColumn, PathSeries
from leadline_verdict.states import (
    BAD,
    BOTH,
    GOOD,
    LATENCY,
    LOSS,
    NO_CAUSE,
    OUTAGE,
    UNAVAILABLE,
    UNKNOWN,
    MinuteMask,
    ScenarioStates,
    StateArray,
    make_unknown_states,
)

_STATISTIC_COLUMNS = {
    WindowStatistic.MEAN: "mean_us",
    WindowStatistic.P50: "p50_us",
    WindowStatistic.P95: "p95_us",
    WindowStatistic.P99: "p99_us",
    WindowStatistic.MAX: "max_us",
    WindowStatistic.PDV: "pdv_us",
}


def evaluate_path(
    series: PathSeries,
    criteria: Sequence[Criterion],
    *,
    use_error_bound: bool = True,
    edition: RuleEdition = RuleEdition.SECOND,
) -> ScenarioStates:
    """Return the worst state over the criteria, in each case; unknown if there are no criteria.

    ``use_error_bound`` False takes the error bound as 0. The first edition lets a limit on a mean ignore losses, and
    evaluates few probes like many.
    """
    if not criteria:
        return make_unknown_states(len(series))
    evaluations = [_evaluate_criterion(series, criterion, use_error_bound, edition) for criterion in criteria]
    return ScenarioStates(
        worst_case=reduce(np.maximum, [evaluation.worst_case for evaluation in evaluations]),
        best_case=reduce(np.maximum, [evaluation.best_case for evaluation in evaluations]),
        causes=reduce(np.maximum, [evaluation.causes for evaluation in evaluations]),
    )


def combine_paths(paths: Sequence[ScenarioStates], minutes: int) -> ScenarioStates:
    """Combine the states of all paths of a pair.

    A minute is known if any path is known. The worst case is the worst of the known paths, the best case the best.
    """
    worst = np.zeros(minutes, dtype=np.uint8)
    best = np.full(minutes, UNKNOWN, dtype=np.uint8)
    causes = np.zeros(minutes, dtype=np.uint8)
    for path in paths:
        known = ~path.unknown_minutes
        worst = np.where(known, np.maximum(worst, path.worst_case), worst)
        best = np.where(known, np.minimum(best, path.best_case), best)
        causes = np.maximum(causes, path.causes)
    worst[best == UNKNOWN] = UNKNOWN
    return ScenarioStates(worst_case=worst, best_case=best, causes=causes)


def evaluate_availability(series: PathSeries, *, edition: RuleEdition = RuleEdition.SECOND) -> ScenarioStates:
    """Return the states without any criterion: a known minute is good or unavailable."""
    worst = np.where(mask_unavailable(series), np.uint8(UNAVAILABLE), np.uint8(GOOD))
    best = np.where(_mask_best_case_unavailable(series, edition), np.uint8(UNAVAILABLE), np.uint8(GOOD))
    unknown = ~mask_known(series)
    worst[unknown] = best[unknown] = UNKNOWN
    causes = np.where(worst == UNAVAILABLE, np.uint8(OUTAGE), np.uint8(NO_CAUSE))
    return ScenarioStates(worst_case=worst, best_case=best, causes=causes)


def excuse_ambiguous(states: ScenarioStates, ambiguous_minutes: MinuteMask) -> ScenarioStates:
    """Count an unavailable minute as good in the best case if the peer itself may have been down (method.md §3.2).

    Other losses count in both cases.
    """
    ambiguous = ambiguous_minutes & (states.best_case == UNAVAILABLE)
    return ScenarioStates(
        worst_case=states.worst_case,
        best_case=np.where(ambiguous, np.uint8(GOOD), states.best_case),
        causes=states.causes,
    )


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


def _evaluate_criterion(
    series: PathSeries, criterion: Criterion, use_error_bound: bool, edition: RuleEdition
) -> ScenarioStates:
    error = _error_bound_us(series, use_error_bound)
    low, high = _compute_bounds_us(series, criterion, error, edition)
    is_met_worst = _mask_met(high, criterion.limit_us, criterion.worst_case_comparison)
    is_met_best = _mask_met(low, criterion.limit_us, criterion.best_case_comparison)
    worst_case = _classify_states(series, is_met_worst, mask_unavailable(series))
    best_case = _classify_states(series, is_met_best, _mask_best_case_unavailable(series, edition))
    if criterion.statistic is WindowStatistic.MEAN and edition is not RuleEdition.FIRST:
        has_loss = _mask_excessive_loss(series, criterion)
        worst_case[has_loss & (worst_case == GOOD)] = BAD
        best_case[has_loss & (best_case == GOOD) & (series.sent >= PROBES_MIN_FOR_P95)] = BAD
    if criterion.never_condemns:
        best_case[best_case == BAD] = GOOD
    return ScenarioStates(
        worst_case=worst_case, best_case=best_case, causes=_find_causes(series, criterion, worst_case, error)
    )


def _compute_bounds_us(
    series: PathSeries, criterion: Criterion, error: IntColumn, edition: RuleEdition
) -> tuple[IntColumn, IntColumn]:
    """Return the best-case and the worst-case value of each window; MISSING if it is +infinity."""
    if criterion.peak_limit_us is not None:
        # p95 in the worst case, p50 in the best case; no reply may be above the peak limit.
        high = np.where(series.max_us <= criterion.peak_limit_us, series.p95_us, MISSING)
        low = np.where(series.max_us - error <= criterion.peak_limit_us, series.p50_us, MISSING)
        return np.where(low == MISSING, np.int32(MISSING), np.maximum(0, low - error)), high
    value = _select_statistic_us(series, criterion.statistic)
    best = value
    if criterion.statistic in PERCENTILE_STATISTICS and edition is not RuleEdition.FIRST:
        median = _combine_us(criterion.statistic, series.p50_us, series.min_us)
        best = np.where(series.sent < PROBES_MIN_FOR_P95, median, value)
    subtracted, added = ERROR_MULTIPLIERS.get(criterion.statistic, (1, 0))
    return (
        np.where(best == MISSING, np.int32(MISSING), np.maximum(0, best - subtracted * error)),
        np.where(value == MISSING, np.int32(MISSING), value + added * error),
    )


def _error_bound_us(series: PathSeries, use_error_bound: bool) -> IntColumn:
    return np.where(use_error_bound & (series.error_p99_us != MISSING), series.error_p99_us, 0)


def _select_statistic_us(series: PathSeries, statistic: WindowStatistic) -> IntColumn:
    if statistic is WindowStatistic.P95_PLUS_PDV:
        return _combine_us(statistic, series.p95_us, series.min_us)
    value = series.get_column(_STATISTIC_COLUMNS[statistic])
    if statistic is WindowStatistic.MAX:
        return np.where(series.sent > series.received, np.int32(MISSING), value)
    return value


def _combine_us(statistic: WindowStatistic, percentile_us: IntColumn, min_us: IntColumn) -> IntColumn:
    """Return the statistic with these values in place of its percentile."""
    if statistic is WindowStatistic.PDV:
        value = percentile_us - min_us
    elif statistic is WindowStatistic.P95_PLUS_PDV:
        value = 2 * percentile_us - min_us
    else:
        value = percentile_us
    return np.where((percentile_us == MISSING) | (min_us == MISSING), np.int32(MISSING), value)


def _classify_states(series: PathSeries, is_met: MinuteMask, unavailable: MinuteMask) -> StateArray:
    states = np.where(is_met, np.uint8(GOOD), np.uint8(BAD))
    states[unavailable] = UNAVAILABLE
    states[~mask_known(series)] = UNKNOWN
    return states


def _mask_met(value_us: IntColumn, limit_us: int, comparison: Comparison) -> MinuteMask:
    is_met = value_us < limit_us if comparison is Comparison.LESS else value_us <= limit_us
    met: MinuteMask = (value_us != MISSING) & is_met
    return met


def _mask_best_case_unavailable(series: PathSeries, edition: RuleEdition) -> MinuteMask:
    """Return the mask of windows with too much loss; with few probes only if the median is lost."""
    unavailable = mask_unavailable(series)
    if edition is RuleEdition.FIRST:
        return unavailable
    return np.where(
        series.sent < PROBES_MIN_FOR_P95, (series.sent > 0) & (series.p50_us == MISSING), unavailable
    ).astype(np.bool_)


def _mask_excessive_loss(series: PathSeries, criterion: Criterion) -> MinuteMask:
    """Return the mask of windows whose losses exceed the limit by themselves."""
    denominator = TOLERATED_LOSS_DENOMINATORS.get(criterion.statistic, TOLERATED_LOSS_DENOMINATOR)
    tolerated = 0 if criterion.statistic is WindowStatistic.MAX else series.sent // denominator
    mask: MinuteMask = series.sent - series.received > tolerated
    return mask


def _find_causes(series: PathSeries, criterion: Criterion, worst_case: StateArray, error: IntColumn) -> StateArray:
    """Return the cause of each worst-case state, as ``leadline.evaluation`` does."""
    percentile = np.where(series.latency_p95_us == MISSING, series.p50_us, series.latency_p95_us)
    value = _combine_us(criterion.statistic, percentile, series.min_us)
    _, added = ERROR_MULTIPLIERS.get(criterion.statistic, (1, 0))
    is_late = (value != MISSING) & ~_mask_met(
        value + added * error, criterion.limit_us, criterion.worst_case_comparison
    )
    if criterion.peak_limit_us is not None:
        is_late |= series.max_us > criterion.peak_limit_us
    is_late |= (series.sent == series.received) | (criterion.statistic is WindowStatistic.MEAN)
    causes = np.where(is_late, np.uint8(LATENCY), np.uint8(BOTH))
    causes[_mask_excessive_loss(series, criterion)] = LOSS
    causes[worst_case == UNAVAILABLE] = OUTAGE
    causes[(worst_case == GOOD) | (worst_case == UNKNOWN)] = NO_CAUSE
    return causes
