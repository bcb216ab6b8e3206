"""Merging of partial windows of one path and minute: an agent was restarted within the minute.

Pure. The result does not depend on the order of arrival of the batches.
"""

from __future__ import annotations

from collections.abc import Sequence

from leadline.model import ErrorBound, Failure, Miss, Window, build_window


def merge_windows(windows: Sequence[Window]) -> Window:
    """Merge slot by slot: an RTT wins over a miss, a loss over an unmeasured slot, anything over ``not_sent``.

    ``windows`` are one or more of one minute, in order of sealing; among equals the first wins. Windows with different
    intervals have no common slots: then the result is the one with the most replies.
    """
    if len({window.interval_ms for window in windows}) > 1:
        return max(windows, key=lambda window: sum(rtt is not None for rtt in window.rtt_us))
    return build_window(
        windows[0].start_s,
        windows[0].interval_ms,
        {slot: rtt for window in reversed(windows) for slot, rtt in enumerate(window.rtt_us) if rtt is not None},
        sorted((miss for window in reversed(windows) for miss in window.misses), key=_get_precedence),
        duplicates=sum(window.duplicates for window in windows),
        error_bound=_max_error_bound([window.error_bound for window in windows if window.error_bound]),
    )


def _get_precedence(miss: Miss) -> int:
    """Return the sort key of a miss. The last one wins; sorting is stable, so among equals the first sealed wins."""
    if miss.failure is Failure.NOT_SENT:
        return 0
    return 2 if miss.failure.is_loss else 1


def _max_error_bound(bounds: Sequence[ErrorBound]) -> ErrorBound | None:
    if not bounds:
        return None
    return ErrorBound(p50_us=max(bound.p50_us for bound in bounds), p99_us=max(bound.p99_us for bound in bounds))
