"""Change points of the 5-minute minimum: none in noise, and every step at its bin."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from leadline_verdict.change_points import ChangePointSegment, compute_bin_minima, detect_segments, find_candidates
from leadline_verdict.series import MISSING, IntColumn

#: 28 days of 5-minute bins.
BINS = 8_064
BASE_US, NOISE_US = 5_000, 20


def noise(seed: int, rho: float, bins: int = BINS) -> NDArray[np.float64]:
    """Return AR(1) noise with a standard deviation of 0.02 ms from the first value; white for rho 0."""
    shocks = np.random.default_rng(seed).normal(0, NOISE_US, bins)
    shocks[1:] *= np.sqrt(1 - rho**2)
    values: NDArray[np.float64] = lfilter([1], [1, -rho], shocks)
    return values


def windows(bins: NDArray[np.float64]) -> IntColumn:
    """Return one window per minute: one of the five windows of a bin has its minimum, the others are slower."""
    column = np.repeat(np.rint(bins), 5).astype(np.int32) + np.int32(7)
    column[2::5] -= 7
    return column


def steps(segments: tuple[ChangePointSegment, ...]) -> list[int]:
    """Return the bins of the change points."""
    return [segment.start // 5 for segment in segments[1:]]


@pytest.mark.parametrize(("rho", "seeds"), [(0.0, 2), (0.5, 6), (0.8, 6), (0.9, 6), (0.95, 6)])
def test_noise_has_no_change_point(rho: float, seeds: int) -> None:
    """White and correlated noise."""
    for seed in range(seeds):
        assert steps(detect_segments(windows(BASE_US + noise(seed, rho)))) == []


@pytest.mark.parametrize(("rho", "seeds"), [(0.0, 1), (0.5, 5), (0.9, 5), (0.95, 5)])
def test_every_step_is_found_at_its_bin(rho: float, seeds: int) -> None:
    """A permanent step of 0.2 ms and a step of 0.5 ms for four hours."""
    for seed in range(seeds):
        path = BASE_US + noise(seed, rho)
        path[3_000:] += 200
        path[5_000:5_048] += 500

        segments = detect_segments(windows(path))

        assert steps(segments) == [3_000, 5_000, 5_048]
        changes = [segment.change_us for segment in segments[1:]]
        assert changes == pytest.approx([200, 500, -500], abs=40)
        assert segments[0].median_us == pytest.approx(BASE_US, abs=10)


def test_the_penalty_is_right_for_white_noise_only() -> None:
    """The fit alone finds no points in white noise and dozens in correlated noise; merging removes them."""
    assert find_candidates(np.rint(BASE_US + noise(1, 0.0))) == []
    assert 24 < len(find_candidates(np.rint(BASE_US + noise(1, 0.9)))) < 600


def test_a_short_small_step_is_found() -> None:
    """0.2 ms for half an hour in white noise of 0.02 ms."""
    path = BASE_US + noise(3, 0.0, bins=2_000)
    path[1_000:1_006] += 200

    assert steps(detect_segments(windows(path))) == [1_000, 1_006]


def test_a_segment_lasts_at_least_half_an_hour() -> None:
    """Six bins are a segment, five are not."""
    long_step, short_step = np.full(400, 5_000.0), np.full(400, 5_000.0)
    long_step[200:206] = 9_000
    short_step[200:205] = 9_000

    assert steps(detect_segments(windows(long_step))) == [200, 206]
    assert steps(detect_segments(windows(short_step))) != [200, 205]


def test_a_step_of_a_tenth_of_a_millisecond_counts() -> None:
    """0.1 ms is a step, 0.099 ms is not."""
    for step, expected in ((100, [50]), (99, [])):
        assert expected == steps(detect_segments(windows(np.repeat([5_000.0, 5_000.0 + step], 50))))


def test_the_smallest_step_is_merged_first() -> None:
    """Steps of 80 and 90 µs: the first two segments merge to 5,040 µs; the third is 130 µs above and stays."""
    segments = detect_segments(windows(np.repeat([5_000.0, 5_080.0, 5_170.0], 100)))

    assert steps(segments) == [200]
    assert [segment.median_us for segment in segments] == [5_040.0, 5_170.0]
    assert [segment.change_us for segment in segments] == [None, 130.0]


def test_segments_cover_the_period() -> None:
    """Each segment starts at the end of the previous one."""
    segments = detect_segments(windows(np.repeat([5_000.0, 6_000.0], 100)))

    assert [(segment.start, segment.end) for segment in segments] == [(0, 500), (500, 1_000)]
    assert [slice(0, 500), slice(500, 1_000)] == [segment.windows for segment in segments]


def test_missing_bins_do_not_shift_a_step() -> None:
    """Two hours are missing before the step."""
    column = windows(np.repeat([5_000.0, 6_000.0], 100))
    column[200:320] = MISSING

    assert steps(detect_segments(column)) == [100]


def test_a_change_during_a_gap_is_placed_at_its_end() -> None:
    """The first reply after the gap is the first of the new segment."""
    column = windows(np.repeat([5_000.0, 6_000.0], 100))
    column[450:600] = MISSING

    segments = detect_segments(column)

    assert [(segment.start, segment.end) for segment in segments] == [(0, 600), (600, 1_000)]


def test_gaps_at_both_ends_belong_to_the_nearest_segment() -> None:
    """The first segment starts with the period, the last ends with it."""
    column = windows(np.repeat([5_000.0, 6_000.0], 100))
    column[:70] = column[-70:] = MISSING

    assert [(segment.start, segment.end) for segment in detect_segments(column)] == [(0, 500), (500, 1_000)]


def test_a_period_without_a_reply_has_no_segment() -> None:
    """An empty period has none either."""
    assert detect_segments(np.full(1_440, MISSING, dtype=np.int32)) == ()
    assert detect_segments(np.zeros(0, dtype=np.int32)) == ()


def test_a_short_period_is_one_segment() -> None:
    """Two segments of half an hour need twelve bins."""
    path = np.repeat([5_000.0, 9_000.0], 6)

    assert steps(detect_segments(windows(path[1:]))) == []
    assert steps(detect_segments(windows(path))) == [6]


def test_minima_of_five_windows() -> None:
    """Windows without a reply are ignored; a bin without replies is MISSING; the last bin may be incomplete."""
    column = np.array([5, MISSING, 3, 9, MISSING, *[MISSING] * 5, 8, 7], dtype=np.int32)

    assert compute_bin_minima(column).tolist() == [3, MISSING, 7]


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        (0, 2_880, slice(0, 2_880)),
        (1, 2_880, slice(1_440, 2_880)),
        (0, 2_879, slice(0, 1_440)),
        (1, 2_879, None),
        (1_000, 1_300, None),
    ],
)
def test_whole_days_of_a_segment(start: int, end: int, days: slice | None) -> None:
    """The days from midnight to midnight within the segment."""
    assert days == ChangePointSegment(start=start, end=end, median_us=1.0, change_us=None).whole_days()
