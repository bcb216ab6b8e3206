"""Counterfactuals: changes that would alter a verdict, and the margin of an acceptance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL
from leadline.propagation import VACUUM_INDEX, Feasibility, reachable_distance_km
from leadline.rounding import round_down
from leadline_verdict.decision import COVERAGE_MIN, VerdictRule
from leadline_verdict.document import Counterfactual, PropagationSection, SharesSection, VerdictClass
from leadline_verdict.pair import PairWindows, find_achieved_limit_us
from leadline_verdict.propagation import iter_exceeded_distances
from leadline_verdict.reasons import format_km, format_ms, format_target
from leadline_verdict.requirements import RequirementSet
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.verdict_inputs import VerdictInputs

_IMPOSSIBLE_CLASSES = {VerdictClass.IMPOSSIBLE, VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE}


def find_counterfactuals(
    verdict_class: VerdictClass, pair: PairWindows, inputs: VerdictInputs, shares: SharesSection
) -> list[Counterfactual]:
    """Return the changes, most important first; none for INVALID."""
    if verdict_class is VerdictClass.INVALID:
        return []
    if verdict_class in _IMPOSSIBLE_CLASSES and inputs.propagation is not None:
        distance_changes = list(_iter_distance_changes(verdict_class, inputs.propagation))
        if inputs.rule.edition is not RuleEdition.FIRST:
            distance_changes += _iter_distance_limit_changes(inputs.propagation, inputs.requirements)
        return distance_changes
    if verdict_class is VerdictClass.INSUFFICIENT_DATA:
        return list(_iter_data_changes(pair, inputs))
    return [
        *_iter_limit_changes(pair, inputs),
        *_iter_route_changes(verdict_class, inputs.propagation),
        *_iter_duration_changes(verdict_class, inputs.rule, shares),
    ]


def _make_counterfactual(code: str, text: str, **numbers: float | int | str) -> Counterfactual:
    return Counterfactual(code=code, numbers=numbers, text=text)


def _iter_distance_changes(verdict_class: VerdictClass, propagation: PropagationSection) -> Iterator[Counterfactual]:
    """Yield the distance and the medium that would meet the strictest RTT limit; nothing if all can be met."""
    exceeded = [limit for limit in propagation.limits if limit.reach != Feasibility.POSSIBLE]
    if not exceeded:
        return
    strictest = min(exceeded, key=lambda limit: limit.limit_us)
    in_vacuum_km = reachable_distance_km(strictest.limit_us, index=VACUUM_INDEX)
    yield _make_counterfactual(
        "shorter_distance",
        f"sites at most {format_km(strictest.reach_km)} apart on straight glass fibre "
        f"({format_km(in_vacuum_km)} in a vacuum), not {format_km(propagation.distance_low_km)}",
        limit_id=strictest.limit_id,
        glass_km=strictest.reach_km,
        vacuum_km=in_vacuum_km,
    )
    if verdict_class is VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE:
        yield _make_counterfactual("other_medium", "a straight path by radio or hollow-core fibre could meet the limit")


def _iter_distance_limit_changes(
    propagation: PropagationSection, requirements: RequirementSet
) -> Iterator[Counterfactual]:
    """Yield the distances that limits on the distance allow."""
    for requirement in iter_exceeded_distances(propagation, requirements):
        yield _make_counterfactual(
            "shorter_distance",
            f"a distance {requirement.text} between the sites, not {format_km(propagation.distance_low_km)}",
            limit_id=requirement.limit_id,
        )


def _iter_data_changes(pair: PairWindows, inputs: VerdictInputs) -> Iterator[Counterfactual]:
    is_first = inputs.rule.edition is RuleEdition.FIRST
    days = CAMPAIGN_DAYS_PROVISIONAL - (inputs.measured_verdict.days if is_first else pair.whole_days)
    if days > 0:
        text = f"{days} more day{'' if days == 1 and not is_first else 's'} for a provisional result"
        yield _make_counterfactual("more_days", text, days=days)
    if inputs.measured_verdict.coverage < COVERAGE_MIN and (is_first or (pair.whole_days and inputs.sent)):
        minutes = int(np.ceil((COVERAGE_MIN - inputs.measured_verdict.coverage) * len(inputs.states)))
        yield _make_counterfactual(
            "more_coverage", f"{minutes:,} more known minutes in a period of this length", minutes=minutes
        )


def _iter_limit_changes(pair: PairWindows, inputs: VerdictInputs) -> Iterator[Counterfactual]:
    for criterion in inputs.requirements.criteria:
        reached_us = find_achieved_limit_us(pair, criterion, inputs.rule.target_share)
        if reached_us is not None:
            yield _make_counterfactual(
                "limit_reached",
                f"{format_target(inputs.rule.target_share)} of the minutes met {criterion.worst_case_comparison} "
                f"{format_ms(reached_us)}; the limit is {format_ms(criterion.limit_us)}",
                limit_id=criterion.limit_id,
                limit_us=criterion.limit_us,
                reached_us=reached_us,
            )


def _iter_route_changes(
    verdict_class: VerdictClass, propagation: PropagationSection | None
) -> Iterator[Counterfactual]:
    if (
        verdict_class not in {VerdictClass.BEYOND, VerdictClass.BEYOND_PROVISIONAL, VerdictClass.MARGINAL}
        or propagation is None
    ):
        return
    for limit in propagation.limits:
        if limit.route_factor_max is not None and propagation.inflation is not None:
            yield _make_counterfactual(
                "shorter_route",
                f"a fibre route at most {round_down(limit.route_factor_max, 2)} times the straight line could meet "
                f"{format_ms(limit.limit_us)}; the minimum RTT corresponds to {propagation.inflation:.2f} times",
                limit_id=limit.limit_id,
                route_factor_max=limit.route_factor_max,
                inflation=propagation.inflation,
            )


def _iter_duration_changes(
    verdict_class: VerdictClass, rule: VerdictRule, shares: SharesSection
) -> Iterator[Counterfactual]:
    if verdict_class is VerdictClass.MARGINAL and shares.days_needed:
        yield _make_counterfactual(
            "more_days",
            f"{shares.days_needed} more days without a bad minute demonstrate {format_target(rule.target_share)}",
            days=shares.days_needed,
        )
    if verdict_class is not VerdictClass.WITHIN_PROVISIONAL:
        return
    if rule.edition is RuleEdition.FIRST:
        yield _make_counterfactual(
            "campaign", f"{CAMPAIGN_DAYS} days, and a declaration for every open point", days=CAMPAIGN_DAYS
        )
    elif not shares.days_needed:
        yield _make_counterfactual("campaign", "a declaration for every open point", days=0)
    else:
        yield _make_counterfactual(
            "campaign",
            f"{shares.days_needed} more days without a bad minute, or declared outages, and a declaration for every "
            "open point",
            days=shares.days_needed,
        )
