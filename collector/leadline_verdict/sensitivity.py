"""The verdict of the windows with one choice made differently, so that nobody has to ask "what if".

Each row changes one thing and leaves the others as chosen. Light, declared numbers and loss are not in it: they do not
hang on these choices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from leadline.evaluation import Criterion, Measure
from leadline_verdict.decision import Measured, Rule, measured
from leadline_verdict.document import SensitivityAnswer, Word
from leadline_verdict.pair import PairWindows, pair_readings
from leadline_verdict.reasons import percent
from leadline_verdict.requirements import Requirements

#: Statistics that a limit on "the" round trip could mean.
_MEASURES = (Measure.P50, Measure.P95, Measure.MAX)
_TARGETS = (0.99, 0.995, 0.999)
_UNSEEN_WINDOWS = (15, 30, 60, 240)
_SCALES = (Fraction(9, 10), Fraction(1), Fraction(11, 10))

#: WITHIN becomes WITHIN_PROVISIONAL where something is open.
Settle = Callable[[Measured], Word]


def sensitivity(
    pair: PairWindows, asked: Requirements, rule: Rule, found: Measured, settle: Settle
) -> list[SensitivityAnswer]:
    """The rows, those that were chosen among them."""
    return list(_rows(pair, asked, rule, found, settle)) if asked.criteria else []


def _rows(
    pair: PairWindows, asked: Requirements, rule: Rule, found: Measured, settle: Settle
) -> Iterator[SensitivityAnswer]:
    def row(what: str, value: str, criteria: Sequence[Criterion], changed: Rule) -> SensitivityAnswer:
        chosen = tuple(criteria) == asked.criteria and changed == rule
        said = found if chosen else _again(pair, asked, criteria, changed)
        interval = said.claim.pessimistic
        return SensitivityAnswer(
            what=what,
            value=value,
            chosen=chosen,
            share=interval.share if interval else None,
            low=interval.low if interval else None,
            high=said.claim.optimistic.high if said.claim.optimistic else None,
            verdict=settle(said),
        )

    if any(criterion.measure in _MEASURES for criterion in asked.criteria):
        yield from (row("statistic", measure, _by_measure(asked.criteria, measure), rule) for measure in _MEASURES)
    for target in sorted({*_TARGETS, rule.target_share}):
        yield row("target share", percent(target), asked.criteria, replace(rule, target_share=target))
    for windows in sorted({*_UNSEEN_WINDOWS, rule.unseen_windows}):
        yield row("unseen episode", f"{windows} min", asked.criteria, replace(rule, unseen_windows=windows))
    for with_error in (True, False):
        words = "taken off" if with_error else "not taken off"
        yield row("own delay", words, asked.criteria, replace(rule, with_error=with_error))
    for scale in _SCALES:
        yield row("limit", f"{float(scale) - 1:+.0%}" if scale != 1 else "as published", _scaled(asked, scale), rule)


def _again(pair: PairWindows, asked: Requirements, criteria: Sequence[Criterion], rule: Rule) -> Measured:
    readings = pair_readings(pair, criteria, asked.losses, with_error=rule.with_error)
    return measured(readings, rule, pair.explained)


def _by_measure(criteria: Sequence[Criterion], measure: Measure) -> tuple[Criterion, ...]:
    """The limits on the round trip by another statistic; the others as they are."""
    return tuple(
        replace(criterion, measure=measure)
        if criterion.measure in _MEASURES and criterion.peak_us is None
        else criterion
        for criterion in criteria
    )


def _scaled(asked: Requirements, scale: Fraction) -> tuple[Criterion, ...]:
    return tuple(
        replace(
            criterion,
            limit_us=int(criterion.limit_us * scale),
            peak_us=None if criterion.peak_us is None else int(criterion.peak_us * scale),
        )
        for criterion in asked.criteria
    )
