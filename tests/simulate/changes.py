"""Change points in simulated minima: false points in noise, and detection of true steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from leadline_verdict.change_points import BIN_WINDOWS, detect_segments, find_candidates
from tests.simulate.paths import Floats

BINS = 28 * 288
NOISE_US = 20.0
#: Correlations of neighbouring 5-minute minima; 0 is white noise.
RHOS = (0.0, 0.5, 0.8, 0.9, 0.95)
#: A permanent step of 0.2 ms, and a step of 0.5 ms for four hours.
STEPS = ((3_000, BINS, 200.0), (5_000, 5_048, 500.0))
TRUE_BINS = (3_000, 5_000, 5_048)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePointResult:
    """Change points detected in a number of months of noise, without and with true steps."""

    rho: float
    months: int
    #: Points of the fit alone in noise, and points after merging.
    unmerged: int
    false: int
    #: True steps found at their exact bin, of three per month; points at other bins.
    found: int
    extra: int


def generate_noise(rho: float, rng: np.random.Generator, bins: int = BINS) -> Floats:
    """Return AR(1) noise with a standard deviation of 0.02 ms, stationary from the first value."""
    shocks = rng.normal(0, NOISE_US, bins)
    shocks[1:] *= np.sqrt(1 - rho**2)
    level: Floats = lfilter([1], [1, -rho], shocks)
    return level


def measure_change_points(rho: float, months: int, seed: int) -> ChangePointResult:
    """Detect change points in a number of months of noise, each without and with the steps."""
    rng = np.random.default_rng([seed, int(rho * 1_000)])
    unmerged = false = found = extra = 0
    for _ in range(months):
        level = np.rint(5_000 + generate_noise(rho, rng))
        unmerged += len(find_candidates(level))
        false += len(_find_points(level))
        for start, end, height in STEPS:
            level[start:end] += height
        points = _find_points(level)
        found += len(points & set(TRUE_BINS))
        extra += len(points - set(TRUE_BINS))
    return ChangePointResult(rho=rho, months=months, unmerged=unmerged, false=false, found=found, extra=extra)


def _find_points(level: Floats) -> set[int]:
    segments = detect_segments(np.repeat(level.astype(np.int32), BIN_WINDOWS))
    return {segment.start // BIN_WINDOWS for segment in segments[1:]}
