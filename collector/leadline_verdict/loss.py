"""Loss over the period: below its limit, above it, or not demonstrable yet (docs/verdicts.md).

Rule 1: days are counted, not probes, because losses come in bursts (``share_bounds``). "Above" needs losses on several
days besides the worst ones: one reboot of a target, or one outage of days, is no rate.
Rule 2: the worst case uses the path with the highest loss of each minute, the best case the path with the lowest and
without the minutes in which the destination itself may have been down.
Rule 3: the loss outside outage minutes is reported besides the loss of all minutes.
Rule 4: "below" does not allow for an outage that the period missed. With one of 30 minutes, 0.01 % would take 624 days.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from leadline.evaluation import WINDOWS_PER_DAY
from leadline_verdict.binomial import additional_probes_needed, clopper_pearson
from leadline_verdict.document import LossSection
from leadline_verdict.episodes import IntArray
from leadline_verdict.evaluation import mask_unavailable
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import LossLimit
from leadline_verdict.share_bounds import (
    BadMinutes,
    bound_bad_high,
    compute_upper_bound,
    is_recurrent,
)
from leadline_verdict.states import MinuteMask

BELOW, ABOVE, NOT_DEMONSTRABLE = "below", "above", "not_demonstrable_yet"
_NO_SPANS: IntArray = np.zeros(0, dtype=np.int64)
#: Longest continuation that is searched for the number of probes needed.
_DAYS_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _PathLoss:
    """Probes of one path by day."""

    sent_by_day: IntArray
    lost_by_day: IntArray
    steady_sent: int
    steady_lost: int

    @property
    def sent(self) -> int:
        return int(self.sent_by_day.sum())

    @property
    def lost(self) -> int:
        return int(self.lost_by_day.sum())

    def compute_low(self) -> float:
        """Return the lower bound of the loss; 0 without losses on three days that are not neighbours."""
        if not is_recurrent(self._to_bad_minutes()):
            return 0.0
        return 1 - compute_upper_bound(self._to_bad_minutes())

    def compute_high(self) -> float:
        """Return the upper bound of the loss; a single day has no variance, so it counts probes."""
        observed = self._to_bad_minutes()
        if observed.days < 2:
            return clopper_pearson(self.lost, self.sent).high if self.sent else 1.0
        return bound_bad_high(observed)

    def count_probes_needed(self, ratio: Fraction) -> int:
        """Return the number of probes of further days without loss after which the upper bound is at most a ratio.

        The number of 100,000 days if they are not enough. Needs a day with a probe.
        """
        by_day = int(self.sent_by_day.max())

        def is_demonstrated(days: int) -> bool:
            return self._continue_without_loss(days, by_day).compute_high() <= ratio

        return by_day * bisect_left(range(_DAYS_MAX), True, key=is_demonstrated)

    def _continue_without_loss(self, days: int, sent_by_day: int) -> _PathLoss:
        return replace(
            self,
            sent_by_day=np.concatenate([self.sent_by_day, np.full(days, sent_by_day, dtype=np.int64)]),
            lost_by_day=np.concatenate([self.lost_by_day, np.zeros(days, dtype=np.int64)]),
        )

    def _to_bad_minutes(self) -> BadMinutes:
        return BadMinutes(bad_by_day=self.lost_by_day, minutes_by_day=self.sent_by_day, spans=_NO_SPANS)


def evaluate_loss(pair: PairWindows, limit: LossLimit) -> LossSection:
    """Compare the loss of a pair with a limit; the section has the numbers of the case that decides.

    The pair must cover whole UTC days.
    """
    if not pair.series:
        return _build_section(limit, None, NOT_DEMONSTRABLE)
    everything = np.ones(pair.minutes, dtype=np.bool_)
    worst = _count_probes(pair, everything, use_highest=True)
    if not worst.sent:
        return _build_section(limit, None, NOT_DEMONSTRABLE)
    best = _count_probes(pair, ~pair.ambiguous_minutes, use_highest=False)
    if best.sent and best.compute_low() > limit.ratio:
        return _build_section(limit, best, ABOVE)
    return _build_section(limit, worst, BELOW if worst.compute_high() <= limit.ratio else NOT_DEMONSTRABLE)


def _count_probes(pair: PairWindows, counted: MinuteMask, *, use_highest: bool) -> _PathLoss:
    """Count the probes of each minute on the path with the highest or the lowest loss in that minute.

    A path without probes in a minute has no say in it, so a path that ran for an hour excuses an hour.
    """
    sent = np.stack([series.sent for series in pair.series]).astype(np.int64)
    lost = sent - np.stack([series.received for series in pair.series])
    ratio = np.where(sent > 0, lost / np.maximum(sent, 1), -1.0 if use_highest else 2.0)
    chosen = (ratio.argmax(axis=0) if use_highest else ratio.argmin(axis=0))[None]
    sent_chosen, lost_chosen = (np.take_along_axis(values, chosen, axis=0)[0] * counted for values in (sent, lost))
    outage = np.stack([mask_unavailable(series) for series in pair.series])
    steady = ~np.take_along_axis(outage, chosen, axis=0)[0]
    return _PathLoss(
        sent_by_day=sent_chosen.reshape(-1, WINDOWS_PER_DAY).sum(axis=1),
        lost_by_day=lost_chosen.reshape(-1, WINDOWS_PER_DAY).sum(axis=1),
        steady_sent=int(sent_chosen[steady].sum()),
        steady_lost=int(lost_chosen[steady].sum()),
    )


def _build_section(limit: LossLimit, loss: _PathLoss | None, finding: str) -> LossSection:
    sent, lost = (loss.sent, loss.lost) if loss else (0, 0)
    if finding != NOT_DEMONSTRABLE:
        needed = 0
    elif loss:
        needed = loss.count_probes_needed(limit.ratio)
    else:
        needed = additional_probes_needed(0, 0, float(limit.ratio))
    return LossSection(
        limit_id=limit.limit_id,
        limit_ratio=float(limit.ratio),
        sent=sent,
        lost=lost,
        low=loss.compute_low() if loss else None,
        high=loss.compute_high() if loss else None,
        finding=finding,
        probes_needed=needed,
        steady_sent=loss.steady_sent if loss else 0,
        steady_lost=loss.steady_lost if loss else 0,
        days_with_loss=int(np.count_nonzero(loss.lost_by_day)) if loss else 0,
    )
