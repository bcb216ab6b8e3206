"""Route changes: change points of the 5-minute minimum RTT (method.md §4.4).

Rule 1: candidates come from a penalised least-squares fit (KernelCPD, linear kernel). Its penalty assumes white noise.
Real noise is not white, so neighbouring segments are merged afterwards, the smallest difference of medians first, until
every step is at least 0.1 ms.
Rule 2: bins without a reply are removed before the fit, and positions are mapped back afterwards. A segment starts with
the first reply after the change, so a change during a gap is placed at the end of the gap.
Rule 3: the segments cover the period. A gap belongs to the segment before it; a gap at the start belongs to the first.

This is the only module that imports ruptures.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt
from typing import TypeAlias

import numpy as np
import ruptures
from numpy.typing import NDArray

from leadline.evaluation import WINDOWS_PER_DAY
from leadline_verdict.series import MISSING, IntColumn

#: Windows per bin: long enough for one of 300 probes to meet empty queues.
BIN_WINDOWS = 5
#: Shortest segment: half an hour.
SEGMENT_BINS_MIN = 6
#: Steps below 0.1 ms (10 km of fibre) cannot be distinguished from noise.
STEP_US_MIN = 100.0
#: RTTs are whole microseconds, so smaller noise is not measurable.
_NOISE_US_MIN = 1.0
#: 1 / Phi^-1(3/4): converts the median absolute deviation of normal noise to its standard deviation.
_MAD_TO_SIGMA = 1.4826
_PENALTY_FACTOR = 3.0

_FloatArray: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePointSegment:
    """A segment of one route, [start, end) in windows from the start of the period."""

    start: int
    end: int
    #: Median of the 5-minute minima in microseconds; may end in .5 if their number is even.
    median_us: float
    #: Difference to the median of the previous segment; None for the first.
    change_us: float | None

    @property
    def windows(self) -> slice:
        """Slice of the segment in columns and states of the period."""
        return slice(self.start, self.end)

    def whole_days(self) -> slice | None:
        """Return the slice of the whole UTC days in the segment, for intervals by day; None without a whole day.

        The period must consist of whole days.
        """
        first = -(-self.start // WINDOWS_PER_DAY) * WINDOWS_PER_DAY
        last = self.end // WINDOWS_PER_DAY * WINDOWS_PER_DAY
        return slice(first, last) if first < last else None


@dataclass(slots=True)
class _BinSegment:
    """A segment during merging, in bins with replies, [start, end)."""

    start: int
    end: int
    median: float


def detect_segments(min_us: IntColumn) -> tuple[ChangePointSegment, ...]:
    """Split a period into segments, from the minimum RTT of each window (MISSING without a reply).

    Return () without any reply. An incomplete bin at the end counts. 8,064 bins (28 days) take up to half a second.
    """
    bins = compute_bin_minima(min_us)
    present = np.flatnonzero(bins != MISSING)
    if not len(present):
        return ()
    values = bins[present].astype(np.float64)
    pieces = _merge_small_steps(values, [0, *find_candidates(values), len(values)])
    starts = [0, *(int(present[piece.start]) * BIN_WINDOWS for piece in pieces[1:])]
    ends = [*starts[1:], len(min_us)]
    before = [None, *(piece.median for piece in pieces)]
    return tuple(
        ChangePointSegment(
            start=start,
            end=end,
            median_us=piece.median,
            change_us=None if last is None else piece.median - last,
        )
        for start, end, piece, last in zip(starts, ends, pieces, before, strict=False)
    )


def compute_bin_minima(min_us: IntColumn) -> IntColumn:
    """Return the minimum of every five windows; MISSING if none of them has a reply."""
    padded = np.append(min_us, np.full(-len(min_us) % BIN_WINDOWS, MISSING, dtype=np.int32)).astype(np.int32)
    largest = np.iinfo(np.int32).max
    minima = np.where(padded == MISSING, largest, padded).reshape(-1, BIN_WINDOWS).min(axis=1)
    return np.where(minima == largest, np.int32(MISSING), minima)


def find_candidates(values: _FloatArray) -> list[int]:
    """Return the starts of segments from the fit, before merging, without 0; [] if there are too few values."""
    if len(values) < 2 * SEGMENT_BINS_MIN or _has_single_level(values):
        return []
    penalty = _PENALTY_FACTOR * _estimate_noise_us(values) ** 2 * log(len(values))
    # Centred on 0, because the fit sums squares and loses precision with large values.
    fitted = ruptures.KernelCPD(kernel="linear", min_size=SEGMENT_BINS_MIN).fit(values - np.median(values))
    return [int(end) for end in fitted.predict(pen=penalty)[:-1]]


def _has_single_level(values: _FloatArray) -> bool:
    """True if no two segments can differ by a step; the fit, which takes half a second, is then unnecessary.

    Every segment can be divided into pieces of 6 to 11 bins, and its median is between their medians.
    """
    medians = [
        np.median(np.lib.stride_tricks.sliding_window_view(values, bins), axis=1)
        for bins in range(SEGMENT_BINS_MIN, 2 * SEGMENT_BINS_MIN)
        if bins <= len(values)
    ]
    return bool(max(level.max() for level in medians) - min(level.min() for level in medians) < STEP_US_MIN)


def _estimate_noise_us(values: _FloatArray) -> float:
    """Estimate the standard deviation of the noise from differences of neighbours; steps hardly affect it."""
    steps = np.diff(values)
    deviation = float(np.median(np.abs(steps - np.median(steps))))
    return max(_NOISE_US_MIN, _MAD_TO_SIGMA * deviation / sqrt(2))


def _merge_small_steps(values: _FloatArray, edges: list[int]) -> list[_BinSegment]:
    """Merge segments across the smallest step until all steps are at least 0.1 ms."""
    pieces = [_make_bin_segment(values, start, end) for start, end in pairwise(edges)]
    while len(pieces) > 1:
        steps = [abs(after.median - before.median) for before, after in pairwise(pieces)]
        smallest = min(steps)
        if smallest >= STEP_US_MIN:
            break
        at = steps.index(smallest)
        pieces[at : at + 2] = [_make_bin_segment(values, pieces[at].start, pieces[at + 1].end)]
    return pieces


def _make_bin_segment(values: _FloatArray, start: int, end: int) -> _BinSegment:
    return _BinSegment(start=start, end=end, median=float(np.median(values[start:end])))
