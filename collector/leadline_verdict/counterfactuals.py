"""What would turn a verdict: for a rejection the largest change that would, for an acceptance how much room is left."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL
from leadline.propagation import VACUUM_INDEX, reach_km
from leadline_verdict.decision import COVERAGE_MIN, Rule
from leadline_verdict.document import FlipAnswer, PhysicsAnswer, SharesAnswer, Word
from leadline_verdict.pair import PairWindows, limit_reached_us
from leadline_verdict.precedence import Facts
from leadline_verdict.reasons import ms, percent

_IMPOSSIBLE = {Word.IMPOSSIBLE, Word.IMPOSSIBLE_ON_GLASS_FIBRE}


def flips(word: Word, pair: PairWindows, facts: Facts, shares: SharesAnswer) -> list[FlipAnswer]:
    """The changes, most telling first; none for INVALID, where nothing is known."""
    if word is Word.INVALID:
        return []
    if word in _IMPOSSIBLE and facts.light is not None:
        return list(_of_light(word, facts.light))
    if word is Word.INSUFFICIENT_DATA:
        return list(_of_data(facts))
    return [*_of_limits(pair, facts), *_of_route(word, facts.light), *_of_time(word, facts.rule, shares)]


def _flip(code: str, text: str, **numbers: float | int | str) -> FlipAnswer:
    return FlipAnswer(code=code, numbers=numbers, text=text)


def _of_light(word: Word, light: PhysicsAnswer) -> Iterator[FlipAnswer]:
    """Nothing that is bought moves a site; the least limit decides."""
    tightest = min(light.limits, key=lambda limit: limit.limit_us)
    in_vacuum_km = reach_km(tightest.limit_us, index=VACUUM_INDEX)
    yield _flip(
        "shorter_distance",
        f"sites at most {tightest.reach_km:.0f} km apart on straight glass fibre ({in_vacuum_km:.0f} km in a vacuum), "
        f"not {light.distance_low_km:.0f} km",
        limit_id=tightest.limit_id,
        glass_km=tightest.reach_km,
        vacuum_km=in_vacuum_km,
    )
    if word is Word.IMPOSSIBLE_ON_GLASS_FIBRE:
        yield _flip("other_medium", "a straight path through air or hollow-core fibre could still meet it")


def _of_data(facts: Facts) -> Iterator[FlipAnswer]:
    if facts.found.days < CAMPAIGN_DAYS_PROVISIONAL:
        days = CAMPAIGN_DAYS_PROVISIONAL - facts.found.days
        yield _flip("more_days", f"{days} more days for a provisional answer", days=days)
    if facts.found.coverage < COVERAGE_MIN:
        minutes = int(np.ceil((COVERAGE_MIN - facts.found.coverage) * len(facts.readings)))
        yield _flip("more_coverage", f"{minutes:,} more known minutes in a period of this length", minutes=minutes)


def _of_limits(pair: PairWindows, facts: Facts) -> Iterator[FlipAnswer]:
    for criterion in facts.asked.criteria:
        reached_us = limit_reached_us(pair, criterion, facts.rule.target_share)
        if reached_us is not None:
            yield _flip(
                "limit_reached",
                f"{percent(facts.rule.target_share)} of the minutes met {criterion.comparison} {ms(reached_us)}; the "
                f"limit is {ms(criterion.limit_us)}",
                limit_id=criterion.limit_id,
                limit_us=criterion.limit_us,
                reached_us=reached_us,
            )


def _of_route(word: Word, light: PhysicsAnswer | None) -> Iterator[FlipAnswer]:
    if word not in {Word.BEYOND, Word.MARGINAL} or light is None:
        return
    for limit in light.limits:
        if limit.route_factor_max is not None and light.inflation is not None:
            yield _flip(
                "shorter_route",
                f"a fibre route at most {limit.route_factor_max:.2f} times the straight line could meet "
                f"{ms(limit.limit_us)}; the shortest round trip seen corresponds to {light.inflation:.2f} times",
                limit_id=limit.limit_id,
                route_factor_max=limit.route_factor_max,
                inflation=light.inflation,
            )


def _of_time(word: Word, rule: Rule, shares: SharesAnswer) -> Iterator[FlipAnswer]:
    if word is Word.MARGINAL and shares.days_needed:
        yield _flip(
            "more_days",
            f"{shares.days_needed} further days without a bad minute would show {percent(rule.target_share)}",
            days=shares.days_needed,
        )
    if word is Word.WITHIN_PROVISIONAL:
        yield _flip("campaign", f"{CAMPAIGN_DAYS} days, and every open point vouched for", days=CAMPAIGN_DAYS)
