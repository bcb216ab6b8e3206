"""JSON documents of the read-only routes: one Struct per object.

Ratios are 0..1, times are epoch seconds with ISO 8601 UTC beside them. The documents for agents and administrators are
in ``leadline.wire``.
"""

from __future__ import annotations

from msgspec import Struct, field

from leadline.evaluation import WindowCause, WindowState


class ResponseDocument(Struct, frozen=True, kw_only=True):
    """Base of the objects in responses."""


class LimitSourceResponse(ResponseDocument, frozen=True, kw_only=True):
    """Publication that states a limit."""

    title: str
    url: str | None
    published: str | None


class LimitResponse(ResponseDocument, frozen=True, kw_only=True):
    """One limit of a profile, and how windows are evaluated against it, or why they are not."""

    id: str
    #: The number as the vendor prints it: "< 5 ms".
    text: str
    #: RTT to compare with, in microseconds; null if the limit is not evaluated.
    limit_us: int | None
    comparison: str
    judged: bool
    #: "p95 of each 60 s window < 5 ms"; null if the limit is not evaluated.
    rule: str | None
    #: Why the limit is not evaluated; null if it is.
    reason: str | None
    #: Assumption of the evaluation; null without one.
    approximation: str | None
    #: Statistic to which the vendor applies the number.
    statistic: str
    confidence: str
    #: Where the text of the source was read.
    read_in: str
    source: LimitSourceResponse


class ProfileResponse(ResponseDocument, frozen=True, kw_only=True):
    """A named set of limits; a feature needs all of them."""

    id: str
    title: str
    note: str | None
    limits: list[LimitResponse]
    #: Limits that the operator must confirm, because probes cannot measure them.
    declared: list[LimitResponse]


class ProfileListResponse(ResponseDocument, frozen=True, kw_only=True):
    """The profiles of the catalogue."""

    #: SHA-256 of the catalogue's data file.
    catalogue: str
    profiles: list[ProfileResponse]


class StateCountsResponse(ResponseDocument, frozen=True, kw_only=True):
    """Number of windows of a period in each state."""

    good: int
    bad: int
    unavailable: int
    unknown: int
    #: Good windows / known windows; null without known windows.
    good_ratio: float | None
    #: Known windows / all windows.
    coverage_ratio: float | None


class CauseCountsResponse(ResponseDocument, frozen=True, kw_only=True):
    """Number of windows of a period that are not good in the worst case, by cause (``leadline.evaluation``)."""

    #: Unavailable windows.
    outage: int
    #: Bad windows: the losses alone exceed the limit.
    loss: int
    #: Bad windows: the late replies alone exceed the limit.
    latency: int
    #: Bad windows: only losses and late replies together exceed the limit.
    both: int


class RttResponse(ResponseDocument, frozen=True, kw_only=True):
    """RTT in microseconds; null without replies."""

    #: Minimum of the period.
    min: int | None
    #: Of the latest window; of the worst path if a pair has several.
    p50: int | None
    p95: int | None


class MatrixPairResponse(ResponseDocument, frozen=True, kw_only=True):
    """A directed pair of sites in a period."""

    source: str
    destination: str
    groups: list[str]
    #: Profiles that the mesh assigns to this pair.
    profiles: list[str]
    #: True if some of the data is simulated.
    simulated: bool
    #: True if some of the data is imported from files.
    imported: bool
    #: Of "measured", "imported" and "simulated", those that occur among the windows of the period.
    data: list[str]
    #: True if the smallest RTT of the period is below the propagation delay in a vacuum: the coordinates or a clock are
    #: wrong, and no conclusion is possible.
    invalid: bool
    #: Start of the first window if the pair was not measured at the start of the period; null otherwise.
    measured_since: int | None
    measured_since_iso: str | None
    #: Smallest number of scheduled probes of a window; null without a window.
    probes_per_window: int | None
    #: Unknown minutes since the first window of the period; 0 if the pair was not measured in the period.
    unknown_minutes: int
    #: Worst-case state of the latest window; unknown if that is older than three minutes before the period's end.
    state: WindowState
    #: Cause of a bad or unavailable state; null otherwise.
    cause: WindowCause | None
    #: Start of the latest window of the period; null without windows.
    state_at: int | None
    state_at_iso: str | None
    windows_expected: int
    #: Worst case: every window as measured, on the worst of its paths.
    pessimistic: StateCountsResponse
    #: Best case: every window without the measurement error, on the best of its paths.
    optimistic: StateCountsResponse
    #: Causes in the worst case.
    causes: CauseCountsResponse
    rtt_us: RttResponse
    #: Number of paths with windows in the period.
    paths: int


class MatrixResponse(ResponseDocument, frozen=True, kw_only=True):
    """Every pair of the active mesh, evaluated by one profile over one period."""

    profile: ProfileResponse
    #: Why no limit of the profile can be evaluated; null if one can.
    reason: str | None
    #: Limits of the profile that are superseded, not read in a source of the vendor, or not a requirement.
    weak_limits: list[str]
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
    #: State by the requested profile; null without a profile.
    state: WindowState | None
    #: Cause of a bad or unavailable state; null otherwise.
    cause: WindowCause | None
    simulated: bool
    #: True if the window was imported from a file (docs/import.md); ``agent`` is then an import source.
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
    #: RTT that at most 5 % of the probes sent exceed if losses are not counted; null unless 1 to 5 % of them were lost.
    latency_p95_us: int | None
    duplicates: int
    #: Probes by kind of failure; kinds without probes are left out.
    failures: dict[str, int]
    #: Upper bound of the measuring host's contribution to the RTT.
    error_p50_us: int | None
    error_p99_us: int | None
    mesh_version: int
    #: Epoch and number of the batch of this window; null if simulated.
    epoch: str | None
    seq: int | None


class PairWindowResponse(ResponseDocument, frozen=True, kw_only=True):
    """One minute of a pair."""

    t: int
    at: str
    #: Worst-case state over the known paths; null without a profile.
    state: WindowState | None
    #: Cause of a bad or unavailable state; null otherwise.
    cause: WindowCause | None
    paths: list[PathWindowResponse]


class PairWindowsResponse(ResponseDocument, frozen=True, kw_only=True):
    """Windows of a directed pair, oldest first; minutes without a window are unknown and left out."""

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
    #: ``from`` of the next request if ``limit`` truncated the list; null if it is complete.
    next_from: int | None
