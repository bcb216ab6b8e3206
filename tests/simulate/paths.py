"""Simulated paths with a known long-run share of good windows.

A path simulates a campaign of whole days and returns a mask of good windows. Its truth is a parameter or is computed
from the parameters; a parameter that depends on the truth is solved for. A path with a weekly pattern starts on a
random day of the week. ``outages.py`` has the paths with outages of hours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import exp, log
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.special import ndtr, ndtri

from leadline.evaluation import WINDOWS_PER_DAY
from leadline_verdict.states import MinuteMask

Floats: TypeAlias = NDArray[np.float64]
Rng: TypeAlias = np.random.Generator
DAY = WINDOWS_PER_DAY


class SimulatedPath(Protocol):
    """A path with a state, good or bad, for every minute."""

    @property
    def truth(self) -> float:
        """The long-run share of good windows."""

    def simulate(self, rng: Rng, days: int) -> MinuteMask:
        """Return the good windows of one campaign."""


def _compute_survival(median: float, log_sd: float, longest: int) -> Floats:
    """Return P(length in whole windows > s) for s = 0 .. longest - 1: log-normal, rounded up, at most ``longest``."""
    whole = np.arange(1, longest)
    beyond = ndtr((log(median) - np.log(whole)) / log_sd)
    return np.concatenate([[1.0], beyond])


def draw_weekdays(rng: Rng, days: int) -> NDArray[np.int64]:
    """Return the day of the week of each day, 0 for Monday, from a random first day on."""
    weekdays: NDArray[np.int64] = (rng.integers(7) + np.arange(days)) % 7
    return weekdays


def _draw_lengths(rng: Rng, count: int, median: float, log_sd: float, longest: int) -> NDArray[np.int64]:
    drawn = np.ceil(rng.lognormal(log(median), log_sd, count))
    return np.clip(drawn, 1, longest).astype(np.int64)


def mark_episodes(windows: int, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> MinuteMask:
    """Return True for windows without an episode; starts may be before the campaign (below 0), ends after it."""
    edges = np.zeros(windows + 1, dtype=np.int64)
    np.add.at(edges, np.clip(starts, 0, windows), 1)
    np.add.at(edges, np.clip(starts + lengths, 0, windows), -1)
    clear: MinuteMask = np.cumsum(edges[:-1]) == 0
    return clear


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstyPath:
    """Poisson episodes of log-normal length, seven times as many by day (08 to 20 UTC), on good days and bad days."""

    truth: float
    #: Median of the lengths in minutes.
    median: float
    log_sd: float = 0.6
    day_to_night: float = 7.0
    #: Spread of the day effect, log-normal with mean 1.
    day_log_sd: float = 0.7

    def simulate(self, rng: Rng, days: int) -> MinuteMask:
        """Return the good windows; episodes start one day early, so that the first midnight is like any other."""
        effect = rng.lognormal(-(self.day_log_sd**2) / 2, self.day_log_sd, days + 1)
        rate = _solve_rate(self) * np.outer(effect, _build_day_profile(self.day_to_night)).ravel()
        counts = rng.poisson(rate)
        starts = np.repeat(np.arange(len(counts), dtype=np.int64) - DAY, counts)
        return mark_episodes(days * DAY, starts, _draw_lengths(rng, len(starts), self.median, self.log_sd, DAY))


def _build_day_profile(day_to_night: float) -> Floats:
    minute = np.arange(DAY)
    return np.where((minute >= 480) & (minute < 1_200), day_to_night, 1.0)


@lru_cache
def _solve_rate(path: BurstyPath) -> float:
    """Return the episodes per minute, at night on an average day, for the share of the truth."""
    own, before = _compute_overlap(path)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    effect = np.exp(path.day_log_sd * nodes - path.day_log_sd**2 / 2)
    weights /= weights.sum()

    def surplus(log_rate: float) -> float:
        clear = [np.exp(-exp(log_rate) * np.outer(reach, effect)) @ weights for reach in (own, before)]
        return float((clear[0] * clear[1]).mean()) - path.truth

    return exp(brentq(surplus, -25.0, 0.0, xtol=1e-12))


def _compute_overlap(path: BurstyPath) -> tuple[Floats, Floats]:
    """Return the expected episodes over each minute of a day, per unit of rate: of this and of the previous day."""
    both = np.convolve(_build_day_profile(path.day_to_night), _compute_survival(path.median, path.log_sd, DAY))
    return both[:DAY], np.append(both[DAY:], np.zeros(2 * DAY - len(both)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DiurnalPath:
    """A busy hour on working days around 14:00 UTC, of random length; four of five of its minutes are bad."""

    truth: float
    log_sd: float = 0.5
    bad_ratio: float = 0.8

    def simulate(self, rng: Rng, days: int) -> MinuteMask:
        """Return the good windows; busy hours are on Monday to Friday, and the truth is that of whole weeks."""
        working = np.flatnonzero(draw_weekdays(rng, days) < 5).astype(np.int64)
        lengths = _draw_lengths(rng, len(working), _solve_median(self), self.log_sd, _BUSY_MAX)
        quiet = mark_episodes(days * DAY, working * DAY + 840 - lengths // 2, lengths)
        return quiet | (rng.random(days * DAY) >= self.bad_ratio)


_BUSY_MAX = 1_000


@lru_cache
def _solve_median(path: DiurnalPath) -> float:
    """Return the median length of the busy hour for the share of the truth."""
    minutes = (1 - path.truth) * 7 / 5 * DAY / path.bad_ratio

    def surplus(log_median: float) -> float:
        return float(_compute_survival(exp(log_median), path.log_sd, _BUSY_MAX).sum()) - minutes

    return exp(brentq(surplus, -5.0, log(_BUSY_MAX)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AutocorrelatedPath:
    """An AR(1) level that is bad above a threshold: many short episodes, all days alike."""

    truth: float
    #: Correlation of neighbouring minutes.
    rho: float

    def simulate(self, rng: Rng, days: int) -> MinuteMask:
        """Return the good windows of a level that is stationary from the first minute."""
        return _simulate_level(rng, days, self.rho, self.truth)


def _simulate_level(rng: Rng, days: int, rho: float, good_share: float) -> MinuteMask:
    """Return the minutes of a stationary AR(1) level below the quantile ``good_share``."""
    shocks = rng.standard_normal(days * DAY)
    shocks[1:] *= (1 - rho**2) ** 0.5
    below: MinuteMask = lfilter([1], [1, -rho], shocks) <= ndtri(good_share)
    return below


class BadTime(StrEnum):
    """Times of a week in which a path may be bad."""

    #: Monday to Friday, 09 to 17 UTC.
    OFFICE_HOURS = "office hours"
    #: Saturday and Sunday.
    WEEKEND = "weekend"


_BAD_TIME_RATIOS = {BadTime.OFFICE_HOURS: 5 * 8 / (7 * 24), BadTime.WEEKEND: 2 / 7}


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyPath:
    """An AR(1) level that is bad above a threshold, in office hours only or at weekends only."""

    truth: float
    bad_time: BadTime
    #: Correlation of neighbouring minutes.
    rho: float = 0.95

    def simulate(self, rng: Rng, days: int) -> MinuteMask:
        """Return the good windows; the truth is that of whole weeks."""
        weekdays = np.repeat(draw_weekdays(rng, days), DAY)
        minute = np.tile(np.arange(DAY), days)
        if self.bad_time is BadTime.WEEKEND:
            exposed = weekdays >= 5
        else:
            exposed = (weekdays < 5) & (minute >= 9 * 60) & (minute < 17 * 60)
        good_share = 1 - (1 - self.truth) / _BAD_TIME_RATIOS[self.bad_time]
        return _simulate_level(rng, days, self.rho, good_share) | ~exposed


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcursionPath:
    """The route changes to one beyond the limit and back; both durations are geometric, the first state is random."""

    truth: float
    #: Mean minutes on the route beyond the limit.
    away: float

    def simulate(self, rng: Rng, days: int) -> MinuteMask:
        """Return the good windows of an alternating renewal process."""
        windows = days * DAY
        home = self.away * self.truth / (1 - self.truth)
        turns = 20 + int(4 * windows / (home + self.away))
        stays = np.stack([rng.geometric(1 / home, turns), rng.geometric(1 / self.away, turns)], axis=1)
        at_home = rng.random() < self.truth
        ends = np.cumsum(stays.ravel() if at_home else stays[:, ::-1].ravel())
        assert ends[-1] >= windows
        starts = np.minimum(np.concatenate([[0], ends]), windows)
        good: MinuteMask = np.repeat(np.arange(2 * turns) % 2 == (0 if at_home else 1), np.diff(starts))
        return good


@dataclass(frozen=True, slots=True, kw_only=True)
class LossClusterPath:
    """Clusters of minutes with loss (Gilbert-Elliott): in a cluster, each minute is bad with the same probability."""

    truth: float
    #: Mean minutes of a cluster, geometric.
    cluster: float = 30.0
    bad_ratio: float = 0.4

    def simulate(self, rng: Rng, days: int) -> MinuteMask:
        """Return the good windows; no minute outside a cluster is bad."""
        clear = ExcursionPath(truth=1 - (1 - self.truth) / self.bad_ratio, away=self.cluster).simulate(rng, days)
        return clear | (rng.random(days * DAY) >= self.bad_ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChangePath:
    """One route for the first half of the campaign, another for the second; the truth is the mean of both."""

    first: SimulatedPath
    second: SimulatedPath

    @property
    def truth(self) -> float:
        """The mean share, for campaigns with the same number of days on each route."""
        return (self.first.truth + self.second.truth) / 2

    def simulate(self, rng: Rng, days: int) -> MinuteMask:
        """Return the good windows. Raise ValueError for an odd number of days."""
        if days % 2:
            raise ValueError(f"{days} days have no equal halves; use an even number of days")
        return np.concatenate([self.first.simulate(rng, days // 2), self.second.simulate(rng, days // 2)])


#: Returns the observed windows of a campaign.
Observation: TypeAlias = Callable[[Rng, int], MinuteMask]


def observe_everything(_: Rng, windows: int) -> MinuteMask:
    """Observe every window."""
    return np.ones(windows, dtype=np.bool_)


def observe_with_restarts(rng: Rng, windows: int) -> MinuteMask:
    """Observe all windows except ten minutes once a week on average, independent of the path."""
    starts = np.flatnonzero(rng.random(windows) < 1 / (7 * DAY)).astype(np.int64)
    return mark_episodes(windows, starts, np.full(len(starts), 10, dtype=np.int64))
