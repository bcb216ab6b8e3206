"""Campaigns on paths of known truth, and how often each interval held it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from zlib import crc32

import numpy as np

from leadline.evaluation import TARGET_SHARE_DEFAULT
from leadline_verdict.binomial import clopper_pearson
from leadline_verdict.compliance_share import korn_graubard, seen, share_interval
from leadline_verdict.episodes import Counts
from leadline_verdict.states import Minutes
from tests.simulate.paths import (
    Autocorrelated,
    Bursty,
    Diurnal,
    Excursions,
    Moved,
    Observation,
    Path,
    Rng,
    agent_restarts,
    all_known,
)

TARGET = TARGET_SHARE_DEFAULT
#: Clearly inside, on the line, outside, far outside of 99.5 %.
TRUTHS = (0.999, 0.995, 0.99, 0.95)
RESAMPLES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the table."""

    name: str
    path: Path
    days: int
    observation: Observation = all_known
    #: False where episodes are longer than m0 and rarer than campaigns: what §4.3 b assumes not to be.
    within_assumptions: bool = True

    @property
    def key(self) -> str:
        return f"{self.name}, {self.path.truth:.2%}, {self.days} d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One campaign: which intervals held the truth, and what would have been said of 99.5 %."""

    binomial: bool
    bootstrap: bool
    korn_graubard: bool
    #: The chosen rule: the lower bound of the pessimistic, the upper one of the optimistic reading.
    low: bool
    high: bool
    by_episodes: bool
    beyond: bool
    within: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A scenario and how many of its campaigns had each property of ``Run``."""

    scenario: Scenario
    runs: int
    counts: dict[str, int]

    @property
    def false_verdicts(self) -> int | None:
        """Campaigns that would have been called wrongly; None on the line, where neither word is clearly wrong."""
        truth = self.scenario.path.truth
        if abs(truth - TARGET) < 1e-9:
            return None
        return self.counts["beyond" if truth > TARGET else "within"]


def scenarios() -> tuple[Scenario, ...]:
    """All that are simulated."""
    return (
        *_over(lambda truth: Bursty(truth=truth, median=5), "bursty, 5 min", (28, 63)),
        *_over(lambda truth: Bursty(truth=truth, median=12), "bursty, 12 min", (14, 28, 63)),
        *_over(lambda truth: Bursty(truth=truth, median=30), "bursty, 30 min", (28, 63)),
        *_over(lambda truth: Bursty(truth=truth, median=12), "bursty, 12 min, gaps", (28,), agent_restarts),
        *_over(lambda truth: Diurnal(truth=truth), "diurnal", (14, 28, 63)),
        *_over(lambda truth: Autocorrelated(truth=truth, rho=0.95), "AR(0.95)", (28,)),
        *_over(lambda truth: Autocorrelated(truth=truth, rho=0.99), "AR(0.99)", (28,)),
        *_over(_moved, "route moved", (28,)),
        *_over(lambda truth: Excursions(truth=truth, away=30), "excursions, 30 min", (28, 63)),
        *_over(lambda truth: Excursions(truth=truth, away=240), "excursions, 4 h", (28, 63), within=False),
    )


def _over(
    path: Callable[[float], Path],
    name: str,
    days: Iterable[int],
    observation: Observation = all_known,
    *,
    within: bool = True,
) -> list[Scenario]:
    return [
        Scenario(name=name, path=path(truth), days=length, observation=observation, within_assumptions=within)
        for length in days
        for truth in TRUTHS
    ]


def _moved(truth: float) -> Moved:
    """A third of what is out of limit before the change and the rest after it."""
    bad = 2 * (1 - truth)
    return Moved(first=Bursty(truth=1 - bad / 3, median=12), second=Bursty(truth=1 - 2 * bad / 3, median=12))


def simulate(scenario: Scenario, runs: int, seed: int) -> Row:
    """So many campaigns; the same seed gives the same ones, whatever else is simulated."""
    rng = np.random.default_rng([seed, crc32(scenario.key.encode())])
    counts = dict.fromkeys((field.name for field in fields(Run)), 0)
    for _ in range(runs):
        found = one_run(scenario, rng)
        for name in counts:
            counts[name] += getattr(found, name)
    return Row(scenario=scenario, runs=runs, counts=counts)


def one_run(scenario: Scenario, rng: Rng) -> Run:
    """Draw a campaign and hold every interval against the truth."""
    truth = scenario.path.truth
    good = scenario.path.good(rng, scenario.days)
    known = scenario.observation(rng, len(good))
    pessimistic, optimistic = seen(good & known), seen(good | ~known)
    low, high = share_interval(pessimistic), share_interval(optimistic)
    days = korn_graubard(pessimistic.good_by_day, pessimistic.windows_by_day)
    naive = clopper_pearson(pessimistic.good, pessimistic.windows)
    drawn = bootstrap(pessimistic.good_by_day, pessimistic.windows_by_day, rng)
    return Run(
        binomial=naive.low <= truth <= naive.high,
        bootstrap=drawn[0] <= truth <= drawn[1],
        korn_graubard=days.low <= truth <= days.high,
        low=low.low <= truth,
        high=truth <= high.high,
        by_episodes=low.unseen_windows is not None,
        beyond=high.high < TARGET,
        within=low.low >= TARGET,
    )


def bootstrap(good_by_day: Counts, windows_by_day: Counts, rng: Rng) -> tuple[float, float]:
    """The 2.5 and 97.5 % points of the share over days drawn with replacement."""
    drawn = rng.integers(0, len(good_by_day), (RESAMPLES, len(good_by_day)))
    shares = good_by_day[drawn].sum(axis=1) / windows_by_day[drawn].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def long_run_share(path: Path, days: int, seed: int) -> float:
    """What a path really does, to check its truth with."""
    good: Minutes = path.good(np.random.default_rng(seed), days)
    return float(good.mean())
