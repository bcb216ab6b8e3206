"""From the statistics of a window to its state for a limit (method.md §3.2 to §3.4), and what states add up to.

Rule 1: a state is decided in this order: ``unknown`` (coverage below 80 %), ``unavailable`` (loss of 20 % or more),
then the statistic against the limit. A percentile that falls on a lost probe is +infinity and meets no limit.
Rule 2: only integers are compared, microseconds rounded up. ``<=`` is exact for limits of whole microseconds; for ``<``
a value less than 1 µs below the limit counts as being at it.
Rule 3: the own host can only have added to an RTT, by H at most. Everything is read twice: pessimistic as measured,
optimistic with H taken off. A claim of "within" has to hold in the first, one of "beyond" in the second.
Rule 4: a limit that windows of round trips cannot answer is not judged, and a sentence says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log

from leadline.limits.catalogue import Comparison, Evaluability, Limit, Metric, Statistic
from leadline.model import WINDOW_S, ErrorBound
from leadline.statistics import WindowStats

#: Known means at least 4 of 5 slots sent: 48 of 60. Kept as integers, so that no rounding decides.
COVERAGE_NUMERATOR, COVERAGE_DENOMINATOR = 4, 5
#: Unavailable means at least 1 of 5 probes lost.
UNAVAILABLE_NUMERATOR, UNAVAILABLE_DENOMINATOR = 1, 5

WINDOWS_PER_DAY = 86_400 // WINDOW_S
#: "3.6 hours a month may be out of limit" (method.md §6.2).
TARGET_SHARE_DEFAULT = 0.995
#: An episode that was never seen could last this many windows: an assumption, printed with every claim (§4.3 b).
UNSEEN_OUTAGE_WINDOWS = 30
#: Upper 95 % bound on the number of episodes after none was seen: chi2inv(0.95; 2) / 2.
_EPISODES_UPPER_BOUND = -log(0.05)
#: Two visits of every hour of the week make a provisional campaign, four a full one (§4.4).
CAMPAIGN_DAYS_PROVISIONAL, CAMPAIGN_DAYS = 14, 28


class WindowState(StrEnum):
    """What a window says about a limit."""

    GOOD = "good"
    BAD = "bad"
    #: The path lost too much to carry a migration; counts against the limit and is reported apart.
    UNAVAILABLE = "unavailable"
    #: Too little was sent to know: a defect of the measurement, not of the path.
    UNKNOWN = "unknown"


_SEVERITY = {WindowState.GOOD: 0, WindowState.BAD: 1, WindowState.UNAVAILABLE: 2, WindowState.UNKNOWN: 3}


class WindowStatistic(StrEnum):
    """The number of a window that is compared."""

    #: Over the replies received; loss speaks through ``unavailable`` only.
    MEAN = "mean"
    #: For the sensitivity of a verdict only: no vendor names it.
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    #: Over the probes sent: one lost probe makes it +infinity.
    MAX = "max"
    #: Round-trip delay variation, p95 - min.
    PDV = "pdv"
    #: For the one vendor that adds jitter to the round trip before comparing.
    P95_PLUS_PDV = "p95 + pdv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """How a limit is judged in one window."""

    limit_id: str
    statistic: WindowStatistic
    comparison: Comparison
    limit_us: int
    #: Replies above the limit and up to this are allowed for a while: the readings differ then (``_peak_bounds_us``).
    #: None where the vendor allows none.
    peak_limit_us: int | None = None
    #: The stricter measure printed beside the headline, where the vendor names no statistic; None elsewhere.
    stricter_statistic: WindowStatistic | None = None
    #: What had to be assumed; None when the limit is judged as it is written.
    approximation: str | None = None

    @property
    def is_rtt_limit(self) -> bool:
        """True when the limit bounds the round trip itself, so that physics can exclude it; false for jitter."""
        return self.statistic is not WindowStatistic.PDV

    @property
    def description(self) -> str:
        """The comparison in words: ``p95 of each 60 s window < 5 ms``."""
        rule = f"{self.statistic} of each {WINDOW_S} s window {self.comparison} {self.limit_us / 1_000:g} ms"
        return rule if self.peak_limit_us is None else f"{rule}, max <= {self.peak_limit_us / 1_000:g} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnevaluableLimit:
    """A limit that the round trips of a window cannot answer."""

    limit_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """The limits of a profile, sorted into what a window answers and what it does not."""

    criteria: tuple[Criterion, ...]
    unevaluable_limits: tuple[UnevaluableLimit, ...]

    @property
    def reason(self) -> str | None:
        """Why nothing can be judged; None when something can."""
        return (
            None if self.criteria else "; ".join(f"{item.limit_id}: {item.reason}" for item in self.unevaluable_limits)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEvaluation:
    """The state in the reading least and in the one most favourable to the path; both unknown or neither."""

    worst_case: WindowState
    best_case: WindowState

    def __post_init__(self) -> None:
        if (self.worst_case is WindowState.UNKNOWN) != (self.best_case is WindowState.UNKNOWN):
            raise ValueError(f"{self.worst_case} and {self.best_case}: a window is known in both readings or in none")


UNKNOWN_EVALUATION = WindowEvaluation(worst_case=WindowState.UNKNOWN, best_case=WindowState.UNKNOWN)


def derive_criterion(limit: Limit) -> Criterion | UnevaluableLimit:
    """How windows are judged by this limit, or why they cannot be."""
    limit_us = limit.value_us
    reason = _find_unevaluable_reason(limit)
    if reason is not None or limit_us is None:
        return UnevaluableLimit(limit_id=limit.id, reason=reason or f"{limit.unit} is no unit of time")
    measure = (
        WindowStatistic.PDV
        if limit.metric is Metric.JITTER
        else _WINDOW_STATISTICS.get(limit.statistic, WindowStatistic.P95)
    )
    named = measure is not WindowStatistic.P95 or limit.statistic in (Statistic.P95, Statistic.SUSTAINED_BOUNDED_PEAKS)
    return Criterion(
        limit_id=limit.id,
        statistic=measure,
        comparison=limit.comparison,
        limit_us=2 * limit_us if limit.one_way else limit_us,
        peak_limit_us=_peak_limit_us(limit),
        stricter_statistic=None if named else WindowStatistic.MAX,
        approximation=_describe_approximation(limit),
    )


#: Statistics a vendor names; "maximum" and silence become p95, which forgives 3 of 60, with max beside it (§2).
_WINDOW_STATISTICS = {
    Statistic.AVERAGE: WindowStatistic.MEAN,
    Statistic.AVERAGE_BOUNDED_PEAKS: WindowStatistic.MEAN,
    Statistic.MAXIMUM_OF_AVERAGES: WindowStatistic.MEAN,
    Statistic.MAXIMUM_PLUS_JITTER: WindowStatistic.P95_PLUS_PDV,
    Statistic.P95: WindowStatistic.P95,
    Statistic.P99: WindowStatistic.P99,
}

_METRIC_REASONS = {
    Metric.BANDWIDTH: "a bandwidth does not show in round trips; the operator states it",
    Metric.MTU: "an MTU shows in probes of that size with fragmentation forbidden, not in round trips",
    Metric.DISTANCE: "a distance follows from where the sites are, not from round trips",
    Metric.HEARTBEAT: "a tolerance for missed heartbeats is about bursts of loss, not about round trips",
    Metric.DOWNTIME: "the pause of a guest shows only while it migrates",
}

_STATISTIC_REASONS = {
    Statistic.DIFFERENCE_OF_TWO_PATHS: "it limits the difference between two paths, and a window has one",
    Statistic.ETCD_END_TO_END: "it includes the disk and the software of etcd, of which a ping sees only the network",
}


#: Peaks that p95 forgives for certain and that p50 does not, in seconds of a window: 3 of 60, and half of them.
_PEAK_DURATION_S_MIN, _PEAK_DURATION_S_MAX = 3, 30


def _peak_limit_us(limit: Limit) -> int | None:
    if limit.statistic is not Statistic.SUSTAINED_BOUNDED_PEAKS or limit.time_window is None:
        return None
    peak = limit.time_window.peak_limit
    return None if peak is None else int(peak * 1_000)


def _has_unbounded_peaks(limit: Limit) -> bool:
    """True where peaks are allowed and the vendor does not say how high and long, or longer than a window tells."""
    lasting_s = limit.time_window.peak_duration_s if limit.time_window else None
    return limit.statistic is Statistic.SUSTAINED_BOUNDED_PEAKS and (
        _peak_limit_us(limit) is None
        or lasting_s is None
        or not _PEAK_DURATION_S_MIN <= lasting_s <= _PEAK_DURATION_S_MAX
    )


def _find_unevaluable_reason(limit: Limit) -> str | None:
    if limit.metric is Metric.LOSS:
        probes = f"{limit.probes_to_demonstrate:,}"
        return f"loss is judged over a period: to show {limit.text} takes {probes} probes without a single loss"
    reason = _METRIC_REASONS.get(limit.metric) or _STATISTIC_REASONS.get(limit.statistic)
    if reason is None and _has_unbounded_peaks(limit):
        return "the vendor allows peaks, and not of a height and length that a window shows"
    if reason is None and limit.icmp_evaluable is Evaluability.NO:
        return "it is not a limit on the network's round trip alone"
    return reason


def _describe_approximation(limit: Limit) -> str | None:
    assumed = []
    if limit.one_way:
        assumed.append("one direction is judged as the round trip against twice the limit, as if both were alike")
    if limit.metric is Metric.JITTER:
        definition = limit.jitter_definition or "not defined by vendor"
        assumed.append(f"jitter is judged as p95 - min of the round trips in a window (vendor: {definition})")
    elif limit.statistic is Statistic.MAXIMUM_PLUS_JITTER:
        assumed.append("the vendor's maximum plus jitter is judged as p95 plus p95 - min")
    elif _WINDOW_STATISTICS.get(limit.statistic) is WindowStatistic.MEAN:
        assumed.append("the vendor names no period for its average, so that of each window is judged")
    if _peak_limit_us(limit) is not None:
        assumed.append(
            "a peak is too long for certain when half of a window is above the limit, and short enough when p95 is not"
        )
    if limit.metric is Metric.JITTER and limit.time_window is not None:
        assumed.append("the vendor looks at a longer time, so a good window shows less than the vendor asks")
    return "; ".join(assumed) or None


def plan_evaluation(limits: Iterable[Limit]) -> EvaluationPlan:
    """The criteria of a profile's limits, and the limits that have none."""
    answers = [derive_criterion(limit) for limit in limits]
    return EvaluationPlan(
        criteria=tuple(answer for answer in answers if isinstance(answer, Criterion)),
        unevaluable_limits=tuple(answer for answer in answers if isinstance(answer, UnevaluableLimit)),
    )


def evaluate_window(
    stats: WindowStats, criterion: Criterion, error_bound: ErrorBound | None = None
) -> WindowEvaluation:
    """Both readings of a window; without an error bound they are the same."""
    error_us = error_bound.p99_us if error_bound else 0
    low_us, high_us = _compute_bounds_us(stats, criterion.statistic, error_us)
    if criterion.peak_limit_us is not None:
        low_us, high_us = _compute_peak_bounds_us(stats, criterion, error_us)
    return WindowEvaluation(
        worst_case=_classify_state(stats, criterion, high_us),
        best_case=_classify_state(stats, criterion, low_us),
    )


def evaluate_profile(
    stats: WindowStats, criteria: Iterable[Criterion], error_bound: ErrorBound | None = None
) -> WindowEvaluation:
    """The worst of each reading over the criteria of a profile; unknown when there are none."""
    readings = [evaluate_window(stats, criterion, error_bound) for criterion in criteria]
    return WindowEvaluation(
        worst_case=_find_worst_state(reading.worst_case for reading in readings),
        best_case=_find_worst_state(reading.best_case for reading in readings),
    )


def combine_paths(evaluations: Iterable[WindowEvaluation]) -> WindowEvaluation:
    """One window of a pair from its paths: known if any path knows it, then the worse and the better of the known."""
    known = [path for path in evaluations if path.worst_case is not WindowState.UNKNOWN]
    if not known:
        return UNKNOWN_EVALUATION
    return WindowEvaluation(
        worst_case=max((path.worst_case for path in known), key=_SEVERITY.__getitem__),
        best_case=min((path.best_case for path in known), key=_SEVERITY.__getitem__),
    )


def select_statistic_us(stats: WindowStats, statistic: WindowStatistic) -> int | None:
    """The number of a window that is compared; None where it is +infinity or nothing came back."""
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


#: How often the error bound comes off for the low reading and is added for the high one. A difference can also be
#: too small: the error may sit in the minimum.
ERROR_MULTIPLIERS = {WindowStatistic.PDV: (1, 1), WindowStatistic.P95_PLUS_PDV: (2, 1)}


def _compute_bounds_us(stats: WindowStats, measure: WindowStatistic, error_us: int) -> tuple[int | None, int | None]:
    value_us = select_statistic_us(stats, measure)
    if value_us is None:
        return None, None
    off, on = ERROR_MULTIPLIERS.get(measure, (1, 0))
    return max(0, value_us - off * error_us), value_us + on * error_us


def _compute_peak_bounds_us(stats: WindowStats, criterion: Criterion, error_us: int) -> tuple[int | None, int | None]:
    """What to compare where peaks are allowed: p50 for the optimist, p95 for the pessimist; None above the peak limit.

    3 of 60 probes above the limit are a short peak, 30 of 60 are none any more. Loss is no peak of a round trip.
    """
    assert criterion.peak_limit_us is not None
    p50_us, max_us = stats.p50_us, stats.max_us
    is_low = p50_us is not None and max_us is not None and max_us - error_us <= criterion.peak_limit_us
    is_high = max_us is not None and max_us <= criterion.peak_limit_us
    return max(0, p50_us - error_us) if is_low and p50_us is not None else None, stats.p95_us if is_high else None


def _classify_state(stats: WindowStats, criterion: Criterion, value_us: int | None) -> WindowState:
    if stats.sent == 0 or COVERAGE_DENOMINATOR * stats.sent < COVERAGE_NUMERATOR * stats.expected:
        return WindowState.UNKNOWN
    if UNAVAILABLE_DENOMINATOR * stats.lost >= UNAVAILABLE_NUMERATOR * stats.sent:
        return WindowState.UNAVAILABLE
    if value_us is None or not criterion.comparison.is_met(value_us, criterion.limit_us):
        return WindowState.BAD
    return WindowState.GOOD


def _find_worst_state(states: Iterable[WindowState]) -> WindowState:
    return max(states, key=_SEVERITY.__getitem__, default=WindowState.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowStateCounts:
    """How many windows of a period were in which state."""

    good: int = 0
    bad: int = 0
    unavailable: int = 0
    unknown: int = 0

    @property
    def known(self) -> int:
        return self.good + self.bad + self.unavailable

    @property
    def good_ratio(self) -> float | None:
        """The share of known windows that were good, 0..1: a point estimate, no claim. None when none is known."""
        return self.good / self.known if self.known else None

    @property
    def coverage_ratio(self) -> float | None:
        """The share of windows that are known, 0..1; None for an empty period."""
        windows = self.known + self.unknown
        return self.known / windows if windows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """How long a path must be measured without one bad window before "within" may be said."""

    #: Whole days for "within, provisional" and for "within".
    days_provisional: int
    days_within: int


def compute_campaign(
    target_share: float = TARGET_SHARE_DEFAULT, unseen_outage_windows: int = UNSEEN_OUTAGE_WINDOWS
) -> Campaign:
    """The days needed for a target share (above 0, below 1) if nothing bad is ever seen (method.md §4.3 b, k = 0)."""
    if not 0 < target_share < 1:
        raise ValueError(f"target share {target_share} is not between 0 and 1")
    days = _EPISODES_UPPER_BOUND * unseen_outage_windows / (1 - target_share) / WINDOWS_PER_DAY
    return Campaign(
        days_provisional=max(CAMPAIGN_DAYS_PROVISIONAL, ceil(days)),
        days_within=max(CAMPAIGN_DAYS, ceil(days)),
    )
