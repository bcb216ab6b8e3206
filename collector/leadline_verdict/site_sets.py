"""Verdicts on two sites and on sets of sites.

Rule 1: two sites are as good as their worse direction, a set as its worst pair. A set is within only if every pair is;
that needs no correction.
Rule 2: a set is beyond because of one pair, and the more pairs are tried, the more likely one is beyond by chance. So
the pair must be beyond with the error divided by the number of pairs (Holm's first step), unless physics, a declared
value or a loss limit decides. Otherwise the set is marginal. The first edition did not correct.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from leadline_verdict.decision import VerdictRule
from leadline_verdict.document import PairVerdict, SitesVerdict, VerdictClass
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.share_bounds import compute_upper_bound
from leadline_verdict.verdict import DecidedPair

_SEVERITY = {verdict_class: rank for rank, verdict_class in enumerate(VerdictClass)}
#: In the order in which they are tried.
_BEYOND_CLASSES = (VerdictClass.BEYOND, VerdictClass.BEYOND_PROVISIONAL)


def iter_site_pairs(verdicts: Sequence[PairVerdict]) -> Iterator[SitesVerdict]:
    """Yield the verdict of every two sites: the worse of both directions."""
    by_site_pair: dict[tuple[str, str, str], list[PairVerdict]] = {}
    for verdict in verdicts:
        a, b = sorted((verdict.source, verdict.destination))
        by_site_pair.setdefault((a, b, verdict.profile), []).append(verdict)
    return (_pick_worst_verdict([a, b], profile, directions) for (a, b, profile), directions in by_site_pair.items())


def iter_site_sets(pairs: Sequence[DecidedPair], rule: VerdictRule) -> Iterator[SitesVerdict]:
    """Yield the verdict of all sites, one per profile: the worst of all pairs. Nothing for fewer than three sites."""
    by_profile: dict[str, list[DecidedPair]] = {}
    for pair in pairs:
        by_profile.setdefault(pair.verdict.profile, []).append(pair)
    for profile, decided in by_profile.items():
        verdicts = [pair.verdict for pair in decided]
        sites = sorted({site for verdict in verdicts for site in (verdict.source, verdict.destination)})
        if len(sites) > 2:
            worst = _pick_worst_verdict(sites, profile, verdicts)
            yield worst if rule.edition is RuleEdition.FIRST else _correct(worst, decided, rule)


def _pick_worst_verdict(sites: list[str], profile: str, pairs: Sequence[PairVerdict]) -> SitesVerdict:
    worst = min(pairs, key=lambda verdict: _SEVERITY[verdict.verdict])
    return SitesVerdict(
        sites=sites, profile=profile, verdict=worst.verdict, decided_by=[worst.source, worst.destination]
    )


def _correct(worst: SitesVerdict, pairs: Sequence[DecidedPair], rule: VerdictRule) -> SitesVerdict:
    """Return the verdict of a set with rule 2 applied."""
    if worst.verdict not in _BEYOND_CLASSES:
        return msgspec.structs.replace(worst, corrected_for=None)
    for verdict_class in _BEYOND_CLASSES:
        beyond = [pair for pair in pairs if pair.verdict.verdict is verdict_class]
        for pair in beyond:
            if pair.beyond_by is None:
                return _decide_by(worst, verdict_class, pair.verdict, corrected_for=None)
        bounds = [
            (compute_upper_bound(pair.beyond_by, len(pairs)), index)
            for index, pair in enumerate(beyond)
            if pair.beyond_by is not None
        ]
        high, index = min(bounds, default=(1.0, 0))
        if high < rule.target_share:
            return _decide_by(worst, verdict_class, beyond[index].verdict, corrected_for=len(pairs))
    return msgspec.structs.replace(worst, verdict=VerdictClass.MARGINAL, corrected_for=len(pairs))


def _decide_by(
    worst: SitesVerdict, verdict_class: VerdictClass, by: PairVerdict, *, corrected_for: int | None
) -> SitesVerdict:
    return msgspec.structs.replace(
        worst, verdict=verdict_class, decided_by=[by.source, by.destination], corrected_for=corrected_for
    )
