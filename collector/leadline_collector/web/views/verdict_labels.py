"""How pages print a verdict: its sign, its word, its figures. The verdict itself is ``leadline_verdict``'s."""

from __future__ import annotations

from dataclasses import dataclass

from leadline_collector.web import formatting
from leadline_verdict.document import PairVerdict, Word

#: The word as it is read, and as a name of a sign and a class.
WORDS = {
    Word.IMPOSSIBLE: "impossible",
    Word.IMPOSSIBLE_ON_GLASS_FIBRE: "impossible on glass",
    Word.BEYOND: "beyond",
    Word.MARGINAL: "marginal",
    Word.INVALID: "invalid",
    Word.INSUFFICIENT_DATA: "insufficient data",
    Word.WITHIN_PROVISIONAL: "within, provisionally",
    Word.WITHIN: "within",
}
_LOOKS = {word: word.value.replace("_", "-") for word in Word} | {
    Word.IMPOSSIBLE_ON_GLASS_FIBRE: "impossible-on-glass",
}


def look(word: Word) -> str:
    """Name of the sign, and class."""
    return _LOOKS[word]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictView:
    """The verdict on one direction, in words."""

    look: str
    word: str
    labels: str
    #: "98.98 % of 40,309"; None if no minute is known.
    share: str | None
    #: "98.551 % to 99.421 %"; None where nothing can be bounded, and ``nothing`` says why.
    interval: str | None
    #: Why there is no interval: no minute is known, or the period is too short for one.
    nothing: str
    #: How the interval was found: "Korn-Graubard by day, 31 episodes".
    interval_rule: str | None
    demonstrated: str | None
    #: Further good days; "0", or "over 1,000".
    days_needed: str | None
    coverage: str
    confidence: str | None
    reasons: list[str]
    flips: list[str]


def view(verdict: PairVerdict) -> VerdictView:
    """What the page says of it."""
    shares = verdict.shares
    counts = shares.pessimistic.states
    known = counts.good + counts.bad + counts.unavailable
    low, high = shares.pessimistic.interval, shares.optimistic.interval
    rules = {"korn_graubard_by_day": "Korn and Graubard, by day", "episode_bound": "episode bound"}
    return VerdictView(
        look=look(verdict.verdict),
        word=WORDS[verdict.verdict],
        labels=", ".join(label.replace("_", " ") for label in verdict.labels),
        share=f"{formatting.percent(counts.good, known)} of {formatting.count(known)}" if known else None,
        interval=None if not known or low is None or high is None else f"{_ratio(low.low)} to {_ratio(high.high)}",
        nothing="too short a period" if known else "no minute known",
        interval_rule=f"{rules[low.rule]}; {low.episodes:,} episodes" if known and low else None,
        demonstrated=_ratio(shares.demonstrated) if known and shares.demonstrated is not None else None,
        days_needed=_days(shares.days_needed) if known and shares.demonstrated is not None else None,
        coverage=formatting.percent(known, known + counts.unknown),
        confidence=verdict.confidence,
        reasons=[_unbroken(reason.text) for reason in verdict.reasons],
        flips=[_unbroken(flip.text) for flip in verdict.flips],
    )


def _unbroken(text: str) -> str:
    """No line begins with a sign of percent."""
    return text.replace(" %", "\u00a0%")


def _days(number: int | None) -> str:
    return "over 1,000" if number is None else f"{number:,}"


def _ratio(ratio: float) -> str:
    """As the verdict's own sentences print it, so that the page does not differ from itself in the last figure."""
    return f"{100 * ratio:.3f}\u00a0%"
