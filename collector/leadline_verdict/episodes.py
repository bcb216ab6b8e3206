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

from leadline_verdict.series import NONE, IntColumn, PathSeries
from leadline_verdict.states import Minutes

#: Runs this close belong to one event: three good minutes between two bad ones end it.
MERGE_GAP_WINDOWS = 2
#: Positions and counts.
Counts: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runs:
    """Stretches of windows in order of time; ``starts[i]`` to ``ends[i]``, the end not included."""

    starts: Counts
    ends: Counts

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> Counts:
        """Windows from start to end, gaps included."""
        lengths: Counts = self.ends - self.starts
        return lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeFacts:
    """What one path measured in an episode; RTTs in microseconds."""

    #: The largest 95th percentile of its windows; None when no window has one.
    p95_us_worst: int | None
    #: Windows that have no 95th percentile because it falls on a lost probe: worse than any number.
    p95_lost_windows: int
    #: The longest round trip; None without a reply.
    rtt_us_max: int | None
    sent: int
    lost: int


def runs(minutes: Minutes, gap: int = MERGE_GAP_WINDOWS) -> Runs:
    """The maximal runs of true; those with at most ``gap`` windows between them are one."""
    at = np.flatnonzero(minutes).astype(np.int64)
    last = np.flatnonzero(np.diff(at) > gap + 1)
    return Runs(starts=at[_with(0, last + 1, at)], ends=at[_with(-1, last, at)] + 1)


def _with(edge: int, inner: Counts, at: Counts) -> Counts:
    """The indices of the first (edge 0) or last (edge -1) windows of all runs; none when there is no run."""
    if not len(at):
        return inner
    outer = np.array([edge], dtype=np.int64)
    return np.concatenate([outer, inner] if edge == 0 else [inner, outer])


def episode_facts(found: Runs, series: PathSeries) -> tuple[EpisodeFacts, ...]:
    """What a path of the pair measured in each, from the columns over the same period."""
    if not len(found):
        return ()
    lost = _sum(series.sent - series.received, found)
    columns = (
        _largest(series.p95_us, found),
        _sum((series.p95_us == NONE) & (series.sent > 0), found),
        _largest(series.max_us, found),
        _sum(series.sent, found),
        lost,
    )
    return tuple(
        EpisodeFacts(
            p95_us_worst=None if p95 == NONE else p95,
            p95_lost_windows=without,
            rtt_us_max=None if longest == NONE else longest,
            sent=sent,
            lost=lost,
        )
        for p95, without, longest, sent, lost in zip(*(column.tolist() for column in columns), strict=True)
    )


def _sum(column: IntColumn | Minutes, found: Runs) -> Counts:
    """The sum within each run, as the difference of two running sums."""
    running = np.concatenate([[0], np.cumsum(column, dtype=np.int64)])
    sums: Counts = running[found.ends] - running[found.starts]
    return sums


def _largest(column: IntColumn, found: Runs) -> IntColumn:
    """The maximum within each run: NONE is below every microsecond. At least one run."""
    # Every second stretch of these edges lies between runs and is dropped; an edge at the very end needs a cell.
    edges = np.stack([found.starts, found.ends], axis=1).ravel()
    padded = np.append(column, np.int32(NONE))
    largest: IntColumn = np.maximum.reduceat(padded, edges)[::2]
    return largest
