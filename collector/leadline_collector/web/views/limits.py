"""Views of the catalogue: the searchable list of limits, one limit, one profile.

Rule: texts come from the catalogue and from ``limits.descriptions``, criteria from ``leadline.evaluation``.
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
from leadline_collector.db.transactions import Store
from leadline_collector.errors import NotFoundError
from leadline_collector.mesh import service as mesh_service
from leadline_collector.web.params import Choice

#: Longer search texts are truncated.
SEARCH_TEXT_MAX = 200
_EVALUABLE_LABELS = {Evaluability.YES: "yes", Evaluability.APPROXIMATE: "approximately", Evaluability.NO: "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """One limit of the list."""

    limit: Limit
    metric: str
    applies_to: str
    evaluation: str
    #: Profiles of the active mesh that use the limit.
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
    #: The selected vendor; None for all.
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
    """Reachable distances within an RTT limit, in kilometres."""

    glass_km: float
    vacuum_km: float
    #: Usual route factors of fibre, each with its distance.
    fibre_routes: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPage:
    """One limit."""

    limit: Limit
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    evaluation: tuple[str, ...]
    #: The criterion; None if the limit cannot be evaluated.
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
    #: Pairs of the active mesh are evaluated by it.
    is_used: bool


def build_limits_page(store: Store, search_text: str, vendor: str | None, used_only: bool) -> LimitsPage:
    """List the limits that contain every word of the search text."""
    catalogue, used_limits = load_catalogue(), _load_used_limits(store)
    search_text = " ".join(search_text[:SEARCH_TEXT_MAX].split())
    matches = [
        row
        for row in (_to_row(limit, used_limits) for limit in catalogue.limits.values())
        if _has_all_words(row, search_text) and (row.used_by or not used_only)
    ]
    vendor_matches = [row for row in matches if vendor is None or row.limit.vendor == vendor]
    return LimitsPage(
        search_text=search_text,
        used_only=used_only,
        vendor=vendor,
        vendor_choices=_build_vendor_choices(matches, search_text, vendor, used_only),
        vendors=tuple(sorted(_group_by_vendor(vendor_matches), key=_vendor_sort_key)),
        match_count=len(vendor_matches),
        limit_count=len(catalogue.limits),
        profiles=tuple(_list_profile_rows(catalogue, used_limits)),
        conflicts=catalogue.conflicts,
        digest=catalogue.digest,
    )


def build_limit_page(store: Store, limit_id: str) -> LimitPage:
    """Build the page of a limit; NotFoundError if the catalogue does not have it."""
    catalogue, used_limits = load_catalogue(), _load_used_limits(store)
    limit = catalogue.limits.get(limit_id)
    if limit is None:
        raise NotFoundError(f"the catalogue has no limit or profile {limit_id!r}")
    result = evaluation.derive_criterion(limit)
    criterion = result if isinstance(result, Criterion) else None
    return LimitPage(
        limit=limit,
        facts=tuple((label, entries) for label, entries in _list_facts(limit) if entries),
        evaluation=tuple(descriptions.describe_evaluation(limit)),
        criterion=criterion,
        distances=_to_distances(criterion) if criterion and criterion.is_rtt_limit else None,
        sources=(limit.source, *limit.additional_sources),
        conflicts=catalogue.get_conflicts(limit_id),
        profiles=tuple(
            profile for profile in catalogue.profiles.values() if limit_id in (*profile.all_of, *profile.declared)
        ),
        used_by=_list_profiles_using(limit_id, used_limits),
        related_limits=tuple(
            _to_row(other, used_limits) for other in catalogue.limits.values() if _is_related(other, limit)
        ),
    )


def build_profile_page(store: Store, profile_id: str) -> ProfilePage | None:
    """Build the page of a profile; None if the catalogue does not have it."""
    catalogue, used_limits = load_catalogue(), _load_used_limits(store)
    profile = catalogue.profiles.get(profile_id)
    if profile is None:
        return None
    return ProfilePage(
        profile=profile,
        limits=tuple(_to_row(limit, used_limits) for limit in catalogue.get_required_limits(profile)),
        declared_limits=tuple(_to_row(limit, used_limits) for limit in catalogue.get_declared_limits(profile)),
        is_used=profile_id in used_limits,
    )


def _load_used_limits(store: Store) -> Mapping[str, frozenset[str]]:
    """Return the profiles of the active mesh, each with its limits."""
    with store.read() as reader:
        active_mesh = mesh_service.load_active_mesh(reader)
    pairs = active_mesh[1].pairs.values() if active_mesh else ()
    names = dict.fromkeys(name for settings in pairs for name in settings.profiles)
    return {name: _list_profile_limits(name) for name in names}


def _list_profile_limits(profile_id: str) -> frozenset[str]:
    profile = load_catalogue().get_profile(profile_id)
    return frozenset((*profile.all_of, *profile.declared))


def _list_profiles_using(limit_id: str, used_limits: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    return tuple(name for name, limits in used_limits.items() if limit_id in limits)


def _list_profile_rows(
    limits_catalogue: Catalogue, used_limits: Mapping[str, frozenset[str]]
) -> Iterator[tuple[Profile, tuple[LimitRow, ...], bool]]:
    """Yield every profile with its limits, profiles of the mesh first."""
    for profile in sorted(limits_catalogue.profiles.values(), key=lambda profile: profile.id not in used_limits):
        yield (
            profile,
            tuple(_to_row(limit, used_limits) for limit in limits_catalogue.get_required_limits(profile)),
            profile.id in used_limits,
        )


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
    subject = (
        limit.id,
        limit.vendor,
        limit.product,
        limit.versions,
        limit.feature,
        limit.scope,
        row.metric,
        limit.text,
    )
    properties = (row.applies_to, limit.leg, limit.strength, limit.status, limit.confidence, limit.license, limit.notes)
    sources = (f"{source.title} {source.kb or ''}" for source in (limit.source, *limit.additional_sources))
    text = " ".join(part for part in (*subject, *properties, *sources) if part).lower()
    return all(word in text for word in search_text.lower().split())


def _build_vendor_choices(
    rows: Iterable[LimitRow], search_text: str, vendor: str | None, used_only: bool
) -> list[Choice]:
    """Return a link for each vendor of the matches, with its number of limits."""
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
    params = {"q": search_text, "vendor": vendor, "used": "yes" if used_only else None}
    query = urlencode({name: value for name, value in params.items() if value})
    return f"/limits?{query}" if query else "/limits"


def _group_by_vendor(rows: Iterable[LimitRow]) -> Iterator[Vendor]:
    by_vendor = sorted(rows, key=lambda row: (row.limit.vendor.lower(), row.limit.product.lower()))
    for name, vendor_rows in groupby(by_vendor, key=lambda row: row.limit.vendor):
        products = [
            Product(name=product, rows=tuple(product_rows))
            for product, product_rows in groupby(vendor_rows, key=lambda row: row.limit.product)
        ]
        products.sort(key=lambda product: not _count_used(product))
        yield Vendor(name=name, products=tuple(products), limit_count=sum(len(product.rows) for product in products))


def _vendor_sort_key(vendor: Vendor) -> tuple[int, int, str]:
    """Sort vendors by their limits in use, then by their number of limits, then by name."""
    used_count = sum(map(_count_used, vendor.products))
    return -used_count, -vendor.limit_count, vendor.name.lower()


def _count_used(product: Product) -> int:
    return sum(bool(row.used_by) for row in product.rows)


def _list_facts(limit: Limit) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "Quantity", (descriptions.describe_metric(limit),)
    yield "Statistic stated by the vendor", (descriptions.describe_statistic(limit),)
    yield "Leg", (limit.leg.value,)
    yield "Versions", (limit.versions,)
    yield "Scope", (limit.scope.value,)
    yield "Strength", (limit.strength.value,)
    yield "Licence", (limit.license or descriptions.NOT_STATED,)
    yield "Other requirements", limit.other_requirements or (descriptions.NOT_STATED,)
    yield "Status", (limit.status.value,)
    yield "Provenance", (descriptions.describe_provenance(limit),)
    yield "Confidence", (limit.confidence.value,)
    yield "Measurable with ICMP", (_EVALUABLE_LABELS[limit.icmp_evaluable],)
    if limit.probes_to_demonstrate:
        yield "Probes to demonstrate it", (f"{limit.probes_to_demonstrate:,} without a loss (rule of three)",)
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
