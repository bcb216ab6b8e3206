"""Simulated paths with outages of minutes to days, at random times or at regular intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from leadline_verdict.states import MinuteMask
from tests.simulate.paths import DAY, Rng, mark_episodes

#: Longest outage of a Pareto path: a week. Without a cap its mean depends on outages that no campaign contains.
PARETO_LONGEST = 7 * DAY
YEAR = 365.25 * DAY


def _simulate_outages(
    rng: Rng, days: int, truth: float, mean: float, longest: int, draw: Callable[[int], NDArray[np.int64]]
) -> MinuteMask:
    """Return the good windows of a path with Poisson outages, whose lengths have this mean and maximum.

    The number of outages over a minute is Poisson, so the share of minutes without one is exp(-rate * mean) exactly.
    """
    windows = days * DAY
    count = int(rng.poisson(-log(truth) / mean * (windows + longest)))
    starts = rng.integers(-longest, windows, count)
    return mark_episodes(windows, starts, draw(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutagePath:
    """Outages of equal length at random times (Poisson); the rate is solved for the truth."""

    truth: float
    #: Minutes.
    length: int

    @property
    def per_year(self) -> float:
        """Mean number of outages in 365.25 days."""
        return -log(self.truth) / self.length * YEAR

    def simulate(self, rng: Rng, days: int) -> MinuteMask:
        """Return the good windows; outages that began before the campaign are included."""
        return _simulate_outages(
            rng, days, self.truth, self.length, self.length, lambda count: np.full(count, self.length, dtype=np.int64)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoOutagePath:
    """Outages at random times (Poisson) with Pareto lengths from 1 minute to ``longest``."""

    truth: float
    #: P(length > s) = s ** -alpha.
    alpha: float
    longest: int = PARETO_LONGEST

    @property
    def mean(self) -> float:
        """Mean length in whole minutes."""
        return 1 + float((np.arange(1, self.longest, dtype=np.float64) ** -self.alpha).sum())

    def simulate(self, rng: Rng, days: int) -> MinuteMask:
        """Return the good windows; outages that began before the campaign are included."""
        return _simulate_outages(rng, days, self.truth, self.mean, self.longest, lambda count: self._draw(rng, count))

    def _draw(self, rng: Rng, count: int) -> NDArray[np.int64]:
        lengths = np.ceil(rng.random(count) ** (-1 / self.alpha))
        return np.clip(lengths, 1, self.longest).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicOutagePath:
    """An outage of equal length at regular intervals; the campaign starts at a random time between two of them."""

    #: Minutes from the start of an outage to the start of the next.
    interval: int
    #: Minutes of an outage.
    length: int

    @property
    def truth(self) -> float:
        """The long-run share of good windows."""
        return 1 - self.length / self.interval

    @property
    def per_year(self) -> float:
        """Number of outages in 365.25 days."""
        return YEAR / self.interval

    def simulate(self, rng: Rng, days: int) -> MinuteMask:
        """Return the good windows; an outage that began before the campaign is included."""
        windows = days * DAY
        starts = np.arange(rng.integers(self.interval) - self.interval, windows, self.interval, dtype=np.int64)
        return mark_episodes(windows, starts, np.full(len(starts), self.length, dtype=np.int64))
