"""Responses for the catalogue's profiles: every limit with its source, how it is evaluated, or why it is not."""

from __future__ import annotations

from functools import cache

from leadline import evaluation
from leadline.evaluation import Criterion
from leadline.limits.catalogue import Catalogue, Limit, Profile, load_catalogue
from leadline_collector.analysis.documents import (
    LimitResponse,
    LimitSourceResponse,
    ProfileListResponse,
    ProfileResponse,
)
from leadline_verdict.limit_rules import iter_weak_limits
from leadline_verdict.requirements import NO_OVERRIDES, build_requirements


def list_profiles() -> ProfileListResponse:
    """Return every profile of the catalogue."""
    catalogue = load_catalogue()
    return ProfileListResponse(
        catalogue=catalogue.digest,
        profiles=[build_profile(catalogue, profile) for profile in catalogue.profiles.values()],
    )


def build_profile(limit_catalogue: Catalogue, profile: Profile) -> ProfileResponse:
    """Return one profile with its limits."""
    return ProfileResponse(
        id=profile.id,
        title=profile.title,
        note=profile.note,
        limits=[_build_limit(limit) for limit in limit_catalogue.get_required_limits(profile)],
        declared=[_build_limit(limit) for limit in limit_catalogue.get_declared_limits(profile)],
    )


@cache
def list_weak_limits(profile_id: str) -> tuple[str, ...]:
    """Return the limits of a profile that a verdict does not rest on without reservations: "ID: superseded".

    Raise ConfigError for an unknown profile.
    """
    catalogue = load_catalogue()
    requirements = build_requirements(catalogue, catalogue.get_profile(profile_id), NO_OVERRIDES)
    return tuple(iter_weak_limits(requirements))


@cache
def _build_limit(limit: Limit) -> LimitResponse:
    """Build the response for a limit once; the catalogue is constant within a process."""
    result = evaluation.derive_criterion(limit)
    criterion = result if isinstance(result, Criterion) else None
    return LimitResponse(
        id=limit.id,
        text=limit.text,
        limit_us=criterion.limit_us if criterion else None,
        comparison=limit.comparison.value,
        judged=criterion is not None,
        rule=criterion.description if criterion else None,
        reason=None if isinstance(result, Criterion) else result.reason,
        approximation=criterion.approximation if criterion else None,
        statistic=limit.statistic.value,
        confidence=limit.confidence.value,
        read_in=limit.read_in.value,
        source=LimitSourceResponse(title=limit.source.title, url=limit.source.url, published=limit.source.published),
    )
