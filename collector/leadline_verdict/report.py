"""Assembly of the document: every pair for every profile, the site pairs, and the sets of all sites."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from leadline import __version__
from leadline.clock import format_iso8601
from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL, UNSEEN_OUTAGE_WINDOWS_PROVISIONAL
from leadline.propagation import GLASS_INDEX
from leadline_verdict import site_sets
from leadline_verdict.binomial import CONFIDENCE
from leadline_verdict.decision import COVERAGE_MIN, VerdictRule
from leadline_verdict.document import (
    VERDICT_VERSION,
    LimitSource,
    ProfileSection,
    RequirementSection,
    RuleSection,
    StatementSection,
    VerdictClass,
    VerdictDocument,
)
from leadline_verdict.first_edition.verdict import build_pair_verdict as build_first_verdict
from leadline_verdict.multiple_claims import expected_wrong_claims
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import RequiredStatement, Requirement, RequirementSet
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.sections import detect_pair_segments
from leadline_verdict.verdict import DecidedPair, build_pair_verdict

if TYPE_CHECKING:
    from leadline_verdict.change_points import ChangePointSegment

#: Version of the document by edition of the rule.
_VERSIONS = {RuleEdition.FIRST: 1, RuleEdition.SECOND: VERDICT_VERSION}
#: Classes that count as claims in the first edition.
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
    is_first = params.rule.edition is RuleEdition.FIRST
    decided: list[DecidedPair] = []
    for windows, profiles in pairs:
        pair = windows if is_first else windows.trim_unmeasured_days()
        segments = detect_pair_segments(pair)
        for profile in profiles:
            decided.append(_decide_pair(pair, profile, params.rule, segments))
            on_progress()
    verdicts = [pair.verdict for pair in decided]
    tried = sum(verdict.verdict in _CLAIM_CLASSES for verdict in verdicts) if is_first else len(verdicts)
    return VerdictDocument(
        version=_VERSIONS[params.rule.edition],
        leadline=__version__,
        catalogue=params.catalogue_digest,
        mesh_version=params.mesh_version,
        start_s=params.start_s,
        start_iso=format_iso8601(params.start_s),
        end_s=params.end_s,
        end_iso=format_iso8601(params.end_s),
        days=(params.end_s - params.start_s) // 86_400,
        rule=_build_rule_section(params.rule),
        profiles=[_build_profile_section(profile, with_status=not is_first) for profile in params.profiles],
        pairs=verdicts,
        site_pairs=list(site_sets.iter_site_pairs(verdicts)),
        sets=list(site_sets.iter_site_sets(decided, params.rule)),
        wrong_claims_expected=expected_wrong_claims(tried),
    )


def _decide_pair(
    pair: PairWindows, profile: RequirementSet, rule: VerdictRule, segments: Sequence[ChangePointSegment] | None
) -> DecidedPair:
    if rule.edition is RuleEdition.FIRST:
        verdict = build_first_verdict(pair, profile.without_use_rules(), rule, segments)
        return DecidedPair(verdict=verdict, beyond_by=None)
    return build_pair_verdict(pair, profile, rule, segments)


def _build_rule_section(rule: VerdictRule) -> RuleSection:
    return RuleSection(
        id=rule.edition.value,
        target_share=rule.target_share,
        unseen_windows=rule.unseen_outage_windows,
        confidence=CONFIDENCE,
        missing=rule.missing_policy.value,
        with_error=rule.use_error_bound,
        glass_index=float(GLASS_INDEX),
        days_provisional=CAMPAIGN_DAYS_PROVISIONAL,
        days_full=CAMPAIGN_DAYS,
        coverage_min=COVERAGE_MIN,
        unseen_windows_provisional=UNSET
        if rule.edition is RuleEdition.FIRST
        else min(UNSEEN_OUTAGE_WINDOWS_PROVISIONAL, rule.unseen_outage_windows),
    )


def _build_profile_section(requirements: RequirementSet, *, with_status: bool) -> ProfileSection:
    section = ProfileSection(
        id=requirements.id,
        title=requirements.title,
        note=requirements.note,
        requirements=[
            _build_requirement_section(requirement, with_status=with_status) for requirement in requirements.items
        ],
    )
    if not with_status:
        return section
    return msgspec.structs.replace(
        section,
        use_rules=[rule.value for rule in requirements.use_rules],
        statements=[_build_statement_section(required) for required in requirements.statements],
    )


def _build_statement_section(required: RequiredStatement) -> StatementSection:
    statement = required.statement
    return StatementSection(
        id=statement.id,
        vendor=statement.vendor,
        text=statement.what,
        confirmed=required.is_confirmed,
        title=statement.source.title,
        url=statement.source.url,
    )


def _build_requirement_section(requirement: Requirement, *, with_status: bool) -> RequirementSection:
    source = requirement.limit.source if requirement.limit else None
    section = RequirementSection(
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
    if not with_status:
        return section
    limit = requirement.limit
    return msgspec.structs.replace(
        section,
        status=None if limit is None else limit.status.value,
        confidence=None if limit is None else limit.confidence.value,
        strength=None if limit is None else limit.strength.value,
        statistic=None if limit is None else limit.statistic.value,
        use_rules=[rule.value for rule in requirement.use_rules],
    )
