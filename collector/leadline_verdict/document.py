"""Verdict document: output of ``leadline verdict --json`` and response of ``GET /api/v1/verdicts``.

docs/verdict.schema.json is generated from it. Ratios are 0..1, RTTs are microseconds rounded up, times are epoch
seconds and ISO 8601 in UTC. The comment of a field gives the meaning of null.

Version 2 is the form of rule ``leadline-2026-2``. A verdict by the first edition has version 1: the fields that are new
in version 2 are missing there (UNSET), and ``confidence`` is missing in version 2.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import UNSET, Struct, UnsetType

#: Incremented when a field is removed or its meaning changes.
VERDICT_VERSION = 2


class VerdictClass(StrEnum):
    """Verdict class, the most severe first: the worse direction decides for two sites, the worst pair for a set."""

    #: Light in a vacuum is too slow for the limit.
    IMPOSSIBLE = "impossible"
    #: Glass fibre is too slow even on a straight line.
    IMPOSSIBLE_ON_GLASS_FIBRE = "impossible_on_glass_fibre"
    #: Out of limit more often than the target allows, in the best case for the path.
    BEYOND = "beyond"
    #: The same after fewer than 14 days.
    BEYOND_PROVISIONAL = "beyond_provisional"
    #: Neither "beyond" nor "within" is demonstrated.
    MARGINAL = "marginal"
    #: Faster than light: coordinates or clock are wrong; no conclusion is possible.
    INVALID = "invalid"
    #: The measurement is insufficient; no statement about the path.
    INSUFFICIENT_DATA = "insufficient_data"
    #: Within, with open points.
    WITHIN_PROVISIONAL = "within_provisional"
    #: Within the limit as often as the target requires, in the worst case for the path.
    WITHIN = "within"


class VerdictStruct(Struct, frozen=True, kw_only=True):
    """An object of the document."""


class Reason(VerdictStruct, frozen=True, kw_only=True):
    """A reason: a code for programs, its numbers, and a sentence for people."""

    code: str
    #: Numbers of the sentence.
    numbers: dict[str, float | int | str]
    text: str


class LimitSource(VerdictStruct, frozen=True, kw_only=True):
    """Source of a limit, and the place where it was read."""

    title: str
    url: str | None
    published: str | None
    read_in: str


class RequirementSection(VerdictStruct, frozen=True, kw_only=True):
    """One limit and its evaluation method."""

    id: str
    text: str
    #: "catalogue", "overridden" or "user".
    origin: str
    #: Limit of the catalogue if it is overridden; null otherwise.
    was: str | None
    #: "windows", "loss", "declared" or "not_judged".
    how: str
    #: Comparison in words; null if the limit is not evaluated by windows.
    rule: str | None
    #: Assumptions; null if there are none.
    approximation: str | None
    #: Reason why the limit is not evaluated; null if it is.
    reason: str | None
    #: Value declared by the operator, in the unit of the limit; null without a declaration.
    declared: str | None
    #: Whether the declared value meets the limit; null without a declaration.
    holds: bool | None
    #: Null for a custom limit of the user.
    source: LimitSource | None
    #: "current", "superseded" or "end-of-support"; null for a custom limit.
    status: str | UnsetType | None = UNSET
    #: Origin of the text: "vendor", "secondary" or "unverified"; null for a custom limit.
    confidence: str | UnsetType | None = UNSET
    #: "requirement", "recommendation", "informational" or "default"; null for a custom limit.
    strength: str | UnsetType | None = UNSET
    #: The vendor's statistic; null for a custom limit.
    statistic: str | UnsetType | None = UNSET
    #: What an answer made with the limit may claim.
    use_rules: list[str] | UnsetType = UNSET


class RuleSection(VerdictStruct, frozen=True, kw_only=True):
    """Decision rule with all its parameters (method.md §3 to §6; docs/verdicts.md)."""

    id: str
    #: Y: required share of good windows.
    target_share: float
    #: m0: assumed longest unobserved outage in minutes.
    unseen_windows: int
    confidence: float
    #: "bad": unknown minutes count as bad in the worst case. "mar": explained unknown minutes are excluded.
    missing: str
    #: Whether H is subtracted in the best case.
    with_error: bool
    glass_index: float
    days_provisional: int
    days_full: int
    coverage_min: float
    #: m0 of "within, provisionally" in minutes.
    unseen_windows_provisional: int | UnsetType = UNSET


class StateCounts(VerdictStruct, frozen=True, kw_only=True):
    """Number of windows by state."""

    good: int
    bad: int
    unavailable: int
    unknown: int


class IntervalSection(VerdictStruct, frozen=True, kw_only=True):
    """Confidence interval of the long-run share of good windows."""

    low: float
    high: float
    share: float
    #: "korn_graubard_by_day" or "episode_bound".
    rule: str
    #: Rarer state, "bad" or "good".
    counted: str
    #: Merged episodes of the rarer state.
    episodes: int
    #: Mean span of the episodes in minutes; null without any.
    mean_length: float | None
    #: Effective number of independent windows; null for the episode bound.
    n_eff: float | None
    days: int
    windows: int


class ScenarioSection(VerdictStruct, frozen=True, kw_only=True):
    """States and interval of the period in the worst case or in the best case."""

    states: StateCounts
    #: Unknown minutes count as bad in the worst case and as good in the best case. Null if the period is too short.
    interval: IntervalSection | None


class SharesSection(VerdictStruct, frozen=True, kw_only=True):
    """Shares of windows within the limits. ``pessimistic`` is the worst case, ``optimistic`` the best case."""

    #: good / known as measured, a point estimate. Null without a known window.
    observed: float | None
    #: The same without unavailable windows. Null without an available window.
    observed_when_available: float | None
    #: unavailable / known. Null without a known window.
    unavailable: float | None
    #: Lower bound in the worst case: the share that is demonstrated. Null if the period is too short.
    demonstrated: float | None
    #: More days, all known and good, that demonstrate the target; 0 if demonstrated, null if 1,000 are not enough.
    days_needed: int | None
    pessimistic: ScenarioSection
    optimistic: ScenarioSection


class LimitFeasibilitySection(VerdictStruct, frozen=True, kw_only=True):
    """An RTT limit compared with the propagation delay."""

    limit_id: str
    limit_us: int
    #: "possible", "impossible_on_glass_fibre" or "impossible".
    reach: str
    #: Largest distance at which straight glass fibre meets the limit.
    reach_km: float
    #: Longest route that can meet the limit, as a multiple of the distance; null at distance 0.
    route_factor_max: float | None


class PropagationSection(VerdictStruct, frozen=True, kw_only=True):
    """Minimum RTT between the sites from the propagation delay; null in the document if coordinates are missing."""

    distance_km: float
    #: Distance minus the uncertainty of both sites; the minimum RTTs are computed from it.
    distance_low_km: float
    #: Minimum RTT in a vacuum.
    floor_vacuum_us: float
    #: Minimum RTT on glass fibre.
    floor_glass_us: float
    #: "plausible", "check_coordinates_or_medium" or "invalid"; null without a reply.
    plausibility: str | None
    #: Measured minimum RTT divided by the minimum RTT on glass fibre; null without a reply or at distance 0.
    inflation: float | None
    #: Longest fibre route consistent with the measured minimum RTT; null without a reply.
    fibre_km_max: float | None
    limits: list[LimitFeasibilitySection]


class RttSection(VerdictStruct, frozen=True, kw_only=True):
    """RTTs of the period over all paths; null without a reply. ``p95_...`` are quantiles of the windows' p95."""

    min_us: int | None
    p95_p50_us: int | None
    p95_p95_us: int | None
    p95_p99_us: int | None
    p95_max_us: int | None
    max_us: int | None
    #: Largest H of a window; null without an error bound.
    error_max_us: int | None
    sent: int
    lost: int


class LossSection(VerdictStruct, frozen=True, kw_only=True):
    """A loss limit compared with the probes of the period.

    Version 2 counts days, like the share of good windows. Version 1 assumes independent losses, which is rarely true.
    """

    limit_id: str
    limit_ratio: float
    sent: int
    lost: int
    #: Two-sided 95 %, Korn-Graubard by day (version 1: Clopper-Pearson); null if nothing was sent.
    low: float | None
    high: float | None
    #: "below", "above" or "not_demonstrable_yet".
    finding: str
    #: More probes without loss that would demonstrate it; 0 if it is decided.
    probes_needed: int
    #: Probes outside outage minutes: the loss in the steady state.
    steady_sent: int | UnsetType = UNSET
    steady_lost: int | UnsetType = UNSET
    #: Days with a lost probe. A limit is only exceeded with certainty if three are not neighbours.
    days_with_loss: int | UnsetType = UNSET


class CauseCounts(VerdictStruct, frozen=True, kw_only=True):
    """Minutes out of limit by cause, in the worst case."""

    #: At least 20 % of the probes were lost.
    outage: int
    #: The losses alone are more than the limit's statistic tolerates.
    loss: int
    #: The late replies alone are more than that.
    latency: int
    #: Only losses and late replies together are.
    both: int


class CauseSection(VerdictStruct, frozen=True, kw_only=True):
    """Minutes and episodes of one cause in the worst case."""

    #: "outage", "loss", "latency" or "both".
    cause: str
    minutes: int
    episodes: int
    #: Minutes of the longest episode.
    longest: int


class MilestoneSection(VerdictStruct, frozen=True, kw_only=True):
    """A date from which more can be said, if the measurement goes on without unknown and bad minutes."""

    #: Verdict class that can be given from then on.
    verdict: str
    #: Whole days that it takes.
    days: int
    at_s: int
    at_iso: str


class WithinSection(VerdictStruct, frozen=True, kw_only=True):
    """What "within" claims."""

    #: Of the minutes in which the path was up, at least this share was within the limits (95 %).
    share_when_up: float
    outages: int
    outage_minutes: int
    longest_outage_minutes: int
    #: Longest unseen outage in minutes with which the verdict still holds; null if it holds with none.
    tipping_point_minutes: int | None
    #: Probability that a period of this length misses an outage of 12 hours that occurs once a quarter.
    quarterly_outage_missed: float


class OutagesSection(VerdictStruct, frozen=True, kw_only=True):
    """Outages that the operator declares; they are not measured."""

    outages_per_year: float
    longest_outage_s: int
    declared_on: str
    #: False if the declaration was made after the first window of the period.
    before_period: bool
    #: False if the period shows a longer outage than the declared longest one.
    used: bool


class ProvenanceSection(VerdictStruct, frozen=True, kw_only=True):
    """Origin of the windows of a verdict."""

    #: Of "measured", "imported" and "simulated", those that occur.
    data: list[str]
    #: Start of the first window if the pair is younger than the requested period; null otherwise.
    measured_since_s: int | None
    measured_since_iso: str | None
    #: Whole UTC days that the verdict covers.
    days: int
    #: Smallest number of scheduled probes of a window; null without a window.
    probes_per_window: int | None
    unknown_minutes: int
    #: Unknown minutes left out (``missing = mar``).
    left_out_minutes: int
    #: Outage minutes that count as good in the best case, because the destination itself may have been down.
    excused_minutes: int
    #: Limits that are superseded, not read in a source of the vendor, or not a requirement: "ID: superseded".
    weak_limits: list[str]


class EpisodeSection(VerdictStruct, frozen=True, kw_only=True):
    """An episode out of limit in the worst case."""

    start_s: int
    start_iso: str
    end_s: int
    end_iso: str
    minutes: int
    bad: int
    unavailable: int
    #: Largest p95 over all paths; null if a p95 falls on a lost probe or there is no reply.
    p95_us_worst: int | None
    rtt_us_max: int | None
    sent: int
    lost: int
    #: Minutes by cause; outage minutes are ``unavailable``.
    causes: CauseCounts | UnsetType = UNSET


class MigrationSection(VerdictStruct, frozen=True, kw_only=True):
    """Share of start times for which the whole migration stays within the limits.

    ``pessimistic`` is the worst case, ``optimistic`` the best case; null if the period is shorter than the migration.
    """

    minutes: int
    pessimistic: float | None
    optimistic: float | None
    #: Longest run without a bad or unknown minute.
    longest_minutes: int


class HourSection(VerdictStruct, frozen=True, kw_only=True):
    """One hour of the week (UTC, Monday 0)."""

    day: int
    hour: int
    windows: int
    known: int
    good: int
    visits: int


class SegmentSection(VerdictStruct, frozen=True, kw_only=True):
    """A segment of the period between two changes of the minimum RTT."""

    start_s: int
    start_iso: str
    end_s: int
    end_iso: str
    median_us: int
    change_us: int | None
    #: Share of good windows in the segment; null without a known window.
    share: float | None
    #: Verdict class of the windows in the segment; null if it is too short.
    verdict: str | None


class ConflictEntry(VerdictStruct, frozen=True, kw_only=True):
    """One figure of the vendor and the verdict by it."""

    limit_id: str
    text: str
    verdict: VerdictClass


class ConflictSection(VerdictStruct, frozen=True, kw_only=True):
    """Figures of several pages of one vendor for a limit of the profile."""

    id: str
    summary: str
    #: The milder first.
    entries: list[ConflictEntry]
    #: Id of the limit of the profile, which decides.
    decides: str


class SensitivityRow(VerdictStruct, frozen=True, kw_only=True):
    """The verdict with one parameter changed."""

    what: str
    value: str
    #: True for the parameters of the verdict.
    chosen: bool
    share: float | None
    low: float | None
    high: float | None
    verdict: VerdictClass


class Counterfactual(VerdictStruct, frozen=True, kw_only=True):
    """A change that would alter the verdict."""

    code: str
    numbers: dict[str, float | int | str]
    text: str


class PairVerdict(VerdictStruct, frozen=True, kw_only=True):
    """Verdict on one directed pair for one profile."""

    source: str
    destination: str
    profile: str
    verdict: VerdictClass
    #: "never" and "outside_more_than_half" if they apply.
    labels: list[str]
    #: Version 1 only: "strong", "adequate" or "weak", from the number of days; null if the class makes no claim.
    confidence: str | UnsetType | None = UNSET
    reasons: list[Reason]
    flips: list[Counterfactual]
    simulated: bool
    paths: list[str]
    #: Share of known windows; null (version 2) before the first whole day.
    coverage: float | None
    #: Hours of the week with too little coverage or too few visits.
    hours_missing: int
    shares: SharesSection
    rtt: RttSection
    physics: PropagationSection | None
    loss: list[LossSection]
    #: Longest episodes, in order of time.
    episodes: list[EpisodeSection]
    episodes_total: int
    migration: list[MigrationSection]
    hours: list[HourSection]
    segments: list[SegmentSection]
    #: Null without a search for change points: ruptures is not installed, or there are no replies.
    segments_agree: bool | None
    sensitivity: list[SensitivityRow]
    provenance: ProvenanceSection | UnsetType = UNSET
    #: The causes that occur, the most frequent first.
    causes: list[CauseSection] | UnsetType = UNSET
    milestones: list[MilestoneSection] | UnsetType = UNSET
    #: Null unless the verdict is "within", also provisionally.
    within: WithinSection | UnsetType | None = UNSET
    #: Null without a declaration.
    declared_outages: OutagesSection | UnsetType | None = UNSET
    #: Limits of the profile for which pages of the vendor print several figures.
    conflicts: list[ConflictSection] | UnsetType = UNSET


class SitesVerdict(VerdictStruct, frozen=True, kw_only=True):
    """Verdict on two or more sites: that of the worst pair."""

    sites: list[str]
    profile: str
    verdict: VerdictClass
    #: Source and destination of the worst pair; null if there is no pair.
    decided_by: list[str] | None
    #: Number of pairs tried by which a "beyond" of the set is corrected (Holm); null if it needs no correction.
    corrected_for: int | UnsetType | None = UNSET


class StatementSection(VerdictStruct, frozen=True, kw_only=True):
    """A statement of the vendor without a number that every verdict on the profile prints."""

    id: str
    vendor: str
    text: str
    #: True if the operator confirms it with ``--declare ID=1``.
    confirmed: bool
    title: str
    url: str | None


class ProfileSection(VerdictStruct, frozen=True, kw_only=True):
    """A requested profile."""

    id: str
    title: str
    note: str | None
    requirements: list[RequirementSection]
    #: What an answer made with the profile may claim, besides the rules of its limits.
    use_rules: list[str] | UnsetType = UNSET
    statements: list[StatementSection] | UnsetType = UNSET


class VerdictDocument(VerdictStruct, frozen=True, kw_only=True):
    """Verdicts of one request."""

    version: int
    leadline: str
    #: SHA-256 of the catalogue's data file.
    catalogue: str
    mesh_version: int | None
    start_s: int
    start_iso: str
    end_s: int
    end_iso: str
    days: int
    rule: RuleSection
    profiles: list[ProfileSection]
    pairs: list[PairVerdict]
    site_pairs: list[SitesVerdict]
    #: Over all requested sites, one per profile; empty for fewer than three sites.
    sets: list[SitesVerdict]
    #: Upper bound of the mean number of wrong claims: 5 % of the verdicts tried (version 1: of the claims made).
    wrong_claims_expected: float
