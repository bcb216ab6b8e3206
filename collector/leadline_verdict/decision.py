"""Verdict class from the windows alone, second edition (docs/verdicts.md).

Rule 1: "within" is claimed for the worst case with every unknown minute bad, "beyond" for the best case with every
unknown minute good.
Rule 2: "within" allows for an unseen outage of m0 = 240 minutes or for the declared outages, "within, provisionally"
for one of 30 minutes.
Rule 3: if neither holds and another value of the unknown minutes would give a claim, the data are insufficient.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from leadline.evaluation import (
    CAMPAIGN_DAYS,
    CAMPAIGN_DAYS_PROVISIONAL,
    TARGET_SHARE_DEFAULT,
    UNSEEN_OUTAGE_WINDOWS,
    UNSEEN_OUTAGE_WINDOWS_PROVISIONAL,
    WINDOWS_PER_DAY,
)
from leadline.mesh.model import DeclaredOutages
from leadline.model import WINDOW_S
from leadline_verdict.binomial import poisson_lower_bound
from leadline_verdict.document import VerdictClass
from leadline_verdict.episodes import find_runs
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.share_bounds import (
    BadMinutes,
    LowerBound,
    LowerBoundMethod,
    compute_lower_bound,
    compute_upper_bound,
    count_bad_minutes,
)
from leadline_verdict.share_interval import CountedState, IntervalMethod, ShareInterval
from leadline_verdict.states import BAD, GOOD, OUTAGE, MinuteMask, ScenarioStates

#: 365.25 days in seconds.
YEAR_S = 31_557_600
#: Smallest share of known windows of a valid period (§3.2).
COVERAGE_MIN = 0.95
#: Largest share of unknown windows for ``missing = mar`` (§3.3).
MAR_UNKNOWN_RATIO_MAX = 0.01


class MissingPolicy(StrEnum):
    """Treatment of unknown minutes."""

    #: Bad in the worst case, good in the best case.
    BAD = "bad"
    #: Missing at random: excluded if every gap has a logged cause other than the path.
    MAR = "mar"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRule:
    """Parameters of a verdict; all are reported with it."""

    target_share: float = TARGET_SHARE_DEFAULT
    #: m0 of "within"; the first edition used 30.
    unseen_outage_windows: int = UNSEEN_OUTAGE_WINDOWS
    missing_policy: MissingPolicy = MissingPolicy.BAD
    use_error_bound: bool = True
    edition: RuleEdition = RuleEdition.SECOND

    def __post_init__(self) -> None:
        if not 0.5 < self.target_share < 1:
            raise ValueError(f"a target share of {self.target_share} is not between one half and 1")
        if self.unseen_outage_windows < 1:
            raise ValueError(
                f"an unseen outage of {self.unseen_outage_windows} minutes is too short; use at least 1 minute"
            )


#: m0 of each edition unless the request names another one.
UNSEEN_OUTAGE_WINDOWS_BY_EDITION = {
    RuleEdition.FIRST: UNSEEN_OUTAGE_WINDOWS_PROVISIONAL,
    RuleEdition.SECOND: UNSEEN_OUTAGE_WINDOWS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioIntervals:
    """Intervals of a period in both cases; None if the period is too short for an interval."""

    worst_case: ShareInterval | None
    best_case: ShareInterval | None

    def classify(self, target_share: float) -> VerdictClass:
        """Return BEYOND, WITHIN or MARGINAL."""
        if self.best_case is not None and self.best_case.high < target_share:
            return VerdictClass.BEYOND
        if self.worst_case is not None and self.worst_case.low >= target_share:
            return VerdictClass.WITHIN
        return VerdictClass.MARGINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredVerdict:
    """Class of whole UTC days from the windows alone, and what it is based on."""

    verdict_class: VerdictClass
    intervals: ScenarioIntervals
    #: Classes with all unknown minutes bad, and with all of them good.
    class_if_bad: VerdictClass
    class_if_good: VerdictClass
    #: Whole UTC days.
    days: int
    #: Share of known windows, 0..1.
    coverage: float
    #: Unknown minutes were excluded (``missing = mar``).
    has_excluded_unknown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageAllowance:
    """What the lower bounds allow for outages that the period did not show."""

    rule: VerdictRule
    declared: DeclaredOutages | None
    #: The period shows a longer outage than the declared longest one.
    is_contradicted: bool = False

    def compute_low(self, observed: BadMinutes) -> LowerBound:
        """Compute the lower bound of "within".

        Declared outages replace m0, also where that gives a lower bound: an operator who declares two days a year is
        not within 99.5 % because a campaign missed them. A contradicted declaration raises no bound.
        """
        by_default = compute_lower_bound(observed, self.rule.unseen_outage_windows)
        if self.declared is None:
            return by_default
        by_declaration = self.compute_low_provisional(observed)
        return min(by_default, by_declaration, key=_get_low) if self.is_contradicted else by_declaration

    def compute_low_provisional(self, observed: BadMinutes) -> LowerBound:
        """Compute the lower bound of "within, provisionally": m0 is 30 minutes, or less if the request says so.

        Declared outages are subtracted, although some of them may be among the observed ones.
        """
        shortest = min(self.rule.unseen_outage_windows, UNSEEN_OUTAGE_WINDOWS_PROVISIONAL)
        bound = compute_lower_bound(observed, shortest)
        if self.declared is None:
            return bound
        return LowerBound(low=max(0.0, bound.low - self.declared.unavailable_ratio), method=bound.method)


def _get_low(bound: LowerBound) -> float:
    return bound.low


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodVerdict(MeasuredVerdict):
    """A measured verdict of the second edition."""

    #: Bad minutes in the worst case with every unknown minute bad, in the best case with every unknown minute good.
    worst_case_bad: BadMinutes
    best_case_bad: BadMinutes
    #: Lower bound in the worst case with an unseen outage of 30 minutes.
    low_provisional: float
    allowance: OutageAllowance


def classify_period(
    states: ScenarioStates,
    rule: VerdictRule,
    explained_minutes: MinuteMask | None = None,
    declared_outages: DeclaredOutages | None = None,
) -> PeriodVerdict:
    """Classify whole UTC days. ``explained_minutes`` are missing for a logged cause other than the path."""
    unknown = states.unknown_minutes
    exclude_unknown = can_exclude_unknown(rule, unknown, explained_minutes)
    counted = ~(unknown & exclude_unknown)
    allowance = OutageAllowance(
        rule=rule, declared=declared_outages, is_contradicted=_is_contradicted(declared_outages, states)
    )
    worst = count_bad_minutes(states.with_unknown_as(BAD).worst_case != GOOD, counted)
    best = count_bad_minutes(states.with_unknown_as(GOOD).best_case != GOOD)
    days = len(states) // WINDOWS_PER_DAY
    base = _classify(worst, best, rule, allowance, days)
    if_bad = if_good = base
    if not exclude_unknown and unknown.any():
        if_bad, if_good = (
            _classify(
                count_bad_minutes(states.with_unknown_as(state).worst_case != GOOD),
                count_bad_minutes(states.with_unknown_as(state).best_case != GOOD),
                rule,
                allowance,
                days,
            )
            for state in (BAD, GOOD)
        )
    coverage = 1 - int(np.count_nonzero(unknown)) / len(states)
    return PeriodVerdict(
        verdict_class=_require_data(base, if_bad, if_good, days, coverage),
        intervals=ScenarioIntervals(
            worst_case=_build_interval(worst, allowance), best_case=_build_interval(best, allowance)
        ),
        class_if_bad=if_bad,
        class_if_good=if_good,
        days=days,
        coverage=coverage,
        has_excluded_unknown=exclude_unknown,
        worst_case_bad=worst,
        best_case_bad=best,
        low_provisional=allowance.compute_low_provisional(worst).low if worst.minutes else 0.0,
        allowance=allowance,
    )


def classify_segment(states: ScenarioStates, rule: VerdictRule) -> VerdictClass:
    """Classify a segment of whole UTC days of any length: BEYOND, MARGINAL or WITHIN_PROVISIONAL.

    A segment may only withdraw a claim, so it need not have the length that a claim requires, and its bound does not
    allow for an unseen outage: the bound of the whole period does.
    """
    best = count_bad_minutes(states.with_unknown_as(GOOD).best_case != GOOD)
    if compute_upper_bound(best) < rule.target_share:
        return VerdictClass.BEYOND
    worst = count_bad_minutes(states.with_unknown_as(BAD).worst_case != GOOD)
    is_within = compute_lower_bound(worst, 1).low >= rule.target_share
    return VerdictClass.WITHIN_PROVISIONAL if is_within else VerdictClass.MARGINAL


#: Classes that follow from windows, the worst first.
_MEASURED_CLASSES = (
    VerdictClass.BEYOND,
    VerdictClass.BEYOND_PROVISIONAL,
    VerdictClass.MARGINAL,
    VerdictClass.WITHIN_PROVISIONAL,
    VerdictClass.WITHIN,
)


def withdraw(verdict_class: VerdictClass, segment_class: VerdictClass) -> VerdictClass:
    """Return the worse of both classes; WITHIN_PROVISIONAL of a segment withdraws nothing.

    Insufficient data of the whole period are beyond if the segment is: that needs no coverage.
    """
    if verdict_class is VerdictClass.INSUFFICIENT_DATA and segment_class is VerdictClass.BEYOND:
        return VerdictClass.BEYOND
    if verdict_class not in _MEASURED_CLASSES or segment_class is VerdictClass.WITHIN_PROVISIONAL:
        return verdict_class
    return min(verdict_class, segment_class, key=_MEASURED_CLASSES.index)


def can_exclude_unknown(rule: VerdictRule, unknown: MinuteMask, explained: MinuteMask | None) -> bool:
    """True if there are unknown minutes and they may count as missing at random (§3.3)."""
    if rule.missing_policy is not MissingPolicy.MAR or explained is None or not unknown.any():
        return False
    is_few = int(np.count_nonzero(unknown)) <= MAR_UNKNOWN_RATIO_MAX * len(unknown)
    return is_few and bool(np.all(explained[unknown]))


def _is_contradicted(outages: DeclaredOutages | None, states: ScenarioStates) -> bool:
    """True if the period shows a longer outage than the declared longest one, or far more outages of that kind.

    Outages of at least half the declared length count; more of them than the declared rate gives in 97.5 % of the
    periods contradict it.
    """
    if outages is None:
        return False
    lengths_s = find_runs(states.causes == OUTAGE).lengths * WINDOW_S
    expected = outages.outages_per_year * len(states) * WINDOW_S / YEAR_S
    similar = int(np.count_nonzero(2 * lengths_s >= outages.longest_outage_s))
    is_too_frequent = poisson_lower_bound(similar, 0.975) > expected
    return bool(lengths_s.max(initial=0) > outages.longest_outage_s) or is_too_frequent


def longest_outage_windows(states: ScenarioStates) -> int:
    """Return the span of the longest outage in the worst case, in minutes."""
    return int(find_runs(states.causes == OUTAGE).lengths.max(initial=0))


def _classify(
    worst: BadMinutes, best: BadMinutes, rule: VerdictRule, allowance: OutageAllowance, days: int
) -> VerdictClass:
    if not worst.minutes:
        return VerdictClass.MARGINAL
    if compute_upper_bound(best) < rule.target_share:
        is_final = days >= CAMPAIGN_DAYS_PROVISIONAL
        return VerdictClass.BEYOND if is_final else VerdictClass.BEYOND_PROVISIONAL
    if days < CAMPAIGN_DAYS:
        return VerdictClass.MARGINAL
    if allowance.compute_low(worst).low >= rule.target_share:
        return VerdictClass.WITHIN
    if allowance.compute_low_provisional(worst).low >= rule.target_share:
        return VerdictClass.WITHIN_PROVISIONAL
    return VerdictClass.MARGINAL


def _require_data(
    base: VerdictClass, if_bad: VerdictClass, if_good: VerdictClass, days: int, coverage: float
) -> VerdictClass:
    """Return INSUFFICIENT_DATA instead of a class that needs more data; "beyond" needs no more."""
    if base in {VerdictClass.BEYOND, VerdictClass.BEYOND_PROVISIONAL}:
        return base
    is_decided_by_unknown = base is VerdictClass.MARGINAL and if_bad is not if_good
    if days < CAMPAIGN_DAYS_PROVISIONAL or coverage < COVERAGE_MIN or is_decided_by_unknown:
        return VerdictClass.INSUFFICIENT_DATA
    return base


_METHODS = {
    LowerBoundMethod.KORN_GRAUBARD: IntervalMethod.KORN_GRAUBARD,
    LowerBoundMethod.EPISODES: IntervalMethod.EPISODE_BOUND,
}


def _build_interval(observed: BadMinutes, allowance: OutageAllowance) -> ShareInterval | None:
    if not observed.minutes:
        return None
    low = allowance.compute_low(observed)
    return ShareInterval(
        low=low.low,
        high=compute_upper_bound(observed),
        share=1 - observed.bad / observed.minutes,
        method=_METHODS[low.method],
        counted_state=CountedState.BAD,
        episodes=len(observed.spans),
        mean_length=float(observed.spans.mean()) if len(observed.spans) else None,
        n_eff=None,
        days=observed.days,
        windows=observed.minutes,
        unseen_outage_windows=None if allowance.declared else allowance.rule.unseen_outage_windows,
    )
