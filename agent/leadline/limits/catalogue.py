"""The catalogue: what vendors publish as network limits, with the source of each, and the profiles made of them.

The facts live in ``data/limits.toml``, decoded strictly: an unknown key or a value outside its closed list is an error,
so that a typing mistake cannot change a judgement. What a limit means for a window is the business of ``judge``.

Rule 1: every limit has a source with a title and says where that was read; only an unverified one may lack an address.
Rule 2: an unverified limit is never in a profile of the catalogue. Who names it explicitly gets it, with a note.
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

#: Enough to find a mistyped id, few enough for one line.
SUGGESTIONS_MAX = 3


class Metric(StrEnum):
    """What a limit limits."""

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
    """How the observed value must compare with the limit."""

    LESS = "<"
    LESS_EQUAL = "<="
    GREATER_EQUAL = ">="

    def is_met(self, observed: int, limit: int) -> bool:
        """True when ``observed`` meets ``limit``; both integers of one unit."""
        if self is Comparison.LESS:
            return observed < limit
        return observed <= limit if self is Comparison.LESS_EQUAL else observed >= limit


class Statistic(StrEnum):
    """What the source says its number applies to, in a closed list of paraphrases."""

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
    """Between which ends the source says the limit holds."""

    SITE_TO_SITE = "site-to-site"
    HOST_TO_HOST = "host-to-host"
    NODE_TO_NODE = "node-to-node"
    TO_WITNESS = "to-witness"
    MANAGER_TO_HOST = "manager-to-host"
    MANAGER_TO_MANAGER = "manager-to-manager"
    EDGE_TO_EDGE = "edge-to-edge"


class UseCase(StrEnum):
    """Which job the limit belongs to."""

    LIVE_MIGRATION = "live-migration"
    STRETCHED_CLUSTER = "stretched-cluster"
    METRO_STORAGE = "metro-storage"
    REPLICATION = "replication"
    CONTROL_PLANE = "control-plane"


class Strength(StrEnum):
    """How firmly the vendor puts it; ``DEFAULT`` is a setting of the product and promises nothing."""

    REQUIREMENT = "requirement"
    RECOMMENDATION = "recommendation"
    INFORMATIONAL = "informational"
    DEFAULT = "default"


class LifecycleStatus(StrEnum):
    """Where the product version stands in its life."""

    CURRENT = "current"
    SUPERSEDED = "superseded"
    END_OF_SUPPORT = "end-of-support"


class SourceConfidence(StrEnum):
    """Whose text was read."""

    VENDOR = "vendor"
    SECONDARY = "secondary"
    UNVERIFIED = "unverified"


class Provenance(StrEnum):
    """Where the source's text was read: a report that cites a copy says so."""

    VENDOR_PAGE = "vendor page"
    VENDOR_REPOSITORY = "vendor documentation repository"
    ARCHIVED_COPY = "archived copy of the vendor page (2025-11)"
    MIRROR = "mirror of the vendor document"
    TEXT_COPY = "text copy of the vendor document; confirm the URL before citing"
    THIRD_PARTY = "third-party page"
    NO_SOURCE = "no source"


class Evaluability(StrEnum):
    """Can the limit be judged from pings between agents?"""

    YES = "yes"
    #: A definition or the symmetry of the path has to be assumed.
    APPROXIMATE = "approximate"
    NO = "no"


#: The one unit of a metric; metrics that are missing here are printed with the unit they carry.
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
    """A document; ``url`` is None only where an unverified limit has none."""

    title: Text
    url: Url | None = None
    kb: Text | None = None
    #: As the source gives it: a date, a release or the day of a snapshot.
    published: Text | None = None


class TimeWindow(_CatalogueEntry, frozen=True, kw_only=True):
    """A vendor's own rule over time. ``peak_limit`` is in the unit of the limit."""

    window_s: Seconds | None = None
    peak_limit: Decimal | None = None
    peak_duration_s: Seconds | None = None
    peak_horizon_s: Seconds | None = None


class Limit(_CatalogueEntry, frozen=True, kw_only=True):
    """One published number with what the vendor says about it and where that was read."""

    id: CatalogueId
    vendor: Text
    product: Text
    versions: Text
    feature: Text
    scope: UseCase
    metric: Metric
    #: The number is for one direction; otherwise for the round trip.
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
    notes: Text | None = None
    source: SourceDocument
    additional_sources: tuple[SourceDocument, ...] = msgspec.field(default=(), name="additional_source")

    def __post_init__(self) -> None:
        self._check_number()
        self._check_source()

    def _check_number(self) -> None:
        if not self.value > 0:
            raise ValueError(f"{self.id}: {self.value} is no limit, use a number above 0")
        if (unit := _METRIC_UNITS.get(self.metric)) and self.unit != unit:
            raise ValueError(f"{self.id}: {self.metric} in {self.unit!r} instead of {unit!r}")
        is_floor = self.metric in (Metric.BANDWIDTH, Metric.MTU) and self.statistic is not Statistic.DEFAULT_CAP
        if is_floor != (self.comparison is Comparison.GREATER_EQUAL):
            raise ValueError(f"{self.id}: {self.comparison} is the wrong way round for {self.metric}")
        if (self.metric is Metric.ONE_WAY) > self.one_way:
            raise ValueError(f"{self.id}: metric one_way needs one_way = true")
        if self.unit == "ms" and self.value * 1_000 % 1:
            raise ValueError(f"{self.id}: {self.value} ms is not a whole number of microseconds")

    def _check_source(self) -> None:
        unverified = self.confidence is SourceConfidence.UNVERIFIED
        if unverified != (self.read_in is Provenance.NO_SOURCE):
            raise ValueError(f"{self.id}: 'unverified' and 'no source' go together")
        if self.source.url is None and not unverified:
            raise ValueError(f"{self.id}: the source has no address")

    @property
    def value_us(self) -> int | None:
        """The limit in microseconds, exactly; None where it is not a time."""
        return int(self.value * 1_000) if self.unit == "ms" else None

    @property
    def probes_to_demonstrate(self) -> int | None:
        """Probes without a loss that show a loss limit at 95 % confidence (rule of three); None for other metrics."""
        return ceil(3 * 100 / self.value) if self.metric is Metric.LOSS else None

    @property
    def text(self) -> str:
        """The number as it is printed: ``< 5 ms``."""
        return f"{self.comparison} {self.value} {'%' if self.unit == 'percent' else self.unit}"


class Profile(_CatalogueEntry, frozen=True, kw_only=True):
    """The limits a feature needs: all of ``all_of`` must hold, ``declared`` ones are stated by the operator."""

    id: CatalogueId
    title: Text
    all_of: Annotated[tuple[CatalogueId, ...], Meta(min_length=1)]
    declared: tuple[CatalogueId, ...] = ()
    #: What a reader must know before using it; set for a profile made of one unverified limit.
    note: Text | None = None


class NonNumericStatement(_CatalogueEntry, frozen=True, kw_only=True):
    """What a vendor says about the network without a number."""

    id: CatalogueId
    vendor: Text
    product: Text
    what: Text
    confidence: SourceConfidence
    source: SourceDocument


class SourceConflict(_CatalogueEntry, frozen=True, kw_only=True):
    """Sources that disagree or are often confused, and which figure is used here."""

    id: CatalogueId
    entries: Annotated[tuple[CatalogueId, ...], Meta(min_length=1)]
    summary: Text
    newer: Text
    use: Text


class OpenQuestion(_CatalogueEntry, frozen=True, kw_only=True):
    """What was looked for and not found, and where a person should check."""

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
    """All limits and profiles in the order of the data file, with the SHA-256 of that file in hex."""

    limits: Mapping[str, Limit]
    profiles: Mapping[str, Profile]
    conflicts: tuple[SourceConflict, ...]
    non_numeric: tuple[NonNumericStatement, ...]
    open_questions: tuple[OpenQuestion, ...]
    digest: str

    def get_limit(self, limit_id: str) -> Limit:
        """The limit; ConfigError with the nearest ids when there is none."""
        if limit_id not in self.limits:
            raise _unknown_id_error("limit", limit_id, self.limits)
        return self.limits[limit_id]

    def get_profile(self, profile_id: str) -> Profile:
        """The profile, or a limit as a profile of one; ConfigError with the nearest ids when there is neither."""
        if profile_id in self.profiles:
            return self.profiles[profile_id]
        if profile_id in self.limits:
            return _make_single_limit_profile(self.limits[profile_id])
        raise _unknown_id_error("profile", profile_id, [*self.profiles, *self.limits])

    def get_required_limits(self, profile: Profile) -> tuple[Limit, ...]:
        """The limits that must hold, in the order of the profile."""
        return tuple(self.get_limit(limit_id) for limit_id in profile.all_of)

    def get_declared_limits(self, profile: Profile) -> tuple[Limit, ...]:
        """The limits the operator has to vouch for, because a ping cannot show them."""
        return tuple(self.get_limit(limit_id) for limit_id in profile.declared)

    def get_conflicts(self, limit_id: str) -> tuple[SourceConflict, ...]:
        """The conflicts a limit takes part in."""
        return tuple(conflict for conflict in self.conflicts if limit_id in conflict.entries)


@cache
def load_catalogue() -> Catalogue:
    """The catalogue that is packaged with leadline; read once (about 30 ms)."""
    return parse_catalogue(files("leadline").joinpath("data", "limits.toml").read_bytes())


def parse_catalogue(data: bytes) -> Catalogue:
    """The catalogue of a data file; ConfigError says what is wrong in it."""
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
    """What no single table can know: ids used twice, references to nothing, profiles on sand."""
    entries: tuple[Limit | Profile | NonNumericStatement | SourceConflict, ...] = (
        *document.limit,
        *document.profile,
        *document.non_numeric,
        *document.conflict,
    )
    yield from (f"{name} is used twice" for name, count in Counter(entry.id for entry in entries).items() if count > 1)
    limits = {limit.id: limit for limit in document.limit}
    for profile in document.profile:
        for name in (*profile.all_of, *profile.declared):
            if name not in limits:
                yield f"profile {profile.id} names {name}, which is no limit"
            elif limits[name].confidence is SourceConfidence.UNVERIFIED:
                yield f"profile {profile.id} rests on {name}, which is unverified"
    for conflict in document.conflict:
        yield from (
            f"conflict {conflict.id} names {name}, which is no limit" for name in conflict.entries if name not in limits
        )


def _make_single_limit_profile(limit: Limit) -> Profile:
    unverified = limit.confidence is SourceConfidence.UNVERIFIED
    note = "unverified: nobody has read this number in a source; it is no evidence" if unverified else None
    return Profile(
        id=limit.id, title=f"{limit.product} {limit.versions}: {limit.feature}", all_of=(limit.id,), note=note
    )


def _unknown_id_error(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    names = list(known)
    near = [known_name for known_name in names if name in known_name][:SUGGESTIONS_MAX]
    near = near or get_close_matches(name, names, n=SUGGESTIONS_MAX, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`leadline limits list` shows them all"
    return ConfigError(kind, f"{name!r} is not known; {hint}")
