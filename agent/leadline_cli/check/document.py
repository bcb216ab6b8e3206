"""Document of ``leadline check --json``, also the source of the text report. See docs/check.md.

Compatibility: keys are only added. CHECK_VERSION increases if a key changes its meaning.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

CHECK_VERSION = 1


class CheckVerdict(StrEnum):
    """Result of a short measurement for a profile. It can prove a violation, but never compliance."""

    #: Faster than light: coordinates or clock are wrong, so there is no conclusion.
    INVALID = "invalid"
    IMPOSSIBLE = "impossible"
    IMPOSSIBLE_ON_GLASS_FIBRE = "impossible on glass fibre"
    #: Beyond the limit, even minus the error of this host.
    BEYOND = "beyond"
    #: At least a fifth of a window was lost.
    UNAVAILABLE = "unavailable"
    #: Beyond the limit as measured, within it minus the error of this host.
    MARGINAL = "marginal"
    NOT_MEASURED = "not measured"
    #: RTTs cannot decide any limit of the profile.
    NOT_JUDGED = "not judged"
    WITHIN_SO_FAR = "within so far"

    @property
    def is_violation(self) -> bool:
        """True if a limit is exceeded: exit status 1."""
        return self in {
            CheckVerdict.IMPOSSIBLE,
            CheckVerdict.IMPOSSIBLE_ON_GLASS_FIBRE,
            CheckVerdict.BEYOND,
            CheckVerdict.UNAVAILABLE,
            CheckVerdict.MARGINAL,
        }

    @property
    def is_conclusive(self) -> bool:
        """False without a conclusion: exit status 2, unless a limit is exceeded."""
        return self not in {CheckVerdict.INVALID, CheckVerdict.NOT_MEASURED, CheckVerdict.NOT_JUDGED}


class RttSummary(Struct, frozen=True, kw_only=True):
    """RTT statistics in microseconds, rounded up.

    min, mean and max cover the replies. Percentiles cover the sent probes and are null on a lost probe.
    """

    min: int | None
    mean: int | None
    p50: int | None
    p95: int | None
    p99: int | None
    max: int | None


class JitterSummary(Struct, frozen=True, kw_only=True):
    """Round-trip delay variation in microseconds.

    ``pdv`` is p95 - min. ``mean_step`` is the mean absolute difference of consecutive replies. ``rfc3550`` is the
    estimate of that standard after the last reply, for information only.
    """

    pdv: int | None
    mean_step: int | None
    rfc3550: int | None


class CheckErrorBound(Struct, frozen=True, kw_only=True):
    """Error of this host in microseconds: the true RTT is in [measured - bound, measured]."""

    p50: int
    p99: int


class CheckLimitSource(Struct, frozen=True, kw_only=True):
    """Source of the decisive limit."""

    vendor: str
    title: str
    url: str | None
    read_in: str
    confidence: str


class CheckPropagation(Struct, frozen=True, kw_only=True):
    """Propagation delay. Present only with coordinates and for an RTT limit."""

    #: possible, impossible_on_glass_fibre or impossible, from the coordinates alone.
    reach: str
    distance_km: float
    floor_vacuum_us: float
    floor_glass_us: float
    reach_km: float
    route_factor_max: float | None


class UncheckedLimit(Struct, frozen=True, kw_only=True):
    """A limit of the profile that RTTs cannot decide."""

    limit_id: str
    reason: str


class CheckLimit(Struct, frozen=True, kw_only=True):
    """A limit of the profile, with its status, confidence and strength in the catalogue."""

    limit_id: str
    #: current, superseded or end-of-support.
    status: str
    #: vendor, secondary or unverified.
    confidence: str
    #: requirement, recommendation, informational or default.
    strength: str
    #: Statistic to which the vendor applies the number.
    statistic: str
    #: "superseded, secondary"; null for a current requirement that was read in a source of the vendor.
    reservations: str | None


class ProfileCheckResult(Struct, frozen=True, kw_only=True):
    """Result for one profile by its decisive limit: the worst, or the first of equal ones."""

    id: str
    title: str
    verdict: CheckVerdict
    reason: str
    limit_id: str | None = None
    limit_us: int | None = None
    comparison: str | None = None
    measure: str | None = None
    observed_us: int | None = None
    source: CheckLimitSource | None = None
    physics: CheckPropagation | None = None
    not_judged: list[UncheckedLimit] = []
    #: Every required limit of the profile.
    limits: list[CheckLimit] = []
    note: str | None = None


class TargetCheckResult(Struct, frozen=True, kw_only=True):
    """Measurement of one target and its result for each profile."""

    host: str
    address: str
    expected: int
    sent: int
    received: int
    lost: int
    duplicates: int
    failures: dict[str, int]
    rtt_us: RttSummary
    jitter_us: JitterSummary
    error_bound_us: CheckErrorBound | None
    profiles: list[ProfileCheckResult]


class CheckDocument(Struct, frozen=True, kw_only=True):
    """Complete result of one ``leadline check``."""

    version: int
    leadline: str
    started_at: str
    interval_ms: int
    timeout_ms: int
    payload_bytes: int
    dscp: int
    catalogue_sha256: str
    #: Whole days without a bad window that a verdict "within" needs, provisionally and fully.
    days_to_within_provisional: int
    days_to_within: int
    targets: list[TargetCheckResult]
