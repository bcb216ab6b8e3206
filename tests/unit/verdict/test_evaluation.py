"""Evaluation of windows in arrays, compared with ``leadline.evaluation``."""

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
from leadline_verdict.states import BAD, CAUSES_BY_CODE, GOOD, STATES_BY_CODE, UNAVAILABLE, UNKNOWN, ScenarioStates

Window = tuple[WindowStats, ErrorBound | None]

#: RTTs around a limit of 5 ms; most windows are complete, some have lost or unsent probes.
rtts = st.integers(4_990, 5_010)
slots = st.lists(
    st.one_of(rtts, rtts, rtts, st.sampled_from([Failure.TIMEOUT, Failure.NOT_SENT])), min_size=1, max_size=25
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
        is_equality_open=st.booleans(),
        never_condemns=st.booleans(),
    ),
    max_size=3,
)


def stats(slots: Sequence[int | Failure]) -> WindowStats:
    return compute_stats(
        [slot if isinstance(slot, int) else None for slot in slots],
        [slot for slot in slots if isinstance(slot, Failure)],
    )


def series(windows: Sequence[Window]) -> PathSeries:
    """Build a series with one window per minute, from the epoch."""
    columns = make_empty_columns(len(windows))
    for minute, (window, bound) in enumerate(windows):
        for name in columns:
            value = getattr(bound, "p99_us", None) if name == "error_p99_us" else getattr(window, name)
            columns[name][minute] = MISSING if value is None else value
    return PathSeries.from_columns(0, columns)


def codes(*states: int) -> ScenarioStates:
    both = np.array(states, dtype=np.uint8)
    return ScenarioStates(worst_case=both, best_case=both, causes=np.zeros_like(both))


@given(windows=windows, criteria=criteria)
def test_arrays_are_evaluated_like_single_windows(
    windows: list[tuple[list[int | Failure], ErrorBound | None]], criteria: list[Criterion]
) -> None:
    """Coverage, loss, statistic, error bound and cause."""
    window_stats = [(stats(slots), bound) for slots, bound in windows]

    states = evaluate_path(series(window_stats), criteria)

    evaluations = [
        WindowEvaluation(worst_case=STATES_BY_CODE[low], best_case=STATES_BY_CODE[high], cause=CAUSES_BY_CODE[cause])
        for low, high, cause in zip(states.worst_case, states.best_case, states.causes, strict=True)
    ]
    assert evaluations == [evaluation.evaluate_profile(window, criteria, bound) for window, bound in window_stats]


@given(paths=st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=5, max_size=5), max_size=4))
def test_paths_are_combined_like_single_windows(paths: list[list[tuple[int, int]]]) -> None:
    """The worst and the best of the known paths; unknown if no path is known."""
    path_states = [
        [(low, high) if UNKNOWN not in (low, high) else (UNKNOWN, UNKNOWN) for low, high in path] for path in paths
    ]
    states = [
        ScenarioStates(
            worst_case=np.array([low for low, _ in path], dtype=np.uint8),
            best_case=np.array([high for _, high in path], dtype=np.uint8),
            causes=np.zeros(5, dtype=np.uint8),
        )
        for path in path_states
    ]

    combined = combine_paths(states, 5)

    for minute in range(5):
        expected = evaluation.combine_paths(
            WindowEvaluation(worst_case=STATES_BY_CODE[path[minute][0]], best_case=STATES_BY_CODE[path[minute][1]])
            for path in path_states
        )
        assert STATES_BY_CODE[combined.worst_case[minute]] is expected.worst_case
        assert STATES_BY_CODE[combined.best_case[minute]] is expected.best_case


def test_both_cases_are_as_measured_without_the_error_bound() -> None:
    """The sensitivity table has a row without H."""
    criterion = Criterion(
        limit_id="limit", statistic=WindowStatistic.P95, comparison=Comparison.LESS_EQUAL, limit_us=5_000
    )
    path_series = series([(stats([5_001] * 60), ErrorBound(p50_us=0, p99_us=10))])

    assert evaluate_path(path_series, [criterion]).best_case.tolist() == [GOOD]
    assert evaluate_path(path_series, [criterion], use_error_bound=False).best_case.tolist() == [BAD]


def test_loss_is_excused_in_the_best_case_if_the_peer_may_have_been_down() -> None:
    """An isolated site cannot be distinguished from a rebooted host, so the worst case counts the loss."""
    states = codes(GOOD, UNAVAILABLE, UNAVAILABLE, BAD, UNKNOWN)

    excused = excuse_ambiguous(states, np.array([True, True, False, True, True]))

    assert excused.worst_case.tolist() == [GOOD, UNAVAILABLE, UNAVAILABLE, BAD, UNKNOWN]
    assert excused.best_case.tolist() == [GOOD, GOOD, UNAVAILABLE, BAD, UNKNOWN]


def test_unknown_minutes_can_be_replaced() -> None:
    """All unknown minutes and no others, in both cases."""
    states = codes(GOOD, UNKNOWN, BAD)

    assert states.with_unknown_as(BAD).worst_case.tolist() == [GOOD, BAD, BAD]
    assert states.with_unknown_as(GOOD).best_case.tolist() == [GOOD, GOOD, BAD]


def test_columns_of_different_lengths_are_refused() -> None:
    """A period that does not start at a minute is refused as well."""
    columns = make_empty_columns(3)

    with pytest.raises(ValueError, match="the columns differ in length: 3 and 2 minutes"):
        PathSeries.from_columns(0, {**columns, "p95_us": columns["p95_us"][:2]})
    with pytest.raises(ValueError, match="30 is not the start of a minute"):
        PathSeries.from_columns(30, columns)
