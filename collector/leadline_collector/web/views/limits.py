"""What the pages of the catalogue show: every limit, found by words, and one limit or profile with all that is known.

Rule: the words are those of the catalogue and of ``limit_words``; how a limit is judged comes from ``judge``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import urlencode

from leadline import evaluation, propagation
from leadline.evaluation import Criterion
from leadline.limits import descriptions
from leadline.limits.catalogue import (
    Catalogue,
    Evaluability,
    Limit,
    Profile,
    SourceConflict,
    SourceDocument,
    load_catalogue,
)
from leadline.mesh.model import Mesh
from leadline_collector.db.transactions import Store
from leadline_collector.errors import NotFoundError
from leadline_collector.mesh import service as mesh_service
from leadline_collector.web.params import Choice

#: Longer questions are cut: the longest text of the catalogue is not much longer.
SEARCH_TEXT_MAX = 200
_EVALUABLE_LABELS = {Evaluability.YES: "yes", Evaluability.APPROXIMATE: "approximately", Evaluability.NO: "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """One limit of the list."""

    limit: Limit
    metric: str
    applies_to: str
    evaluation: str
    #: Profiles of the mesh in force that use it.
    used_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """The limits of one product."""

    name: str
    rows: tuple[LimitRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """The products of one vendor."""

    name: str
    products: tuple[Product, ...]
    limit_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsPage:
    """The list."""

    search_text: str
    used_only: bool
    #: The vendor that is shown alone; None for all.
    vendor: str | None
    vendor_choices: list[Choice]
    vendors: tuple[Vendor, ...]
    match_count: int
    limit_count: int
    profiles: tuple[tuple[Profile, tuple[LimitRow, ...], bool], ...]
    conflicts: tuple[SourceConflict, ...]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitDistances:
    """How far a limit reaches, in kilometres."""

    glass_km: float
    vacuum_km: float
    #: On routes of fibre as long as they usually are: factor and distance.
    fibre_routes: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPage:
    """One limit."""

    limit: Limit
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    evaluation: tuple[str, ...]
    #: What is compared, and beside it; None if the limit is not judged.
    criterion: Criterion | None
    distances: LimitDistances | None
    sources: tuple[SourceDocument, ...]
    conflicts: tuple[SourceConflict, ...]
    profiles: tuple[Profile, ...]
    used_by: tuple[str, ...]
    #: Other limits of the same product.
    related_limits: tuple[LimitRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePage:
    """One profile."""

    profile: Profile
    limits: tuple[LimitRow, ...]
    declared_limits: tuple[LimitRow, ...]
    #: The mesh in force judges pairs by it.
    is_used: bool


def build_limits_page(store: Store, search_text: str, vendor: str | None, used_only: bool) -> LimitsPage:
    """The limits in which every word of the question occurs somewhere."""
    known, used = load_catalogue(), _load_used_limits(store)
    search_text = " ".join(search_text[:SEARCH_TEXT_MAX].split())
    asked = [
        row for row in _build_rows(known, used) if _has_all_words(row, search_text) and (row.used_by or not used_only)
    ]
    shown = [row for row in asked if vendor is None or row.limit.vendor == vendor]
    return LimitsPage(
        search_text=search_text,
        used_only=used_only,
        vendor=vendor,
        vendor_choices=_build_vendor_choices(asked, search_text, vendor, used_only),
        vendors=tuple(sorted(_group_by_vendor(shown), key=_vendor_sort_key)),
        match_count=len(shown),
        limit_count=len(known.limits),
        profiles=tuple(_list_profile_rows(known, used)),
        conflicts=known.conflicts,
        digest=known.digest,
    )


def build_limit_page(store: Store, limit_id: str) -> LimitPage:
    """All that is known of a limit; 404 if there is none of that name."""
    known, used = load_catalogue(), _load_used_limits(store)
    limit = known.limits.get(limit_id)
    if limit is None:
        raise NotFoundError(f"no limit or profile of the catalogue is called {limit_id!r}")
    how = evaluation.derive_criterion(limit)
    return LimitPage(
        limit=limit,
        facts=tuple((label, entries) for label, entries in _list_facts(limit) if entries),
        evaluation=tuple(descriptions.describe_evaluation(limit)),
        criterion=how if isinstance(how, Criterion) else None,
        distances=_to_distances(how) if isinstance(how, Criterion) and how.is_rtt_limit else None,
        sources=(limit.source, *limit.additional_sources),
        conflicts=known.get_conflicts(limit_id),
        profiles=tuple(one for one in known.profiles.values() if limit_id in (*one.all_of, *one.declared)),
        used_by=_list_profiles_using(limit_id, used),
        related_limits=tuple(_to_row(one, used) for one in known.limits.values() if _is_related(one, limit)),
    )


def build_profile_page(store: Store, profile_id: str) -> ProfilePage | None:
    """A profile of the catalogue; None if there is none of that name."""
    known, used = load_catalogue(), _load_used_limits(store)
    profile = known.profiles.get(profile_id)
    if profile is None:
        return None
    return ProfilePage(
        profile=profile,
        limits=tuple(_to_row(limit, used) for limit in known.get_required_limits(profile)),
        declared_limits=tuple(_to_row(limit, used) for limit in known.get_declared_limits(profile)),
        is_used=profile_id in used,
    )


def _load_used_limits(store: Store) -> Mapping[str, frozenset[str]]:
    """The profiles of the mesh in force, each with the limits in it."""
    with store.read() as reader:
        found = mesh_service.load_active_mesh(reader)
    return {} if found is None else {name: _list_profile_limits(name) for name in _list_mesh_profiles(found[1])}


def _list_mesh_profiles(mesh: Mesh) -> Iterable[str]:
    return dict.fromkeys(name for settings in mesh.pairs.values() for name in settings.profiles)


def _list_profile_limits(profile_id: str) -> frozenset[str]:
    profile = load_catalogue().get_profile(profile_id)
    return frozenset((*profile.all_of, *profile.declared))


def _list_profiles_using(limit_id: str, used_limits: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    return tuple(name for name, limits in used_limits.items() if limit_id in limits)


def _list_profile_rows(
    limits_catalogue: Catalogue, used_limits: Mapping[str, frozenset[str]]
) -> Iterator[tuple[Profile, tuple[LimitRow, ...], bool]]:
    """Every profile with its limits, those of the mesh first."""
    for profile in sorted(limits_catalogue.profiles.values(), key=lambda one: one.id not in used_limits):
        yield (
            profile,
            tuple(_to_row(limit, used_limits) for limit in limits_catalogue.get_required_limits(profile)),
            profile.id in used_limits,
        )


def _build_rows(limits_catalogue: Catalogue, used_limits: Mapping[str, frozenset[str]]) -> Iterator[LimitRow]:
    for limit in limits_catalogue.limits.values():
        yield _to_row(limit, used_limits)


def _to_row(limit: Limit, used_limits: Mapping[str, frozenset[str]]) -> LimitRow:
    return LimitRow(
        limit=limit,
        metric=descriptions.describe_metric(limit),
        applies_to=descriptions.describe_statistic(limit),
        evaluation=descriptions.describe_evaluation(limit)[0],
        used_by=_list_profiles_using(limit.id, used_limits),
    )


def _has_all_words(row: LimitRow, search_text: str) -> bool:
    limit = row.limit
    what = (limit.id, limit.vendor, limit.product, limit.versions, limit.feature, limit.scope, row.metric, limit.text)
    standing = (row.applies_to, limit.leg, limit.strength, limit.status, limit.confidence, limit.license, limit.notes)
    sources = (f"{one.title} {one.kb or ''}" for one in (limit.source, *limit.additional_sources))
    text = " ".join(part for part in (*what, *standing, *sources) if part).lower()
    return all(word in text for word in search_text.lower().split())


def _build_vendor_choices(
    rows: Iterable[LimitRow], search_text: str, vendor: str | None, used_only: bool
) -> list[Choice]:
    """A link for each vendor among the answers, with its count."""
    names = [row.limit.vendor for row in rows]
    vendors = sorted(set(names), key=lambda name: (-names.count(name), name.lower()))
    return [
        Choice(
            name=f"{name or 'all'} {names.count(name) if name else len(names)}",
            href=_build_limits_url(search_text, name, used_only),
            is_current=name == vendor,
        )
        for name in (None, *vendors)
    ]


def _build_limits_url(search_text: str, vendor: str | None, used_only: bool) -> str:
    given = {"q": search_text, "vendor": vendor, "used": "yes" if used_only else None}
    query = urlencode({name: value for name, value in given.items() if value})
    return f"/limits?{query}" if query else "/limits"


def _group_by_vendor(rows: Iterable[LimitRow]) -> Iterator[Vendor]:
    by_vendor = sorted(rows, key=lambda row: (row.limit.vendor.lower(), row.limit.product.lower()))
    for name, of_vendor in groupby(by_vendor, key=lambda row: row.limit.vendor):
        products = [
            Product(name=product, rows=tuple(of_product))
            for product, of_product in groupby(of_vendor, key=lambda row: row.limit.product)
        ]
        products.sort(key=lambda one: not _count_used(one))
        yield Vendor(name=name, products=tuple(products), limit_count=sum(len(one.rows) for one in products))


def _vendor_sort_key(vendor: Vendor) -> tuple[int, int, str]:
    """First those of which the mesh uses limits, then those with most."""
    used = sum(map(_count_used, vendor.products))
    return -used, -vendor.limit_count, vendor.name.lower()


def _count_used(product: Product) -> int:
    return sum(bool(row.used_by) for row in product.rows)


def _list_facts(limit: Limit) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "What is limited", (descriptions.describe_metric(limit),)
    yield "The vendor says it applies to", (descriptions.describe_statistic(limit),)
    yield "Between", (limit.leg.value,)
    yield "Versions", (limit.versions,)
    yield "Job", (limit.scope.value,)
    yield "Strength", (limit.strength.value,)
    yield "Licence", (limit.license or descriptions.NOT_STATED,)
    yield "Also needed", limit.other_requirements or (descriptions.NOT_STATED,)
    yield "Status", (limit.status.value,)
    yield "Read in", (descriptions.describe_provenance(limit),)
    yield "Confidence", (limit.confidence.value,)
    yield "Answered by pings", (_EVALUABLE_LABELS[limit.icmp_evaluable],)
    if limit.probes_to_demonstrate:
        yield "Probes to show it", (f"{limit.probes_to_demonstrate:,} without a single loss (rule of three)",)
    yield "Notes", (limit.notes,) if limit.notes else ()


def _to_distances(criterion: Criterion) -> LimitDistances:
    return LimitDistances(
        glass_km=propagation.reachable_distance_km(criterion.limit_us),
        vacuum_km=propagation.reachable_distance_km(criterion.limit_us, index=propagation.VACUUM_INDEX),
        fibre_routes=tuple(
            (factor, propagation.reachable_distance_km(criterion.limit_us, route_factor=factor))
            for factor in propagation.ROUTE_FACTORS
        ),
    )


def _is_related(other: Limit, limit: Limit) -> bool:
    return other.id != limit.id and (other.vendor, other.product) == (limit.vendor, limit.product)
