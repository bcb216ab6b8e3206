"""The whole document: every pair for every profile asked, the site pairs, and the set of all sites asked about."""

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

#: Names the decision rule: non-binary, with an asymmetric guard band of H (ISO/IEC 17025 asks for the statement).
RULE_ID = "leadline-2026-1"
_SEVERITY = {word: rank for rank, word in enumerate(VerdictClass)}
_CLAIM_CLASSES = {VerdictClass.BEYOND, VerdictClass.WITHIN, VerdictClass.WITHIN_PROVISIONAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportParams:
    """What the document answers."""

    start_s: int
    end_s: int
    rule: VerdictRule
    profiles: Sequence[RequirementSet]
    #: SHA-256 of the catalogue.
    catalogue_digest: str
    mesh_version: int | None


def build_report(
    params: ReportParams,
    pairs: Iterable[tuple[PairWindows, Sequence[RequirementSet]]],
    on_progress: Callable[[], None] = lambda: None,
) -> VerdictDocument:
    """Judge each pair by its profiles; ``progress`` is called after each verdict."""
    verdicts = []
    for pair, profiles in pairs:
        routes = detect_pair_segments(pair)
        for profile in profiles:
            verdicts.append(build_pair_verdict(pair, profile, params.rule, routes))
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
        wrong_claims_expected=expected_wrong_claims(sum(one.verdict in _CLAIM_CLASSES for one in verdicts)),
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


def _build_profile_section(asked: RequirementSet) -> ProfileSection:
    return ProfileSection(
        id=asked.id,
        title=asked.title,
        note=asked.note,
        requirements=[_build_requirement_section(item) for item in asked.items],
    )


def _build_requirement_section(item: Requirement) -> RequirementSection:
    source = item.limit.source if item.limit else None
    return RequirementSection(
        id=item.limit_id,
        text=item.text,
        origin=item.origin.value,
        was=item.catalogue_text,
        how=item.method.value,
        rule=item.criterion.description if item.criterion else None,
        approximation=item.criterion.approximation if item.criterion else None,
        reason=item.reason,
        declared=None if item.declared_value is None else str(item.declared_value),
        holds=item.is_declared_met,
        source=None
        if source is None or item.limit is None
        else LimitSource(
            title=source.title, url=source.url, published=source.published, read_in=item.limit.read_in.value
        ),
    )


def _iter_site_pairs(verdicts: Sequence[PairVerdict]) -> Iterator[SitesVerdict]:
    """Two sites are as bad as their worse direction."""
    both: dict[tuple[str, str, str], list[PairVerdict]] = {}
    for one in verdicts:
        a, b = sorted((one.source, one.destination))
        both.setdefault((a, b, one.profile), []).append(one)
    return (_pick_worst_verdict([a, b], profile, directions) for (a, b, profile), directions in both.items())


def _iter_site_sets(verdicts: Sequence[PairVerdict]) -> Iterator[SitesVerdict]:
    """Three sites and more are as bad as their worst pair; one for each profile."""
    by_profile: dict[str, list[PairVerdict]] = {}
    for one in verdicts:
        by_profile.setdefault(one.profile, []).append(one)
    for profile, pairs in by_profile.items():
        sites = sorted({site for one in pairs for site in (one.source, one.destination)})
        if len(sites) > 2:
            yield _pick_worst_verdict(sites, profile, pairs)


def _pick_worst_verdict(sites: list[str], profile: str, pairs: Sequence[PairVerdict]) -> SitesVerdict:
    worst = min(pairs, key=lambda one: _SEVERITY[one.verdict])
    return SitesVerdict(
        sites=sites, profile=profile, verdict=worst.verdict, decided_by=[worst.source, worst.destination]
    )
