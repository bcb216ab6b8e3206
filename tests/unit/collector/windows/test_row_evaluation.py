"""Evaluation of stored rows gives the same result as evaluation of the full statistics."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline import evaluation
from leadline.evaluation import WindowStatistic
from leadline.limits.catalogue import load_catalogue
from leadline.model import ErrorBound, Failure
from leadline.statistics import compute_stats
from leadline_collector.rollup.profile_revisions import get_criteria, get_evaluation_plan
from leadline_collector.windows.row_evaluation import RowEvaluator
from leadline_collector.windows.rows import WINDOW_COLUMNS, build_window_row


def get_statistics(profile_id: str) -> frozenset[WindowStatistic]:
    """Return the statistics that a profile uses."""
    return frozenset(criterion.statistic for criterion in get_criteria(profile_id))


#: One profile or limit of the catalogue for each combination of statistics.
EACH = {get_statistics(name): name for name in (*load_catalogue().limits, *load_catalogue().profiles)}


def test_every_statistic_of_the_catalogue_is_tried() -> None:
    """The examples include every statistic of the catalogue, and a profile without any."""
    assert {statistic for statistics in EACH for statistic in statistics} >= {
        WindowStatistic.MEAN,
        WindowStatistic.P95,
        WindowStatistic.PDV,
    }
    assert frozenset() in EACH


@pytest.mark.parametrize("profile_id", EACH.values())
@given(
    level_us=st.sampled_from([100, 900, 2_400, 4_900, 6_900, 9_900, 65_900, 149_000]),
    spread=st.lists(st.integers(0, 50), min_size=60, max_size=60),
    lost=st.integers(0, 14),
    peak_us=st.integers(0, 6_000),
    failure=st.sampled_from([Failure.TIMEOUT, Failure.NOT_SENT]),
    error_us=st.none() | st.integers(0, 300),
    slots=st.sampled_from([12, 60]),
)
def test_the_columns_that_are_read_are_enough(
    profile_id: str,
    level_us: int,
    spread: list[int],
    lost: int,
    peak_us: int,
    failure: Failure,
    error_us: int | None,
    slots: int,
) -> None:
    """For every profile and limit, the columns of the row give worst case, best case and cause of the full window."""
    plan = get_evaluation_plan(profile_id)
    rtts = [None if n < lost else level_us + step + peak_us * (n > 50) for n, step in enumerate(spread[-slots:])]
    stats = compute_stats(rtts, [failure for rtt in rtts if rtt is None])
    bound = None if error_us is None else ErrorBound(p50_us=0, p99_us=error_us)
    row = build_window_row(1, 2, 0, 1_000, stats, mesh_version=1, batch=None, error_bound=bound)

    evaluator = RowEvaluator(plan)
    values = tuple(dict(zip(WINDOW_COLUMNS, row, strict=True))[name] for name in evaluator.columns)

    assert evaluator.evaluate_row(values) == evaluation.evaluate_profile(stats, plan.criteria, bound)  # type: ignore[arg-type]
    assert evaluator.evaluate_paths([values, values]) == evaluator.evaluate_row(values)  # type: ignore[arg-type,list-item]
