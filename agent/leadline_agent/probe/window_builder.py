"""Outcomes in, whole windows out: the only place that knows which slot belongs to which minute.

Rule 1: a window is sealed once, when no outcome for it can come any more; a later outcome is dropped.
Rule 2: a slot nobody spoke of was not sent.
Rule 3: when the wall clock went far back, minutes begin anew. What is open then gets what is still out, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from leadline.model import WINDOW_S, ErrorBound, Miss, Window, us_ceil, window_of
from leadline.statistics import P50, P99, nearest_rank
from leadline_agent.probe.results import Aim, Outcome


@dataclass(slots=True)
class _Open:
    """A window that is still filling."""

    aim: Aim
    rtts_us: dict[int, int] = field(default_factory=dict)
    misses: dict[int, Miss] = field(default_factory=dict)
    stamp_error_ns: list[int] = field(default_factory=list)
    duplicates: int = 0


class WindowBuilder:
    """Collects the outcomes of one agent's targets and of its loopback, minute by minute."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], _Open] = {}
        #: Of before the wall clock went back (rule 3).
        self._parted: dict[tuple[str, int], _Open] = {}
        self._loopback_ns: dict[int, list[int]] = {}
        self._sealed_until_s = 0

    def add(self, outcome: Outcome) -> None:
        """Take one outcome of a target."""
        start_s, slot = _place(outcome.slot, outcome.aim.settings.interval_ms)
        window = self._window(outcome.aim, start_s)
        if window is None:
            return
        if outcome.rtt_ns is not None:
            window.rtts_us.setdefault(slot, us_ceil(outcome.rtt_ns))
            window.stamp_error_ns.append(outcome.error_ns)
        elif outcome.failure is not None:
            window.misses.setdefault(slot, Miss(slot, outcome.failure, outcome.detail))

    def add_duplicate(self, aim: Aim, slot: int) -> None:
        """Count a reply beyond the first."""
        start_s, _ = _place(slot, aim.settings.interval_ms)
        if (window := self._window(aim, start_s)) is not None:
            window.duplicates += 1

    def add_loopback(self, outcome: Outcome) -> None:
        """Take one outcome of the own loopback: the noise floor of this host (method.md §3.4, H)."""
        start_s, _ = _place(outcome.slot, outcome.aim.settings.interval_ms)
        if outcome.rtt_ns is not None and start_s >= self._sealed_until_s:
            self._loopback_ns.setdefault(start_s, []).append(outcome.rtt_ns)

    def seal(self, until_s: int) -> list[tuple[Aim, Window]]:
        """Take out every window that starts before ``until_s``, in order of time and target."""
        self._sealed_until_s = max(self._sealed_until_s, until_s)
        sealed = self._sealed(self._open, [key for key in self._open if key[1] < until_s])
        self._loopback_ns = {start_s: rtts for start_s, rtts in self._loopback_ns.items() if start_s >= until_s}
        return sealed

    def part(self, start_s: int) -> None:
        """Begin anew at a minute that may be sealed already: the wall clock went back (rule 3)."""
        assert not self._parted, "what was parted before is sealed first"
        self._parted, self._open = self._open, {}
        self._sealed_until_s = start_s

    def seal_parted(self) -> list[tuple[Aim, Window]]:
        """Take out every window of before the wall clock went back."""
        sealed = self._sealed(self._parted, list(self._parted))
        minutes = {start_s for _, start_s in self._open}
        self._loopback_ns = {start_s: rtts for start_s, rtts in self._loopback_ns.items() if start_s in minutes}
        return sealed

    def _window(self, aim: Aim, start_s: int) -> _Open | None:
        if (parted := self._parted.get((aim.name, start_s))) is not None:
            return parted
        if start_s < self._sealed_until_s:
            return None
        return self._open.setdefault((aim.name, start_s), _Open(aim))

    def _sealed(
        self, windows: dict[tuple[str, int], _Open], keys: Iterable[tuple[str, int]]
    ) -> list[tuple[Aim, Window]]:
        """Take these out, in order of time and target."""
        ordered = sorted(keys, key=lambda key: (key[1], key[0]))
        return [self._whole(windows.pop(key), key[1]) for key in ordered]

    def _whole(self, window: _Open, start_s: int) -> tuple[Aim, Window]:
        return window.aim, window_of(
            start_s,
            window.aim.settings.interval_ms,
            window.rtts_us,
            window.misses.values(),
            duplicates=window.duplicates,
            error_bound=error_bound(self._loopback_ns.get(start_s, []), window.stamp_error_ns),
        )


def _place(slot: int, interval_ms: int) -> tuple[int, int]:
    """The start of the window a global slot lies in, in epoch seconds, and its place there."""
    at_ms = slot * interval_ms
    start_s = at_ms // 1_000 // WINDOW_S * WINDOW_S
    return start_s, (at_ms - start_s * 1_000) // interval_ms


def error_bound(loopback_ns: list[int], stamp_error_ns: list[int]) -> ErrorBound | None:
    """What this host may have added: its loopback RTT plus the uncertainty of the stamps, percentile by percentile.

    None without a loopback reply or without a reply of the target: then nothing was measured that could be bounded.
    """
    if not loopback_ns or not stamp_error_ns:
        return None
    sums = {q: _rank_ns(loopback_ns, q) + _rank_ns(stamp_error_ns, q) for q in (P50, P99)}
    return ErrorBound(p50_us=us_ceil(sums[P50]), p99_us=us_ceil(sums[P99]))


def _rank_ns(samples: list[int], q: Fraction) -> int:
    found = nearest_rank(sorted(samples), len(samples), q)
    assert found is not None
    return found
