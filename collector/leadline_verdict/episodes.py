"""Episodes: maximal runs of windows out of limit, taken as one where the gap between them is short (method.md §3.2).

Rule 1: bad and unavailable windows make an episode. Runs with at most two other windows between them are one.
Rule 2: an unknown window is a gap like a good one, and counts as one in the length. Whoever reads it as bad or as good
says so before (``Readings.supposed``): the pessimistic reading has made it bad by then, so nothing is hidden in a gap.
Rule 3: the length of an episode is its span, gaps included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline_verdict.series import MISSING, IntColumn, PathSeries
from leadline_verdict.states import MinuteMask

#: Runs this close belong to one event: three good minutes between two bad ones end it.
MERGE_GAP_WINDOWS = 2
#: Positions and counts.
IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowRuns:
    """Stretches of windows in order of time; ``starts[i]`` to ``ends[i]``, the end not included."""

    starts: IntArray
    ends: IntArray

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> IntArray:
        """Windows from start to end, gaps included."""
        lengths: IntArray = self.ends - self.starts
        return lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class PathEpisodeStats:
    """What one path measured in an episode; RTTs in microseconds."""

    #: The largest 95th percentile of its windows; None when no window has one.
    p95_us_worst: int | None
    #: Windows that have no 95th percentile because it falls on a lost probe: worse than any number.
    windows_without_p95: int
    #: The longest round trip; None without a reply.
    rtt_us_max: int | None
    sent: int
    lost: int


def find_runs(mask: MinuteMask, merge_gap: int = MERGE_GAP_WINDOWS) -> WindowRuns:
    """The maximal runs of true; those with at most ``gap`` windows between them are one."""
    at = np.flatnonzero(mask).astype(np.int64)
    last = np.flatnonzero(np.diff(at) > merge_gap + 1)
    return WindowRuns(starts=at[_select_run_edges(0, last + 1, at)], ends=at[_select_run_edges(-1, last, at)] + 1)


def _select_run_edges(edge: int, inner: IntArray, at: IntArray) -> IntArray:
    """The indices of the first (edge 0) or last (edge -1) windows of all runs; none when there is no run."""
    if not len(at):
        return inner
    outer = np.array([edge], dtype=np.int64)
    return np.concatenate([outer, inner] if edge == 0 else [inner, outer])


def compute_episode_stats(runs: WindowRuns, series: PathSeries) -> tuple[PathEpisodeStats, ...]:
    """What a path of the pair measured in each, from the columns over the same period."""
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


def _sum_by_run(column: IntColumn | MinuteMask, found: WindowRuns) -> IntArray:
    """The sum within each run, as the difference of two running sums."""
    running = np.concatenate([[0], np.cumsum(column, dtype=np.int64)])
    sums: IntArray = running[found.ends] - running[found.starts]
    return sums


def _max_by_run(column: IntColumn, found: WindowRuns) -> IntColumn:
    """The maximum within each run: NONE is below every microsecond. At least one run."""
    # Every second stretch of these edges lies between runs and is dropped; an edge at the very end needs a cell.
    edges = np.stack([found.starts, found.ends], axis=1).ravel()
    padded = np.append(column, np.int32(MISSING))
    largest: IntColumn = np.maximum.reduceat(padded, edges)[::2]
    return largest
