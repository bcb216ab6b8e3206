"""The verdict of the windows with one choice made differently, so that nobody has to ask "what if".

Each row changes one thing and leaves the others as chosen. Light, declared numbers and loss are not in it: they do not
hang on these choices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from leadline.evaluation import Criterion, WindowStatistic
from leadline_verdict.decision import MeasuredVerdict, VerdictRule, classify_period
from leadline_verdict.document import SensitivityRow, VerdictClass
from leadline_verdict.pair import PairWindows, evaluate_pair
from leadline_verdict.reasons import format_percent
from leadline_verdict.requirements import RequirementSet

#: Statistics that a limit on "the" round trip could mean.
_RTT_STATISTICS = (WindowStatistic.P50, WindowStatistic.P95, WindowStatistic.MAX)
_TARGET_SHARES = (0.99, 0.995, 0.999)
_UNSEEN_OUTAGE_WINDOWS = (15, 30, 60, 240)
_LIMIT_SCALES = (Fraction(9, 10), Fraction(1), Fraction(11, 10))

#: WITHIN becomes WITHIN_PROVISIONAL where something is open.
FinalizeClass = Callable[[MeasuredVerdict], VerdictClass]


def build_sensitivity_section(
    pair: PairWindows,
    requirements: RequirementSet,
    rule: VerdictRule,
    measured_verdict: MeasuredVerdict,
    finalize: FinalizeClass,
) -> list[SensitivityRow]:
    """The rows, those that were chosen among them."""
    return list(_iter_rows(pair, requirements, rule, measured_verdict, finalize)) if requirements.criteria else []


def _iter_rows(
    pair: PairWindows, asked: RequirementSet, rule: VerdictRule, found: MeasuredVerdict, settle: FinalizeClass
) -> Iterator[SensitivityRow]:
    def row(what: str, value: str, criteria: Sequence[Criterion], changed: VerdictRule) -> SensitivityRow:
        chosen = tuple(criteria) == asked.criteria and changed == rule
        said = found if chosen else _reclassify(pair, asked, criteria, changed)
        interval = said.intervals.worst_case
        return SensitivityRow(
            what=what,
            value=value,
            chosen=chosen,
            share=interval.share if interval else None,
            low=interval.low if interval else None,
            high=said.intervals.best_case.high if said.intervals.best_case else None,
            verdict=settle(said),
        )

    if any(criterion.statistic in _RTT_STATISTICS for criterion in asked.criteria):
        yield from (
            row("statistic", measure, _replace_statistic(asked.criteria, measure), rule) for measure in _RTT_STATISTICS
        )
    for target in sorted({*_TARGET_SHARES, rule.target_share}):
        yield row("target share", format_percent(target), asked.criteria, replace(rule, target_share=target))
    for windows in sorted({*_UNSEEN_OUTAGE_WINDOWS, rule.unseen_outage_windows}):
        yield row("unseen episode", f"{windows} min", asked.criteria, replace(rule, unseen_outage_windows=windows))
    for with_error in (True, False):
        words = "taken off" if with_error else "not taken off"
        yield row("own delay", words, asked.criteria, replace(rule, use_error_bound=with_error))
    for scale in _LIMIT_SCALES:
        yield row(
            "limit", f"{float(scale) - 1:+.0%}" if scale != 1 else "as published", _scale_limits(asked, scale), rule
        )


def _reclassify(
    pair: PairWindows, asked: RequirementSet, criteria: Sequence[Criterion], rule: VerdictRule
) -> MeasuredVerdict:
    readings = evaluate_pair(pair, criteria, asked.loss_limits, use_error_bound=rule.use_error_bound)
    return classify_period(readings, rule, pair.explained_minutes)


def _replace_statistic(criteria: Sequence[Criterion], measure: WindowStatistic) -> tuple[Criterion, ...]:
    """The limits on the round trip by another statistic; the others as they are."""
    return tuple(
        replace(criterion, statistic=measure)
        if criterion.statistic in _RTT_STATISTICS and criterion.peak_limit_us is None
        else criterion
        for criterion in criteria
    )


def _scale_limits(asked: RequirementSet, scale: Fraction) -> tuple[Criterion, ...]:
    return tuple(
        replace(
            criterion,
            limit_us=int(criterion.limit_us * scale),
            peak_limit_us=None if criterion.peak_limit_us is None else int(criterion.peak_limit_us * scale),
        )
        for criterion in asked.criteria
    )
