"""Simulated campaigns on paths with known truth: coverage of each interval, and the verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from leadline_verdict.alternative_intervals import compute_bootstrap_low, compute_f_bound
from leadline_verdict.binomial import clopper_pearson
from leadline_verdict.document import VerdictClass
from leadline_verdict.episodes import IntArray
from leadline_verdict.first_edition.share_interval import korn_graubard, observe_period
from leadline_verdict.share_bounds import count_bad_minutes
from tests.simulate.classification import BEYOND, CampaignMinutes, classify_campaign
from tests.simulate.paths import DAY, Rng, SimulatedPath
from tests.simulate.scenarios import TARGETS, SimulationScenario, is_clearly_inside, is_outside

RESAMPLES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignResult:
    """One campaign: the bounds and intervals that contain the truth, and the verdict class for each target."""

    holding: frozenset[str]
    classes: tuple[VerdictClass, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioResult:
    """A scenario and the numbers of its campaigns."""

    scenario: SimulationScenario
    runs: int
    #: Campaigns in which a bound or an interval contains the truth.
    holding: dict[str, int]
    #: Campaigns with each verdict class, by target; a class that did not occur is absent.
    classes: dict[float, dict[VerdictClass, int]]

    def get_ratio(self, interval: str) -> float:
        """Return the share of campaigns in which this interval contains the truth."""
        return self.holding.get(interval, 0) / self.runs

    def count_classes(self, target: float, classes: tuple[VerdictClass, ...]) -> int:
        """Return the number of campaigns with one of the classes."""
        return sum(self.classes[target].get(verdict_class, 0) for verdict_class in classes)

    def count_false(self, target: float, classes: tuple[VerdictClass, ...]) -> int | None:
        """Count classes of one form, "beyond" or "within"; None if the truth does not make them false."""
        truth = self.scenario.path.truth
        is_false = is_clearly_inside(truth, target) if classes[0] in BEYOND else is_outside(truth, target)
        return self.count_classes(target, classes) if is_false else None


def simulate_scenario(scenario: SimulationScenario, runs: int, seed: int) -> ScenarioResult:
    """Simulate a number of campaigns; the result depends on seed and scenario only."""
    rng = np.random.default_rng([seed, crc32(scenario.key.encode())])
    holding: dict[str, int] = {}
    classes: dict[float, dict[VerdictClass, int]] = {target: {} for target in TARGETS}
    for _ in range(runs):
        result = simulate_campaign(scenario, rng)
        for name in result.holding:
            holding[name] = holding.get(name, 0) + 1
        for counts, verdict_class in zip(classes.values(), result.classes, strict=True):
            counts[verdict_class] = counts.get(verdict_class, 0) + 1
    return ScenarioResult(scenario=scenario, runs=runs, holding=holding, classes=classes)


def simulate_campaign(scenario: SimulationScenario, rng: Rng) -> CampaignResult:
    """Simulate a campaign, compare every bound with the truth and classify it for each target."""
    truth = scenario.path.truth
    good = scenario.path.simulate(rng, scenario.days)
    campaign = CampaignMinutes(
        good=good,
        observed=scenario.observation(rng, len(good)),
        is_outage=np.full_like(good, scenario.declared_outages is not None),
        last_segment_start=int(rng.integers(1, scenario.days)) * DAY if scenario.has_step else 0,
        declared_outages=scenario.declared_outages,
    )
    verdicts = classify_campaign(campaign, TARGETS)
    bounds = verdicts[0]
    intervals = {
        "low": (bounds.low, 1.0),
        "low_provisional": (bounds.low_provisional, 1.0),
        "high": (0.0, bounds.high),
    }
    if scenario.compares_intervals:
        intervals |= compute_other_intervals(campaign, rng)
    return CampaignResult(
        holding=frozenset(name for name, (low, high) in intervals.items() if low <= truth <= high),
        classes=tuple(verdict.verdict_class for verdict in verdicts),
    )


def compute_other_intervals(campaign: CampaignMinutes, rng: Rng) -> dict[str, tuple[float, float]]:
    """Compute the intervals that the rule does not use, with unknown minutes bad."""
    good = campaign.good & campaign.observed
    observation, bad = observe_period(good), count_bad_minutes(~good)
    naive = clopper_pearson(observation.good, observation.windows)
    days = korn_graubard(observation.good_by_day, observation.windows_by_day)
    return {
        "binomial": (naive.low, naive.high),
        "day_bootstrap": compute_bootstrap_interval(observation.good_by_day, observation.windows_by_day, rng),
        "korn_graubard": (days.low, days.high),
        "stationary_bootstrap": (compute_bootstrap_low(bad), 1.0),
        "f_bound": (compute_f_bound(bad), 1.0),
    }


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
