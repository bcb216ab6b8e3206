"""Episodes: runs of windows out of limit, merged across short gaps (method.md §3.2).

Rule 1: an episode has bad and unavailable windows. Runs with at most two other windows between them form one episode.
Rule 2: an unknown window is a gap, like a good one. Callers replace unknown windows first
(``ScenarioStates.with_unknown_as``): they are bad in the worst case, so no gap hides them.
Rule 3: the length of an episode is its span, including gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline_verdict.series import MISSING, IntColumn, PathSeries
from leadline_verdict.states import MinuteMask

#: Longest gap within an episode: three good minutes end it.
MERGE_GAP_WINDOWS = 2
#: Window positions and counts.
IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowRuns:
    """Runs of windows in order of time: [``starts[i]``, ``ends[i]``)."""

    starts: IntArray
    ends: IntArray

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> IntArray:
        """Number of windows of each run, including gaps."""
        lengths: IntArray = self.ends - self.starts
        return lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class PathEpisodeStats:
    """Measurements of one path in an episode; RTTs in microseconds."""

    #: Largest p95 of the windows; None if no window has one.
    p95_us_worst: int | None
    #: Windows with a p95 of +infinity, because it falls on a lost probe.
    windows_without_p95: int
    #: Maximum RTT; None without a reply.
    rtt_us_max: int | None
    sent: int
    lost: int


def find_runs(mask: MinuteMask, merge_gap: int = MERGE_GAP_WINDOWS) -> WindowRuns:
    """Return the runs of True, merged across gaps of at most ``merge_gap`` windows."""
    positions = np.flatnonzero(mask).astype(np.int64)
    last = np.flatnonzero(np.diff(positions) > merge_gap + 1)
    return WindowRuns(
        starts=positions[_select_run_edges(0, last + 1, positions)],
        ends=positions[_select_run_edges(-1, last, positions)] + 1,
    )


def _select_run_edges(edge: int, inner: IntArray, positions: IntArray) -> IntArray:
    """Return the indices of the first (edge 0) or last (edge -1) windows of all runs; empty without a run."""
    if not len(positions):
        return inner
    outer = np.array([edge], dtype=np.int64)
    return np.concatenate([outer, inner] if edge == 0 else [inner, outer])


def compute_episode_stats(runs: WindowRuns, series: PathSeries) -> tuple[PathEpisodeStats, ...]:
    """Compute the measurements of a path in each run; the series must have the same period."""
    if not len(runs):
        return ()
    lost = _sum_by_run(series.sent - series.received, runs)
    columns = (
        _max_by_run(series.p95_us, runs),
        _sum_by_run((series.p95_us == MISSING) & (series.sent > 0), runs),
        _max_by_run(series.max_us, runs),
        _sum_by_run(series.sent, runs),
        lost,
    )
    return tuple(
        PathEpisodeStats(
            p95_us_worst=None if p95 == MISSING else p95,
            windows_without_p95=without,
            rtt_us_max=None if longest == MISSING else longest,
            sent=sent,
            lost=lost,
        )
        for p95, without, longest, sent, lost in zip(*(column.tolist() for column in columns), strict=True)
    )


def _sum_by_run(column: IntColumn | MinuteMask, runs: WindowRuns) -> IntArray:
    """Return the sum of each run, as the difference of two cumulative sums."""
    running = np.concatenate([[0], np.cumsum(column, dtype=np.int64)])
    sums: IntArray = running[runs.ends] - running[runs.starts]
    return sums


def _max_by_run(column: IntColumn, runs: WindowRuns) -> IntColumn:
    """Return the maximum of each run; MISSING is below every value. Needs at least one run."""
    # Every second range between these edges is a gap and is dropped. An edge at the end of the column needs a cell.
    edges = np.stack([runs.starts, runs.ends], axis=1).ravel()
    padded = np.append(column, np.int32(MISSING))
    largest: IntColumn = np.maximum.reduceat(padded, edges)[::2]
    return largest
