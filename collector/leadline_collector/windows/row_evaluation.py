"""Stored rows to states: reads just the columns a profile needs and asks ``leadline.evaluation`` once per different row.

There is one implementation of the judgement, and it is not here. Windows repeat: 60 sent, 60 received, and a p95 out of
a few hundred values; so a month of a pair is a few thousand questions instead of forty thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from leadline.evaluation import (
    EvaluationPlan,
    WindowEvaluation,
    WindowState,
    WindowStatistic,
    combine_paths,
    evaluate_profile,
)
from leadline.model import ErrorBound
from leadline.statistics import WindowStats

#: The values of ``Judge.columns`` of one row.
RowValues: TypeAlias = tuple[int | None, ...]

#: What each measure looks at.
_MEASURE_COLUMNS = {
    WindowStatistic.MEAN: ("mean_us",),
    WindowStatistic.P50: ("p50_us",),
    WindowStatistic.P95: ("p95_us",),
    WindowStatistic.P99: ("p99_us",),
    WindowStatistic.MAX: ("max_us",),
    WindowStatistic.PDV: ("pdv_us",),
    WindowStatistic.P95_PLUS_PDV: ("p95_us", "pdv_us"),
}


class RowEvaluator:
    """Judges rows by the criteria of one profile, and remembers."""

    def __init__(self, plan: EvaluationPlan) -> None:
        self._criteria = plan.criteria
        needed = {name for criterion in plan.criteria for name in _MEASURE_COLUMNS[criterion.statistic]}
        if any(criterion.peak_limit_us is not None for criterion in plan.criteria):
            needed |= {"p50_us", "max_us"}
        #: What to read of every window.
        self.columns = ("expected", "sent", "received", "error_p99_us", *sorted(needed))
        self._row_cache: dict[RowValues, WindowEvaluation] = {}
        self._pair_cache: dict[tuple[WindowEvaluation, ...], WindowEvaluation] = {}

    def evaluate_row(self, values: RowValues) -> WindowEvaluation:
        """Both readings of one window of one path."""
        found = self._row_cache.get(values)
        if found is None:
            found = self._row_cache[values] = self._compute_row(values)
        return found

    def evaluate_paths(self, paths: Sequence[RowValues]) -> WindowEvaluation:
        """Both readings of one window of a pair with these paths."""
        judgements = tuple(self.evaluate_row(facts) for facts in paths)
        found = self._pair_cache.get(judgements)
        if found is None:
            found = self._pair_cache[judgements] = combine_paths(judgements)
        return found

    def get_state(self, paths: Sequence[RowValues]) -> WindowState:
        """The state of a window of a pair as measured."""
        return self.evaluate_paths(paths).worst_case

    def _compute_row(self, row_values: RowValues) -> WindowEvaluation:
        values = dict(zip(self.columns, row_values, strict=True))
        error_us = values.pop("error_p99_us")
        bound = None if error_us is None else ErrorBound(p50_us=0, p99_us=error_us)
        return evaluate_profile(_build_stats(values), self._criteria, bound)


def _build_stats(values: dict[str, int | None]) -> WindowStats:
    """Statistics of which only the columns that were read are true; the criteria look at no other."""
    expected, sent, received = (values[name] or 0 for name in ("expected", "sent", "received"))
    return WindowStats(
        expected=expected,
        sent=sent,
        received=received,
        min_us=None,
        mean_us=values.get("mean_us"),
        p50_us=values.get("p50_us"),
        p95_us=values.get("p95_us"),
        p99_us=values.get("p99_us"),
        max_us=values.get("max_us"),
        pdv_us=values.get("pdv_us"),
        mean_step_us=None,
        failures={},
    )
