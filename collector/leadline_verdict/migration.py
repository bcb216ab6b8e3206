"""Will it work when I press the button: start times from which a migration's whole duration stays good (§3.2).

A start is the start of a window. Those so late that the duration would leave the period are not counted, because
nothing is known about them. Each reading is asked apart: pessimistic, an unknown window stops a migration; optimistic,
it does not (``Readings.supposed`` first).
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
    """The longest run of good windows; positions in windows from the start of the period."""

    start: int
    windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HourOfDay:
    """The start times within one hour of the UTC day, over all days of the period."""

    #: 0..23, UTC.
    hour: int
    #: Start times in it.
    starts: int
    #: Those from which all stays good.
    usable: int

    @property
    def usable_ratio(self) -> float | None:
        """The share of usable start times; None when the period has no start time in this hour."""
        return self.usable / self.starts if self.starts else None


def count_windows_needed(duration_s: int) -> int:
    """The windows a migration of so many seconds needs, started at the start of one: ceil(T / 60)."""
    if duration_s <= 0:
        raise ValueError(f"a migration of {duration_s} s needs no windows")
    return -(-duration_s // WINDOW_S)


def find_usable_starts(good: MinuteMask, windows: int) -> MinuteMask:
    """For each start time that fits whether all ``windows`` from there are good; empty when none fits."""
    if windows < 1:
        raise ValueError(f"a migration takes at least one window, not {windows}")
    if windows > len(good):
        return np.zeros(0, dtype=np.bool_)
    stops = np.concatenate([[0], np.cumsum(~good)])
    usable: MinuteMask = stops[windows:] == stops[:-windows]
    return usable


def compute_usable_ratio(good: MinuteMask, windows: int) -> float | None:
    """The share of start times from which all stays good: the migration-window share. None when none fits."""
    usable = find_usable_starts(good, windows)
    return int(np.count_nonzero(usable)) / len(usable) if len(usable) else None


def find_longest_good_run(good: MinuteMask) -> GoodRun | None:
    """The longest run of good windows without any gap, the first of several; None when nothing is good."""
    found = find_runs(good, merge_gap=0)
    if not len(found):
        return None
    longest = int(found.lengths.argmax())
    return GoodRun(start=int(found.starts[longest]), windows=int(found.lengths[longest]))


def count_hours_of_day(good: MinuteMask, windows: int, start_s: int) -> tuple[HourOfDay, ...]:
    """The start times by hour of the UTC day, 0 to 23; ``start_s`` is the epoch second of the first window."""
    usable = find_usable_starts(good, windows)
    hour = (start_s // WINDOW_S + np.arange(len(usable))) // WINDOWS_PER_HOUR % HOURS_PER_DAY
    starts = np.bincount(hour, minlength=HOURS_PER_DAY).tolist()
    good_starts = np.bincount(hour[usable], minlength=HOURS_PER_DAY).tolist()
    return tuple(HourOfDay(hour=h, starts=starts[h], usable=good_starts[h]) for h in range(HOURS_PER_DAY))


def find_free_hours(hours: Sequence[HourOfDay], target: float) -> tuple[int, ...]:
    """The hours of the UTC day in which at least ``target`` (0..1) of the start times were usable."""
    return tuple(row.hour for row in hours if row.usable_ratio is not None and row.usable_ratio >= target)
