"""The document of a verdict: what ``leadline verdict --json`` prints and ``GET /api/v1/verdicts`` answers.

docs/verdict.schema.json is made from it. Ratios are 0..1, RTTs microseconds rounded up, times epoch seconds beside
ISO 8601 in UTC. Null is "unknown" or "does not exist here", and the comment says which.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

#: Counted up when a field changes its meaning or goes.
VERDICT_VERSION = 1


class VerdictClass(StrEnum):
    """The verdict, the most severe first: a pair of sites is as bad as its worse direction, a set as its worst pair."""

    #: Light in a vacuum is too slow for the limit, whatever is bought.
    IMPOSSIBLE = "impossible"
    #: Glass fibre is too slow even on a straight line.
    IMPOSSIBLE_ON_GLASS_FIBRE = "impossible_on_glass_fibre"
    #: Out of limit more often than the target allows, in the reading most favourable to the path.
    BEYOND = "beyond"
    #: Neither is shown.
    MARGINAL = "marginal"
    #: Faster than light: coordinates or clock are wrong, and nothing may be concluded.
    INVALID = "invalid"
    #: The measurement is at fault, not the path.
    INSUFFICIENT_DATA = "insufficient_data"
    #: Within, with something still to be shown or vouched for.
    WITHIN_PROVISIONAL = "within_provisional"
    #: Within the limit as often as the target asks, in the reading least favourable to the path.
    WITHIN = "within"


class VerdictStruct(Struct, frozen=True, kw_only=True):
    """An object of the document."""


class Reason(VerdictStruct, frozen=True, kw_only=True):
    """Why, as a code for programs, its numbers, and a sentence for people."""

    code: str
    #: Nothing but what the sentence says.
    numbers: dict[str, float | int | str]
    text: str


class LimitSource(VerdictStruct, frozen=True, kw_only=True):
    """Where a limit was published, and where that was read."""

    title: str
    url: str | None
    published: str | None
    read_in: str


class RequirementSection(VerdictStruct, frozen=True, kw_only=True):
    """One limit and what was done about it."""

    id: str
    text: str
    #: "catalogue", "overridden" or "user".
    origin: str
    #: The catalogue's own number where another was used; null elsewhere.
    was: str | None
    #: "windows", "loss", "declared" or "not_judged".
    how: str
    #: The comparison in words; null where it is not judged by windows.
    rule: str | None
    #: What had to be assumed; null for nothing.
    approximation: str | None
    #: Why it is not judged; null where it is.
    reason: str | None
    #: What the operator vouches for, in the unit of the limit; null for nothing.
    declared: str | None
    #: Whether that meets the limit; null where nothing was declared.
    holds: bool | None
    #: Null for a limit of the user's own.
    source: LimitSource | None


class RuleSection(VerdictStruct, frozen=True, kw_only=True):
    """The decision rule and every choice in it (method.md §3 to §6; docs/verdicts.md)."""

    id: str
    #: Y: the share of good windows that is asked for.
    target_share: float
    #: m0: how many minutes long an episode may be that nobody saw.
    unseen_windows: int
    confidence: float
    #: "bad": unknown minutes count against the path in the strict reading. "mar": explained ones leave the count.
    missing: str
    #: H taken off in the optimistic reading.
    with_error: bool
    glass_index: float
    days_provisional: int
    days_full: int
    coverage_min: float


class StateCounts(VerdictStruct, frozen=True, kw_only=True):
    """Windows by state."""

    good: int
    bad: int
    unavailable: int
    unknown: int


class IntervalSection(VerdictStruct, frozen=True, kw_only=True):
    """Bounds on the long-run share of good windows."""

    low: float
    high: float
    share: float
    #: "korn_graubard_by_day" or "episode_bound".
    rule: str
    #: The rarer state, "bad" or "good", and its merged episodes.
    counted: str
    episodes: int
    #: Their mean span in minutes; null without any.
    mean_length: float | None
    #: How many independent windows the days are worth; null under the episode bound.
    n_eff: float | None
    days: int
    windows: int


class ScenarioSection(VerdictStruct, frozen=True, kw_only=True):
    """One reading of the period."""

    states: StateCounts
    #: Unknown minutes counted as this reading does: bad in the pessimistic, good in the optimistic one.
    interval: IntervalSection | None


class SharesSection(VerdictStruct, frozen=True, kw_only=True):
    """How often the windows were within the limits."""

    #: good / known as measured: a point, no claim. Null if nothing is known.
    observed: float | None
    #: The same without unavailable windows.
    observed_when_available: float | None
    #: unavailable / known.
    unavailable: float | None
    #: The lower bound in the pessimistic reading: what may be claimed. Null in a period too short for one.
    demonstrated: float | None
    #: Further days, all known and all good, until the target is demonstrated; 0 if it is, null if 1,000 would not do.
    days_needed: int | None
    pessimistic: ScenarioSection
    optimistic: ScenarioSection


class LimitFeasibilitySection(VerdictStruct, frozen=True, kw_only=True):
    """A limit on the round trip held against light."""

    limit_id: str
    limit_us: int
    #: "possible", "impossible_on_glass_fibre" or "impossible".
    reach: str
    reach_km: float
    #: The longest route that could still meet the limit, as a multiple of the distance; null at distance 0.
    route_factor_max: float | None


class PropagationSection(VerdictStruct, frozen=True, kw_only=True):
    """What light allows between the sites; null in the document where coordinates are missing."""

    distance_km: float
    #: Less the uncertainty of both sites: what the floors are computed from.
    distance_low_km: float
    floor_vacuum_us: float
    floor_glass_us: float
    #: "plausible", "check_coordinates_or_medium" or "invalid"; null without a reply.
    plausibility: str | None
    #: Shortest round trip over the floor on glass; null without a reply or at distance 0.
    inflation: float | None
    #: No fibre longer than this can have answered so fast; null without a reply.
    fibre_km_max: float | None
    limits: list[LimitFeasibilitySection]


class RttSection(VerdictStruct, frozen=True, kw_only=True):
    """Round trips of the period, over all paths; null where nothing came back. p50 to max are of the windows' p95."""

    min_us: int | None
    p95_p50_us: int | None
    p95_p95_us: int | None
    p95_p99_us: int | None
    p95_max_us: int | None
    max_us: int | None
    #: Largest H of a window.
    error_max_us: int | None
    sent: int
    lost: int


class LossSection(VerdictStruct, frozen=True, kw_only=True):
    """A loss limit held against the probes of the period; independent losses are assumed and rarely true."""

    limit_id: str
    limit_ratio: float
    sent: int
    lost: int
    #: Clopper-Pearson, two-sided 95 %; null if nothing was sent.
    low: float | None
    high: float | None
    #: "below", "above" or "not_demonstrable_yet".
    finding: str
    #: More probes, none of them lost, that would show it; 0 if it is shown.
    probes_needed: int


class EpisodeSection(VerdictStruct, frozen=True, kw_only=True):
    """A stretch out of limit in the pessimistic reading of the known windows."""

    start_s: int
    start_iso: str
    end_s: int
    end_iso: str
    minutes: int
    bad: int
    unavailable: int
    #: Over all paths; null where p95 fell on a lost probe or nothing came back.
    p95_us_worst: int | None
    rtt_us_max: int | None
    sent: int
    lost: int


class MigrationSection(VerdictStruct, frozen=True, kw_only=True):
    """From which share of start times a migration of so many minutes stays within the limits throughout."""

    minutes: int
    pessimistic: float | None
    optimistic: float | None
    #: Longest stretch without a bad or unknown minute.
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
    """Between two changes of the path's shortest round trip."""

    start_s: int
    start_iso: str
    end_s: int
    end_iso: str
    median_us: int
    change_us: int | None
    #: What the windows of this segment alone say; null if it is too short to say anything.
    share: float | None
    verdict: str | None


class SensitivityRow(VerdictStruct, frozen=True, kw_only=True):
    """The verdict with one choice made differently."""

    what: str
    value: str
    #: True for the choice that was made.
    chosen: bool
    share: float | None
    low: float | None
    high: float | None
    verdict: VerdictClass


class Counterfactual(VerdictStruct, frozen=True, kw_only=True):
    """A change that would turn the verdict."""

    code: str
    numbers: dict[str, float | int | str]
    text: str


class PairVerdict(VerdictStruct, frozen=True, kw_only=True):
    """The verdict on one directed pair for one profile."""

    source: str
    destination: str
    profile: str
    verdict: VerdictClass
    #: "never" and "outside_more_than_half" where they apply.
    labels: list[str]
    #: "strong", "adequate" or "weak" with the days behind it; null where there is no claim.
    confidence: str | None
    reasons: list[Reason]
    flips: list[Counterfactual]
    simulated: bool
    paths: list[str]
    #: Known windows over all windows.
    coverage: float
    hours_missing: int
    shares: SharesSection
    rtt: RttSection
    physics: PropagationSection | None
    loss: list[LossSection]
    #: The longest, in order of time.
    episodes: list[EpisodeSection]
    episodes_total: int
    migration: list[MigrationSection]
    hours: list[HourSection]
    segments: list[SegmentSection]
    #: Null if change points were not looked for: ruptures is not installed, or there are no replies.
    segments_agree: bool | None
    sensitivity: list[SensitivityRow]


class SitesVerdict(VerdictStruct, frozen=True, kw_only=True):
    """Two sites, or a set of them: as bad as the worst of its pairs."""

    sites: list[str]
    profile: str
    verdict: VerdictClass
    #: The pair that decided, as source and destination; null where there is none.
    decided_by: list[str] | None


class ProfileSection(VerdictStruct, frozen=True, kw_only=True):
    """What was asked."""

    id: str
    title: str
    note: str | None
    requirements: list[RequirementSection]


class VerdictDocument(VerdictStruct, frozen=True, kw_only=True):
    """Everything that was asked for at once."""

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
    #: Over every site asked about; null for a single pair.
    sets: list[SitesVerdict]
    #: At most so many of the claims are wrong on average.
    wrong_claims_expected: float
