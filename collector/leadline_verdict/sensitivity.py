"""Sensitivity of a verdict: the verdict class of the windows with one parameter changed.

Each row changes one parameter. Propagation delay, declared values and loss do not depend on these parameters and are
not included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from leadline.evaluation import Criterion, WindowStatistic
from leadline_verdict.decision import MeasuredVerdict, VerdictRule, classify_period
from leadline_verdict.document import SensitivityRow, VerdictClass
from leadline_verdict.pair import PairWindows, evaluate_pair
from leadline_verdict.reasons import format_target
from leadline_verdict.requirements import RequirementSet

#: Statistics that a limit on the RTT may refer to.
_RTT_STATISTICS = (WindowStatistic.P50, WindowStatistic.P95, WindowStatistic.MAX)
_TARGET_SHARES = (0.99, 0.995, 0.999)
_UNSEEN_OUTAGE_WINDOWS = (15, 30, 60, 240)
_LIMIT_SCALES = (Fraction(9, 10), Fraction(1), Fraction(11, 10))

#: Changes WITHIN to WITHIN_PROVISIONAL if there are open points.
FinalizeClass = Callable[[MeasuredVerdict], VerdictClass]


def build_sensitivity_section(
    pair: PairWindows,
    requirements: RequirementSet,
    rule: VerdictRule,
    measured_verdict: MeasuredVerdict,
    finalize: FinalizeClass,
) -> list[SensitivityRow]:
    """Build the rows, including those with the parameters of the verdict; none without criteria."""
    return list(_iter_rows(pair, requirements, rule, measured_verdict, finalize)) if requirements.criteria else []


def _iter_rows(
    pair: PairWindows,
    requirements: RequirementSet,
    rule: VerdictRule,
    measured_verdict: MeasuredVerdict,
    finalize: FinalizeClass,
) -> Iterator[SensitivityRow]:
    def row(what: str, value: str, criteria: Sequence[Criterion], changed: VerdictRule) -> SensitivityRow:
        chosen = tuple(criteria) == requirements.criteria and changed == rule
        row_verdict = measured_verdict if chosen else _reclassify(pair, requirements, criteria, changed)
        interval = row_verdict.intervals.worst_case
        return SensitivityRow(
            what=what,
            value=value,
            chosen=chosen,
            share=interval.share if interval else None,
            low=interval.low if interval else None,
            high=row_verdict.intervals.best_case.high if row_verdict.intervals.best_case else None,
            verdict=finalize(row_verdict),
        )

    if any(criterion.statistic in _RTT_STATISTICS for criterion in requirements.criteria):
        yield from (
            row("statistic", statistic, _replace_statistic(requirements.criteria, statistic), rule)
            for statistic in _RTT_STATISTICS
        )
    for target in sorted({*_TARGET_SHARES, rule.target_share}):
        yield row("target share", format_target(target), requirements.criteria, replace(rule, target_share=target))
    for windows in sorted({*_UNSEEN_OUTAGE_WINDOWS, rule.unseen_outage_windows}):
        yield row(
            "unseen episode", f"{windows} min", requirements.criteria, replace(rule, unseen_outage_windows=windows)
        )
    for with_error in (True, False):
        label = "taken off" if with_error else "not taken off"
        yield row("own delay", label, requirements.criteria, replace(rule, use_error_bound=with_error))
    for scale in _LIMIT_SCALES:
        yield row(
            "limit",
            f"{float(scale) - 1:+.0%}" if scale != 1 else "as published",
            _scale_limits(requirements, scale),
            rule,
        )


def _reclassify(
    pair: PairWindows, requirements: RequirementSet, criteria: Sequence[Criterion], rule: VerdictRule
) -> MeasuredVerdict:
    states = evaluate_pair(pair, criteria, requirements.loss_limits, use_error_bound=rule.use_error_bound)
    return classify_period(states, rule, pair.explained_minutes)


def _replace_statistic(criteria: Sequence[Criterion], statistic: WindowStatistic) -> tuple[Criterion, ...]:
    """Return the criteria with another statistic for RTT limits; other criteria stay."""
    return tuple(
        replace(criterion, statistic=statistic)
        if criterion.statistic in _RTT_STATISTICS and criterion.peak_limit_us is None
        else criterion
        for criterion in criteria
    )


def _scale_limits(requirements: RequirementSet, scale: Fraction) -> tuple[Criterion, ...]:
    return tuple(
        replace(
            criterion,
            limit_us=int(criterion.limit_us * scale),
            peak_limit_us=None if criterion.peak_limit_us is None else int(criterion.peak_limit_us * scale),
        )
        for criterion in requirements.criteria
    )
