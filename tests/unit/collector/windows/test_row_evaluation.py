"""Judging stored rows gives what judging the full statistics gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline import evaluation
from leadline.evaluation import WindowStatistic
from leadline.limits.catalogue import load_catalogue
from leadline.model import ErrorBound, Failure
from leadline.statistics import compute_stats
from leadline_collector.windows.row_evaluation import RowEvaluator
from leadline_collector.windows.rows import WINDOW_COLUMNS, build_window_row


def measures(profile_id: str) -> frozenset[WindowStatistic]:
    """What a profile looks at."""
    known = load_catalogue()
    return frozenset(
        one.statistic
        for one in evaluation.plan_evaluation(known.get_required_limits(known.get_profile(profile_id))).criteria
    )


#: One profile or limit of the catalogue for each combination of measures.
EACH = {measures(name): name for name in (*load_catalogue().limits, *load_catalogue().profiles)}


def test_every_measure_of_the_catalogue_is_tried() -> None:
    """The examples below look at everything any profile looks at, and at nothing in one case."""
    assert {measure for found in EACH for measure in found} >= {
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
)
def test_the_columns_that_are_read_are_enough(
    profile_id: str, level_us: int, spread: list[int], lost: int, peak_us: int, failure: Failure, error_us: int | None
) -> None:
    """For every profile and limit, the row's few columns lead to both readings of the full window."""
    judged = evaluation.plan_evaluation(load_catalogue().get_required_limits(load_catalogue().get_profile(profile_id)))
    rtts = [None if n < lost else level_us + step + peak_us * (n > 50) for n, step in enumerate(spread)]
    stats = compute_stats(rtts, [failure for rtt in rtts if rtt is None])
    bound = None if error_us is None else ErrorBound(p50_us=0, p99_us=error_us)
    row = build_window_row(1, 2, 0, 1_000, stats, mesh_version=1, batch=None, error_bound=bound)

    found = RowEvaluator(judged)
    facts = tuple(dict(zip(WINDOW_COLUMNS, row, strict=True))[name] for name in found.columns)

    assert found.evaluate_row(facts) == evaluation.evaluate_profile(stats, judged.criteria, bound)  # type: ignore[arg-type]
    assert found.evaluate_paths([facts, facts]) == found.evaluate_row(facts)  # type: ignore[arg-type,list-item]
