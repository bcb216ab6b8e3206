"""What would turn a verdict: for a rejection the largest change that would, for an acceptance how much room is left."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL
from leadline.propagation import VACUUM_INDEX, reachable_distance_km
from leadline_verdict.decision import COVERAGE_MIN, VerdictRule
from leadline_verdict.document import Counterfactual, PropagationSection, SharesSection, VerdictClass
from leadline_verdict.pair import PairWindows, find_achieved_limit_us
from leadline_verdict.precedence import VerdictInputs
from leadline_verdict.reasons import format_ms, format_percent

_IMPOSSIBLE_CLASSES = {VerdictClass.IMPOSSIBLE, VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE}


def find_counterfactuals(
    verdict_class: VerdictClass, pair: PairWindows, inputs: VerdictInputs, shares: SharesSection
) -> list[Counterfactual]:
    """The changes, most telling first; none for INVALID, where nothing is known."""
    if verdict_class is VerdictClass.INVALID:
        return []
    if verdict_class in _IMPOSSIBLE_CLASSES and inputs.propagation is not None:
        return list(_iter_distance_changes(verdict_class, inputs.propagation))
    if verdict_class is VerdictClass.INSUFFICIENT_DATA:
        return list(_iter_data_changes(inputs))
    return [
        *_iter_limit_changes(pair, inputs),
        *_iter_route_changes(verdict_class, inputs.propagation),
        *_iter_duration_changes(verdict_class, inputs.rule, shares),
    ]


def _make_counterfactual(code: str, text: str, **numbers: float | int | str) -> Counterfactual:
    return Counterfactual(code=code, numbers=numbers, text=text)


def _iter_distance_changes(word: VerdictClass, light: PropagationSection) -> Iterator[Counterfactual]:
    """Nothing that is bought moves a site; the least limit decides."""
    tightest = min(light.limits, key=lambda limit: limit.limit_us)
    in_vacuum_km = reachable_distance_km(tightest.limit_us, index=VACUUM_INDEX)
    yield _make_counterfactual(
        "shorter_distance",
        f"sites at most {tightest.reach_km:.0f} km apart on straight glass fibre ({in_vacuum_km:.0f} km in a vacuum), "
        f"not {light.distance_low_km:.0f} km",
        limit_id=tightest.limit_id,
        glass_km=tightest.reach_km,
        vacuum_km=in_vacuum_km,
    )
    if word is VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE:
        yield _make_counterfactual(
            "other_medium", "a straight path through air or hollow-core fibre could still meet it"
        )


def _iter_data_changes(facts: VerdictInputs) -> Iterator[Counterfactual]:
    if facts.measured_verdict.days < CAMPAIGN_DAYS_PROVISIONAL:
        days = CAMPAIGN_DAYS_PROVISIONAL - facts.measured_verdict.days
        yield _make_counterfactual("more_days", f"{days} more days for a provisional answer", days=days)
    if facts.measured_verdict.coverage < COVERAGE_MIN:
        minutes = int(np.ceil((COVERAGE_MIN - facts.measured_verdict.coverage) * len(facts.states)))
        yield _make_counterfactual(
            "more_coverage", f"{minutes:,} more known minutes in a period of this length", minutes=minutes
        )


def _iter_limit_changes(pair: PairWindows, facts: VerdictInputs) -> Iterator[Counterfactual]:
    for criterion in facts.requirements.criteria:
        reached_us = find_achieved_limit_us(pair, criterion, facts.rule.target_share)
        if reached_us is not None:
            yield _make_counterfactual(
                "limit_reached",
                f"{format_percent(facts.rule.target_share)} of the minutes met {criterion.comparison} {format_ms(reached_us)}; the "
                f"limit is {format_ms(criterion.limit_us)}",
                limit_id=criterion.limit_id,
                limit_us=criterion.limit_us,
                reached_us=reached_us,
            )


def _iter_route_changes(word: VerdictClass, light: PropagationSection | None) -> Iterator[Counterfactual]:
    if word not in {VerdictClass.BEYOND, VerdictClass.MARGINAL} or light is None:
        return
    for limit in light.limits:
        if limit.route_factor_max is not None and light.inflation is not None:
            yield _make_counterfactual(
                "shorter_route",
                f"a fibre route at most {limit.route_factor_max:.2f} times the straight line could meet "
                f"{format_ms(limit.limit_us)}; the shortest round trip seen corresponds to {light.inflation:.2f} times",
                limit_id=limit.limit_id,
                route_factor_max=limit.route_factor_max,
                inflation=light.inflation,
            )


def _iter_duration_changes(word: VerdictClass, rule: VerdictRule, shares: SharesSection) -> Iterator[Counterfactual]:
    if word is VerdictClass.MARGINAL and shares.days_needed:
        yield _make_counterfactual(
            "more_days",
            f"{shares.days_needed} further days without a bad minute would show {format_percent(rule.target_share)}",
            days=shares.days_needed,
        )
    if word is VerdictClass.WITHIN_PROVISIONAL:
        yield _make_counterfactual(
            "campaign", f"{CAMPAIGN_DAYS} days, and every open point vouched for", days=CAMPAIGN_DAYS
        )
