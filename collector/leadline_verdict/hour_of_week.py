"""The 168 hours of the week: share of good windows, coverage, and validity of the period.

The worst hour is reported without a claim: the worst of 168 looks bad by chance (method.md §4.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leadline.model import WINDOW_S
from leadline_verdict.episodes import IntArray
from leadline_verdict.states import MinuteMask

WINDOWS_PER_HOUR = 3_600 // WINDOW_S
HOURS_PER_WEEK = 7 * 24
#: The epoch, Thursday 1970-01-01 00:00 UTC, is the 72nd hour of a week that starts on Monday.
_EPOCH_HOUR = 3 * 24

#: Required visits of every hour of the week, for a full and for a provisional verdict.
VISITS_NEEDED, VISITS_NEEDED_PROVISIONAL = 4, 2
#: Required coverage: 4 of 5 windows of each hour, 19 of 20 of the period. Integers avoid rounding.
CELL_NUMERATOR, CELL_DENOMINATOR = 4, 5
PERIOD_NUMERATOR, PERIOD_DENOMINATOR = 19, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HourOfWeek:
    """One hour of the week over all weeks of the period, UTC."""

    #: 0 is Monday 00:00 to 01:00, 167 is Sunday 23:00 to 24:00.
    index: int
    #: Windows of the period in this hour.
    windows: int
    known: int
    good: int
    #: Number of weeks with at least one known window in this hour.
    visits: int

    @property
    def weekday(self) -> int:
        """0 is Monday."""
        return self.index // 24

    @property
    def hour(self) -> int:
        """0..23, UTC."""
        return self.index % 24

    @property
    def good_ratio(self) -> float | None:
        """Share of good windows among the known ones; None without a known window."""
        return self.good / self.known if self.known else None

    @property
    def coverage_ratio(self) -> float | None:
        """Share of known windows; None if the period has no window in this hour."""
        return self.known / self.windows if self.windows else None

    @property
    def is_covered(self) -> bool:
        """True if at least 80 % of the windows are known."""
        return self.windows > 0 and CELL_DENOMINATOR * self.known >= CELL_NUMERATOR * self.windows


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodValidity:
    """Coverage of a period and of the hours of the week (§3.2)."""

    windows: int
    known: int
    #: True if at least 95 % of the windows are known.
    is_covered: bool
    #: Indices of the hours with a coverage below 80 %.
    low_coverage_hours: tuple[int, ...]
    #: Indices of the hours with too few visits.
    low_visit_hours: tuple[int, ...]
    #: Required visits of each hour.
    visits_needed: int

    @property
    def is_valid(self) -> bool:
        """True if coverage and visits are sufficient."""
        return self.is_covered and not self.low_coverage_hours and not self.low_visit_hours


def count_hours_of_week(good: MinuteMask, known: MinuteMask, start_s: int) -> tuple[HourOfWeek, ...]:
    """Count windows by hour of the week, from Monday 00:00 UTC; ``start_s`` is the epoch second of the first window."""
    minute = start_s // WINDOW_S + np.arange(len(known))
    visit = minute // WINDOWS_PER_HOUR - start_s // WINDOW_S // WINDOWS_PER_HOUR
    all_windows = np.ones_like(known)
    counts: list[IntArray] = [np.bincount(visit, mask).astype(np.int64) for mask in (all_windows, known, known & good)]
    visits: IntArray = (counts[1] > 0).astype(np.int64)
    cell = (start_s // WINDOW_S // WINDOWS_PER_HOUR + np.arange(len(counts[0])) + _EPOCH_HOUR) % HOURS_PER_WEEK
    columns = zip(*(_sum_by_cell(cell, count).tolist() for count in (*counts, visits)), strict=True)
    return tuple(
        HourOfWeek(index=index, windows=windows, known=known_count, good=good_count, visits=visit_count)
        for index, (windows, known_count, good_count, visit_count) in enumerate(columns)
    )


def _sum_by_cell(cell: IntArray, per_visit: IntArray) -> IntArray:
    """Return the sum over all visits of each hour of the week."""
    sums = np.zeros(HOURS_PER_WEEK, dtype=np.int64)
    np.add.at(sums, cell, per_visit)
    return sums


def find_worst_hour(hours: tuple[HourOfWeek, ...]) -> HourOfWeek | None:
    """Return the hour with the smallest share of good windows, the first of equals; None without a known window."""
    known = [cell for cell in hours if cell.known]
    return min(known, key=lambda cell: cell.good / cell.known, default=None)


def check_validity(hours: tuple[HourOfWeek, ...], visits_needed: int = VISITS_NEEDED) -> PeriodValidity:
    """Check the period against the rule: 95 % of it known, and 80 % and 4 visits of every hour of the week."""
    windows, known = sum(cell.windows for cell in hours), sum(cell.known for cell in hours)
    return PeriodValidity(
        windows=windows,
        known=known,
        is_covered=windows > 0 and PERIOD_DENOMINATOR * known >= PERIOD_NUMERATOR * windows,
        low_coverage_hours=tuple(cell.index for cell in hours if not cell.is_covered),
        low_visit_hours=tuple(cell.index for cell in hours if cell.visits < visits_needed),
        visits_needed=visits_needed,
    )
