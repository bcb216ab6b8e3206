"""Evaluation of window statistics against limits (method.md §3.2 to §3.4), and counts of the resulting states.

Rule 1: the order of decision is ``unknown`` (coverage below 80 %), ``unavailable`` (loss of 20 % or more), then the
comparison of the statistic with the limit. A percentile that falls on a lost probe is +infinity and meets no limit. A
limit on a mean is not met either if more than 5 % of the probes were lost.
Rule 2: comparisons use integers: microseconds, rounded up. ``<=`` is exact for limits of whole microseconds; for ``<``
a value less than 1 µs below the limit counts as equal to it.
Rule 3: the agent's host can only increase an RTT, by H at most. Every window is evaluated twice: in the worst case as
measured, in the best case minus H. "within" must be true in the worst case, "beyond" in the best case.
Rule 4: a limit that RTT windows cannot test is not evaluated; a sentence gives the reason.
Rule 5: with fewer than 20 probes sent in a window, p95 is the maximum. In the best case such a window is not good only
if its median is above the limit or lost.
Rule 6: a window that is not good has one cause (``WindowCause``).
Rule 7: if pages of the vendor print both ``<`` and ``<=``, a value equal to the limit is bad in the worst case and good
in the best case. Above a limit that may not condemn, a window is good in the best case.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log

from leadline.limits.catalogue import Comparison, Evaluability, Limit, Metric, Statistic, UseRule
from leadline.model import WINDOW_S, ErrorBound
from leadline.statistics import WindowStats

#: A window is known if at least 4 of 5 slots were sent: 48 of 60. Integers avoid rounding.
COVERAGE_NUMERATOR, COVERAGE_DENOMINATOR = 4, 5
#: A window is unavailable if at least 1 of 5 probes was lost.
UNAVAILABLE_NUMERATOR, UNAVAILABLE_DENOMINATOR = 1, 5

#: A percentile of fewer scheduled probes is the maximum, and of fewer than 48 it is uncertain.
PROBES_MIN_FOR_P95, PROBES_MIN = 20, 48
#: Losses that p95 tolerates: 1 of 20 probes sent. A limit on a mean, which does not contain losses, tolerates the same.
TOLERATED_LOSS_DENOMINATOR = 20

WINDOWS_PER_DAY = 86_400 // WINDOW_S
#: 3.6 hours a month may be out of limit (method.md §6.2).
TARGET_SHARE_DEFAULT = 0.995
#: m0: assumed longest unobserved outage in windows, of "within" and of "within, provisionally"; every claim states it.
UNSEEN_OUTAGE_WINDOWS, UNSEEN_OUTAGE_WINDOWS_PROVISIONAL = 240, 30
#: Upper 95 % bound on the number of episodes if none was observed: chi2inv(0.95; 2) / 2.
_EPISODES_UPPER_BOUND = -log(0.05)
#: "Beyond" and "marginal" need two visits of every hour of the week, both forms of "within" four.
CAMPAIGN_DAYS_PROVISIONAL, CAMPAIGN_DAYS = 14, 28


class WindowState(StrEnum):
    """Result of a window for a limit."""

    GOOD = "good"
    BAD = "bad"
    #: The path lost too many probes to carry a migration; counts against the limit and is reported separately.
    UNAVAILABLE = "unavailable"
    #: Too few probes were sent: a defect of the measurement, not of the path.
    UNKNOWN = "unknown"


_SEVERITY = {WindowState.GOOD: 0, WindowState.BAD: 1, WindowState.UNAVAILABLE: 2, WindowState.UNKNOWN: 3}


class WindowCause(StrEnum):
    """Cause of a window that is not good; the first that applies."""

    #: At least 20 % of the probes were lost.
    OUTAGE = "outage"
    #: The losses alone are more than the statistic tolerates (5 % for p95 and the mean).
    LOSS = "loss"
    #: The replies above the limit alone are more than the statistic tolerates.
    LATENCY = "latency"
    #: Only losses and late replies together are too many.
    BOTH = "both"


#: Causes from the least to the most severe: of several limits or paths, the most severe cause counts.
CAUSE_SEVERITY = {None: 0, WindowCause.BOTH: 1, WindowCause.LATENCY: 2, WindowCause.LOSS: 3, WindowCause.OUTAGE: 4}


class WindowStatistic(StrEnum):
    """Statistic of a window that is compared with the limit."""

    #: Over the replies received; besides, at most 5 % of the probes sent may be lost.
    MEAN = "mean"
    #: Only for the sensitivity analysis of a verdict: no vendor uses it.
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    #: Over the probes sent: one lost probe makes it +infinity.
    MAX = "max"
    #: Round-trip delay variation, p95 - min.
    PDV = "pdv"
    #: For the one vendor that adds jitter to the RTT before the comparison.
    P95_PLUS_PDV = "p95 + pdv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """Test of one window against a limit."""

    limit_id: str
    statistic: WindowStatistic
    comparison: Comparison
    limit_us: int
    #: Short peaks above the limit and up to this value are allowed (see ``_compute_peak_bounds_us``).
    #: None if the vendor allows no peaks.
    peak_limit_us: int | None = None
    #: Stricter statistic reported in addition if the vendor names no statistic; None otherwise.
    stricter_statistic: WindowStatistic | None = None
    #: Assumptions made; None if the limit is evaluated exactly as published.
    approximation: str | None = None
    #: The vendor prints both ``<`` and ``<=``.
    is_equality_open: bool = False
    #: A value above the limit rejects nothing, at least not alone.
    never_condemns: bool = False

    @property
    def worst_case_comparison(self) -> Comparison:
        """Comparison in the worst case for the path."""
        return Comparison.LESS if self.is_equality_open else self.comparison

    @property
    def best_case_comparison(self) -> Comparison:
        """Comparison in the best case for the path."""
        return Comparison.LESS_EQUAL if self.is_equality_open else self.comparison

    @property
    def is_rtt_limit(self) -> bool:
        """True if the limit applies to the RTT, so that the propagation delay can exclude it; false for jitter."""
        return self.statistic is not WindowStatistic.PDV

    @property
    def description(self) -> str:
        """Comparison in words: ``p95 of each 60 s window < 5 ms``."""
        rule = f"{self.statistic} of each {WINDOW_S} s window {self.comparison} {self.limit_us / 1_000:.10g} ms"
        return rule if self.peak_limit_us is None else f"{rule}, max <= {self.peak_limit_us / 1_000:.10g} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnevaluableLimit:
    """A limit that RTT windows cannot test."""

    limit_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """Limits of a profile, split into those that windows can test and those that they cannot."""

    criteria: tuple[Criterion, ...]
    unevaluable_limits: tuple[UnevaluableLimit, ...]

    @property
    def reason(self) -> str | None:
        """Reason why windows can test none of the limits; None if they can test at least one."""
        if self.criteria:
            return None
        return "; ".join(f"{limit.limit_id}: {limit.reason}" for limit in self.unevaluable_limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEvaluation:
    """State of a window in the worst case and in the best case for the path; both are unknown or neither is."""

    worst_case: WindowState
    best_case: WindowState
    #: Cause of the worst case; None if it is good or unknown.
    cause: WindowCause | None = None

    def __post_init__(self) -> None:
        if (self.worst_case is WindowState.UNKNOWN) != (self.best_case is WindowState.UNKNOWN):
            raise ValueError(f"worst case {self.worst_case}, best case {self.best_case}: unknown applies to both cases")


UNKNOWN_EVALUATION = WindowEvaluation(worst_case=WindowState.UNKNOWN, best_case=WindowState.UNKNOWN)


def derive_criterion(limit: Limit) -> Criterion | UnevaluableLimit:
    """Return the criterion that tests windows against this limit, or the reason why there is none."""
    limit_us = limit.value_us
    reason = _find_unevaluable_reason(limit)
    if reason is not None or limit_us is None:
        return UnevaluableLimit(limit_id=limit.id, reason=reason or f"{limit.unit} is not a unit of time")
    statistic = (
        WindowStatistic.PDV
        if limit.metric is Metric.JITTER
        else _WINDOW_STATISTICS.get(limit.statistic, WindowStatistic.P95)
    )
    is_named_by_vendor = statistic is not WindowStatistic.P95 or limit.statistic in (
        Statistic.P95,
        Statistic.SUSTAINED_BOUNDED_PEAKS,
    )
    return Criterion(
        limit_id=limit.id,
        statistic=statistic,
        comparison=limit.comparison,
        limit_us=2 * limit_us if limit.one_way else limit_us,
        peak_limit_us=_peak_limit_us(limit),
        stricter_statistic=None if is_named_by_vendor else WindowStatistic.MAX,
        approximation=_describe_approximation(limit),
        is_equality_open=UseRule.EQUALITY_OPEN in limit.use_rules,
        never_condemns=not NEVER_CONDEMNING_RULES.isdisjoint(limit.use_rules),
    )


#: Rules of use with which a value above the limit gives no bad window in the best case.
NEVER_CONDEMNING_RULES = frozenset((UseRule.ACQUIT_ONLY, UseRule.NOT_ALONE))

#: Rules of use with which a limit is reported and never evaluated.
REPORTED_ONLY_REASONS = {
    UseRule.NEVER_A_VERDICT: "the figure is reported only: it never gives a verdict",
    UseRule.ALARM: "it is the threshold of an alarm of the product, not a limit",
}

#: Statistics that vendors name. "maximum" and unspecified use p95, which tolerates 3 of 60 probes, plus max (§2).
_WINDOW_STATISTICS = {
    Statistic.AVERAGE: WindowStatistic.MEAN,
    Statistic.AVERAGE_BOUNDED_PEAKS: WindowStatistic.MEAN,
    Statistic.MAXIMUM_OF_AVERAGES: WindowStatistic.MEAN,
    Statistic.MAXIMUM_PLUS_JITTER: WindowStatistic.P95_PLUS_PDV,
    Statistic.P95: WindowStatistic.P95,
    Statistic.P99: WindowStatistic.P99,
}

_METRIC_REASONS = {
    Metric.BANDWIDTH: "RTTs do not show the bandwidth; the operator declares it",
    Metric.MTU: "testing an MTU requires probes of that size with fragmentation forbidden, not RTTs",
    Metric.DISTANCE: "the distance follows from the locations of the sites, not from RTTs",
    Metric.HEARTBEAT: "a tolerance for missed heartbeats depends on bursts of loss, not on RTTs",
    Metric.DOWNTIME: "the pause of a guest is measurable only during its migration",
}

_STATISTIC_REASONS = {
    Statistic.DIFFERENCE_OF_TWO_PATHS: "it limits the difference between two paths; a window has only one",
    Statistic.ETCD_END_TO_END: "it includes the disk and the software of etcd; a ping measures only the network",
}


#: Peak lengths in seconds of a window that p95 tolerates for certain (3 of 60) and that p50 does not (half of them).
_PEAK_DURATION_S_MIN, _PEAK_DURATION_S_MAX = 3, 30


def _peak_limit_us(limit: Limit) -> int | None:
    if limit.statistic is not Statistic.SUSTAINED_BOUNDED_PEAKS or limit.time_window is None:
        return None
    peak = limit.time_window.peak_limit
    return None if peak is None else int(peak * 1_000)


def _has_unbounded_peaks(limit: Limit) -> bool:
    """True if the vendor allows peaks without giving their height and length, or with a length a window cannot show."""
    duration_s = limit.time_window.peak_duration_s if limit.time_window else None
    return limit.statistic is Statistic.SUSTAINED_BOUNDED_PEAKS and (
        _peak_limit_us(limit) is None
        or duration_s is None
        or not _PEAK_DURATION_S_MIN <= duration_s <= _PEAK_DURATION_S_MAX
    )


def _find_unevaluable_reason(limit: Limit) -> str | None:
    if limit.metric is Metric.LOSS:
        probes = f"{limit.probes_to_demonstrate:,}"
        return (
            f"loss is evaluated over a period: demonstrating {limit.text} takes {probes} probes without a single loss"
        )
    reason = _METRIC_REASONS.get(limit.metric) or _STATISTIC_REASONS.get(limit.statistic)
    if reason is None and _has_unbounded_peaks(limit):
        return "the vendor allows peaks of a height or length that a window cannot show"
    if reason is None and limit.icmp_evaluable is Evaluability.NO:
        return "it does not limit the RTT of the network alone"
    if reason is None:
        return next((REPORTED_ONLY_REASONS[rule] for rule in limit.use_rules if rule in REPORTED_ONLY_REASONS), None)
    return reason


def _describe_approximation(limit: Limit) -> str | None:
    assumptions = []
    if limit.one_way:
        assumptions.append("the RTT is compared with twice the one-way limit; both directions are assumed equal")
    if limit.metric is Metric.JITTER:
        definition = limit.jitter_definition or "not defined by vendor"
        assumptions.append(f"jitter is evaluated as p95 - min of the RTTs in a window (vendor: {definition})")
    elif limit.statistic is Statistic.MAXIMUM_PLUS_JITTER:
        assumptions.append("the vendor's maximum plus jitter is evaluated as p95 plus p95 - min")
    elif _WINDOW_STATISTICS.get(limit.statistic) is WindowStatistic.MEAN:
        assumptions.append("the vendor gives no period for its average; the average of each window is evaluated")
    if _peak_limit_us(limit) is not None:
        assumptions.append(
            "a peak is certainly too long if half of a window is above the limit, and short enough if p95 is not"
        )
    if limit.metric is Metric.JITTER and limit.time_window is not None:
        assumptions.append("the vendor uses a longer period, so a good window shows less than the vendor requires")
    return "; ".join(assumptions) or None


def plan_evaluation(limits: Iterable[Limit]) -> EvaluationPlan:
    """Derive the criteria of the limits of a profile; limits without a criterion are listed with a reason."""
    results = [derive_criterion(limit) for limit in limits]
    return EvaluationPlan(
        criteria=tuple(result for result in results if isinstance(result, Criterion)),
        unevaluable_limits=tuple(result for result in results if isinstance(result, UnevaluableLimit)),
    )


def evaluate_window(
    stats: WindowStats, criterion: Criterion, error_bound: ErrorBound | None = None
) -> WindowEvaluation:
    """Evaluate a window in the worst and in the best case; they are equal without an error bound."""
    error_us = error_bound.p99_us if error_bound else 0
    low_us, high_us = _compute_bounds_us(stats, criterion.statistic, error_us)
    if criterion.peak_limit_us is not None:
        low_us, high_us = _compute_peak_bounds_us(stats, criterion, error_us)
    worst_case = _classify_state(stats, criterion, high_us, criterion.worst_case_comparison)
    return WindowEvaluation(
        worst_case=worst_case,
        best_case=_classify_best_case(stats, criterion, low_us),
        cause=_find_cause(stats, criterion, error_us, worst_case),
    )


def evaluate_profile(
    stats: WindowStats, criteria: Iterable[Criterion], error_bound: ErrorBound | None = None
) -> WindowEvaluation:
    """Return the worst state over the criteria of a profile, in each case; unknown if there are no criteria."""
    evaluations = [evaluate_window(stats, criterion, error_bound) for criterion in criteria]
    return WindowEvaluation(
        worst_case=_find_worst_state(evaluation.worst_case for evaluation in evaluations),
        best_case=_find_worst_state(evaluation.best_case for evaluation in evaluations),
        cause=_find_worst_cause(evaluations),
    )


def combine_paths(evaluations: Iterable[WindowEvaluation]) -> WindowEvaluation:
    """Combine the evaluations of all paths of a pair for one window.

    The worst of the worst cases, with its cause, and the best of the best cases over the paths with a known state;
    unknown if every path is unknown.
    """
    known_paths = [path for path in evaluations if path.worst_case is not WindowState.UNKNOWN]
    if not known_paths:
        return UNKNOWN_EVALUATION
    return WindowEvaluation(
        worst_case=_find_worst_state(path.worst_case for path in known_paths),
        best_case=min((path.best_case for path in known_paths), key=_SEVERITY.__getitem__),
        cause=_find_worst_cause(known_paths),
    )


def select_statistic_us(stats: WindowStats, statistic: WindowStatistic) -> int | None:
    """Return the value of a statistic; None if it is +infinity or no reply was received."""
    match statistic:
        case WindowStatistic.MEAN:
            return stats.mean_us
        case WindowStatistic.P50:
            return stats.p50_us
        case WindowStatistic.P95:
            return stats.p95_us
        case WindowStatistic.P99:
            return stats.p99_us
        case WindowStatistic.MAX:
            return None if stats.lost else stats.max_us
        case WindowStatistic.PDV:
            return stats.pdv_us
        case WindowStatistic.P95_PLUS_PDV:
            return None if stats.p95_us is None or stats.pdv_us is None else stats.p95_us + stats.pdv_us


#: Factors of the error bound: subtracted in the best case, added in the worst case. A difference can also be measured
#: too small, because the minimum may include the error.
ERROR_MULTIPLIERS = {WindowStatistic.PDV: (1, 1), WindowStatistic.P95_PLUS_PDV: (2, 1)}


def _compute_bounds_us(stats: WindowStats, statistic: WindowStatistic, error_us: int) -> tuple[int | None, int | None]:
    """Return the best-case and the worst-case value; None if it is +infinity."""
    value_us = select_statistic_us(stats, statistic)
    best_us = _select_median_us(stats, statistic) if _has_few_probes(stats, statistic) else value_us
    subtracted, added = ERROR_MULTIPLIERS.get(statistic, (1, 0))
    return (
        None if best_us is None else max(0, best_us - subtracted * error_us),
        None if value_us is None else value_us + added * error_us,
    )


#: Statistics that contain a high percentile.
PERCENTILE_STATISTICS = frozenset(
    {WindowStatistic.P95, WindowStatistic.P99, WindowStatistic.PDV, WindowStatistic.P95_PLUS_PDV}
)


def _has_few_probes(stats: WindowStats, statistic: WindowStatistic) -> bool:
    return stats.sent < PROBES_MIN_FOR_P95 and statistic in PERCENTILE_STATISTICS


def _select_median_us(stats: WindowStats, statistic: WindowStatistic) -> int | None:
    """Return the statistic with the median in place of the percentile; None if it is +infinity."""
    return _combine_us(statistic, stats.p50_us, stats.min_us)


def _combine_us(statistic: WindowStatistic, percentile_us: int | None, min_us: int | None) -> int | None:
    """Return the statistic with this value in place of its percentile."""
    if percentile_us is None or min_us is None:
        return None
    match statistic:
        case WindowStatistic.PDV:
            return percentile_us - min_us
        case WindowStatistic.P95_PLUS_PDV:
            return 2 * percentile_us - min_us
        case _:
            return percentile_us


def _compute_peak_bounds_us(stats: WindowStats, criterion: Criterion, error_us: int) -> tuple[int | None, int | None]:
    """Return the best-case value (p50) and the worst-case value (p95) if peaks are allowed; None above the peak limit.

    3 of 60 probes above the limit are a short peak, 30 of 60 are not. Loss does not count as a peak.
    """
    assert criterion.peak_limit_us is not None
    p50_us, max_us = stats.p50_us, stats.max_us
    is_low = p50_us is not None and max_us is not None and max_us - error_us <= criterion.peak_limit_us
    is_high = max_us is not None and max_us <= criterion.peak_limit_us
    return max(0, p50_us - error_us) if is_low and p50_us is not None else None, stats.p95_us if is_high else None


def _classify_state(
    stats: WindowStats, criterion: Criterion, value_us: int | None, comparison: Comparison
) -> WindowState:
    if _is_unknown(stats):
        return WindowState.UNKNOWN
    if UNAVAILABLE_DENOMINATOR * stats.lost >= UNAVAILABLE_NUMERATOR * stats.sent:
        return WindowState.UNAVAILABLE
    if criterion.statistic is WindowStatistic.MEAN and stats.lost > _count_tolerated_losses(stats, criterion):
        return WindowState.BAD
    return _compare(comparison, value_us, criterion.limit_us)


def _classify_best_case(stats: WindowStats, criterion: Criterion, value_us: int | None) -> WindowState:
    """Return the state; with few probes a loss counts only if the median is lost (rule 5)."""
    comparison = criterion.best_case_comparison
    if _is_unknown(stats) or stats.sent >= PROBES_MIN_FOR_P95:
        state = _classify_state(stats, criterion, value_us, comparison)
    elif stats.p50_us is None:
        state = WindowState.UNAVAILABLE
    else:
        state = _compare(comparison, value_us, criterion.limit_us)
    return WindowState.GOOD if state is WindowState.BAD and criterion.never_condemns else state


def _is_unknown(stats: WindowStats) -> bool:
    return stats.sent == 0 or COVERAGE_DENOMINATOR * stats.sent < COVERAGE_NUMERATOR * stats.expected


def _compare(comparison: Comparison, value_us: int | None, limit_us: int) -> WindowState:
    if value_us is None or not comparison.is_met(value_us, limit_us):
        return WindowState.BAD
    return WindowState.GOOD


#: Probes per tolerated loss by statistic; a maximum tolerates none. All others are like p95.
TOLERATED_LOSS_DENOMINATORS = {WindowStatistic.P50: 2, WindowStatistic.P99: 100}


def _count_tolerated_losses(stats: WindowStats, criterion: Criterion) -> int:
    """Return the number of lost probes that do not exceed the limit by themselves."""
    if criterion.statistic is WindowStatistic.MAX:
        return 0
    return stats.sent // TOLERATED_LOSS_DENOMINATORS.get(criterion.statistic, TOLERATED_LOSS_DENOMINATOR)


def _find_cause(stats: WindowStats, criterion: Criterion, error_us: int, state: WindowState) -> WindowCause | None:
    """Return the cause of a worst-case state."""
    if state in {WindowState.GOOD, WindowState.UNKNOWN}:
        return None
    if state is WindowState.UNAVAILABLE:
        return WindowCause.OUTAGE
    if stats.lost > _count_tolerated_losses(stats, criterion):
        return WindowCause.LOSS
    is_late = stats.lost == 0 or criterion.statistic is WindowStatistic.MEAN or _is_late(stats, criterion, error_us)
    return WindowCause.LATENCY if is_late else WindowCause.BOTH


def _is_late(stats: WindowStats, criterion: Criterion, error_us: int) -> bool:
    """True if the replies alone exceed the limit, although some probes were lost.

    A window without ``latency_p95_us`` (stored before it existed) is late only if its median is. p99 with losses of at
    most 1 % is late if its latency p95 is: the exact rank is not stored.
    """
    if criterion.peak_limit_us is not None and stats.max_us is not None and stats.max_us > criterion.peak_limit_us:
        return True
    percentile_us = stats.p50_us if stats.latency_p95_us is None else stats.latency_p95_us
    value_us = _combine_us(criterion.statistic, percentile_us, stats.min_us)
    _, added = ERROR_MULTIPLIERS.get(criterion.statistic, (1, 0))
    comparison = criterion.worst_case_comparison
    return value_us is not None and not comparison.is_met(value_us + added * error_us, criterion.limit_us)


def _find_worst_state(states: Iterable[WindowState]) -> WindowState:
    return max(states, key=_SEVERITY.__getitem__, default=WindowState.UNKNOWN)


def _find_worst_cause(evaluations: Iterable[WindowEvaluation]) -> WindowCause | None:
    return max((evaluation.cause for evaluation in evaluations), key=CAUSE_SEVERITY.__getitem__, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowStateCounts:
    """Number of windows of a period by state."""

    good: int = 0
    bad: int = 0
    unavailable: int = 0
    unknown: int = 0

    @property
    def known(self) -> int:
        return self.good + self.bad + self.unavailable

    @property
    def good_ratio(self) -> float | None:
        """Share of good windows among the known ones, 0..1, as a point estimate; None without a known window."""
        return self.good / self.known if self.known else None

    @property
    def coverage_ratio(self) -> float | None:
        """Share of known windows, 0..1; None for an empty period."""
        windows = self.known + self.unknown
        return self.known / windows if windows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Days of measurement without a bad window that a verdict requires."""

    #: Whole days for "within, provisionally".
    days_provisional: int
    #: Whole days for "within", unless the operator declares the outages.
    days_within: int


def compute_campaign(
    target_share: float = TARGET_SHARE_DEFAULT, unseen_outage_windows: int = UNSEEN_OUTAGE_WINDOWS
) -> Campaign:
    """Compute the days needed for a target share (0 < share < 1) without any bad window: 28 and 100 for 99.5 %."""
    if not 0 < target_share < 1:
        raise ValueError(f"target share {target_share} is not between 0 and 1")
    provisional, within = (
        max(CAMPAIGN_DAYS, ceil(_EPISODES_UPPER_BOUND * windows / (1 - target_share) / WINDOWS_PER_DAY))
        for windows in (min(unseen_outage_windows, UNSEEN_OUTAGE_WINDOWS_PROVISIONAL), unseen_outage_windows)
    )
    return Campaign(days_provisional=provisional, days_within=within)
