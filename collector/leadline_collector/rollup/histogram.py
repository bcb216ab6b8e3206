"""Log-linear histogram of RTTs to the base 10, with exact bin edges of three significant digits.

0 to 1,000 µs have a bin each; from there every decade has 900 bins, each a thousandth of its end wide. A bin includes
its upper edge, so the share at or below a limit of up to three significant digits is exact. Other limits need the raw
values (``rollup.raw_codec``).

Counts of several hours can be added without loss; percentiles cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from leadline_collector.rollup import varint
from leadline_collector.rollup.varint import Int64Array

#: Values below this have a bin of their own.
_EXACT_US = 1_000
_BINS_PER_DECADE = 900
#: 1,000 µs to 100 s: more than the largest RTT on the wire (``leadline.model.RTT_US_MAX``).
_DECADES = 5
US_MAX = _EXACT_US * 10**_DECADES
_DECADE_EDGES = _EXACT_US * 10 ** np.arange(_DECADES)
#: Most RTTs are below a second: their bins come from a table (2 MB).
_TABLE_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of whole microseconds; only bins with a count, in ascending order."""

    bins: NDArray[np.int64]
    counts: Int64Array

    @classmethod
    def from_values(cls, values_us: NDArray[np.integer]) -> Histogram:
        """Count values; raise ValueError for a value below 0 or above ``US_MAX``."""
        counts = np.bincount(find_bins(values_us), minlength=1)
        bins = np.flatnonzero(counts)
        return cls(bins=bins.astype(np.int64), counts=counts[bins].astype(np.int64))

    @property
    def total(self) -> int:
        """Number of counted values."""
        return int(self.counts.sum())

    def count_at_or_below(self, limit_us: int) -> int | None:
        """Return the number of values up to ``limit_us``; None if the limit is not on a bin edge."""
        if not 0 <= limit_us <= US_MAX:
            return 0 if limit_us < 0 else self.total
        limit_bin = int(find_bins(np.array([limit_us]))[0])
        if compute_edge_us(limit_bin) != limit_us:
            return None
        return int(self.counts[: int(np.searchsorted(self.bins, limit_bin, side="right"))].sum())

    def encode(self) -> bytes:
        """Encode as pairs of (distance from the previous bin, count); usually two bytes per bin."""
        pairs = np.empty(2 * len(self.bins), np.int64)
        pairs[0::2], pairs[1::2] = np.diff(self.bins, prepend=0), self.counts
        return varint.encode(pairs)

    @classmethod
    def decode(cls, data: bytes) -> Histogram:
        """Decode the bytes of ``encode``."""
        pairs = varint.decode(data)
        return cls(bins=np.cumsum(pairs[0::2]), counts=pairs[1::2])


def find_bins(values_us: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the bin of each value; raise ValueError for a value below 0 or above ``US_MAX``."""
    if not len(values_us):
        return np.empty(0, np.int64)
    if not 0 <= int(values_us.min()) <= int(values_us.max()) <= US_MAX:
        raise ValueError(f"an RTT is outside 0..{US_MAX} µs")
    return _build_bin_table()[values_us] if values_us.max() < _TABLE_US else _compute_bins(values_us)


def compute_edge_us(bin_index: int) -> int:
    """Return the largest value of a bin."""
    decade = max(0, -(-(bin_index - _EXACT_US) // _BINS_PER_DECADE))
    return (bin_index - _BINS_PER_DECADE * decade) * int(10**decade)


@cache
def _build_bin_table() -> NDArray[np.uint16]:
    return _compute_bins(np.arange(_TABLE_US)).astype(np.uint16)


def _compute_bins(values_us: NDArray[np.integer]) -> NDArray[np.int64]:
    decades = np.searchsorted(_DECADE_EDGES, values_us, side="left")
    # The negations round up, so the upper edge belongs to the bin.
    return _BINS_PER_DECADE * decades - (-values_us.astype(np.int64) // 10**decades)
