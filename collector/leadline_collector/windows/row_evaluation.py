"""Evaluation of stored rows: reads the columns a profile needs and evaluates each distinct row once.

The evaluation itself is in ``leadline.evaluation``. Rows repeat: 60 sent, 60 received, and one of a few hundred p95
values; so a month of a pair takes a few thousand evaluations instead of forty thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from leadline.evaluation import (
    PROBES_MIN_FOR_P95,
    EvaluationPlan,
    WindowEvaluation,
    WindowStatistic,
    combine_paths,
    evaluate_profile,
)
from leadline.model import ErrorBound
from leadline.statistics import WindowStats

#: Values of one row in the order of ``RowEvaluator.columns``.
RowValues: TypeAlias = tuple[int | None, ...]

#: Columns that every statistic needs for coverage, loss and error bound.
_COMMON_COLUMNS = ("expected", "sent", "received", "error_p99_us")
#: Columns that every statistic needs for the cause of a window with losses and for the median of few probes.
_LOSS_COLUMNS = ("min_us", "p50_us", "latency_p95_us")
#: Columns that each statistic needs in addition.
_STATISTIC_COLUMNS = {
    WindowStatistic.MEAN: ("mean_us",),
    WindowStatistic.P50: ("p50_us",),
    WindowStatistic.P95: ("p95_us",),
    WindowStatistic.P99: ("p99_us",),
    WindowStatistic.MAX: ("max_us",),
    WindowStatistic.PDV: ("pdv_us",),
    WindowStatistic.P95_PLUS_PDV: ("p95_us", "pdv_us"),
}


class RowEvaluator:
    """Evaluates rows by the criteria of one profile and caches the results."""

    def __init__(self, plan: EvaluationPlan) -> None:
        self._criteria = plan.criteria
        rtt_columns = {name for criterion in plan.criteria for name in _STATISTIC_COLUMNS[criterion.statistic]}
        if any(criterion.peak_limit_us is not None for criterion in plan.criteria):
            rtt_columns |= {"p50_us", "p95_us", "max_us"}
        loss_columns = [name for name in _LOSS_COLUMNS if name not in rtt_columns]
        #: Columns to read of every window.
        self.columns = (*_COMMON_COLUMNS, *loss_columns, *sorted(rtt_columns))
        self._loss_slice = slice(len(_COMMON_COLUMNS), len(_COMMON_COLUMNS) + len(loss_columns))
        self._no_loss_values = (None,) * len(loss_columns)
        self._row_cache: dict[RowValues, WindowEvaluation] = {}
        self._pair_cache: dict[tuple[WindowEvaluation, ...], WindowEvaluation] = {}

    def evaluate_row(self, values: RowValues) -> WindowEvaluation:
        """Return worst and best case of one window of one path."""
        _, sent, received, *_ = values
        if sent == received and sent is not None and sent >= PROBES_MIN_FOR_P95:
            # These columns do not matter; without them the rows repeat.
            values = (*values[: self._loss_slice.start], *self._no_loss_values, *values[self._loss_slice.stop :])
        result = self._row_cache.get(values)
        if result is None:
            result = self._row_cache[values] = self._compute_row(values)
        return result

    def evaluate_paths(self, paths: Sequence[RowValues]) -> WindowEvaluation:
        """Return worst and best case of one window of a pair with these paths."""
        path_results = tuple(self.evaluate_row(values) for values in paths)
        result = self._pair_cache.get(path_results)
        if result is None:
            result = self._pair_cache[path_results] = combine_paths(path_results)
        return result

    def _compute_row(self, row_values: RowValues) -> WindowEvaluation:
        values = dict(zip(self.columns, row_values, strict=True))
        error_us = values.pop("error_p99_us")
        bound = None if error_us is None else ErrorBound(p50_us=0, p99_us=error_us)
        return evaluate_profile(_build_stats(values), self._criteria, bound)


def _build_stats(values: dict[str, int | None]) -> WindowStats:
    """Build statistics from the columns that were read; the others are None, and the criteria do not use them."""
    expected, sent, received = (values[name] or 0 for name in ("expected", "sent", "received"))
    return WindowStats(
        expected=expected,
        sent=sent,
        received=received,
        min_us=values["min_us"],
        mean_us=values.get("mean_us"),
        p50_us=values["p50_us"],
        p95_us=values.get("p95_us"),
        p99_us=values.get("p99_us"),
        max_us=values.get("max_us"),
        pdv_us=values.get("pdv_us"),
        mean_step_us=None,
        failures={},
        latency_p95_us=values["latency_p95_us"],
    )
