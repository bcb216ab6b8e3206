"""Builds windows from probe results. Only this module maps slots to minutes.

Rule 1: a window is flushed once, when no more results for it can arrive. Later results are dropped.
Rule 2: a slot without a result was not sent.
Rule 3: after a large step back of the wall clock, minutes repeat. The windows open at that time only get the results of
probes that are already in flight.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from leadline.model import WINDOW_S, ErrorBound, Miss, Window, build_window, us_ceil
from leadline.statistics import P50, P99, nearest_rank
from leadline_agent.probe.results import ProbeResult, ProbeTarget


@dataclass(slots=True)
class _OpenWindow:
    """A window that still receives results."""

    target: ProbeTarget
    rtts_us: dict[int, int] = field(default_factory=dict)
    misses: dict[int, Miss] = field(default_factory=dict)
    timestamp_errors_ns: list[int] = field(default_factory=list)
    duplicates: int = 0


class WindowBuilder:
    """Collects the results of an agent's targets and of its loopback by minute."""

    def __init__(self) -> None:
        self._open_windows: dict[tuple[str, int], _OpenWindow] = {}
        #: Windows from before a step back of the wall clock (rule 3).
        self._windows_before_step: dict[tuple[str, int], _OpenWindow] = {}
        self._loopback_rtts_ns: dict[int, list[int]] = {}
        self._flushed_until_s = 0

    def add(self, result: ProbeResult) -> None:
        """Add one result of a target."""
        start_s, slot = _locate_slot(result.slot, result.target.settings.interval_ms)
        window = self._get_window(result.target, start_s)
        if window is None:
            return
        if result.rtt_ns is not None:
            window.rtts_us.setdefault(slot, us_ceil(result.rtt_ns))
            window.timestamp_errors_ns.append(result.error_ns)
        elif result.failure is not None:
            window.misses.setdefault(slot, Miss(slot, result.failure, result.detail))

    def add_duplicate(self, target: ProbeTarget, slot: int) -> None:
        """Count a reply beyond the first."""
        start_s, _ = _locate_slot(slot, target.settings.interval_ms)
        if (window := self._get_window(target, start_s)) is not None:
            window.duplicates += 1

    def add_loopback(self, result: ProbeResult) -> None:
        """Add one loopback result: the noise floor of this host (method.md §3.4, H)."""
        start_s, _ = _locate_slot(result.slot, result.target.settings.interval_ms)
        if result.rtt_ns is not None and start_s >= self._flushed_until_s:
            self._loopback_rtts_ns.setdefault(start_s, []).append(result.rtt_ns)

    def flush(self, until_s: int) -> list[tuple[ProbeTarget, Window]]:
        """Remove and return the windows that start before ``until_s``, ordered by time and target."""
        self._flushed_until_s = max(self._flushed_until_s, until_s)
        windows = self._pop_windows(self._open_windows, [key for key in self._open_windows if key[1] < until_s])
        self._loopback_rtts_ns = {
            start_s: rtts for start_s, rtts in self._loopback_rtts_ns.items() if start_s >= until_s
        }
        return windows

    def split_at_clock_step(self, start_s: int) -> None:
        """Start new windows from a minute that may be flushed already: the wall clock stepped back (rule 3)."""
        assert not self._windows_before_step, "flush the windows before the previous step first"
        self._windows_before_step, self._open_windows = self._open_windows, {}
        self._flushed_until_s = start_s

    def flush_before_clock_step(self) -> list[tuple[ProbeTarget, Window]]:
        """Remove and return the windows from before the wall clock stepped back."""
        windows = self._pop_windows(self._windows_before_step, list(self._windows_before_step))
        minutes = {start_s for _, start_s in self._open_windows}
        self._loopback_rtts_ns = {
            start_s: rtts for start_s, rtts in self._loopback_rtts_ns.items() if start_s in minutes
        }
        return windows

    def _get_window(self, target: ProbeTarget, start_s: int) -> _OpenWindow | None:
        if (window := self._windows_before_step.get((target.name, start_s))) is not None:
            return window
        if start_s < self._flushed_until_s:
            return None
        return self._open_windows.setdefault((target.name, start_s), _OpenWindow(target))

    def _pop_windows(
        self, windows: dict[tuple[str, int], _OpenWindow], keys: Iterable[tuple[str, int]]
    ) -> list[tuple[ProbeTarget, Window]]:
        """Remove these windows and return them ordered by time and target."""
        ordered = sorted(keys, key=lambda key: (key[1], key[0]))
        return [self._build_window(windows.pop(key), key[1]) for key in ordered]

    def _build_window(self, window: _OpenWindow, start_s: int) -> tuple[ProbeTarget, Window]:
        return window.target, build_window(
            start_s,
            window.target.settings.interval_ms,
            window.rtts_us,
            window.misses.values(),
            duplicates=window.duplicates,
            error_bound=compute_error_bound(self._loopback_rtts_ns.get(start_s, []), window.timestamp_errors_ns),
        )


def _locate_slot(slot: int, interval_ms: int) -> tuple[int, int]:
    """Return the start of the window of a global slot in epoch seconds, and the slot number in the window."""
    at_ms = slot * interval_ms
    start_s = at_ms // 1_000 // WINDOW_S * WINDOW_S
    return start_s, (at_ms - start_s * 1_000) // interval_ms


def compute_error_bound(loopback_rtts_ns: list[int], timestamp_errors_ns: list[int]) -> ErrorBound | None:
    """Return the error that this host may have added: loopback RTT plus timestamp uncertainty, for each percentile.

    None without a loopback reply or without a reply of the target.
    """
    if not loopback_rtts_ns or not timestamp_errors_ns:
        return None
    sums = {
        q: _compute_percentile_ns(loopback_rtts_ns, q) + _compute_percentile_ns(timestamp_errors_ns, q)
        for q in (P50, P99)
    }
    return ErrorBound(p50_us=us_ceil(sums[P50]), p99_us=us_ceil(sums[P99]))


def _compute_percentile_ns(samples: list[int], q: Fraction) -> int:
    value_ns = nearest_rank(sorted(samples), len(samples), q)
    assert value_ns is not None
    return value_ns
