"""The week as 168 hours: how good each was, how well it is known, and whether the period has seen enough of it.

The worst hour is reported and never claimed: picked out of 168, it looks bad by chance (method.md §4.4).
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

#: Every hour of the week has to be seen so often; twice is a provisional campaign.
VISITS_NEEDED, VISITS_NEEDED_PROVISIONAL = 4, 2
#: Of each cell at least 4 of 5 windows known, of the period 19 of 20: whole numbers, so that no rounding decides.
CELL_NUMERATOR, CELL_DENOMINATOR = 4, 5
PERIOD_NUMERATOR, PERIOD_DENOMINATOR = 19, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HourOfWeek:
    """One hour of the week over all weeks of the period, UTC."""

    #: 0 is Monday 00:00 to 01:00, 167 Sunday 23:00 to 24:00.
    index: int
    #: Minutes of the period that fall into it.
    windows: int
    known: int
    good: int
    #: How often it came round with at least one known window.
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
        """Good windows among the known; None when none is known."""
        return self.good / self.known if self.known else None

    @property
    def coverage_ratio(self) -> float | None:
        """Known windows among all; None when the period does not touch this hour."""
        return self.known / self.windows if self.windows else None

    @property
    def is_covered(self) -> bool:
        """At least 80 % of its windows are known."""
        return self.windows > 0 and CELL_DENOMINATOR * self.known >= CELL_NUMERATOR * self.windows


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodValidity:
    """Whether a period has seen enough to be judged, as facts (§3.2)."""

    windows: int
    known: int
    #: Known windows are at least 95 % of the period.
    is_covered: bool
    #: Cells of which less than 80 % is known, and those seen too seldom; by index.
    low_coverage_hours: tuple[int, ...]
    low_visit_hours: tuple[int, ...]
    #: How often each had to be seen.
    visits_needed: int

    @property
    def is_valid(self) -> bool:
        """All of it holds."""
        return self.is_covered and not self.low_coverage_hours and not self.low_visit_hours


def count_hours_of_week(good: MinuteMask, known: MinuteMask, start_s: int) -> tuple[HourOfWeek, ...]:
    """The 168 cells from Monday 00:00 UTC on; ``start_s`` is the epoch second of the first window."""
    minute = start_s // WINDOW_S + np.arange(len(known))
    visit = minute // WINDOWS_PER_HOUR - start_s // WINDOW_S // WINDOWS_PER_HOUR
    every = np.ones_like(known)
    counts: list[IntArray] = [np.bincount(visit, chosen).astype(np.int64) for chosen in (every, known, known & good)]
    visits: IntArray = (counts[1] > 0).astype(np.int64)
    cell = (start_s // WINDOW_S // WINDOWS_PER_HOUR + np.arange(len(counts[0])) + _EPOCH_HOUR) % HOURS_PER_WEEK
    columns = zip(*(_sum_by_cell(cell, count).tolist() for count in (*counts, visits)), strict=True)
    return tuple(
        HourOfWeek(index=index, windows=windows, known=seen, good=fine, visits=came)
        for index, (windows, seen, fine, came) in enumerate(columns)
    )


def _sum_by_cell(cell: IntArray, per_visit: IntArray) -> IntArray:
    """The sum over all visits of each cell."""
    sums = np.zeros(HOURS_PER_WEEK, dtype=np.int64)
    np.add.at(sums, cell, per_visit)
    return sums


def find_worst_hour(hours: tuple[HourOfWeek, ...]) -> HourOfWeek | None:
    """The cell with the smallest share of good windows, the first of equals; None when nothing is known."""
    known = [cell for cell in hours if cell.known]
    return min(known, key=lambda cell: cell.good / cell.known, default=None)


def check_validity(hours: tuple[HourOfWeek, ...], visits_needed: int = VISITS_NEEDED) -> PeriodValidity:
    """Hold the grid of a period against the rule: 95 % of it known, and of every hour of the week 80 % and 4 visits."""
    windows, known = sum(cell.windows for cell in hours), sum(cell.known for cell in hours)
    return PeriodValidity(
        windows=windows,
        known=known,
        is_covered=windows > 0 and PERIOD_DENOMINATOR * known >= PERIOD_NUMERATOR * windows,
        low_coverage_hours=tuple(cell.index for cell in hours if not cell.is_covered),
        low_visit_hours=tuple(cell.index for cell in hours if cell.visits < visits_needed),
        visits_needed=visits_needed,
    )
