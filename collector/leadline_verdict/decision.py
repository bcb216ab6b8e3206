"""From both readings of a period to what the windows alone say, in the order of method.md §6.2 from 4 on.

Rule 1: everything is computed in two readings. "Within" has to hold in the least favourable one, "beyond" in the most
favourable one.
Rule 2: the word must not hang on minutes that nobody knows: it is found once with all of them bad and once with all of
them good, and where the two differ the data are insufficient.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS_PROVISIONAL, TARGET_SHARE_DEFAULT, UNSEEN_EPISODE_WINDOWS, WINDOWS_PER_DAY
from leadline_verdict.compliance_share import DAYS_FOR_VARIANCE, Interval, Seen, seen, share_interval
from leadline_verdict.document import Word
from leadline_verdict.states import BAD, GOOD, Minutes, Readings

#: A period is valid with so many of its windows known (§3.2).
COVERAGE_MIN = 0.95
#: ``missing = mar`` is allowed up to so many unknown windows (§3.3).
UNKNOWN_MAX_FOR_MAR = 0.01


class Missing(StrEnum):
    """What becomes of minutes that nobody knows."""

    #: Bad in the pessimistic reading, good in the optimistic one.
    BAD = "bad"
    #: Missing at random: where every gap has a logged cause that is not the path, they leave the count.
    MAR = "mar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The choices of a verdict; all are printed with it."""

    target_share: float = TARGET_SHARE_DEFAULT
    unseen_windows: int = UNSEEN_EPISODE_WINDOWS
    missing: Missing = Missing.BAD
    with_error: bool = True

    def __post_init__(self) -> None:
        if not 0.5 < self.target_share < 1:
            raise ValueError(f"a target share of {self.target_share} is not between one half and 1")
        if self.unseen_windows < 1:
            raise ValueError(f"an unseen episode of {self.unseen_windows} minutes is no assumption")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a period shows in both readings, with unknown minutes taken for one thing; None: too short for bounds."""

    pessimistic: Interval | None
    optimistic: Interval | None

    def word(self, target_share: float) -> Word:
        """BEYOND, WITHIN or MARGINAL."""
        if self.optimistic is not None and self.optimistic.high < target_share:
            return Word.BEYOND
        if self.pessimistic is not None and self.pessimistic.low >= target_share:
            return Word.WITHIN
        return Word.MARGINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the windows say, before physics and requirements that no window shows."""

    word: Word
    #: The strictest of both: unknown minutes bad in the pessimistic reading, good in the optimistic one.
    claim: Claim
    #: What the pessimistic interval was computed from: for how much longer to measure.
    pessimistic: Seen | None
    #: The words with every unknown minute bad, and good; alike unless they decide.
    if_bad: Word
    if_good: Word
    days: int
    coverage: float
    #: Unknown minutes were left out of the count.
    left_out: bool = False


def measured(readings: Readings, rule: Rule, explained: Minutes | None = None) -> Measured:
    """Judge whole UTC days. ``explained`` are minutes whose absence has a logged cause that is not the path."""
    left_out = _leaves_out(rule, readings.unknown, explained)
    claim, observed = _claim(readings.supposed(BAD), readings.supposed(GOOD), rule, readings.unknown & left_out)
    if_bad = if_good = claim.word(rule.target_share)
    if not left_out and readings.unknown.any():
        if_bad, if_good = (_word_if(readings.supposed(state), rule) for state in (BAD, GOOD))
    days = len(readings) // WINDOWS_PER_DAY
    coverage = 1 - int(np.count_nonzero(readings.unknown)) / len(readings)
    is_enough = days >= CAMPAIGN_DAYS_PROVISIONAL and coverage >= COVERAGE_MIN and if_bad is if_good
    return Measured(
        word=if_bad if is_enough else Word.INSUFFICIENT_DATA,
        claim=claim,
        pessimistic=observed,
        if_bad=if_bad,
        if_good=if_good,
        days=days,
        coverage=coverage,
        left_out=left_out,
    )


def _leaves_out(rule: Rule, unknown: Minutes, explained: Minutes | None) -> bool:
    """Whether unknown minutes may be taken for minutes like the others (§3.3), and there are any."""
    if rule.missing is not Missing.MAR or explained is None or not unknown.any():
        return False
    few = int(np.count_nonzero(unknown)) <= UNKNOWN_MAX_FOR_MAR * len(unknown)
    return few and bool(np.all(explained[unknown]))


def _claim(worst: Readings, best: Readings, rule: Rule, without: Minutes) -> tuple[Claim, Seen | None]:
    counted = ~without
    if not counted.any():
        return Claim(pessimistic=None, optimistic=None), None
    low, high = seen(worst.pessimistic == GOOD, counted), seen(best.optimistic == GOOD, counted)
    return Claim(pessimistic=_interval(low, rule), optimistic=_interval(high, rule)), low


def _word_if(supposed: Readings, rule: Rule) -> Word:
    nothing = np.zeros(len(supposed), dtype=np.bool_)
    return _claim(supposed, supposed, rule, nothing)[0].word(rule.target_share)


def _interval(observed: Seen, rule: Rule) -> Interval | None:
    """None for a single day, which has no variance between days."""
    if len(observed.windows_by_day) < DAYS_FOR_VARIANCE:
        return None
    return share_interval(observed, unseen_windows=rule.unseen_windows)
