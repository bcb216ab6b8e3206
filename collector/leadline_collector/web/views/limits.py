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
from leadline.limits.catalogue import Catalogue, Conflict, Evaluable, Limit, Profile, Source, catalogue
from leadline.mesh.model import Mesh
from leadline_collector.db.transactions import Store
from leadline_collector.errors import NotFoundError
from leadline_collector.mesh import service as mesh_service
from leadline_collector.web.params import Choice

#: Longer questions are cut: the longest text of the catalogue is not much longer.
QUESTION_MAX = 200
_EVALUABLE = {Evaluable.YES: "yes", Evaluable.APPROXIMATE: "approximately", Evaluable.NO: "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One limit of the list."""

    limit: Limit
    metric: str
    applies_to: str
    judged: str
    #: Profiles of the mesh in force that use it.
    used_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """The limits of one product."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """The products of one vendor."""

    name: str
    products: tuple[Product, ...]
    limits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsPage:
    """The list."""

    question: str
    used_only: bool
    #: The vendor that is shown alone; None for all.
    vendor: str | None
    choices: list[Choice]
    vendors: tuple[Vendor, ...]
    found: int
    limits: int
    profiles: tuple[tuple[Profile, tuple[Row, ...], bool], ...]
    conflicts: tuple[Conflict, ...]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a limit reaches, in kilometres."""

    glass: float
    vacuum: float
    #: On routes of fibre as long as they usually are: factor and distance.
    routes: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPage:
    """One limit."""

    limit: Limit
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    judged: tuple[str, ...]
    #: What is compared, and beside it; None if the limit is not judged.
    criterion: Criterion | None
    reach: Reach | None
    sources: tuple[Source, ...]
    conflicts: tuple[Conflict, ...]
    profiles: tuple[Profile, ...]
    used_by: tuple[str, ...]
    #: Other limits of the same product.
    beside: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePage:
    """One profile."""

    profile: Profile
    limits: tuple[Row, ...]
    declared: tuple[Row, ...]
    #: The mesh in force judges pairs by it.
    used: bool


def limits_page(store: Store, question: str, vendor: str | None, used_only: bool) -> LimitsPage:
    """The limits in which every word of the question occurs somewhere."""
    known, used = catalogue(), _used(store)
    question = " ".join(question[:QUESTION_MAX].split())
    asked = [row for row in _rows(known, used) if _matches(row, question) and (row.used_by or not used_only)]
    shown = [row for row in asked if vendor is None or row.limit.vendor == vendor]
    return LimitsPage(
        question=question,
        used_only=used_only,
        vendor=vendor,
        choices=_choices(asked, question, vendor, used_only),
        vendors=tuple(sorted(_vendors(shown), key=_rank)),
        found=len(shown),
        limits=len(known.limits),
        profiles=tuple(_profiles(known, used)),
        conflicts=known.conflicts,
        digest=known.digest,
    )


def limit_page(store: Store, limit_id: str) -> LimitPage:
    """All that is known of a limit; 404 if there is none of that name."""
    known, used = catalogue(), _used(store)
    limit = known.limits.get(limit_id)
    if limit is None:
        raise NotFoundError(f"no limit or profile of the catalogue is called {limit_id!r}")
    how = evaluation.criterion(limit)
    return LimitPage(
        limit=limit,
        facts=tuple((label, entries) for label, entries in _facts(limit) if entries),
        judged=tuple(descriptions.judged_by(limit)),
        criterion=how if isinstance(how, Criterion) else None,
        reach=_reach(how) if isinstance(how, Criterion) and how.bounds_rtt else None,
        sources=(limit.source, *limit.additional_sources),
        conflicts=known.conflicts_of(limit_id),
        profiles=tuple(one for one in known.profiles.values() if limit_id in (*one.all_of, *one.declared)),
        used_by=_used_by(limit_id, used),
        beside=tuple(_row(one, used) for one in known.limits.values() if _is_beside(one, limit)),
    )


def profile_page(store: Store, profile_id: str) -> ProfilePage | None:
    """A profile of the catalogue; None if there is none of that name."""
    known, used = catalogue(), _used(store)
    profile = known.profiles.get(profile_id)
    if profile is None:
        return None
    return ProfilePage(
        profile=profile,
        limits=tuple(_row(limit, used) for limit in known.limits_of(profile)),
        declared=tuple(_row(limit, used) for limit in known.declared_of(profile)),
        used=profile_id in used,
    )


def _used(store: Store) -> Mapping[str, frozenset[str]]:
    """The profiles of the mesh in force, each with the limits in it."""
    with store.read() as reader:
        found = mesh_service.in_force(reader)
    return {} if found is None else {name: _limits_of(name) for name in _profiles_of(found[1])}


def _profiles_of(mesh: Mesh) -> Iterable[str]:
    return dict.fromkeys(name for settings in mesh.pairs.values() for name in settings.profiles)


def _limits_of(profile_id: str) -> frozenset[str]:
    profile = catalogue().profile(profile_id)
    return frozenset((*profile.all_of, *profile.declared))


def _used_by(limit_id: str, used: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    return tuple(name for name, limits in used.items() if limit_id in limits)


def _profiles(known: Catalogue, used: Mapping[str, frozenset[str]]) -> Iterator[tuple[Profile, tuple[Row, ...], bool]]:
    """Every profile with its limits, those of the mesh first."""
    for profile in sorted(known.profiles.values(), key=lambda one: one.id not in used):
        yield profile, tuple(_row(limit, used) for limit in known.limits_of(profile)), profile.id in used


def _rows(known: Catalogue, used: Mapping[str, frozenset[str]]) -> Iterator[Row]:
    for limit in known.limits.values():
        yield _row(limit, used)


def _row(limit: Limit, used: Mapping[str, frozenset[str]]) -> Row:
    return Row(
        limit=limit,
        metric=descriptions.metric(limit),
        applies_to=descriptions.statistic(limit),
        judged=descriptions.judged_by(limit)[0],
        used_by=_used_by(limit.id, used),
    )


def _matches(row: Row, question: str) -> bool:
    limit = row.limit
    what = (limit.id, limit.vendor, limit.product, limit.versions, limit.feature, limit.scope, row.metric, limit.text)
    standing = (row.applies_to, limit.leg, limit.strength, limit.status, limit.confidence, limit.license, limit.notes)
    sources = (f"{one.title} {one.kb or ''}" for one in (limit.source, *limit.additional_sources))
    text = " ".join(part for part in (*what, *standing, *sources) if part).lower()
    return all(word in text for word in question.lower().split())


def _choices(rows: Iterable[Row], question: str, vendor: str | None, used_only: bool) -> list[Choice]:
    """A link for each vendor among the answers, with its count."""
    names = [row.limit.vendor for row in rows]
    vendors = sorted(set(names), key=lambda name: (-names.count(name), name.lower()))
    return [
        Choice(
            name=f"{name or 'all'} {names.count(name) if name else len(names)}",
            href=_address(question, name, used_only),
            current=name == vendor,
        )
        for name in (None, *vendors)
    ]


def _address(question: str, vendor: str | None, used_only: bool) -> str:
    given = {"q": question, "vendor": vendor, "used": "yes" if used_only else None}
    query = urlencode({name: value for name, value in given.items() if value})
    return f"/limits?{query}" if query else "/limits"


def _vendors(rows: Iterable[Row]) -> Iterator[Vendor]:
    by_vendor = sorted(rows, key=lambda row: (row.limit.vendor.lower(), row.limit.product.lower()))
    for name, of_vendor in groupby(by_vendor, key=lambda row: row.limit.vendor):
        products = [
            Product(name=product, rows=tuple(of_product))
            for product, of_product in groupby(of_vendor, key=lambda row: row.limit.product)
        ]
        products.sort(key=lambda one: not _used_in(one))
        yield Vendor(name=name, products=tuple(products), limits=sum(len(one.rows) for one in products))


def _rank(vendor: Vendor) -> tuple[int, int, str]:
    """First those of which the mesh uses limits, then those with most."""
    used = sum(map(_used_in, vendor.products))
    return -used, -vendor.limits, vendor.name.lower()


def _used_in(product: Product) -> int:
    return sum(bool(row.used_by) for row in product.rows)


def _facts(limit: Limit) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "What is limited", (descriptions.metric(limit),)
    yield "The vendor says it applies to", (descriptions.statistic(limit),)
    yield "Between", (limit.leg.value,)
    yield "Versions", (limit.versions,)
    yield "Job", (limit.scope.value,)
    yield "Strength", (limit.strength.value,)
    yield "Licence", (limit.license or descriptions.NOT_STATED,)
    yield "Also needed", limit.other_requirements or (descriptions.NOT_STATED,)
    yield "Status", (limit.status.value,)
    yield "Read in", (descriptions.read_in(limit),)
    yield "Confidence", (limit.confidence.value,)
    yield "Answered by pings", (_EVALUABLE[limit.icmp_evaluable],)
    if limit.probes_to_demonstrate:
        yield "Probes to show it", (f"{limit.probes_to_demonstrate:,} without a single loss (rule of three)",)
    yield "Notes", (limit.notes,) if limit.notes else ()


def _reach(how: Criterion) -> Reach:
    return Reach(
        glass=propagation.reach_km(how.limit_us),
        vacuum=propagation.reach_km(how.limit_us, index=propagation.VACUUM_INDEX),
        routes=tuple(
            (factor, propagation.reach_km(how.limit_us, route_factor=factor)) for factor in propagation.ROUTE_FACTORS
        ),
    )


def _is_beside(one: Limit, limit: Limit) -> bool:
    return one.id != limit.id and (one.vendor, one.product) == (limit.vendor, limit.product)
