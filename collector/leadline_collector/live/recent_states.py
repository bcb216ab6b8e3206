"""States, causes and p95 of recent minutes of pairs, in arrays. Pure; ``rollup.state_counts`` evaluates the windows."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline.evaluation import Criterion
from leadline.model import WINDOW_S
from leadline_collector.mesh.registry import Registry
from leadline_collector.rollup import hour_reader, state_counts
from leadline_collector.rollup.hour_reader import HourBlock
from leadline_collector.rollup.window_codec import MINUTES_PER_HOUR
from leadline_collector.windows.dirty_hours import HOUR_S
from leadline_verdict import evaluation as verdict_evaluation
from leadline_verdict.series import MISSING
from leadline_verdict.states import NO_CAUSE, UNKNOWN

#: (source site, destination site).
PairIds: TypeAlias = tuple[int, int]
#: One row per pair, one column per minute.
_MinuteGrid: TypeAlias = NDArray[np.int64]

#: In ``compute_worst_p95_us``: a known path has an infinite p95; no path is known.
INFINITE_US, NO_PATH_US = 1 << 62, -1


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteInterval:
    """Whole minutes [start_s, end_s)."""

    start_s: int
    end_s: int

    def __post_init__(self) -> None:
        assert self.start_s % WINDOW_S == self.end_s % WINDOW_S == 0
        assert self.start_s < self.end_s

    def __len__(self) -> int:
        return (self.end_s - self.start_s) // WINDOW_S

    @property
    def first_hour_s(self) -> int:
        """Start of the hour in which the interval starts."""
        return self.start_s - self.start_s % HOUR_S

    def make_grid(self, pair_count: int, fill: int) -> _MinuteGrid:
        """Return a grid with one row per pair and one column per minute of the interval's whole hours."""
        hours = -(-(self.end_s - self.first_hour_s) // HOUR_S)
        return np.full((pair_count, hours * MINUTES_PER_HOUR), fill, np.int64)

    def slice_grid(self, grid: _MinuteGrid) -> _MinuteGrid:
        """Return the columns of the interval's minutes from a grid of its whole hours."""
        first = (self.start_s - self.first_hour_s) // WINDOW_S
        return grid[:, first : first + len(self)]

    def locate_hours(self, hours_s: Sequence[int]) -> NDArray[np.intp]:
        """Return the column of each minute of these hours in a grid: one row per hour."""
        first = (np.array(hours_s, np.intp).reshape(-1, 1) - self.first_hour_s) // WINDOW_S
        return first + np.arange(MINUTES_PER_HOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """Codes of ``leadline_verdict.states`` in the worst case: one row per pair, one column per minute."""

    states: _MinuteGrid
    causes: _MinuteGrid


def evaluate_worst_case(
    hours: HourBlock,
    criteria: Sequence[Criterion],
    registry: Registry,
    row_by_pair: Mapping[PairIds, int],
    minutes: MinuteInterval,
) -> WorstCase:
    """Return state and cause of every minute of the pairs; a minute without a window is unknown."""
    evaluated = state_counts.evaluate_pair_hours(hours, criteria, registry.site_by_agent, registry.site_by_target)
    states = minutes.make_grid(len(row_by_pair), UNKNOWN)
    causes = minutes.make_grid(len(row_by_pair), NO_CAUSE)
    indexes = [index for index, key in enumerate(evaluated.keys) if key[:2] in row_by_pair]
    keys = [evaluated.keys[index] for index in indexes]
    rows = np.array([row_by_pair[key[:2]] for key in keys], np.intp).reshape(-1, 1)
    columns = minutes.locate_hours([key[2] for key in keys])
    states[rows, columns], causes[rows, columns] = evaluated.worst_case[indexes], evaluated.causes[indexes]
    return WorstCase(states=minutes.slice_grid(states), causes=minutes.slice_grid(causes))


def compute_worst_p95_us(
    hours: HourBlock, registry: Registry, row_by_pair: Mapping[PairIds, int], minutes: MinuteInterval
) -> _MinuteGrid:
    """Return the p95 of every minute on the worst known path; ``INFINITE_US`` or ``NO_PATH_US`` without a value."""
    is_known = verdict_evaluation.mask_known(hour_reader.flatten_hours(hours)).reshape(-1, MINUTES_PER_HOUR)
    p95_us = hours.get_column("p95_us").astype(np.int64)
    values = np.where(is_known, np.where(p95_us == MISSING, INFINITE_US, p95_us), NO_PATH_US)
    grid = minutes.make_grid(len(row_by_pair), NO_PATH_US)
    pairs = [(registry.site_by_agent[key[0]], registry.site_by_target[key[1]]) for key in hours.keys]
    indexes = [index for index, pair in enumerate(pairs) if pair in row_by_pair]
    rows = np.array([row_by_pair[pairs[index]] for index in indexes], np.intp).reshape(-1, 1)
    columns = minutes.locate_hours([hours.keys[index][2] for index in indexes])
    np.maximum.at(grid, (rows, columns), values[indexes])
    return minutes.slice_grid(grid)


def find_min_us(hours: HourBlock, registry: Registry, pairs: Container[PairIds]) -> dict[PairIds, int]:
    """Return the smallest RTT of each of these pairs in microseconds; pairs without a reply are left out."""
    values = hours.get_column("min_us")
    smallest = np.where(values == MISSING, np.iinfo(np.int32).max, values).min(axis=1, initial=np.iinfo(np.int32).max)
    min_us: dict[PairIds, int] = {}
    for key, value in zip(hours.keys, smallest.tolist(), strict=True):
        pair = registry.site_by_agent[key[0]], registry.site_by_target[key[1]]
        if value < np.iinfo(np.int32).max and pair in pairs:
            min_us[pair] = min(value, min_us.get(pair, value))
    return min_us


def measure_last_runs(states: _MinuteGrid) -> NDArray[np.intp]:
    """Return, for each row, the number of minutes at its end that have the state of the last minute."""
    differs = states[:, ::-1] != states[:, -1:]
    lengths: NDArray[np.intp] = np.where(differs.any(axis=1), differs.argmax(axis=1), states.shape[1])
    return lengths


def find_newest_known(states: _MinuteGrid) -> NDArray[np.intp]:
    """Return the column of each row's last known minute; -1 if all are unknown."""
    is_known = states[:, ::-1] != UNKNOWN
    columns: NDArray[np.intp] = np.where(is_known.any(axis=1), states.shape[1] - 1 - is_known.argmax(axis=1), -1)
    return columns
