"""Readings of arrays of windows: the same as ``leadline.evaluation`` says of each, and paths merged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline import evaluation
from leadline.evaluation import Criterion, WindowEvaluation, WindowStatistic
from leadline.limits.catalogue import Comparison
from leadline.model import ErrorBound, Failure
from leadline.statistics import WindowStats, compute_stats
from leadline_verdict.evaluation import combine_paths, evaluate_path, excuse_ambiguous
from leadline_verdict.series import MISSING, PathSeries, make_empty_columns
from leadline_verdict.states import BAD, GOOD, STATES_BY_CODE, UNAVAILABLE, UNKNOWN, ScenarioStates

Window = tuple[WindowStats, ErrorBound | None]

#: Around a limit of 5 ms; most windows are whole, some lose a few probes or were not measured for some slots.
rtts = st.integers(4_990, 5_010)
slots = st.lists(
    st.one_of(rtts, rtts, rtts, st.sampled_from([Failure.TIMEOUT, Failure.NOT_SENT])), min_size=1, max_size=12
)
bounds = st.none() | st.builds(ErrorBound, p50_us=st.just(0), p99_us=st.integers(0, 15))
windows = st.lists(st.tuples(slots, bounds), max_size=8)
criteria = st.lists(
    st.builds(
        Criterion,
        limit_id=st.just("limit"),
        statistic=st.sampled_from(WindowStatistic),
        comparison=st.sampled_from([Comparison.LESS, Comparison.LESS_EQUAL]),
        limit_us=st.integers(4_995, 5_015) | st.integers(0, 20),
        peak_limit_us=st.none() | st.integers(5_000, 5_012),
    ),
    max_size=3,
)


def stats(slots: Sequence[int | Failure]) -> WindowStats:
    return compute_stats(
        [slot if isinstance(slot, int) else None for slot in slots],
        [slot for slot in slots if isinstance(slot, Failure)],
    )


def series(windows: Sequence[Window]) -> PathSeries:
    """A window a minute from the epoch on."""
    columns = make_empty_columns(len(windows))
    for minute, (found, bound) in enumerate(windows):
        for name in columns:
            value = getattr(bound, "p99_us", None) if name == "error_p99_us" else getattr(found, name)
            columns[name][minute] = MISSING if value is None else value
    return PathSeries.from_columns(0, columns)


def codes(*states: int) -> ScenarioStates:
    both = np.array(states, dtype=np.uint8)
    return ScenarioStates(worst_case=both, best_case=both)


@given(found=windows, criteria=criteria)
def test_arrays_are_judged_as_windows_are(
    found: list[tuple[list[int | Failure], ErrorBound | None]], criteria: list[Criterion]
) -> None:
    """Coverage, loss, statistic and error bound: ``leadline.evaluation`` is the definition."""
    months = [(stats(slots), bound) for slots, bound in found]

    readings = evaluate_path(series(months), criteria)

    said = [
        WindowEvaluation(worst_case=STATES_BY_CODE[low], best_case=STATES_BY_CODE[high])
        for low, high in zip(readings.worst_case, readings.best_case, strict=True)
    ]
    assert said == [evaluation.evaluate_profile(window, criteria, bound) for window, bound in months]


@given(paths=st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=5, max_size=5), max_size=4))
def test_paths_are_merged_as_windows_are(paths: list[list[tuple[int, int]]]) -> None:
    """Known if any path knows it, then the worse and the better of those that do."""
    known = [
        [(low, high) if UNKNOWN not in (low, high) else (UNKNOWN, UNKNOWN) for low, high in path] for path in paths
    ]
    readings = [
        ScenarioStates(
            worst_case=np.array([low for low, _ in path], dtype=np.uint8),
            best_case=np.array([high for _, high in path], dtype=np.uint8),
        )
        for path in known
    ]

    found = combine_paths(readings, 5)

    for minute in range(5):
        expected = evaluation.combine_paths(
            WindowEvaluation(worst_case=STATES_BY_CODE[path[minute][0]], best_case=STATES_BY_CODE[path[minute][1]])
            for path in known
        )
        assert STATES_BY_CODE[found.worst_case[minute]] is expected.worst_case
        assert STATES_BY_CODE[found.best_case[minute]] is expected.best_case


def test_without_the_error_bound_both_readings_are_as_measured() -> None:
    """The row of the sensitivity table that leaves H out."""
    criterion = Criterion(
        limit_id="limit", statistic=WindowStatistic.P95, comparison=Comparison.LESS_EQUAL, limit_us=5_000
    )
    month = series([(stats([5_001] * 60), ErrorBound(p50_us=0, p99_us=10))])

    assert evaluate_path(month, [criterion]).best_case.tolist() == [GOOD]
    assert evaluate_path(month, [criterion], use_error_bound=False).best_case.tolist() == [BAD]


def test_loss_while_the_peer_may_have_been_down_is_excused_for_the_optimist_only() -> None:
    """An isolated site and a rebooted host look the same: one reading takes each."""
    readings = codes(GOOD, UNAVAILABLE, UNAVAILABLE, BAD, UNKNOWN)

    found = excuse_ambiguous(readings, np.array([True, True, False, True, True]))

    assert found.worst_case.tolist() == [GOOD, UNAVAILABLE, UNAVAILABLE, BAD, UNKNOWN]
    assert found.best_case.tolist() == [GOOD, GOOD, UNAVAILABLE, BAD, UNKNOWN]


def test_unknown_minutes_can_be_supposed() -> None:
    """Every one of them, in both readings, and no other."""
    readings = codes(GOOD, UNKNOWN, BAD)

    assert readings.with_unknown_as(BAD).worst_case.tolist() == [GOOD, BAD, BAD]
    assert readings.with_unknown_as(GOOD).best_case.tolist() == [GOOD, GOOD, BAD]


def test_columns_of_different_lengths_are_no_series() -> None:
    """Position is time, in every column."""
    columns = make_empty_columns(3)

    with pytest.raises(ValueError, match="the columns differ in length: 3 and 2 minutes"):
        PathSeries.from_columns(0, {**columns, "p95_us": columns["p95_us"][:2]})
    with pytest.raises(ValueError, match="30 is not the start of a minute"):
        PathSeries.from_columns(30, columns)
