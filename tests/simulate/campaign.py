"""Simulated campaigns on paths with known truth, and the coverage of each interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from zlib import crc32

import numpy as np

from leadline.evaluation import TARGET_SHARE_DEFAULT
from leadline_verdict.binomial import clopper_pearson
from leadline_verdict.first_edition.share_interval import compute_share_interval, korn_graubard, observe_period
from leadline_verdict.episodes import IntArray
from tests.simulate.paths import (
    AutocorrelatedPath,
    BurstyPath,
    DiurnalPath,
    ExcursionPath,
    Observation,
    Rng,
    RouteChangePath,
    SimulatedPath,
    observe_everything,
    observe_with_restarts,
)

TARGET = TARGET_SHARE_DEFAULT
#: Clearly within, equal to, beyond and far beyond the target of 99.5 %.
TRUTHS = (0.999, 0.995, 0.99, 0.95)
RESAMPLES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationScenario:
    """Scenario of one row of the table."""

    name: str
    path: SimulatedPath
    days: int
    observation: Observation = observe_everything
    #: False if episodes are longer than m0 and rarer than campaigns, against the assumption of §4.3 b.
    within_assumptions: bool = True

    @property
    def key(self) -> str:
        return f"{self.name}, {self.path.truth:.2%}, {self.days} d"


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignResult:
    """One campaign: intervals that cover the truth, and the verdict for the target of 99.5 %."""

    binomial: bool
    bootstrap: bool
    korn_graubard: bool
    #: The rule of the verdict: lower bound of the worst case, upper bound of the best case.
    low: bool
    high: bool
    by_episodes: bool
    beyond: bool
    within: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioResult:
    """A scenario and the number of its campaigns with each property of ``CampaignResult``."""

    scenario: SimulationScenario
    runs: int
    counts: dict[str, int]

    @property
    def false_verdicts(self) -> int | None:
        """Campaigns with a false verdict; None if the truth equals the target: neither verdict is clearly false."""
        truth = self.scenario.path.truth
        if abs(truth - TARGET) < 1e-9:
            return None
        return self.counts["beyond" if truth > TARGET else "within"]


def build_scenarios() -> tuple[SimulationScenario, ...]:
    """Return all scenarios."""
    return (
        *_build_scenarios(lambda truth: BurstyPath(truth=truth, median=5), "bursty, 5 min", (28, 63)),
        *_build_scenarios(lambda truth: BurstyPath(truth=truth, median=12), "bursty, 12 min", (14, 28, 63)),
        *_build_scenarios(lambda truth: BurstyPath(truth=truth, median=30), "bursty, 30 min", (28, 63)),
        *_build_scenarios(
            lambda truth: BurstyPath(truth=truth, median=12), "bursty, 12 min, gaps", (28,), observe_with_restarts
        ),
        *_build_scenarios(lambda truth: DiurnalPath(truth=truth), "diurnal", (14, 28, 63)),
        *_build_scenarios(lambda truth: AutocorrelatedPath(truth=truth, rho=0.95), "AR(0.95)", (28,)),
        *_build_scenarios(lambda truth: AutocorrelatedPath(truth=truth, rho=0.99), "AR(0.99)", (28,)),
        *_build_scenarios(_build_route_change, "route moved", (28,)),
        *_build_scenarios(lambda truth: ExcursionPath(truth=truth, away=30), "excursions, 30 min", (28, 63)),
        *_build_scenarios(
            lambda truth: ExcursionPath(truth=truth, away=240), "excursions, 4 h", (28, 63), within=False
        ),
    )


def _build_scenarios(
    path: Callable[[float], SimulatedPath],
    name: str,
    days: Iterable[int],
    observation: Observation = observe_everything,
    *,
    within: bool = True,
) -> list[SimulationScenario]:
    return [
        SimulationScenario(name=name, path=path(truth), days=length, observation=observation, within_assumptions=within)
        for length in days
        for truth in TRUTHS
    ]


def _build_route_change(truth: float) -> RouteChangePath:
    """Return a path with a third of its bad windows before the change and the rest after it."""
    bad = 2 * (1 - truth)
    return RouteChangePath(
        first=BurstyPath(truth=1 - bad / 3, median=12), second=BurstyPath(truth=1 - 2 * bad / 3, median=12)
    )


def simulate_scenario(scenario: SimulationScenario, runs: int, seed: int) -> ScenarioResult:
    """Simulate a number of campaigns; the result depends on seed and scenario only."""
    rng = np.random.default_rng([seed, crc32(scenario.key.encode())])
    counts = dict.fromkeys((field.name for field in fields(CampaignResult)), 0)
    for _ in range(runs):
        result = simulate_campaign(scenario, rng)
        for name in counts:
            counts[name] += getattr(result, name)
    return ScenarioResult(scenario=scenario, runs=runs, counts=counts)


def simulate_campaign(scenario: SimulationScenario, rng: Rng) -> CampaignResult:
    """Simulate a campaign and compare every interval with the truth."""
    truth = scenario.path.truth
    good = scenario.path.simulate(rng, scenario.days)
    observed = scenario.observation(rng, len(good))
    pessimistic, optimistic = observe_period(good & observed), observe_period(good | ~observed)
    low, high = compute_share_interval(pessimistic), compute_share_interval(optimistic)
    days = korn_graubard(pessimistic.good_by_day, pessimistic.windows_by_day)
    naive = clopper_pearson(pessimistic.good, pessimistic.windows)
    resampled = compute_bootstrap_interval(pessimistic.good_by_day, pessimistic.windows_by_day, rng)
    return CampaignResult(
        binomial=naive.low <= truth <= naive.high,
        bootstrap=resampled[0] <= truth <= resampled[1],
        korn_graubard=days.low <= truth <= days.high,
        low=low.low <= truth,
        high=truth <= high.high,
        by_episodes=low.unseen_outage_windows is not None,
        beyond=high.high < TARGET,
        within=low.low >= TARGET,
    )


def compute_bootstrap_interval(good_by_day: IntArray, windows_by_day: IntArray, rng: Rng) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % quantiles of the share over days resampled with replacement."""
    resampled = rng.integers(0, len(good_by_day), (RESAMPLES, len(good_by_day)))
    shares = good_by_day[resampled].sum(axis=1) / windows_by_day[resampled].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def measure_long_run_share(path: SimulatedPath, days: int, seed: int, campaigns: int = 1) -> float:
    """Return the share of good windows of simulated campaigns, to check the truth of a path."""
    rng = np.random.default_rng(seed)
    return float(np.mean([path.simulate(rng, days).mean() for _ in range(campaigns)]))
