"""Loss over the period in the first edition: below its limit, above it, or not demonstrable yet (method.md §4.1).

The worst case uses the path with the highest loss, the best case the path with the lowest. The bounds assume
independent losses; bursts are not independent, and the document states the assumption.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from leadline_verdict.binomial import additional_probes_needed, clopper_pearson
from leadline_verdict.document import LossSection
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import LossLimit
from leadline_verdict.series import PathSeries

BELOW, ABOVE, NOT_DEMONSTRABLE = "below", "above", "not_demonstrable_yet"


def evaluate_loss(pair: PairWindows, limit: LossLimit) -> LossSection:
    """Compare the loss of every path with a limit; the section has the numbers of the path that decides."""
    counts = sorted((_count_probes(series) for series in pair.series), key=_loss_ratio)
    if not counts or not counts[-1][0]:
        return _build_section(limit, (0, 0), NOT_DEMONSTRABLE)
    best, worst = counts[0], counts[-1]
    if _compute_bounds(best)[0] > limit.ratio:
        return _build_section(limit, best, ABOVE)
    return _build_section(limit, worst, BELOW if _compute_bounds(worst)[1] <= limit.ratio else NOT_DEMONSTRABLE)


def _count_probes(series: PathSeries) -> tuple[int, int]:
    sent = int(series.sent.sum(dtype=np.int64))
    return sent, sent - int(series.received.sum(dtype=np.int64))


def _loss_ratio(counts: tuple[int, int]) -> Fraction:
    sent, lost = counts
    return Fraction(lost, sent) if sent else Fraction(-1)


def _compute_bounds(counts: tuple[int, int]) -> tuple[float, float]:
    sent, lost = counts
    if not sent:
        return 0.0, 1.0
    bounds = clopper_pearson(lost, sent)
    return bounds.low, bounds.high


def _build_section(limit: LossLimit, counts: tuple[int, int], finding: str) -> LossSection:
    sent, lost = counts
    low, high = _compute_bounds(counts)
    needed = additional_probes_needed(sent, lost, float(limit.ratio)) if finding == NOT_DEMONSTRABLE else 0
    return LossSection(
        limit_id=limit.limit_id,
        limit_ratio=float(limit.ratio),
        sent=sent,
        lost=lost,
        low=low if sent else None,
        high=high if sent else None,
        finding=finding,
        probes_needed=needed,
    )
