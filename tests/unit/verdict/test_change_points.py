"""Change points of the 5-minute minimum: no false one in noise, every true one at its bin."""

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
    """AR(1) of standard deviation 0.02 ms from its first value on; white for rho 0."""
    shocks = np.random.default_rng(seed).normal(0, NOISE_US, bins)
    shocks[1:] *= np.sqrt(1 - rho**2)
    found: NDArray[np.float64] = lfilter([1], [1, -rho], shocks)
    return found


def windows(bins: NDArray[np.float64]) -> IntColumn:
    """A window a minute: the minimum of each bin is in one of its five, the others are slower."""
    column = np.repeat(np.rint(bins), 5).astype(np.int32) + np.int32(7)
    column[2::5] -= 7
    return column


def steps(found: tuple[ChangePointSegment, ...]) -> list[int]:
    """The bins at which something changed."""
    return [segment.start // 5 for segment in found[1:]]


@pytest.mark.parametrize(("rho", "seeds"), [(0.0, 2), (0.5, 6), (0.8, 6), (0.9, 6), (0.95, 6)])
def test_noise_has_no_change_point(rho: float, seeds: int) -> None:
    """Neither white noise nor noise that hangs together is taken for a route change."""
    for seed in range(seeds):
        assert steps(detect_segments(windows(BASE_US + noise(seed, rho)))) == []


@pytest.mark.parametrize(("rho", "seeds"), [(0.0, 1), (0.5, 5), (0.9, 5), (0.95, 5)])
def test_every_step_is_found_at_its_bin(rho: float, seeds: int) -> None:
    """A step of 0.2 ms that stays, and one of 0.5 ms for four hours, to the bin."""
    for seed in range(seeds):
        path = BASE_US + noise(seed, rho)
        path[3_000:] += 200
        path[5_000:5_048] += 500

        found = detect_segments(windows(path))

        assert steps(found) == [3_000, 5_000, 5_048]
        changes = [segment.change_us for segment in found[1:]]
        assert changes == pytest.approx([200, 500, -500], abs=40)
        assert found[0].median_us == pytest.approx(BASE_US, abs=10)


def test_the_penalty_is_right_for_white_noise_only() -> None:
    """The fit alone finds nothing in white noise and dozens of points in noise that hangs together: hence the merge."""
    assert find_candidates(np.rint(BASE_US + noise(1, 0.0))) == []
    assert 24 < len(find_candidates(np.rint(BASE_US + noise(1, 0.9)))) < 600


def test_a_short_small_step_is_found() -> None:
    """0.2 ms for half an hour stands out of white noise of 0.02 ms."""
    path = BASE_US + noise(3, 0.0, bins=2_000)
    path[1_000:1_006] += 200

    assert steps(detect_segments(windows(path))) == [1_000, 1_006]


def test_a_route_has_to_hold_for_half_an_hour() -> None:
    """Six bins are a segment, five are not."""
    held, passed = np.full(400, 5_000.0), np.full(400, 5_000.0)
    held[200:206] = 9_000
    passed[200:205] = 9_000

    assert steps(detect_segments(windows(held))) == [200, 206]
    assert steps(detect_segments(windows(passed))) != [200, 205]


def test_a_step_of_a_tenth_of_a_millisecond_counts() -> None:
    """0.1 ms is a step, 0.099 ms is none."""
    for step, found in ((100, [50]), (99, [])):
        assert found == steps(detect_segments(windows(np.repeat([5_000.0, 5_000.0 + step], 50))))


def test_the_smallest_step_is_merged_first() -> None:
    """80 and 90 µs: the pair 80 µs apart becomes one of 5,040, and the third is 130 above it and stays."""
    found = detect_segments(windows(np.repeat([5_000.0, 5_080.0, 5_170.0], 100)))

    assert steps(found) == [200]
    assert [segment.median_us for segment in found] == [5_040.0, 5_170.0]
    assert [segment.change_us for segment in found] == [None, 130.0]


def test_segments_cover_the_period() -> None:
    """From the first window to the last, each starting where the one before ends."""
    found = detect_segments(windows(np.repeat([5_000.0, 6_000.0], 100)))

    assert [(segment.start, segment.end) for segment in found] == [(0, 500), (500, 1_000)]
    assert [slice(0, 500), slice(500, 1_000)] == [segment.windows for segment in found]


def test_missing_bins_keep_their_place() -> None:
    """With two hours missing before it, a step is still found at its bin."""
    column = windows(np.repeat([5_000.0, 6_000.0], 100))
    column[200:320] = MISSING

    assert steps(detect_segments(column)) == [100]


def test_a_change_inside_a_hole_is_put_at_its_end() -> None:
    """Nobody saw when it happened: the first reply after it is the first of the new route."""
    column = windows(np.repeat([5_000.0, 6_000.0], 100))
    column[450:600] = MISSING

    found = detect_segments(column)

    assert [(segment.start, segment.end) for segment in found] == [(0, 600), (600, 1_000)]


def test_holes_at_both_ends_belong_to_the_nearest_segment() -> None:
    """The first segment starts with the period, the last ends with it."""
    column = windows(np.repeat([5_000.0, 6_000.0], 100))
    column[:70] = column[-70:] = MISSING

    assert [(segment.start, segment.end) for segment in detect_segments(column)] == [(0, 500), (500, 1_000)]


def test_a_period_without_a_reply_has_no_segment() -> None:
    """Nor has an empty one."""
    assert detect_segments(np.full(1_440, MISSING, dtype=np.int32)) == ()
    assert detect_segments(np.zeros(0, dtype=np.int32)) == ()


def test_a_short_period_is_one_segment() -> None:
    """Eleven bins cannot hold two routes of half an hour each; twelve can."""
    path = np.repeat([5_000.0, 9_000.0], 6)

    assert steps(detect_segments(windows(path[1:]))) == []
    assert steps(detect_segments(windows(path))) == [6]


def test_minima_of_five_windows() -> None:
    """The smallest of those that have one, none where none has; the rest at the end is a bin."""
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
    """What lies inside it from midnight to midnight, for intervals by day."""
    assert days == ChangePointSegment(start=start, end=end, median_us=1.0, change_us=None).whole_days()
