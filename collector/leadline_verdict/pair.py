"""Windows of one directed pair over a period, and their evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from leadline.evaluation import Criterion, WindowStatistic
from leadline.limits.catalogue import Comparison
from leadline.mesh.model import DeclaredOutages
from leadline.model import WINDOW_S
from leadline.propagation import PropagationDelay
from leadline_verdict.evaluation import (
    combine_paths,
    evaluate_availability,
    evaluate_path,
    excuse_ambiguous,
    mask_known,
    mask_unavailable,
    select_worst_case_us,
)
from leadline_verdict.requirements import LossLimit
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.series import PathSeries
from leadline_verdict.states import BAD, GOOD, LOSS, MinuteMask, ScenarioStates, StateArray, make_unknown_states

_DAY_S = 86_400
#: A longer gap at the start of the period is time before the measurement, in minutes.
FIRST_GAP_MAX = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PathWindows:
    """Windows of one agent and one target of the pair."""

    agent: str
    target: str
    series: PathSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class PairWindows:
    """A directed pair of sites over whole UTC days."""

    source: str
    destination: str
    start_s: int
    minutes: int
    paths: tuple[PathWindows, ...]
    #: None if a site has no coordinates.
    propagation_delay: PropagationDelay | None
    #: Minutes in which the destination's own agents were silent and no agent reached it: a reboot may explain the loss.
    ambiguous_minutes: MinuteMask
    #: Minutes that are missing for a logged cause other than the path.
    explained_minutes: MinuteMask
    #: Outages that the operator declares, in the mesh or in the request; None without a declaration.
    declared_outages: DeclaredOutages | None = None
    #: Time zone of the source site (IANA name), for times of day in reasons.
    time_zone: str = "UTC"
    #: Start of the first window if the pair was not measured at the start of the requested period; it may be after the
    #: period. None otherwise.
    measured_since_s: int | None = None

    def __post_init__(self) -> None:
        for path in self.paths:
            if (path.series.start_s, len(path.series)) != (self.start_s, self.minutes):
                raise ValueError(f"{path.agent} to {path.target}: the series has a different period")

    @property
    def end_s(self) -> int:
        """First second after the period."""
        return self.start_s + self.minutes * WINDOW_S

    @property
    def series(self) -> tuple[PathSeries, ...]:
        """Series of all paths."""
        return tuple(path.series for path in self.paths)

    @property
    def whole_days_start_s(self) -> int:
        """Start of the first UTC day that was measured from its first minute."""
        if self.measured_since_s is None:
            return self.start_s
        return -(-self.measured_since_s // _DAY_S) * _DAY_S

    @property
    def whole_days(self) -> int:
        """Number of UTC days that were measured from their first minute; the period may be longer if it is 0."""
        return max(0, self.end_s - self.whole_days_start_s) // _DAY_S

    def trim_unmeasured_days(self) -> PairWindows:
        """Return the pair from its first whole measured day on, with ``measured_since_s``.

        The period stays if no day is whole: then ``whole_days`` is 0. A pair that was measured in the first hour of
        the period, or never, stays as it is: one missing minute at midnight must not cost a day.
        """
        first = min((series.find_first_minute() for series in self.series), default=0)
        if not FIRST_GAP_MAX <= first < self.minutes:
            return self
        dated = replace(self, measured_since_s=self.start_s + first * WINDOW_S)
        if not dated.whole_days:
            return dated
        skipped = (dated.whole_days_start_s - self.start_s) // WINDOW_S
        return replace(
            dated,
            start_s=dated.whole_days_start_s,
            minutes=self.minutes - skipped,
            paths=tuple(replace(path, series=path.series.skip_minutes(skipped)) for path in self.paths),
            ambiguous_minutes=self.ambiguous_minutes[skipped:],
            explained_minutes=self.explained_minutes[skipped:],
        )

    def min_rtt_us(self) -> int | None:
        """Return the minimum RTT of all paths; None without a reply."""
        return min((us for us in (series.min_rtt_us() for series in self.series) if us is not None), default=None)


def declare_outages(pairs: Sequence[PairWindows], outages: DeclaredOutages | None) -> Sequence[PairWindows]:
    """Return the pairs with these declared outages instead of their own; None keeps their own."""
    return pairs if outages is None else [replace(pair, declared_outages=outages) for pair in pairs]


def evaluate_pair(
    pair: PairWindows,
    criteria: Sequence[Criterion],
    loss_limits: Sequence[LossLimit] = (),
    *,
    use_error_bound: bool = True,
    edition: RuleEdition = RuleEdition.SECOND,
) -> ScenarioStates:
    """Evaluate every minute; without criteria a minute is good if it is known and not unavailable."""
    if not pair.paths:
        return make_unknown_states(pair.minutes)
    # The first edition counted excused minutes in the best case of an average.
    excused = pair.ambiguous_minutes & (edition is not RuleEdition.FIRST)
    timed_loss_limits = [loss_limit for loss_limit in loss_limits if loss_limit.window_s is not None]
    paths = [
        _apply_loss_limits(
            evaluate_path(series, criteria, use_error_bound=use_error_bound, edition=edition)
            if criteria
            else evaluate_availability(series, edition=edition),
            series,
            timed_loss_limits,
            excused,
        )
        for series in pair.series
    ]
    return excuse_ambiguous(combine_paths(paths, pair.minutes), pair.ambiguous_minutes)


def _apply_loss_limits(
    states: ScenarioStates, series: PathSeries, limits: Sequence[LossLimit], excused: MinuteMask
) -> ScenarioStates:
    return reduce(lambda applied, limit: _apply_loss_limit(applied, series, limit, excused), limits, states)


def _apply_loss_limit(
    scenario: ScenarioStates, series: PathSeries, limit: LossLimit, excused: MinuteMask
) -> ScenarioStates:
    """Mark every minute of an averaging interval as bad if its loss is out of limit; worse states stay.

    Excused minutes do not count in the best case.
    """
    worst = _average_loss(series, limit, np.zeros(len(series), dtype=np.bool_))
    best = _average_loss(series, limit, excused) if excused.any() else worst
    return ScenarioStates(
        worst_case=np.maximum(scenario.worst_case, worst),
        best_case=np.maximum(scenario.best_case, best),
        causes=np.where(
            (worst == BAD) & (scenario.worst_case <= BAD), np.maximum(scenario.causes, np.uint8(LOSS)), scenario.causes
        ),
    )


def _average_loss(series: PathSeries, limit: LossLimit, left_out: MinuteMask) -> StateArray:
    """Return GOOD or BAD for each minute, from the loss of its averaging interval without some minutes."""
    assert limit.window_s is not None
    interval = (series.start_s + WINDOW_S * np.arange(len(series))) // limit.window_s
    interval -= interval[0]
    sent, lost = (
        np.bincount(interval, weights=np.where(left_out, 0, column))
        for column in (series.sent, series.sent - series.received)
    )
    # Integers on both sides avoid rounding.
    low, high = lost * limit.ratio.denominator, sent * limit.ratio.numerator
    is_met = low < high if limit.comparison is Comparison.LESS else low <= high
    states: StateArray = np.where(is_met | (sent == 0), np.uint8(GOOD), np.uint8(BAD))[interval]
    return states


#: Value of an undefined statistic, above every RTT.
_INFINITE = np.int64(2**62)


def find_achieved_limit_us(pair: PairWindows, criterion: Criterion, target_share: float) -> int | None:
    """Return the smallest limit with an observed worst-case share of good minutes of ``target_share``.

    None if there is no such limit. Uses the statistic of the criterion and no confidence interval.
    """
    if criterion.peak_limit_us is not None or not pair.paths:
        return None
    worst = reduce(np.maximum, [_worst_case_us(series, criterion.statistic) for series in pair.series])
    # A minute that is unknown on every path counts as bad.
    worst[worst < 0] = _INFINITE
    value = int(np.sort(worst)[int(np.ceil(target_share * len(worst))) - 1])
    if value == _INFINITE:
        return None
    return value + 1 if criterion.worst_case_comparison is Comparison.LESS else value


def _worst_case_us(series: PathSeries, statistic: WindowStatistic) -> NDArray[np.int64]:
    """Return the worst-case value per window; infinite if unavailable or undefined, -1 if unknown."""
    value = select_worst_case_us(series, statistic).astype(np.int64)
    value[(value < 0) | mask_unavailable(series)] = _INFINITE
    value[~mask_known(series)] = -1
    return value
