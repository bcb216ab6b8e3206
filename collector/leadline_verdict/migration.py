"""Usable start times of a migration: all windows of its duration are good (method.md §3.2).

A start time is the start of a window. It is excluded if the duration extends beyond the end of the period. The callers
decide about unknown windows (``ScenarioStates.with_unknown_as``): bad in the worst case, good in the best case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leadline.model import WINDOW_S
from leadline_verdict.episodes import find_runs
from leadline_verdict.hour_of_week import WINDOWS_PER_HOUR
from leadline_verdict.states import MinuteMask

HOURS_PER_DAY = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodRun:
    """Longest run of good windows; ``start`` in windows from the start of the period."""

    start: int
    windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HourOfDay:
    """Start times in one hour of the UTC day, over all days of the period."""

    #: 0..23, UTC.
    hour: int
    #: Number of start times.
    starts: int
    #: Number of usable start times.
    usable: int

    @property
    def usable_ratio(self) -> float | None:
        """Share of usable start times; None if there is no start time in this hour."""
        return self.usable / self.starts if self.starts else None


def count_windows_needed(duration_s: int) -> int:
    """Return the number of windows of a migration that starts at the start of a window: ceil(T / 60)."""
    if duration_s <= 0:
        raise ValueError(f"the duration of a migration must be above 0 s, not {duration_s}")
    return -(-duration_s // WINDOW_S)


def find_usable_starts(good: MinuteMask, windows: int) -> MinuteMask:
    """Return the mask of usable start times; empty if the period is shorter than ``windows``."""
    if windows < 1:
        raise ValueError(f"a migration takes at least one window, not {windows}")
    if windows > len(good):
        return np.zeros(0, dtype=np.bool_)
    stops = np.concatenate([[0], np.cumsum(~good)])
    usable: MinuteMask = stops[windows:] == stops[:-windows]
    return usable


def compute_usable_ratio(good: MinuteMask, windows: int) -> float | None:
    """Return the share of usable start times; None if the period is shorter than ``windows``."""
    usable = find_usable_starts(good, windows)
    return int(np.count_nonzero(usable)) / len(usable) if len(usable) else None


def find_longest_good_run(good: MinuteMask) -> GoodRun | None:
    """Return the longest run of good windows without a gap, the first of equals; None without a good window."""
    runs = find_runs(good, merge_gap=0)
    if not len(runs):
        return None
    longest = int(runs.lengths.argmax())
    return GoodRun(start=int(runs.starts[longest]), windows=int(runs.lengths[longest]))


def count_hours_of_day(good: MinuteMask, windows: int, start_s: int) -> tuple[HourOfDay, ...]:
    """Count start times by hour of the UTC day, 0 to 23; ``start_s`` is the epoch second of the first window."""
    usable = find_usable_starts(good, windows)
    hour = (start_s // WINDOW_S + np.arange(len(usable))) // WINDOWS_PER_HOUR % HOURS_PER_DAY
    starts = np.bincount(hour, minlength=HOURS_PER_DAY).tolist()
    good_starts = np.bincount(hour[usable], minlength=HOURS_PER_DAY).tolist()
    return tuple(HourOfDay(hour=h, starts=starts[h], usable=good_starts[h]) for h in range(HOURS_PER_DAY))


def find_free_hours(hours: Sequence[HourOfDay], target: float) -> tuple[int, ...]:
    """Return the hours of the UTC day with a usable ratio of at least ``target`` (0..1)."""
    return tuple(row.hour for row in hours if row.usable_ratio is not None and row.usable_ratio >= target)
