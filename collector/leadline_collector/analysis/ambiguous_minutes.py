"""Minutes without a reply that a silent destination may explain: the site or the path may have been down.

A site that was only cut off continues to measure and delivers its windows later; then the minute is a loss. An agent
that was enrolled and never ran, or that was decommissioned, explains nothing: the site must have been heard within a
day before the minute and within a day after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from leadline.model import WINDOW_S
from leadline_collector.mesh.store import PathIds
from leadline_verdict.series import PathSeries
from leadline_verdict.states import MinuteMask

#: A reboot or a repair of a host takes less than a day; an agent that is silent for longer is not only rebooting.
HEARD_WINDOWS = 1_440

#: Loads the windows of a path in [start, end), epoch seconds of whole minutes.
SeriesLoader: TypeAlias = Callable[[PathIds, int, int], PathSeries]


def find_ambiguous_minutes(
    series: Sequence[PathSeries], outgoing: Iterable[PathIds], incoming: Iterable[PathIds], load_series: SeriesLoader
) -> MinuteMask:
    """Return minutes in which no path of the pair had a reply, and the destination was silent itself.

    ``series`` are the paths of the pair, at least one. ``outgoing`` are all paths from the destination site: it was
    silent if none has a window. ``incoming`` are all paths to it: it was silent if none has a reply. A minute is
    ambiguous only if an outgoing path has a window within a day before it and within a day after it, also outside the
    period of the series.
    """
    outgoing, start_s = tuple(outgoing), series[0].start_s
    silent: MinuteMask = np.any([path.sent > 0 for path in series], axis=0)
    silent &= ~np.any([path.received > 0 for path in series], axis=0)
    # The first path usually decides: the agent ran and the path was down.
    for ids in outgoing:
        if not silent.any():
            return silent
        first, last = _find_true_range(silent)
        silent[first:last] &= load_series(ids, start_s + first * WINDOW_S, start_s + last * WINDOW_S).expected == 0
    silent &= _find_heard_around(silent, start_s, outgoing, load_series)
    for ids in incoming:
        if not silent.any():
            return silent
        first, last = _find_true_range(silent)
        silent[first:last] &= load_series(ids, start_s + first * WINDOW_S, start_s + last * WINDOW_S).received == 0
    return silent


def _find_heard_around(
    silent: MinuteMask, start_s: int, outgoing: Iterable[PathIds], load_series: SeriesLoader
) -> MinuteMask:
    """Return the silent minutes with a window of any of these paths within a day before and within a day after them."""
    first, last = _find_true_range(silent)
    heard: MinuteMask = np.zeros(len(silent) + 2 * HEARD_WINDOWS, dtype=np.bool_)
    found = np.zeros_like(silent)
    for ids in outgoing:
        # The first path usually decides here too.
        if (found == silent).all():
            break
        windows = load_series(
            ids, start_s + (first - HEARD_WINDOWS) * WINDOW_S, start_s + (last + HEARD_WINDOWS) * WINDOW_S
        )
        heard[first : last + 2 * HEARD_WINDOWS] |= windows.expected > 0
        found = silent & _has_true_on_both_sides(heard)
    return found


def _has_true_on_both_sides(heard: MinuteMask) -> MinuteMask:
    """Return minutes with a true one among the ``HEARD_WINDOWS`` before and after; the result has no such margins."""
    counts = np.concatenate([[0], np.cumsum(heard)])
    minutes = np.arange(HEARD_WINDOWS, len(heard) - HEARD_WINDOWS)
    before = counts[minutes] > counts[minutes - HEARD_WINDOWS]
    after = counts[minutes + HEARD_WINDOWS + 1] > counts[minutes + 1]
    both: MinuteMask = before & after
    return both


def _find_true_range(minutes: MinuteMask) -> tuple[int, int]:
    """Return the half-open range from the first to the last true minute; (0, 0) if no minute is true."""
    indexes = np.flatnonzero(minutes)
    return (int(indexes[0]), int(indexes[-1]) + 1) if len(indexes) else (0, 0)
