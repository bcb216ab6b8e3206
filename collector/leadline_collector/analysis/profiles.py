"""The catalogue's profiles as answers: every limit with its source, how it is judged, or why not."""

from __future__ import annotations

from leadline import evaluation
from leadline.evaluation import Criterion
from leadline.limits.catalogue import Catalogue, Limit, Profile, Source, catalogue
from leadline_collector.analysis.documents import LimitAnswer, ProfileAnswer, ProfilesAnswer, SourceAnswer


def profiles() -> ProfilesAnswer:
    """Every profile of the catalogue."""
    known = catalogue()
    return ProfilesAnswer(
        catalogue=known.digest, profiles=[profile_answer(known, profile) for profile in known.profiles.values()]
    )


def profile_answer(known: Catalogue, profile: Profile) -> ProfileAnswer:
    """One profile with its limits."""
    return ProfileAnswer(
        id=profile.id,
        title=profile.title,
        note=profile.note,
        limits=[_limit(limit) for limit in known.limits_of(profile)],
        declared=[_limit(limit) for limit in known.declared_of(profile)],
    )


def _limit(limit: Limit) -> LimitAnswer:
    how = evaluation.criterion(limit)
    judged = how if isinstance(how, Criterion) else None
    return LimitAnswer(
        id=limit.id,
        text=limit.text,
        limit_us=judged.limit_us if judged else None,
        comparison=limit.comparison.value,
        judged=judged is not None,
        rule=judged.rule if judged else None,
        reason=None if isinstance(how, Criterion) else how.reason,
        approximation=judged.approximation if judged else None,
        statistic=limit.statistic.value,
        confidence=limit.confidence.value,
        read_in=limit.read_in.value,
        source=_source(limit.source),
    )


def _source(source: Source) -> SourceAnswer:
    return SourceAnswer(title=source.title, url=source.url, published=source.published)
