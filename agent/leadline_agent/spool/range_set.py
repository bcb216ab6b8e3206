"""Sets of sequence numbers, stored as ranges. No I/O.

A spool has long runs and few holes, so 100,000 numbers need only a few ranges.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class RangeSet:
    """A set of integers. The ranges are closed, sorted, disjoint and not adjacent."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._firsts)

    @property
    def first(self) -> int:
        """Smallest number; IndexError for an empty set."""
        return self._firsts[0]

    @property
    def last(self) -> int:
        """Largest number; -1 for an empty set."""
        return self._lasts[-1] if self._lasts else -1

    def __contains__(self, seq: int) -> bool:
        index = bisect_right(self._firsts, seq) - 1
        return index >= 0 and seq <= self._lasts[index]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges as (first, last), ascending."""
        return zip(self._firsts, self._lasts, strict=True)

    def add(self, first: int, last: int) -> None:
        """Add every number from ``first`` to ``last``; nothing if ``last`` is smaller."""
        if last < first:
            return
        if self._lasts and self._lasts[-1] == first - 1:
            # Fast path: numbers usually arrive in order.
            self._lasts[-1] = last
            return
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def difference(self, other: RangeSet) -> RangeSet:
        """Return the numbers of this set that are not in ``other``."""
        rest = RangeSet()
        for first, last in self:
            start = first
            for other_first, other_last in other.iter_overlapping(first, last):
                rest.add(start, other_first - 1)
                start = other_last + 1
            rest.add(start, last)
        return rest

    def iter_overlapping(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield the whole ranges that overlap ``first`` to ``last``, ascending."""
        for index in range(bisect_left(self._lasts, first), bisect_right(self._firsts, last)):
            yield self._firsts[index], self._lasts[index]
