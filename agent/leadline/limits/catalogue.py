"""Catalogue of network limits published by vendors, with their sources, and of the profiles made of them.

The data is in ``data/limits.toml``. Decoding is strict: an unknown key or an unlisted value is an error, so a typing
mistake cannot change an evaluation. ``leadline.evaluation`` defines the meaning of a limit for a window.

Rule 1: every limit has a source with a title and the place where it was read; only one that was not read at the vendor
may lack a URL.
Rule 2: no profile contains a secondary, unverified, informational, default or superseded limit, except a superseded one
that can only condemn. The id of a limit selects it explicitly; an unverified one has a note.
Rule 3: values are decimals as printed by the vendor; ``value_us`` is exact or None.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from importlib.resources import files
from math import ceil
from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from leadline.errors import ConfigError
from leadline.wire.codec import convert

#: Suggestions for an unknown id; they fit in one line.
SUGGESTIONS_MAX = 3


class Metric(StrEnum):
    """Metric that a limit applies to."""

    RTT = "rtt"
    ONE_WAY = "one_way"
    JITTER = "jitter"
    LOSS = "loss"
    BANDWIDTH = "bandwidth"
    MTU = "mtu"
    DISTANCE = "distance"
    HEARTBEAT = "heartbeat"
    DOWNTIME = "downtime"


class Comparison(StrEnum):
    """Required relation of the observed value to the limit."""

    LESS = "<"
    LESS_EQUAL = "<="
    GREATER_EQUAL = ">="

    def is_met(self, observed: int, limit: int) -> bool:
        """Return True if ``observed`` meets ``limit``; both are integers in the same unit."""
        if self is Comparison.LESS:
            return observed < limit
        return observed <= limit if self is Comparison.LESS_EQUAL else observed >= limit


class Statistic(StrEnum):
    """Statistic that the limit applies to according to the source, paraphrased."""

    UNSPECIFIED = "unspecified"
    MAXIMUM_SUPPORTED = "maximum-supported"
    MAXIMUM_UNDER_LOAD = "maximum, met under high load"
    MAXIMUM_PLUS_JITTER = "maximum plus jitter"
    MAXIMUM_OF_AVERAGES = "maximum of averages"
    WORST_CASE = "worst case"
    AVERAGE = "average"
    AVERAGE_BOUNDED_PEAKS = "average with bounded peaks"
    SUSTAINED_BOUNDED_PEAKS = "sustained with bounded peaks"
    STEADY_STATE = "steady state"
    PING_LATENCY = "ping latency"
    P95 = "p95"
    P99 = "p99"
    RANGE_OVER_WINDOW = "range over window"
    DIFFERENCE_OF_TWO_PATHS = "difference of two paths"
    SUM_OVER_LINKS = "sum over all links of the path"
    ETCD_END_TO_END = "end-to-end etcd metric"
    PER_CONCURRENT_MIGRATION = "per concurrent migration"
    LINK_SPEED = "link speed"
    DEDICATED = "dedicated"
    DEFAULT = "default"
    DEFAULT_CAP = "default cap"


class Leg(StrEnum):
    """Endpoints between which the limit applies according to the source."""

    SITE_TO_SITE = "site-to-site"
    HOST_TO_HOST = "host-to-host"
    NODE_TO_NODE = "node-to-node"
    TO_WITNESS = "to-witness"
    MANAGER_TO_HOST = "manager-to-host"
    MANAGER_TO_MANAGER = "manager-to-manager"
    EDGE_TO_EDGE = "edge-to-edge"


class UseCase(StrEnum):
    """Use case that the limit belongs to."""

    LIVE_MIGRATION = "live-migration"
    STRETCHED_CLUSTER = "stretched-cluster"
    METRO_STORAGE = "metro-storage"
    REPLICATION = "replication"
    CONTROL_PLANE = "control-plane"


class Strength(StrEnum):
    """Strength of the vendor's statement; ``DEFAULT`` is a product setting without any commitment."""

    REQUIREMENT = "requirement"
    RECOMMENDATION = "recommendation"
    INFORMATIONAL = "informational"
    DEFAULT = "default"


class LifecycleStatus(StrEnum):
    """Lifecycle status of the product version."""

    CURRENT = "current"
    SUPERSEDED = "superseded"
    END_OF_SUPPORT = "end-of-support"


class SourceConfidence(StrEnum):
    """Origin of the text that was read."""

    VENDOR = "vendor"
    SECONDARY = "secondary"
    UNVERIFIED = "unverified"


class Provenance(StrEnum):
    """Place where the text of the source was read; reports name it if it is a copy."""

    VENDOR_PAGE = "vendor page"
    VENDOR_REPOSITORY = "vendor documentation repository"
    ARCHIVED_COPY = "archived copy of the vendor page (2025-11)"
    MIRROR = "mirror of the vendor document"
    TEXT_COPY = "text copy of the vendor document; confirm the URL before citing"
    THIRD_PARTY = "third-party page"
    NO_SOURCE = "no source"


class Evaluability(StrEnum):
    """Whether pings between agents can test the limit."""

    YES = "yes"
    #: With an assumed definition or an assumed symmetry of the path.
    APPROXIMATE = "approximate"
    NO = "no"


class UseRule(StrEnum):
    """What an answer made with a limit or a profile may claim."""

    #: A measurement above the limit counts against a path; one below it never shows that a requirement is met.
    CONDEMN_ONLY = "may condemn, never acquit"
    #: A measurement below the limit is enough; one above it rejects nothing.
    ACQUIT_ONLY = "may acquit, never condemn"
    NOT_ALONE = "no verdict on it alone"
    NEVER_A_VERDICT = "never a verdict"
    #: The vendor publishes the figure per platform or site; the operator has to give it.
    OPERATOR_FIGURE = "undecided without the operator's figure"
    #: ``statements`` names them.
    WITH_STATEMENTS = "never within without these statements"
    ADVISED_AGAINST = "vendor advises against"
    ONE_LOCATION = "one location only"
    ADVICE = "advice, not requirement"
    #: The vendor's pages print both ``<`` and ``<=`` for one number.
    EQUALITY_OPEN = "equality decides nothing"
    ALARM = "alarm threshold, not a limit"


class ConflictKind(StrEnum):
    """Why several figures exist."""

    #: Evaluated both ways: the entries are in the order of their figures, the milder first.
    PAGES_OF_ONE_VENDOR = "pages of one vendor"
    REPLACED = "replaced by a newer figure"
    DIFFERENT_QUANTITIES = "different quantities"
    DISPUTED = "disputed by other sources"


#: Two rules that cannot bind one limit.
_OPPOSITES = frozenset((UseRule.CONDEMN_ONLY, UseRule.ACQUIT_ONLY))

#: Required unit per metric; other metrics may have any unit.
_METRIC_UNITS = {
    Metric.RTT: "ms",
    Metric.ONE_WAY: "ms",
    Metric.JITTER: "ms",
    Metric.DOWNTIME: "ms",
    Metric.LOSS: "percent",
    Metric.DISTANCE: "km",
    Metric.MTU: "bytes",
}

CatalogueId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]\Z", max_length=100)]
Text = Annotated[str, Meta(min_length=1, max_length=1_000)]
Url = Annotated[str, Meta(pattern=r"^https?://[^\s]+\Z", max_length=500)]
Seconds = Annotated[int, Meta(gt=0)]


class _CatalogueEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the data file."""


class SourceDocument(_CatalogueEntry, frozen=True, kw_only=True):
    """A published document; ``url`` may be None if the vendor's own text was not read, and for additional sources."""

    title: Text
    url: Url | None = None
    kb: Text | None = None
    #: As given by the source: a date, a release or the day of a snapshot.
    published: Text | None = None


class TimeWindow(_CatalogueEntry, frozen=True, kw_only=True):
    """A vendor's rule over time. ``peak_limit`` is in the unit of the limit."""

    window_s: Seconds | None = None
    peak_limit: Decimal | None = None
    peak_duration_s: Seconds | None = None
    peak_horizon_s: Seconds | None = None


class Limit(_CatalogueEntry, frozen=True, kw_only=True):
    """One published limit with the vendor's qualifications and its source."""

    id: CatalogueId
    vendor: Text
    product: Text
    versions: Text
    feature: Text
    scope: UseCase
    metric: Metric
    #: True if the value is for one direction, False if it is for the round trip.
    one_way: bool = False
    comparison: Comparison
    value: Decimal
    unit: Text
    leg: Leg
    statistic: Statistic
    statistic_note: Text | None = None
    jitter_definition: Text | None = None
    time_window: TimeWindow | None = None
    strength: Strength
    license: Text | None = None
    other_requirements: tuple[Text, ...] = ()
    status: LifecycleStatus
    confidence: SourceConfidence
    read_in: Provenance
    icmp_evaluable: Evaluability
    #: Assumption of an evaluation by ping, beyond those that follow from the other fields.
    assumption: Text | None = None
    use_rules: tuple[UseRule, ...] = ()
    #: Ids of statements of the vendor that every answer has to print.
    statements: tuple[CatalogueId, ...] = ()
    #: Release that was read, if a newer one exists.
    as_of: Text | None = None
    notes: Text | None = None
    source: SourceDocument
    additional_sources: tuple[SourceDocument, ...] = msgspec.field(default=(), name="additional_source")

    def __post_init__(self) -> None:
        self._check_number()
        self._check_source()
        _check_use(self.id, self.use_rules, self.statements)
        if UseRule.ADVICE in self.use_rules and self.strength is not Strength.RECOMMENDATION:
            raise ValueError(f"{self.id}: {UseRule.ADVICE.value!r} requires a recommendation, not a {self.strength}")

    def _check_number(self) -> None:
        if not self.value > 0:
            raise ValueError(f"{self.id}: {self.value} is not a valid limit; use a number above 0")
        if (unit := _METRIC_UNITS.get(self.metric)) and self.unit != unit:
            raise ValueError(f"{self.id}: {self.metric} in {self.unit!r} instead of {unit!r}")
        is_floor = self.metric in (Metric.BANDWIDTH, Metric.MTU) and self.statistic is not Statistic.DEFAULT_CAP
        if is_floor != (self.comparison is Comparison.GREATER_EQUAL):
            raise ValueError(f"{self.id}: {self.comparison} is the wrong comparison for {self.metric}")
        if (self.metric is Metric.ONE_WAY) > self.one_way:
            raise ValueError(f"{self.id}: metric one_way needs one_way = true")
        if self.unit == "ms" and self.value * 1_000 % 1:
            raise ValueError(f"{self.id}: {self.value} ms is not a whole number of microseconds")

    def _check_source(self) -> None:
        unverified = self.confidence is SourceConfidence.UNVERIFIED
        if unverified != (self.read_in is Provenance.NO_SOURCE):
            raise ValueError(f"{self.id}: 'unverified' requires 'no source' and vice versa")
        if self.source.url is None and self.confidence is SourceConfidence.VENDOR:
            raise ValueError(f"{self.id}: the source has no URL")

    @property
    def value_us(self) -> int | None:
        """Limit in microseconds, exact; None if it is not a time."""
        return int(self.value * 1_000) if self.unit == "ms" else None

    @property
    def probes_to_demonstrate(self) -> int | None:
        """Probes without loss that demonstrate a loss limit at 95 % (rule of three); None for other metrics."""
        return ceil(3 * 100 / self.value) if self.metric is Metric.LOSS else None

    @property
    def text(self) -> str:
        """Limit with comparison and unit: ``< 5 ms``."""
        return f"{self.comparison} {self.value} {'%' if self.unit == 'percent' else self.unit}"


class Profile(_CatalogueEntry, frozen=True, kw_only=True):
    """Limits of a feature. All of ``all_of`` must be met; the operator declares those in ``declared``."""

    id: CatalogueId
    title: Text
    all_of: Annotated[tuple[CatalogueId, ...], Meta(min_length=1)]
    declared: tuple[CatalogueId, ...] = ()
    use_rules: tuple[UseRule, ...] = ()
    #: Ids of statements of the vendor that every answer has to print.
    statements: tuple[CatalogueId, ...] = ()
    #: Warning for the user; set for a profile made of one unverified limit.
    note: Text | None = None

    def __post_init__(self) -> None:
        _check_use(self.id, self.use_rules, self.statements)


class NonNumericStatement(_CatalogueEntry, frozen=True, kw_only=True):
    """A vendor's statement about the network without a number."""

    id: CatalogueId
    vendor: Text
    product: Text
    what: Text
    confidence: SourceConfidence
    source: SourceDocument


class SourceConflict(_CatalogueEntry, frozen=True, kw_only=True):
    """Sources that disagree or are often confused, and the value used here."""

    id: CatalogueId
    kind: ConflictKind
    entries: Annotated[tuple[CatalogueId, ...], Meta(min_length=1)]
    summary: Text
    newer: Text
    use: Text


class OpenQuestion(_CatalogueEntry, frozen=True, kw_only=True):
    """Information that was not found, and where to check for it."""

    item: Text
    why: Text
    check: Text


class _CatalogueFile(_CatalogueEntry, frozen=True, kw_only=True):
    """The data file as a whole."""

    limit: tuple[Limit, ...]
    profile: tuple[Profile, ...]
    conflict: tuple[SourceConflict, ...] = ()
    non_numeric: tuple[NonNumericStatement, ...] = ()
    gap: tuple[OpenQuestion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All limits and profiles in the order of the data file; ``digest`` is the SHA-256 of that file in hex."""

    limits: Mapping[str, Limit]
    profiles: Mapping[str, Profile]
    conflicts: tuple[SourceConflict, ...]
    non_numeric: tuple[NonNumericStatement, ...]
    open_questions: tuple[OpenQuestion, ...]
    digest: str

    def get_limit(self, limit_id: str) -> Limit:
        """Return a limit; raise ConfigError with similar ids if there is none."""
        if limit_id not in self.limits:
            raise _unknown_id_error("limit", limit_id, self.limits)
        return self.limits[limit_id]

    def get_profile(self, profile_id: str) -> Profile:
        """Return a profile, or a limit as a profile of one; raise ConfigError with similar ids if there is neither."""
        if profile_id in self.profiles:
            return self.profiles[profile_id]
        if profile_id in self.limits:
            return _make_single_limit_profile(self.limits[profile_id])
        raise _unknown_id_error("profile", profile_id, [*self.profiles, *self.limits])

    def get_required_limits(self, profile: Profile) -> tuple[Limit, ...]:
        """Return the limits that must be met, in the order of the profile."""
        return tuple(self.get_limit(limit_id) for limit_id in profile.all_of)

    def get_declared_limits(self, profile: Profile) -> tuple[Limit, ...]:
        """Return the limits that the operator has to declare because pings cannot test them."""
        return tuple(self.get_limit(limit_id) for limit_id in profile.declared)

    def get_statements(self, statement_ids: Iterable[str]) -> tuple[NonNumericStatement, ...]:
        """Return the statements with these ids, in the order of the data file."""
        required_ids = frozenset(statement_ids)
        return tuple(statement for statement in self.non_numeric if statement.id in required_ids)

    def get_conflicts(self, limit_id: str) -> tuple[SourceConflict, ...]:
        """Return the conflicts that a limit is part of."""
        return tuple(conflict for conflict in self.conflicts if limit_id in conflict.entries)


@cache
def load_catalogue() -> Catalogue:
    """Return the catalogue packaged with leadline; it is read once (about 30 ms)."""
    return parse_catalogue(files("leadline").joinpath("data", "limits.toml").read_bytes())


def parse_catalogue(data: bytes) -> Catalogue:
    """Parse a data file; raise ConfigError if it is invalid."""
    try:
        document = convert(tomllib.loads(data.decode(), parse_float=Decimal), _CatalogueFile)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError("limits.toml", str(error)) from error
    for problem in _find_problems(document):
        raise ConfigError("limits.toml", problem)
    return Catalogue(
        limits=MappingProxyType({limit.id: limit for limit in document.limit}),
        profiles=MappingProxyType({profile.id: profile for profile in document.profile}),
        conflicts=document.conflict,
        non_numeric=document.non_numeric,
        open_questions=document.gap,
        digest=hashlib.sha256(data).hexdigest(),
    )


def _find_problems(document: _CatalogueFile) -> Iterator[str]:
    """Yield problems across tables: duplicate ids, missing references, unsound profiles, conflicts out of order."""
    entries: tuple[Limit | Profile | NonNumericStatement | SourceConflict, ...] = (
        *document.limit,
        *document.profile,
        *document.non_numeric,
        *document.conflict,
    )
    yield from (f"{name} is used twice" for name, count in Counter(entry.id for entry in entries).items() if count > 1)
    limits = {limit.id: limit for limit in document.limit}
    statements = {statement.id for statement in document.non_numeric}
    bound: tuple[Limit | Profile, ...] = (*document.limit, *document.profile)
    for entry in bound:
        yield from (
            f"{entry.id} refers to {name}, which is not a statement"
            for name in entry.statements
            if name not in statements
        )
    for profile in document.profile:
        for name in (*profile.all_of, *profile.declared):
            if name not in limits:
                yield f"profile {profile.id} refers to {name}, which is not a limit"
            elif (weakness := _find_weakness(limits[name])) is not None:
                yield f"profile {profile.id} uses {name}, which is {weakness}"
    for conflict in document.conflict:
        missing = [name for name in conflict.entries if name not in limits]
        yield from (f"conflict {conflict.id} refers to {name}, which is not a limit" for name in missing)
        if not missing and conflict.kind is ConflictKind.PAGES_OF_ONE_VENDOR:
            yield from _find_order_problems(conflict, [limits[name] for name in conflict.entries])


def _find_weakness(limit: Limit) -> str | None:
    """Return the reason why no profile may use a limit; None if one may.

    A superseded limit that can only condemn is never a reason for "within", so a profile may use it.
    """
    if limit.confidence is not SourceConfidence.VENDOR:
        return limit.confidence.value
    if limit.strength in (Strength.INFORMATIONAL, Strength.DEFAULT):
        return limit.strength.value
    if limit.status is LifecycleStatus.SUPERSEDED and UseRule.CONDEMN_ONLY not in limit.use_rules:
        return limit.status.value
    return None


def _find_order_problems(conflict: SourceConflict, limits: list[Limit]) -> Iterator[str]:
    """Yield the reasons why the limits of a conflict cannot be evaluated in order, the milder first."""
    if len(limits) < 2 or len({(limit.vendor, limit.unit, limit.one_way) for limit in limits}) > 1:
        yield f"conflict {conflict.id}: pages of one vendor require at least two limits, of one vendor and one unit"
    strictness = [_compute_strictness(limit) for limit in limits]
    if strictness != sorted(strictness):
        yield f"conflict {conflict.id}: the milder limit comes first"


def _compute_strictness(limit: Limit) -> tuple[Decimal, bool]:
    """Return a key that grows with the strictness of a limit."""
    is_floor = limit.comparison is Comparison.GREATER_EQUAL
    return limit.value if is_floor else -limit.value, limit.comparison is Comparison.LESS


def _check_use(entry_id: str, use_rules: tuple[UseRule, ...], statements: tuple[str, ...]) -> None:
    """Raise ValueError for duplicate or contradictory rules, and for statements without their rule."""
    if len(set(use_rules)) != len(use_rules) or _OPPOSITES.issubset(use_rules):
        raise ValueError(f"{entry_id}: use_rules have duplicates or contradict each other")
    if (UseRule.WITH_STATEMENTS in use_rules) != bool(statements):
        raise ValueError(f"{entry_id}: {UseRule.WITH_STATEMENTS.value!r} requires statements and vice versa")


def _make_single_limit_profile(limit: Limit) -> Profile:
    unverified = limit.confidence is SourceConfidence.UNVERIFIED
    note = "unverified: this value was not found in any source; it is not evidence" if unverified else None
    return Profile(
        id=limit.id, title=f"{limit.product} {limit.versions}: {limit.feature}", all_of=(limit.id,), note=note
    )


def _unknown_id_error(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    names = list(known)
    similar = [known_name for known_name in names if name in known_name][:SUGGESTIONS_MAX]
    similar = similar or get_close_matches(name, names, n=SUGGESTIONS_MAX, cutoff=0.5)
    hint = f"did you mean {' or '.join(similar)}?" if similar else "`leadline limits list` shows all ids"
    return ConfigError(kind, f"{name!r} is not known; {hint}")
