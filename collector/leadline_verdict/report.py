"""Assembly of the document: every pair for every profile, the site pairs, and the sets of all sites."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from leadline import __version__
from leadline.clock import format_iso8601
from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL
from leadline.propagation import GLASS_INDEX
from leadline_verdict.binomial import CONFIDENCE
from leadline_verdict.decision import COVERAGE_MIN, VerdictRule
from leadline_verdict.document import (
    VERDICT_VERSION,
    LimitSource,
    PairVerdict,
    ProfileSection,
    RequirementSection,
    RuleSection,
    SitesVerdict,
    VerdictClass,
    VerdictDocument,
)
from leadline_verdict.multiple_claims import expected_wrong_claims
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import Requirement, RequirementSet
from leadline_verdict.sections import detect_pair_segments
from leadline_verdict.verdict import build_pair_verdict

#: Id of the decision rule: non-binary, with an asymmetric guard band of H (ISO/IEC 17025 requires the statement).
RULE_ID = "leadline-2026-1"
_SEVERITY = {verdict_class: rank for rank, verdict_class in enumerate(VerdictClass)}
_CLAIM_CLASSES = {VerdictClass.BEYOND, VerdictClass.WITHIN, VerdictClass.WITHIN_PROVISIONAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportParams:
    """Parameters of a document."""

    start_s: int
    end_s: int
    rule: VerdictRule
    profiles: Sequence[RequirementSet]
    #: SHA-256 of the catalogue file.
    catalogue_digest: str
    mesh_version: int | None


def build_report(
    params: ReportParams,
    pairs: Iterable[tuple[PairWindows, Sequence[RequirementSet]]],
    on_progress: Callable[[], None] = lambda: None,
) -> VerdictDocument:
    """Compute the verdicts of each pair for its profiles; call ``on_progress`` after each verdict."""
    verdicts = []
    for pair, profiles in pairs:
        segments = detect_pair_segments(pair)
        for profile in profiles:
            verdicts.append(build_pair_verdict(pair, profile, params.rule, segments))
            on_progress()
    return VerdictDocument(
        version=VERDICT_VERSION,
        leadline=__version__,
        catalogue=params.catalogue_digest,
        mesh_version=params.mesh_version,
        start_s=params.start_s,
        start_iso=format_iso8601(params.start_s),
        end_s=params.end_s,
        end_iso=format_iso8601(params.end_s),
        days=(params.end_s - params.start_s) // 86_400,
        rule=_build_rule_section(params.rule),
        profiles=[_build_profile_section(profile) for profile in params.profiles],
        pairs=verdicts,
        site_pairs=list(_iter_site_pairs(verdicts)),
        sets=list(_iter_site_sets(verdicts)),
        wrong_claims_expected=expected_wrong_claims(sum(verdict.verdict in _CLAIM_CLASSES for verdict in verdicts)),
    )


def _build_rule_section(rule: VerdictRule) -> RuleSection:
    return RuleSection(
        id=RULE_ID,
        target_share=rule.target_share,
        unseen_windows=rule.unseen_outage_windows,
        confidence=CONFIDENCE,
        missing=rule.missing_policy.value,
        with_error=rule.use_error_bound,
        glass_index=float(GLASS_INDEX),
        days_provisional=CAMPAIGN_DAYS_PROVISIONAL,
        days_full=CAMPAIGN_DAYS,
        coverage_min=COVERAGE_MIN,
    )


def _build_profile_section(requirements: RequirementSet) -> ProfileSection:
    return ProfileSection(
        id=requirements.id,
        title=requirements.title,
        note=requirements.note,
        requirements=[_build_requirement_section(requirement) for requirement in requirements.items],
    )


def _build_requirement_section(requirement: Requirement) -> RequirementSection:
    source = requirement.limit.source if requirement.limit else None
    return RequirementSection(
        id=requirement.limit_id,
        text=requirement.text,
        origin=requirement.origin.value,
        was=requirement.catalogue_text,
        how=requirement.method.value,
        rule=requirement.criterion.description if requirement.criterion else None,
        approximation=requirement.criterion.approximation if requirement.criterion else None,
        reason=requirement.reason,
        declared=None if requirement.declared_value is None else str(requirement.declared_value),
        holds=requirement.is_declared_met,
        source=None
        if source is None or requirement.limit is None
        else LimitSource(
            title=source.title, url=source.url, published=source.published, read_in=requirement.limit.read_in.value
        ),
    )


def _iter_site_pairs(verdicts: Sequence[PairVerdict]) -> Iterator[SitesVerdict]:
    """Yield the verdict of every two sites: the worse of both directions."""
    by_site_pair: dict[tuple[str, str, str], list[PairVerdict]] = {}
    for verdict in verdicts:
        a, b = sorted((verdict.source, verdict.destination))
        by_site_pair.setdefault((a, b, verdict.profile), []).append(verdict)
    return (_pick_worst_verdict([a, b], profile, directions) for (a, b, profile), directions in by_site_pair.items())


def _iter_site_sets(verdicts: Sequence[PairVerdict]) -> Iterator[SitesVerdict]:
    """Yield the verdict of all sites, one per profile: the worst of all pairs. Nothing for fewer than three sites."""
    by_profile: dict[str, list[PairVerdict]] = {}
    for verdict in verdicts:
        by_profile.setdefault(verdict.profile, []).append(verdict)
    for profile, pairs in by_profile.items():
        sites = sorted({site for verdict in pairs for site in (verdict.source, verdict.destination)})
        if len(sites) > 2:
            yield _pick_worst_verdict(sites, profile, pairs)


def _pick_worst_verdict(sites: list[str], profile: str, pairs: Sequence[PairVerdict]) -> SitesVerdict:
    worst = min(pairs, key=lambda verdict: _SEVERITY[verdict.verdict])
    return SitesVerdict(
        sites=sites, profile=profile, verdict=worst.verdict, decided_by=[worst.source, worst.destination]
    )
