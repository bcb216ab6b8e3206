"""The catalogue's profiles as answers: every limit with its source, how it is judged, or why not."""

from __future__ import annotations

from leadline import evaluation
from leadline.evaluation import Criterion
from leadline.limits.catalogue import Catalogue, Limit, Profile, SourceDocument, load_catalogue
from leadline_collector.analysis.documents import LimitAnswer, ProfileAnswer, ProfilesAnswer, SourceAnswer


def list_profiles() -> ProfilesAnswer:
    """Every profile of the catalogue."""
    known = load_catalogue()
    return ProfilesAnswer(
        catalogue=known.digest, profiles=[build_profile(known, profile) for profile in known.profiles.values()]
    )


def build_profile(limit_catalogue: Catalogue, profile: Profile) -> ProfileAnswer:
    """One profile with its limits."""
    return ProfileAnswer(
        id=profile.id,
        title=profile.title,
        note=profile.note,
        limits=[_build_limit(limit) for limit in limit_catalogue.get_required_limits(profile)],
        declared=[_build_limit(limit) for limit in limit_catalogue.get_declared_limits(profile)],
    )


def _build_limit(limit: Limit) -> LimitAnswer:
    how = evaluation.derive_criterion(limit)
    judged = how if isinstance(how, Criterion) else None
    return LimitAnswer(
        id=limit.id,
        text=limit.text,
        limit_us=judged.limit_us if judged else None,
        comparison=limit.comparison.value,
        judged=judged is not None,
        rule=judged.description if judged else None,
        reason=None if isinstance(how, Criterion) else how.reason,
        approximation=judged.approximation if judged else None,
        statistic=limit.statistic.value,
        confidence=limit.confidence.value,
        read_in=limit.read_in.value,
        source=_build_source(limit.source),
    )


def _build_source(source: SourceDocument) -> SourceAnswer:
    return SourceAnswer(title=source.title, url=source.url, published=source.published)
