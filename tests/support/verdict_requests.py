"""Verdicts on synthetic windows by both editions of the rule, for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import DeclaredOutages
from leadline_verdict.decision import VerdictRule, classify_period, classify_segment, withdraw
from leadline_verdict.document import PairVerdict, VerdictClass, VerdictDocument
from leadline_verdict.pair import PairWindows
from leadline_verdict.report import ReportParams, build_report
from leadline_verdict.requirements import LimitOverrides, RequirementSet, build_requirements
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.states import MinuteMask, ScenarioStates

SECOND = VerdictRule()
FIRST = VerdictRule(edition=RuleEdition.FIRST, unseen_outage_windows=30)


def make_requirements(*texts: str) -> RequirementSet:
    """Build custom limits."""
    return build_requirements(
        load_catalogue(), None, LimitOverrides(values={}, declared_values={}, custom_limits=texts)
    )


#: p95 of at most 5 ms.
REQUIREMENTS = make_requirements("p95 <= 5 ms")


def build_document(
    *pairs: PairWindows, requirements: RequirementSet = REQUIREMENTS, rule: VerdictRule = SECOND
) -> VerdictDocument:
    """Build the document of all pairs for these requirements."""
    params = ReportParams(
        start_s=pairs[0].start_s,
        end_s=pairs[0].end_s,
        rule=rule,
        profiles=[requirements],
        catalogue_digest="",
        mesh_version=None,
    )
    return build_report(params, [(pair, [requirements]) for pair in pairs])


def compute_verdict(
    pair: PairWindows, *texts: str, rule: VerdictRule = SECOND, target_share: float = 0.995
) -> PairVerdict:
    """Compute the verdict on one pair for custom limits, or for a p95 of at most 5 ms."""
    requirements = make_requirements(*texts) if texts else REQUIREMENTS
    changed = replace(rule, target_share=target_share)
    return build_document(pair, requirements=requirements, rule=changed).pairs[0]


def compute_both_classes(
    pair: PairWindows, *texts: str, target_share: float = 0.995
) -> tuple[VerdictClass, VerdictClass]:
    """Return the verdict classes of the first and of the second edition."""
    first, second = (
        compute_verdict(pair, *texts, rule=rule, target_share=target_share).verdict for rule in (FIRST, SECOND)
    )
    return first, second


def list_codes(verdict: PairVerdict) -> list[str]:
    """Return the codes of the reasons in order, without the note that the limits are the user's own."""
    return [reason.code for reason in verdict.reasons if reason.code != "weak_limits"]


def get_text(verdict: PairVerdict, code: str) -> str:
    """Return the sentence of the reason with this code."""
    (text,) = [reason.text for reason in verdict.reasons if reason.code == code]
    return text


def classify_minutes(
    bad_worst: MinuteMask,
    bad_best: MinuteMask,
    rule: VerdictRule,
    *,
    declared_outages: DeclaredOutages | None = None,
    last_segment: slice | None = None,
) -> VerdictClass:
    """Classify known minutes of whole UTC days, and withdraw a claim that the last segment does not support."""
    no_causes = np.zeros(len(bad_worst), dtype=np.uint8)
    states = ScenarioStates(
        worst_case=bad_worst.astype(np.uint8), best_case=bad_best.astype(np.uint8), causes=no_causes
    )
    verdict_class = classify_period(states, rule, declared_outages=declared_outages).verdict_class
    if last_segment is None:
        return verdict_class
    return withdraw(verdict_class, classify_segment(states.slice_minutes(last_segment.start, last_segment.stop), rule))
