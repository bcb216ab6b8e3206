"""The document of ``leadline check --json``, from which the text is written too; docs/check.md explains it.

Keys are only ever added; CHECK_VERSION rises when one changes its meaning.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

CHECK_VERSION = 1


class Verdict(StrEnum):
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
    def is_bad(self) -> bool:
        """True when a limit is exceeded: the command exits with 1."""
        return self in {
            Verdict.IMPOSSIBLE,
            Verdict.IMPOSSIBLE_ON_GLASS_FIBRE,
            Verdict.BEYOND,
            Verdict.UNAVAILABLE,
            Verdict.MARGINAL,
        }

    @property
    def is_answer(self) -> bool:
        """False when the question stays open: the command exits with 2, unless something is bad."""
        return self not in {Verdict.INVALID, Verdict.NOT_MEASURED, Verdict.NOT_JUDGED}


class RttUs(Struct, frozen=True, kw_only=True):
    """Microseconds rounded up. min, mean and max over the replies; percentiles over the probes sent, lost = null."""

    min: int | None
    mean: int | None
    p50: int | None
    p95: int | None
    p99: int | None
    max: int | None


class JitterUs(Struct, frozen=True, kw_only=True):
    """Round-trip delay variation in microseconds: ``pdv`` is p95 - min, ``mean_step`` the mean |difference| of
    consecutive replies. ``rfc3550`` is the running estimate of that standard after the last reply: informational."""

    pdv: int | None
    mean_step: int | None
    rfc3550: int | None


class ErrorUs(Struct, frozen=True, kw_only=True):
    """This host's share of an RTT in microseconds: the true RTT lies in [measured - bound, measured]."""

    p50: int
    p99: int


class SourceAnswer(Struct, frozen=True, kw_only=True):
    """Where the decisive limit is published."""

    vendor: str
    title: str
    url: str | None
    read_in: str
    confidence: str


class PhysicsAnswer(Struct, frozen=True, kw_only=True):
    """What light allows; only where coordinates were given and the limit bounds the round trip."""

    #: possible, impossible_on_glass_fibre or impossible: by the coordinates alone, whatever was measured.
    reach: str
    distance_km: float
    floor_vacuum_us: float
    floor_glass_us: float
    reach_km: float
    route_factor_max: float | None


class Undecided(Struct, frozen=True, kw_only=True):
    """A limit of the profile that round trips cannot answer."""

    limit_id: str
    reason: str


class ProfileAnswer(Struct, frozen=True, kw_only=True):
    """The answer for one profile, by its decisive limit: the worst, or the first where all are alike."""

    id: str
    title: str
    verdict: Verdict
    reason: str
    limit_id: str | None = None
    limit_us: int | None = None
    comparison: str | None = None
    measure: str | None = None
    observed_us: int | None = None
    source: SourceAnswer | None = None
    physics: PhysicsAnswer | None = None
    not_judged: list[Undecided] = []
    note: str | None = None


class TargetAnswer(Struct, frozen=True, kw_only=True):
    """One target: what was measured, and what it means for each profile."""

    host: str
    address: str
    expected: int
    sent: int
    received: int
    lost: int
    duplicates: int
    failures: dict[str, int]
    rtt_us: RttUs
    jitter_us: JitterUs
    error_bound_us: ErrorUs | None
    profiles: list[ProfileAnswer]


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
    targets: list[TargetAnswer]
