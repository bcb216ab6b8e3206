"""Sensitivity of a verdict: the verdict class of the windows with one parameter changed.

Each row changes one parameter. Propagation delay, declared values and loss do not depend on these parameters and are
not included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from leadline.evaluation import CAMPAIGN_DAYS, Criterion, WindowStatistic
from leadline_verdict.alternative_intervals import compute_bootstrap_low, compute_f_bound
from leadline_verdict.decision import MeasuredVerdict, PeriodVerdict, VerdictRule
from leadline_verdict.document import SensitivityRow, VerdictClass
from leadline_verdict.pair import PairWindows, evaluate_pair
from leadline_verdict.reasons import format_target
from leadline_verdict.requirements import RequirementSet
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.states import MinuteMask, ScenarioStates

#: Statistics that a limit on the RTT may refer to.
_RTT_STATISTICS = (WindowStatistic.P50, WindowStatistic.P95, WindowStatistic.MAX)
_TARGET_SHARES = (0.99, 0.995, 0.999)
_UNSEEN_OUTAGE_WINDOWS = {RuleEdition.FIRST: (15, 30, 60, 240), RuleEdition.SECOND: (30, 60, 240, 720)}
_LIMIT_SCALES = (Fraction(9, 10), Fraction(1), Fraction(11, 10))

#: Classes that the lower bound decides.
_CLASSES_BY_LOW = {VerdictClass.MARGINAL, VerdictClass.WITHIN_PROVISIONAL, VerdictClass.WITHIN}

#: Classifies states by a rule.
ClassifyStates = Callable[[ScenarioStates, VerdictRule, MinuteMask | None], MeasuredVerdict]
#: Changes WITHIN to WITHIN_PROVISIONAL if there are open points.
FinalizeClass = Callable[[MeasuredVerdict], VerdictClass]


def build_sensitivity_section(
    pair: PairWindows,
    requirements: RequirementSet,
    rule: VerdictRule,
    measured_verdict: MeasuredVerdict,
    classify: ClassifyStates,
    finalize: FinalizeClass,
) -> list[SensitivityRow]:
    """Build the rows, including those with the parameters of the verdict; none without criteria."""
    if not requirements.criteria:
        return []
    table = _Table(pair, requirements, rule, measured_verdict, classify, finalize)
    return [*table.iter_rows(), *table.iter_interval_rows()]


@dataclass(frozen=True, slots=True)
class _Table:
    pair: PairWindows
    requirements: RequirementSet
    rule: VerdictRule
    measured_verdict: MeasuredVerdict
    classify: ClassifyStates
    finalize: FinalizeClass

    def iter_rows(self) -> Iterator[SensitivityRow]:
        """Yield the rows that change one parameter."""
        criteria, rule = self.requirements.criteria, self.rule
        if any(criterion.statistic in _RTT_STATISTICS for criterion in criteria):
            for statistic in _RTT_STATISTICS:
                yield self._build_row("statistic", statistic, _replace_statistic(criteria, statistic), rule)
        for target in sorted({*_TARGET_SHARES, rule.target_share}):
            yield self._build_row("target share", format_target(target), criteria, replace(rule, target_share=target))
        for windows in sorted({*_UNSEEN_OUTAGE_WINDOWS[rule.edition], rule.unseen_outage_windows}):
            changed = replace(rule, unseen_outage_windows=windows)
            yield self._build_row("unseen episode", f"{windows} min", criteria, changed)
        for with_error in (True, False):
            label = "taken off" if with_error else "not taken off"
            yield self._build_row("own delay", label, criteria, replace(rule, use_error_bound=with_error))
        for scale in _LIMIT_SCALES:
            label = f"{float(scale) - 1:+.0%}" if scale != 1 else "as published"
            yield self._build_row("limit", label, _scale_limits(criteria, scale), rule)

    def iter_interval_rows(self) -> Iterator[SensitivityRow]:
        """Yield the rows with another lower bound in the worst case; the first edition has none."""
        measured = self.measured_verdict
        interval = measured.intervals.worst_case
        if not isinstance(measured, PeriodVerdict) or interval is None or measured.days < 2:
            return
        lows = {"stationary bootstrap": compute_bootstrap_low(measured.worst_case_bad)}
        if len(measured.worst_case_bad.spans):
            lows["F bound, mean length unknown"] = compute_f_bound(measured.worst_case_bad)
        for label, low in sorted(lows.items()):
            yield SensitivityRow(
                what="interval",
                value=label,
                chosen=False,
                share=interval.share,
                low=low,
                high=None if measured.intervals.best_case is None else measured.intervals.best_case.high,
                verdict=self.finalize(replace(measured, verdict_class=self._classify_low(measured, low))),
            )

    def _classify_low(self, measured: PeriodVerdict, low: float) -> VerdictClass:
        """Return the class with another lower bound; other classes than those that depend on it stay.

        These bounds allow for no unseen outage, so "within" is provisional.
        """
        if measured.verdict_class not in _CLASSES_BY_LOW or measured.days < CAMPAIGN_DAYS:
            return measured.verdict_class
        return VerdictClass.WITHIN_PROVISIONAL if low >= self.rule.target_share else VerdictClass.MARGINAL

    def _build_row(self, what: str, value: str, criteria: Sequence[Criterion], changed: VerdictRule) -> SensitivityRow:
        is_chosen = tuple(criteria) == self.requirements.criteria and changed == self.rule
        row_verdict = self.measured_verdict if is_chosen else self._reclassify(criteria, changed)
        interval = row_verdict.intervals.worst_case
        return SensitivityRow(
            what=what,
            value=value,
            chosen=is_chosen,
            share=interval.share if interval else None,
            low=interval.low if interval else None,
            high=row_verdict.intervals.best_case.high if row_verdict.intervals.best_case else None,
            verdict=self.finalize(row_verdict),
        )

    def _reclassify(self, criteria: Sequence[Criterion], rule: VerdictRule) -> MeasuredVerdict:
        states = evaluate_pair(
            self.pair,
            criteria,
            self.requirements.loss_limits,
            use_error_bound=rule.use_error_bound,
            edition=rule.edition,
        )
        return self.classify(states, rule, self.pair.explained_minutes)


def _replace_statistic(criteria: Sequence[Criterion], statistic: WindowStatistic) -> tuple[Criterion, ...]:
    """Return the criteria with another statistic for RTT limits; other criteria stay."""
    return tuple(
        replace(criterion, statistic=statistic)
        if criterion.statistic in _RTT_STATISTICS and criterion.peak_limit_us is None
        else criterion
        for criterion in criteria
    )


def _scale_limits(criteria: Sequence[Criterion], scale: Fraction) -> tuple[Criterion, ...]:
    return tuple(
        replace(
            criterion,
            limit_us=int(criterion.limit_us * scale),
            peak_limit_us=None if criterion.peak_limit_us is None else int(criterion.peak_limit_us * scale),
        )
        for criterion in criteria
    )
