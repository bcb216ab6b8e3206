"""One directed pair over a period: its windows, and both readings of them for whatever is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from leadline.evaluation import Criterion, WindowStatistic
from leadline.limits.catalogue import Comparison
from leadline.model import WINDOW_S
from leadline.propagation import PropagationDelay
from leadline_verdict.evaluation import (
    combine_paths,
    evaluate_path,
    excuse_ambiguous,
    mask_known,
    mask_unavailable,
    select_worst_case_us,
)
from leadline_verdict.requirements import LossLimit
from leadline_verdict.series import PathSeries
from leadline_verdict.states import BAD, GOOD, UNAVAILABLE, UNKNOWN, MinuteMask, ScenarioStates, make_unknown_states


@dataclass(frozen=True, slots=True, kw_only=True)
class PathWindows:
    """What one agent measured of one target of the pair."""

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
    #: None where a site has no coordinates.
    propagation_delay: PropagationDelay | None
    #: Minutes in which the destination's own agents were silent and nobody reached it: loss then may be a reboot.
    ambiguous_minutes: MinuteMask
    #: Minutes whose absence has a logged cause that is not the path.
    explained_minutes: MinuteMask

    def __post_init__(self) -> None:
        for path in self.paths:
            if (path.series.start_s, len(path.series)) != (self.start_s, self.minutes):
                raise ValueError(f"{path.agent} to {path.target}: a series over another period")

    @property
    def end_s(self) -> int:
        """The first second after the period."""
        return self.start_s + self.minutes * WINDOW_S

    @property
    def series(self) -> tuple[PathSeries, ...]:
        """The windows, path by path."""
        return tuple(path.series for path in self.paths)

    def min_rtt_us(self) -> int | None:
        """The shortest round trip of any path; None without a reply."""
        return min((us for us in (series.min_rtt_us() for series in self.series) if us is not None), default=None)


def evaluate_pair(
    pair: PairWindows,
    criteria: Sequence[Criterion],
    loss_limits: Sequence[LossLimit] = (),
    *,
    use_error_bound: bool = True,
) -> ScenarioStates:
    """Both readings of every minute; without criteria a minute is good where it is known and not unavailable."""
    if not pair.paths:
        return make_unknown_states(pair.minutes)
    timed = [loss for loss in loss_limits if loss.window_s is not None]
    paths = [_evaluate_path(series, criteria, timed, use_error_bound) for series in pair.series]
    return excuse_ambiguous(combine_paths(paths, pair.minutes), pair.ambiguous_minutes)


def _evaluate_path(
    series: PathSeries, criteria: Sequence[Criterion], losses: Sequence[LossLimit], with_error: bool
) -> ScenarioStates:
    judged = evaluate_path(series, criteria, use_error_bound=with_error) if criteria else _evaluate_availability(series)
    return reduce(lambda readings, loss: _apply_loss_limit(readings, series, loss), losses, judged)


def _evaluate_availability(series: PathSeries) -> ScenarioStates:
    states = np.where(mask_unavailable(series), np.uint8(UNAVAILABLE), np.uint8(GOOD))
    states[~mask_known(series)] = UNKNOWN
    return ScenarioStates(worst_case=states, best_case=states)


def _apply_loss_limit(readings: ScenarioStates, series: PathSeries, limit: LossLimit) -> ScenarioStates:
    """Every minute of a stretch in which the vendor's own average is out of limit is bad; worse ones stay so."""
    assert limit.window_s is not None
    stretch = (series.start_s + WINDOW_S * np.arange(len(series))) // limit.window_s
    stretch -= stretch[0]
    sent, lost = (np.bincount(stretch, weights=column) for column in (series.sent, series.sent - series.received))
    # Whole numbers on both sides, so that no rounding decides.
    low, high = lost * limit.ratio.denominator, sent * limit.ratio.numerator
    is_met = low < high if limit.comparison is Comparison.LESS else low <= high
    states = np.where(is_met | (sent == 0), np.uint8(GOOD), np.uint8(BAD))[stretch]
    return ScenarioStates(
        worst_case=np.maximum(readings.worst_case, states), best_case=np.maximum(readings.best_case, states)
    )


#: Above every RTT: a window without its statistic.
_INFINITE = np.int64(2**62)


def find_achieved_limit_us(pair: PairWindows, criterion: Criterion, target_share: float) -> int | None:
    """The smallest limit at which the pessimistic share of good minutes would be ``target_share``; None for none.

    By the same measure, without an interval around it: the share as it was seen.
    """
    if criterion.peak_limit_us is not None or not pair.paths:
        return None
    worst = reduce(np.maximum, [_worst_case_us(series, criterion.statistic) for series in pair.series])
    # Unknown on every path, and so bad.
    worst[worst < 0] = _INFINITE
    value = int(np.sort(worst)[int(np.ceil(target_share * len(worst))) - 1])
    if value == _INFINITE:
        return None
    return value + 1 if criterion.comparison is Comparison.LESS else value


def _worst_case_us(series: PathSeries, measure: WindowStatistic) -> NDArray[np.int64]:
    """What is compared; infinite where the window is unavailable or has no such number, -1 where nothing is known."""
    value = select_worst_case_us(series, measure).astype(np.int64)
    value[(value < 0) | mask_unavailable(series)] = _INFINITE
    value[~mask_known(series)] = -1
    return value
