"""The document of ``leadline check --json``, from which the text is written too; docs/check.md explains it.

Keys are only ever added; CHECK_VERSION rises when one changes its meaning.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

CHECK_VERSION = 1


class CheckVerdict(StrEnum):
    """What a short measurement can say about a profile. It can prove a breach and never compliance."""

    #: Faster than light: coordinates or clock are wrong, nothing may be concluded.
    INVALID = "invalid"
    IMPOSSIBLE = "impossible"
    IMPOSSIBLE_ON_GLASS_FIBRE = "impossible on glass fibre"
    #: Out of the limit, also with this host's own error taken off.
    BEYOND = "beyond"
    #: A fifth of a window or more was lost.
    UNAVAILABLE = "unavailable"
    #: Out of the limit as measured, within it when this host's own error is taken off.
    MARGINAL = "marginal"
    NOT_MEASURED = "not measured"
    #: No limit of the profile can be answered by round trips.
    NOT_JUDGED = "not judged"
    WITHIN_SO_FAR = "within so far"

    @property
    def is_violation(self) -> bool:
        """True when a limit is exceeded: the command exits with 1."""
        return self in {
            CheckVerdict.IMPOSSIBLE,
            CheckVerdict.IMPOSSIBLE_ON_GLASS_FIBRE,
            CheckVerdict.BEYOND,
            CheckVerdict.UNAVAILABLE,
            CheckVerdict.MARGINAL,
        }

    @property
    def is_conclusive(self) -> bool:
        """False when the question stays open: the command exits with 2, unless something is bad."""
        return self not in {CheckVerdict.INVALID, CheckVerdict.NOT_MEASURED, CheckVerdict.NOT_JUDGED}


class RttSummary(Struct, frozen=True, kw_only=True):
    """Microseconds rounded up. min, mean and max over the replies; percentiles over the probes sent, lost = null."""

    min: int | None
    mean: int | None
    p50: int | None
    p95: int | None
    p99: int | None
    max: int | None


class JitterSummary(Struct, frozen=True, kw_only=True):
    """Round-trip delay variation in microseconds: ``pdv`` is p95 - min, ``mean_step`` the mean |difference| of
    consecutive replies. ``rfc3550`` is the running estimate of that standard after the last reply: informational."""

    pdv: int | None
    mean_step: int | None
    rfc3550: int | None


class CheckErrorBound(Struct, frozen=True, kw_only=True):
    """This host's share of an RTT in microseconds: the true RTT lies in [measured - bound, measured]."""

    p50: int
    p99: int


class CheckLimitSource(Struct, frozen=True, kw_only=True):
    """Where the decisive limit is published."""

    vendor: str
    title: str
    url: str | None
    read_in: str
    confidence: str


class CheckPropagation(Struct, frozen=True, kw_only=True):
    """What light allows; only where coordinates were given and the limit bounds the round trip."""

    #: possible, impossible_on_glass_fibre or impossible: by the coordinates alone, whatever was measured.
    reach: str
    distance_km: float
    floor_vacuum_us: float
    floor_glass_us: float
    reach_km: float
    route_factor_max: float | None


class UncheckedLimit(Struct, frozen=True, kw_only=True):
    """A limit of the profile that round trips cannot answer."""

    limit_id: str
    reason: str


class ProfileCheckResult(Struct, frozen=True, kw_only=True):
    """The answer for one profile, by its decisive limit: the worst, or the first where all are alike."""

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
    note: str | None = None


class TargetCheckResult(Struct, frozen=True, kw_only=True):
    """One target: what was measured, and what it means for each profile."""

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
    """Everything one ``leadline check`` found."""

    version: int
    leadline: str
    started_at: str
    interval_ms: int
    timeout_ms: int
    payload_bytes: int
    dscp: int
    catalogue_sha256: str
    #: Whole days without a bad window before "within" may be said, provisionally and fully.
    days_to_within_provisional: int
    days_to_within: int
    targets: list[TargetCheckResult]
