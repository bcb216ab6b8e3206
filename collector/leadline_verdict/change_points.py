"""Where the path itself changed: change points of the 5-minute minimum (method.md §4.4).

Rule 1: candidates come from a penalised least-squares fit (KernelCPD, linear kernel), whose penalty supposes white
noise. Real noise is not white, so neighbouring segments are then merged, the smallest difference of medians first,
until every step is 0.1 ms or more.
Rule 2: bins without a single reply are left out, and the fit sees the others as neighbours. Found positions are mapped
back: a segment starts with the first reply after the change, so a change inside a hole is put at its end.
Rule 3: the segments cover the period without a gap; a hole belongs to the segment before it, one at the start to the
first.

The only module that imports ruptures.
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

#: Windows per bin: long enough that one of 300 probes finds the queues empty.
BIN_WINDOWS = 5
#: A route has to hold for half an hour to be one.
SEGMENT_BINS_MIN = 6
#: Steps below 0.1 ms (10 km of fibre) are not told from noise.
STEP_US_MIN = 100.0
#: RTTs are whole microseconds: noise below one cannot be seen.
_NOISE_US_MIN = 1.0
#: 1 / Phi^-1(3/4): makes the median absolute deviation of normal noise its standard deviation.
_MAD_TO_SIGMA = 1.4826
_PENALTY_FACTOR = 3.0

_FloatArray: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePointSegment:
    """A stretch of one route; positions in windows from the start of the period."""

    start: int
    end: int
    #: Median of its 5-minute minima, microseconds; a half when their number is even.
    median_us: float
    #: Less the median of the segment before; None for the first.
    change_us: float | None

    @property
    def windows(self) -> slice:
        """Its windows, to index any column or reading of the period."""
        return slice(self.start, self.end)

    def whole_days(self) -> slice | None:
        """The windows of its whole UTC days, in a period of whole days; None when there is none.

        What intervals by day can be computed from.
        """
        first = -(-self.start // WINDOWS_PER_DAY) * WINDOWS_PER_DAY
        last = self.end // WINDOWS_PER_DAY * WINDOWS_PER_DAY
        return slice(first, last) if first < last else None


@dataclass(slots=True)
class _BinSegment:
    """A segment while merging, in compressed bins [start, end)."""

    start: int
    end: int
    median: float


def detect_segments(min_us: IntColumn) -> tuple[ChangePointSegment, ...]:
    """The segments of a period from the minimum of each window (NONE where nothing came back); () without a reply.

    An incomplete bin at the end counts as one. 8,064 bins (28 days) take up to half a second.
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
    """The smallest minimum of every five windows; NONE where none of them has one."""
    padded = np.append(min_us, np.full(-len(min_us) % BIN_WINDOWS, MISSING, dtype=np.int32)).astype(np.int32)
    largest = np.iinfo(np.int32).max
    minima = np.where(padded == MISSING, largest, padded).reshape(-1, BIN_WINDOWS).min(axis=1)
    return np.where(minima == largest, np.int32(MISSING), minima)


def find_candidates(values: _FloatArray) -> list[int]:
    """Where the fit alone starts a segment, before merging, without 0; none where two segments do not fit."""
    if len(values) < 2 * SEGMENT_BINS_MIN or _has_single_level(values):
        return []
    penalty = _PENALTY_FACTOR * _estimate_noise_us(values) ** 2 * log(len(values))
    # Around 0, because the fit adds up squares and loses digits of large ones.
    fitted = ruptures.KernelCPD(kernel="linear", min_size=SEGMENT_BINS_MIN).fit(values - np.median(values))
    return [int(end) for end in fitted.predict(pen=penalty)[:-1]]


def _has_single_level(values: _FloatArray) -> bool:
    """True where no two segments could differ by a step, so that the fit, which takes half a second, changes nothing.

    Any segment can be cut into pieces of 6 to 11 bins, and its median lies between theirs.
    """
    medians = [
        np.median(np.lib.stride_tricks.sliding_window_view(values, bins), axis=1)
        for bins in range(SEGMENT_BINS_MIN, 2 * SEGMENT_BINS_MIN)
        if bins <= len(values)
    ]
    return bool(max(one.max() for one in medians) - min(one.min() for one in medians) < STEP_US_MIN)


def _estimate_noise_us(values: _FloatArray) -> float:
    """The standard deviation of the noise, from differences of neighbours, which steps hardly touch."""
    steps = np.diff(values)
    deviation = float(np.median(np.abs(steps - np.median(steps))))
    return max(_NOISE_US_MIN, _MAD_TO_SIGMA * deviation / sqrt(2))


def _merge_small_steps(values: _FloatArray, edges: list[int]) -> list[_BinSegment]:
    """Merge across the smallest step until all are at least 0.1 ms."""
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
