"""What the reading routes answer: one Struct per JSON object. Ratios are 0..1, times epoch seconds beside ISO 8601 UTC.

The answers to agents and administrators are part of the wire (``leadline.wire.batch``).
"""

from __future__ import annotations

from msgspec import Struct, field

from leadline.evaluation import WindowState


class ResponseDocument(Struct, frozen=True, kw_only=True):
    """An object of an answer."""


class LimitSourceResponse(ResponseDocument, frozen=True, kw_only=True):
    """Where a number was published."""

    title: str
    url: str | None
    published: str | None


class LimitResponse(ResponseDocument, frozen=True, kw_only=True):
    """One limit of a profile, and how windows are judged by it or why not."""

    id: str
    #: The number as the vendor prints it: "< 5 ms".
    text: str
    #: What is compared, in microseconds of round trip; null if the limit is not judged.
    limit_us: int | None
    comparison: str
    judged: bool
    #: "p95 of each 60 s window < 5 ms"; null if the limit is not judged.
    rule: str | None
    #: Why the limit is not judged; null if it is.
    reason: str | None
    #: What had to be assumed in order to judge it; null for nothing.
    approximation: str | None
    #: What the vendor says the number applies to.
    statistic: str
    confidence: str
    #: Where the source's text was read.
    read_in: str
    source: LimitSourceResponse


class ProfileResponse(ResponseDocument, frozen=True, kw_only=True):
    """A named set of limits that a feature needs, all of which must hold."""

    id: str
    title: str
    note: str | None
    limits: list[LimitResponse]
    #: Limits the operator has to vouch for, because a ping cannot show them.
    declared: list[LimitResponse]


class ProfileListResponse(ResponseDocument, frozen=True, kw_only=True):
    """The profiles of the catalogue."""

    #: SHA-256 of the catalogue's data file.
    catalogue: str
    profiles: list[ProfileResponse]


class StateCountsResponse(ResponseDocument, frozen=True, kw_only=True):
    """How many windows of a period were in which state."""

    good: int
    bad: int
    unavailable: int
    unknown: int
    #: Share of the known windows that were good; null if none is known.
    good_ratio: float | None
    #: Share of the windows that are known.
    coverage_ratio: float | None


class RttResponse(ResponseDocument, frozen=True, kw_only=True):
    """Round trips in microseconds; null where nothing came back."""

    #: The shortest in the period.
    min: int | None
    #: Of the latest window; the worst path's where a pair has several.
    p50: int | None
    p95: int | None


class MatrixPairResponse(ResponseDocument, frozen=True, kw_only=True):
    """A directed pair of sites in a period."""

    source: str
    destination: str
    groups: list[str]
    #: The profiles the mesh judges this pair by.
    profiles: list[str]
    #: Some of what is shown was generated and not measured.
    simulated: bool
    #: Some of it was imported: no agent measured it.
    imported: bool
    #: State of the latest window as measured; unknown if that is older than three minutes before the period's end.
    state: WindowState
    #: Start of the latest window of the period; null if there is none.
    state_at: int | None
    state_at_iso: str | None
    windows_expected: int
    #: Every window as measured, the worst of its paths.
    pessimistic: StateCountsResponse
    #: Every window with the measurement's own error taken off, the best of its paths.
    optimistic: StateCountsResponse
    rtt_us: RttResponse
    #: Paths with windows in the period.
    paths: int


class MatrixResponse(ResponseDocument, frozen=True, kw_only=True):
    """Every pair of the mesh in force, judged by one profile over one period."""

    profile: ProfileResponse
    #: Why nothing can be judged by this profile; null if something can.
    reason: str | None
    #: First second of the period.
    start_s: int = field(name="from")
    start_iso: str = field(name="from_iso")
    #: First second after the period.
    end_s: int = field(name="to")
    end_iso: str = field(name="to_iso")
    mesh_version: int
    simulated: bool
    imported: bool
    pairs: list[MatrixPairResponse]


class PathWindowResponse(ResponseDocument, frozen=True, kw_only=True):
    """One path in one window. Times in microseconds; null where undefined."""

    agent: str
    target: str
    #: By the profile asked for; null without one.
    state: WindowState | None
    simulated: bool
    #: True if ``agent`` is no agent: the window came out of a file (docs/import.md).
    imported: bool
    interval_ms: int
    expected: int
    sent: int
    received: int
    min_us: int | None
    mean_us: int | None
    p50_us: int | None
    p95_us: int | None
    p99_us: int | None
    max_us: int | None
    #: p95 - min (RFC 5481 §4.2).
    pdv_us: int | None
    #: Mean difference of consecutive replies (RFC 5481 §5.5).
    mean_step_us: int | None
    duplicates: int
    #: How often each failure happened; those that did not are left out.
    failures: dict[str, int]
    #: The host's own contribution is at most this.
    error_p50_us: int | None
    error_p99_us: int | None
    mesh_version: int
    #: The batch the row came from; null if simulated.
    epoch: str | None
    seq: int | None


class PairWindowResponse(ResponseDocument, frozen=True, kw_only=True):
    """One minute of a pair."""

    t: int
    at: str
    #: As measured, the worst of the paths that know; null without a profile.
    state: WindowState | None
    paths: list[PathWindowResponse]


class PairWindowsResponse(ResponseDocument, frozen=True, kw_only=True):
    """Windows of a directed pair, oldest first; minutes without a window are left out: they are unknown."""

    source: str
    destination: str
    profile: str | None
    start_s: int = field(name="from")
    start_iso: str = field(name="from_iso")
    end_s: int = field(name="to")
    end_iso: str = field(name="to_iso")
    simulated: bool
    imported: bool
    windows: list[PairWindowResponse]
    #: Where to go on if ``limit`` cut the answer; null if it is complete.
    next_from: int | None
