"""Readings of arrays of windows: the same as ``leadline.evaluation`` says of each, and paths merged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline import evaluation
from leadline.evaluation import Criterion, Measure, WindowJudgement
from leadline.limits.catalogue import Comparison
from leadline.model import ErrorBound, Failure
from leadline.statistics import WindowStats, statistics
from leadline_verdict.evaluation import excused, merged, path_readings
from leadline_verdict.series import NONE, PathSeries, empty_columns
from leadline_verdict.states import BAD, GOOD, STATES, UNAVAILABLE, UNKNOWN, Readings

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
        measure=st.sampled_from(Measure),
        comparison=st.sampled_from([Comparison.LESS, Comparison.LESS_EQUAL]),
        limit_us=st.integers(4_995, 5_015) | st.integers(0, 20),
        peak_us=st.none() | st.integers(5_000, 5_012),
    ),
    max_size=3,
)


def stats(slots: Sequence[int | Failure]) -> WindowStats:
    return statistics(
        [slot if isinstance(slot, int) else None for slot in slots],
        [slot for slot in slots if isinstance(slot, Failure)],
    )


def series(windows: Sequence[Window]) -> PathSeries:
    """A window a minute from the epoch on."""
    columns = empty_columns(len(windows))
    for minute, (found, bound) in enumerate(windows):
        for name in columns:
            value = getattr(bound, "p99_us", None) if name == "error_p99_us" else getattr(found, name)
            columns[name][minute] = NONE if value is None else value
    return PathSeries.of(0, columns)


def codes(*states: int) -> Readings:
    both = np.array(states, dtype=np.uint8)
    return Readings(pessimistic=both, optimistic=both)


@given(found=windows, criteria=criteria)
def test_arrays_are_judged_as_windows_are(
    found: list[tuple[list[int | Failure], ErrorBound | None]], criteria: list[Criterion]
) -> None:
    """Coverage, loss, statistic and error bound: ``leadline.evaluation`` is the definition."""
    months = [(stats(slots), bound) for slots, bound in found]

    readings = path_readings(series(months), criteria)

    said = [
        WindowJudgement(pessimistic=STATES[low], optimistic=STATES[high])
        for low, high in zip(readings.pessimistic, readings.optimistic, strict=True)
    ]
    assert said == [evaluation.profile_judgement(window, criteria, bound) for window, bound in months]


@given(paths=st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=5, max_size=5), max_size=4))
def test_paths_are_merged_as_windows_are(paths: list[list[tuple[int, int]]]) -> None:
    """Known if any path knows it, then the worse and the better of those that do."""
    known = [
        [(low, high) if UNKNOWN not in (low, high) else (UNKNOWN, UNKNOWN) for low, high in path] for path in paths
    ]
    readings = [
        Readings(
            pessimistic=np.array([low for low, _ in path], dtype=np.uint8),
            optimistic=np.array([high for _, high in path], dtype=np.uint8),
        )
        for path in known
    ]

    found = merged(readings, 5)

    for minute in range(5):
        expected = evaluation.merge_paths(
            WindowJudgement(pessimistic=STATES[path[minute][0]], optimistic=STATES[path[minute][1]]) for path in known
        )
        assert STATES[found.pessimistic[minute]] is expected.pessimistic
        assert STATES[found.optimistic[minute]] is expected.optimistic


def test_without_the_error_bound_both_readings_are_as_measured() -> None:
    """The row of the sensitivity table that leaves H out."""
    criterion = Criterion(limit_id="limit", measure=Measure.P95, comparison=Comparison.LESS_EQUAL, limit_us=5_000)
    month = series([(stats([5_001] * 60), ErrorBound(p50_us=0, p99_us=10))])

    assert path_readings(month, [criterion]).optimistic.tolist() == [GOOD]
    assert path_readings(month, [criterion], with_error=False).optimistic.tolist() == [BAD]


def test_loss_while_the_peer_may_have_been_down_is_excused_for_the_optimist_only() -> None:
    """An isolated site and a rebooted host look the same: one reading takes each."""
    readings = codes(GOOD, UNAVAILABLE, UNAVAILABLE, BAD, UNKNOWN)

    found = excused(readings, np.array([True, True, False, True, True]))

    assert found.pessimistic.tolist() == [GOOD, UNAVAILABLE, UNAVAILABLE, BAD, UNKNOWN]
    assert found.optimistic.tolist() == [GOOD, GOOD, UNAVAILABLE, BAD, UNKNOWN]


def test_unknown_minutes_can_be_supposed() -> None:
    """Every one of them, in both readings, and no other."""
    readings = codes(GOOD, UNKNOWN, BAD)

    assert readings.supposed(BAD).pessimistic.tolist() == [GOOD, BAD, BAD]
    assert readings.supposed(GOOD).optimistic.tolist() == [GOOD, GOOD, BAD]


def test_columns_of_different_lengths_are_no_series() -> None:
    """Position is time, in every column."""
    columns = empty_columns(3)

    with pytest.raises(ValueError, match="columns of 3 and of 2 minutes"):
        PathSeries.of(0, {**columns, "p95_us": columns["p95_us"][:2]})
    with pytest.raises(ValueError, match="30 is not the start of a minute"):
        PathSeries.of(30, columns)
