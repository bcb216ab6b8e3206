"""Monotony of the rule on random paths: a laxer limit, a lower target or one bad minute fewer never worsens a verdict.

"Insufficient data" is not compared: it is neither better nor worse than a verdict, and it separates two verdicts that
unknown minutes decide between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise

import numpy as np

from leadline.mesh.model import DeclaredOutages
from leadline_verdict.document import VerdictClass
from leadline_verdict.states import MinuteMask
from tests.simulate.classification import CLASSES, CampaignMinutes, CampaignVerdict, classify_campaign
from tests.simulate.paths import DAY, ExcursionPath, Floats, Rng, observe_everything, observe_with_restarts
from tests.simulate.scenarios import TARGETS

PATHS = 300
LIMITS = 60
FLIPS = 20
DAYS = (1, 7, 14, 28, 35, 63)
#: Bounds differ by rounding if the same sums are added in another order.
ROUNDING = 1e-12
_RANKS = {each: rank for rank, each in enumerate(CLASSES) if each is not VerdictClass.INSUFFICIENT_DATA}


@dataclass(frozen=True, slots=True, kw_only=True)
class MonotonyResult:
    """One kind of change on a number of paths."""

    change: str
    paths: int
    #: Pairs of verdicts or of bounds.
    comparisons: int
    #: Comparisons in which the change made the verdict or a bound worse.
    inversions: int
    #: Largest decrease of a bound; 0 for verdicts.
    largest: float = 0.0


def merge_results(results: Iterable[MonotonyResult]) -> tuple[MonotonyResult, ...]:
    """Return one result for each kind of change, summed over the paths."""
    merged: dict[str, MonotonyResult] = {}
    for result in results:
        known = merged.get(result.change, MonotonyResult(change=result.change, paths=0, comparisons=0, inversions=0))
        merged[result.change] = MonotonyResult(
            change=result.change,
            paths=known.paths + result.paths,
            comparisons=known.comparisons + result.comparisons,
            inversions=known.inversions + result.inversions,
            largest=max(known.largest, result.largest),
        )
    return tuple(merged.values())


def measure_monotony(number: int, seed: int) -> tuple[MonotonyResult, ...]:
    """Simulate one path, change its limit, target and bad minutes, and count inversions."""
    rng = np.random.default_rng([seed, 7, number])
    rtt_us = simulate_rtts(rng, int(rng.choice(DAYS)))
    template = _draw_campaign(rng, rtt_us)
    limits = choose_limits(rtt_us)
    by_limit = [replace(template, good=rtt_us <= limit) for limit in limits]
    with_fewer = list(_iter_with_fewer_bad_minutes(by_limit[int(rng.integers(LIMITS))], rng))
    laxer, fewer = ([classify_campaign(campaign, TARGETS) for campaign in chain] for chain in (by_limit, with_fewer))
    return (
        _build_result("laxer limit: verdict", _compare_classes(laxer)),
        _build_result("lower target: verdict", _compare_classes(zip(*(row[::-1] for row in laxer), strict=True))),
        _build_result("one bad minute fewer: verdict", _compare_classes(fewer)),
        compare_bounds("laxer limit: bounds", [verdicts[0] for verdicts in laxer]),
        compare_bounds("one bad minute fewer: bounds", [verdicts[0] for verdicts in fewer]),
    )


def _build_result(change: str, counts: tuple[int, int], largest: float = 0.0) -> MonotonyResult:
    comparisons, inversions = counts
    return MonotonyResult(change=change, paths=1, comparisons=comparisons, inversions=inversions, largest=largest)


def simulate_rtts(rng: Rng, days: int) -> Floats:
    """Return an RTT for each minute, in microseconds, from a mixture with random weights; +infinity in an outage."""
    minutes = days * DAY
    rtt_us = 5_000 + rng.gamma(rng.uniform(0.5, 3), rng.uniform(5, 50), minutes)
    for _ in range(rng.integers(0, 4)):
        away = ExcursionPath(truth=1 - 10 ** rng.uniform(-4, -1.5), away=rng.choice([3, 12, 60, 300]))
        rtt_us += np.where(away.simulate(rng, days), 0.0, rng.uniform(50, 3_000))
    busy = (np.arange(minutes) % DAY) // 60 == rng.integers(24)
    rtt_us += np.where(busy & (rng.random(minutes) < 10 ** rng.uniform(-3, 0)), rng.gamma(1, 200, minutes), 0.0)
    if rng.random() < 0.5:
        outages = ExcursionPath(truth=1 - 10 ** rng.uniform(-4.5, -2), away=rng.choice([3, 30, 240]))
        rtt_us[~outages.simulate(rng, days)] = np.inf
    # A coarse resolution gives many equal values.
    resolution = rng.choice([1, 20])
    rounded: Floats = np.ceil(rtt_us / resolution) * resolution
    return rounded


def choose_limits(rtt_us: Floats) -> Floats:
    """Return limits from strict to lax: quantiles from 70 to 99.999 %, dense at both targets."""
    return np.quantile(rtt_us, 1 - np.geomspace(0.3, 1e-5, LIMITS), method="inverted_cdf")


def _draw_campaign(rng: Rng, rtt_us: Floats) -> CampaignMinutes:
    """Draw what does not depend on the limit: unknown minutes, a step and a declaration."""
    minutes = len(rtt_us)
    days = minutes // DAY
    observation = observe_with_restarts if rng.random() < 0.3 else observe_everything
    declared = DeclaredOutages(outages_per_year=2.0, longest_outage_s=3_600, declared_on=date(2026, 1, 1))
    return CampaignMinutes(
        good=np.ones(minutes, dtype=np.bool_),
        observed=observation(rng, minutes),
        is_outage=np.isinf(rtt_us),
        last_segment_start=int(rng.integers(1, days)) * DAY if days > 1 and rng.random() < 0.3 else 0,
        declared_outages=declared if rng.random() < 0.3 else None,
    )


def _iter_with_fewer_bad_minutes(campaign: CampaignMinutes, rng: Rng) -> Iterator[CampaignMinutes]:
    """Yield the campaign, then with one bad minute fewer each time."""
    yield campaign
    good: MinuteMask = campaign.good.copy()
    bad = np.flatnonzero(~good)
    for minute in rng.permutation(bad)[:FLIPS].tolist():
        good[minute] = True
        yield replace(campaign, good=good.copy())


def count_inversions(classes: Iterable[VerdictClass]) -> tuple[int, int]:
    """Compare classes that may only become better; return the comparisons, and those with a worse class."""
    steps = list(pairwise(_RANKS[each] for each in classes if each in _RANKS))
    return len(steps), sum(after < before for before, after in steps)


def _compare_classes(chain: Iterable[Sequence[CampaignVerdict]]) -> tuple[int, int]:
    """Compare the classes of a chain of campaigns, for each target."""
    by_target = zip(*chain, strict=True)
    return _sum(count_inversions(verdict.verdict_class for verdict in verdicts) for verdicts in by_target)


def compare_bounds(change: str, chain: Iterable[CampaignVerdict]) -> MonotonyResult:
    """Compare every bound of a chain of campaigns."""
    steps = np.diff([(verdict.low, verdict.low_provisional, verdict.high) for verdict in chain], axis=0)
    inversions = int(np.count_nonzero(steps < -ROUNDING))
    return _build_result(change, (steps.size, inversions), max(0.0, -float(steps.min(initial=0.0))))


def _sum(counts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    total: Counter[str] = Counter()
    for comparisons, inversions in counts:
        total.update(comparisons=comparisons, inversions=inversions)
    return total["comparisons"], total["inversions"]
