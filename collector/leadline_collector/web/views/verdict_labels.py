"""Verdicts on pages: icon, label, formatted numbers. ``leadline_verdict`` computes them."""

from __future__ import annotations

from dataclasses import dataclass

from leadline_collector.web.formatting import format_count, format_percent, format_ratio
from leadline_verdict.document import PairVerdict, VerdictClass

#: Label of each verdict.
VERDICT_LABELS = {
    VerdictClass.IMPOSSIBLE: "impossible",
    VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE: "impossible on glass",
    VerdictClass.BEYOND: "beyond",
    VerdictClass.BEYOND_PROVISIONAL: "beyond, provisionally",
    VerdictClass.MARGINAL: "marginal",
    VerdictClass.INVALID: "invalid",
    VerdictClass.INSUFFICIENT_DATA: "insufficient data",
    VerdictClass.WITHIN_PROVISIONAL: "within, provisionally",
    VerdictClass.WITHIN: "within",
}
_ICONS = {word: word.value.replace("_", "-") for word in VerdictClass} | {
    VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE: "impossible-on-glass",
}


def get_icon(word: VerdictClass) -> str:
    """Return the name of the symbol and CSS class."""
    return _ICONS[word]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictView:
    """The verdict on one direction, as texts."""

    icon: str
    label: str
    qualifiers: str
    #: "98.98 % of 40,309"; None if no minute is known.
    share: str | None
    #: "98.551 % to 99.421 %"; None without an interval (see ``no_interval_reason``).
    interval: str | None
    #: Why there is no interval: no minute is known, or the period is too short for one.
    no_interval_reason: str
    #: "Korn and Graubard, by day; 31 episodes".
    interval_method: str | None
    demonstrated: str | None
    #: Further good days needed: "0" to "1,000", or "over 1,000".
    days_needed: str | None
    coverage: str
    #: "measured, 60 probes a minute; 12 minutes unknown".
    provenance: str
    #: Earliest dates of further verdicts if the data are insufficient: "2026-12-14", "beyond or marginal".
    milestones: list[tuple[str, str]]
    reasons: list[str]
    #: First clause of the first reason, for a row of a table; "" without a reason.
    summary: str
    counterfactuals: list[str]


def build_verdict_view(verdict: PairVerdict) -> VerdictView:
    """Format a verdict."""
    shares = verdict.shares
    counts = shares.pessimistic.states
    known_count = counts.good + counts.bad + counts.unavailable
    low, high = shares.pessimistic.interval, shares.optimistic.interval
    methods = {"korn_graubard_by_day": "Korn and Graubard, by day", "episode_bound": "episode bound"}
    return VerdictView(
        icon=get_icon(verdict.verdict),
        label=VERDICT_LABELS[verdict.verdict],
        qualifiers=", ".join(label.replace("_", " ") for label in verdict.labels),
        share=f"{format_percent(counts.good, known_count)} of {format_count(known_count)}" if known_count else None,
        interval=None
        if not known_count or low is None or high is None
        else f"{format_ratio(low.low)} to {format_ratio(high.high, up=True)}",
        no_interval_reason="period too short" if known_count else "no minute known",
        interval_method=f"{methods[low.rule]}; {low.episodes:,} episodes" if known_count and low else None,
        demonstrated=format_ratio(shares.demonstrated) if known_count and shares.demonstrated is not None else None,
        days_needed=_format_days(shares.days_needed) if known_count and shares.demonstrated is not None else None,
        coverage="\N{EN DASH}"
        if verdict.coverage is None
        else format_percent(known_count, known_count + counts.unknown),
        provenance=_format_provenance(verdict),
        milestones=_list_milestones(verdict) if verdict.verdict is VerdictClass.INSUFFICIENT_DATA else [],
        reasons=[_bind_percent_signs(reason.text) for reason in verdict.reasons],
        summary=_bind_percent_signs(_shorten(verdict.reasons[0].text)) if verdict.reasons else "",
        counterfactuals=[_bind_percent_signs(flip.text) for flip in verdict.flips],
    )


def _format_provenance(verdict: PairVerdict) -> str:
    """Format the origin of the windows, and what they lack."""
    provenance = verdict.provenance
    if not provenance:
        return ""
    is_since = provenance.measured_since_iso is not None and provenance.data == ["measured"]
    parts = [] if is_since else [", ".join(provenance.data) or "not measured"]
    if provenance.probes_per_window is not None:
        parts.append(f"{provenance.probes_per_window} probes a minute")
    if provenance.measured_since_iso is not None:
        parts.append(f"measured since {provenance.measured_since_iso[:16].replace('T', ' ')} UTC")
    parts += [
        f"{format_count(minutes)} minute{'' if minutes == 1 else 's'} {label}"
        for minutes, label in (
            (provenance.unknown_minutes, "unknown"),
            (provenance.left_out_minutes, "left out"),
            (provenance.excused_minutes, "excused"),
        )
        if minutes
    ]
    return "; ".join([*parts, *provenance.weak_limits])


def _list_milestones(verdict: PairVerdict) -> list[tuple[str, str]]:
    words_by_day: dict[str, list[str]] = {}
    for milestone in verdict.milestones or []:
        words = words_by_day.setdefault(milestone.at_iso[:10], [])
        words.append(VERDICT_LABELS[VerdictClass(milestone.verdict)])
    return [(day, " or ".join(words)) for day, words in words_by_day.items()]


def _shorten(text: str) -> str:
    """Return the first clause, or two if the first says only what did not happen."""
    clauses = text.split("; ")
    return "; ".join(clauses[: 2 if clauses[0].startswith("no minute") else 1])


def _bind_percent_signs(text: str) -> str:
    """Keep a percent sign on the line of its number."""
    return text.replace(" %", "\u00a0%")


def _format_days(number: int | None) -> str:
    return "over 1,000" if number is None else f"{number:,}"
