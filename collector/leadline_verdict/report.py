"""The whole document: every pair for every profile asked, the site pairs, and the set of all sites asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from leadline import __version__
from leadline.clock import iso
from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL
from leadline.propagation import GLASS_INDEX
from leadline_verdict.binomial import CONFIDENCE
from leadline_verdict.decision import COVERAGE_MIN, Rule
from leadline_verdict.document import (
    VERDICT_VERSION,
    AskedProfile,
    LimitSource,
    PairVerdict,
    RequirementAnswer,
    RuleAnswer,
    SitesVerdict,
    VerdictDocument,
    Word,
)
from leadline_verdict.multiple_claims import wrong_claims_expected
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import Requirement, Requirements
from leadline_verdict.sections import routes_of
from leadline_verdict.verdict import pair_verdict

#: Names the decision rule: non-binary, with an asymmetric guard band of H (ISO/IEC 17025 asks for the statement).
RULE_ID = "leadline-2026-1"
_SEVERITY = {word: rank for rank, word in enumerate(Word)}
_CLAIMS = {Word.BEYOND, Word.WITHIN, Word.WITHIN_PROVISIONAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the document answers."""

    start_s: int
    end_s: int
    rule: Rule
    profiles: Sequence[Requirements]
    #: SHA-256 of the catalogue.
    catalogue: str
    mesh_version: int | None


def answer(
    asked: Asked,
    pairs: Iterable[tuple[PairWindows, Sequence[Requirements]]],
    progress: Callable[[], None] = lambda: None,
) -> VerdictDocument:
    """Judge each pair by its profiles; ``progress`` is called after each verdict."""
    verdicts = []
    for pair, profiles in pairs:
        routes = routes_of(pair)
        for profile in profiles:
            verdicts.append(pair_verdict(pair, profile, asked.rule, routes))
            progress()
    return VerdictDocument(
        version=VERDICT_VERSION,
        leadline=__version__,
        catalogue=asked.catalogue,
        mesh_version=asked.mesh_version,
        start_s=asked.start_s,
        start_iso=iso(asked.start_s),
        end_s=asked.end_s,
        end_iso=iso(asked.end_s),
        days=(asked.end_s - asked.start_s) // 86_400,
        rule=_rule(asked.rule),
        profiles=[_profile(profile) for profile in asked.profiles],
        pairs=verdicts,
        site_pairs=list(_site_pairs(verdicts)),
        sets=list(_sets(verdicts)),
        wrong_claims_expected=wrong_claims_expected(sum(one.verdict in _CLAIMS for one in verdicts)),
    )


def _rule(rule: Rule) -> RuleAnswer:
    return RuleAnswer(
        id=RULE_ID,
        target_share=rule.target_share,
        unseen_windows=rule.unseen_windows,
        confidence=CONFIDENCE,
        missing=rule.missing.value,
        with_error=rule.with_error,
        glass_index=float(GLASS_INDEX),
        days_provisional=CAMPAIGN_DAYS_PROVISIONAL,
        days_full=CAMPAIGN_DAYS,
        coverage_min=COVERAGE_MIN,
    )


def _profile(asked: Requirements) -> AskedProfile:
    return AskedProfile(
        id=asked.id, title=asked.title, note=asked.note, requirements=[_requirement(item) for item in asked.items]
    )


def _requirement(item: Requirement) -> RequirementAnswer:
    source = item.limit.source if item.limit else None
    return RequirementAnswer(
        id=item.limit_id,
        text=item.text,
        origin=item.origin.value,
        was=item.was,
        how=item.how.value,
        rule=item.criterion.rule if item.criterion else None,
        approximation=item.criterion.approximation if item.criterion else None,
        reason=item.reason,
        declared=None if item.declared is None else str(item.declared),
        holds=item.holds,
        source=None
        if source is None or item.limit is None
        else LimitSource(
            title=source.title, url=source.url, published=source.published, read_in=item.limit.read_in.value
        ),
    )


def _site_pairs(verdicts: Sequence[PairVerdict]) -> Iterator[SitesVerdict]:
    """Two sites are as bad as their worse direction."""
    both: dict[tuple[str, str, str], list[PairVerdict]] = {}
    for one in verdicts:
        a, b = sorted((one.source, one.destination))
        both.setdefault((a, b, one.profile), []).append(one)
    return (_worst([a, b], profile, directions) for (a, b, profile), directions in both.items())


def _sets(verdicts: Sequence[PairVerdict]) -> Iterator[SitesVerdict]:
    """Three sites and more are as bad as their worst pair; one for each profile."""
    by_profile: dict[str, list[PairVerdict]] = {}
    for one in verdicts:
        by_profile.setdefault(one.profile, []).append(one)
    for profile, pairs in by_profile.items():
        sites = sorted({site for one in pairs for site in (one.source, one.destination)})
        if len(sites) > 2:
            yield _worst(sites, profile, pairs)


def _worst(sites: list[str], profile: str, pairs: Sequence[PairVerdict]) -> SitesVerdict:
    worst = min(pairs, key=lambda one: _SEVERITY[one.verdict])
    return SitesVerdict(
        sites=sites, profile=profile, verdict=worst.verdict, decided_by=[worst.source, worst.destination]
    )
