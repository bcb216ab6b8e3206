"""Causes of the minutes out of limit: counts, and the sentence that a verdict begins with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from leadline.evaluation import (
    TOLERATED_LOSS_DENOMINATOR,
    TOLERATED_LOSS_DENOMINATORS,
    WINDOWS_PER_DAY,
    Criterion,
    WindowCause,
    WindowStatistic,
)
from leadline.model import WINDOW_S
from leadline_verdict.document import CauseCounts, CauseSection, Reason
from leadline_verdict.episodes import IntArray, find_runs
from leadline_verdict.pair import PairWindows
from leadline_verdict.reasons import make_reason
from leadline_verdict.requirements import RequirementSet
from leadline_verdict.series import MISSING
from leadline_verdict.states import BOTH, LATENCY, LOSS, OUTAGE, MinuteMask, ScenarioStates, StateArray

_CODES = {
    WindowCause.OUTAGE: OUTAGE,
    WindowCause.LOSS: LOSS,
    WindowCause.LATENCY: LATENCY,
    WindowCause.BOTH: BOTH,
}
#: A time of day is named if this share of the minutes is in it, on at least this number of days.
_CONCENTRATION_RATIO, _CONCENTRATION_DAYS_MIN = 0.7, 5
#: Weekdays are named if this share of the minutes is on them; of minutes on every day, 71 % are.
_WEEKDAY_RATIO = 0.85
#: Longest time of day that is named, and the smallest number of minutes for which one is.
_CONCENTRATION_HOURS_MAX, _CONCENTRATION_MINUTES_MIN = 9, 30
_HOURS_PER_DAY, _HOUR_S = 24, 3_600
_SATURDAY = 5


def count_causes(causes: StateArray) -> CauseCounts:
    """Count the minutes by cause."""
    counts = np.bincount(causes, minlength=OUTAGE + 1)
    return CauseCounts(
        outage=int(counts[OUTAGE]), loss=int(counts[LOSS]), latency=int(counts[LATENCY]), both=int(counts[BOTH])
    )


def build_cause_sections(states: ScenarioStates) -> list[CauseSection]:
    """Return a section for each cause that occurs, the most frequent first."""
    sections = []
    for cause, code in _CODES.items():
        runs = find_runs(states.causes == code)
        if len(runs):
            sections.append(
                CauseSection(
                    cause=cause.value,
                    minutes=int(np.count_nonzero(states.causes == code)),
                    episodes=len(runs),
                    longest=int(runs.lengths.max()),
                )
            )
    return sorted(sections, key=lambda section: -section.minutes)


def describe_causes(
    pair: PairWindows, states: ScenarioStates, sections: Sequence[CauseSection], requirements: RequirementSet
) -> Reason:
    """Return the reason in plain numbers: the largest cause first."""
    criteria = requirements.criteria
    known = int(np.count_nonzero(~states.unknown_minutes))
    by_cause = {section.cause: section.minutes for section in sections}
    numbers = {"known": known} | {cause.value: by_cause.get(cause.value, 0) for cause in WindowCause}
    if not sections:
        return make_reason("causes", f"all {known:,} known minutes were within the limits", **numbers)
    limit = _name_limit(criteria)
    parts = [_describe_section(section, pair, states, known, limit, requirements) for section in sections]
    if _is_latency_excluded(pair, states, criteria):
        parts.insert(0, f"no minute exceeded {limit} by latency")
    return make_reason("causes", "; ".join(parts), **numbers)


def _is_latency_excluded(pair: PairWindows, states: ScenarioStates, criteria: Sequence[Criterion]) -> bool:
    """True if no minute exceeded a limit on the RTT by latency, also not besides its losses."""
    if not criteria or not all(criterion.is_rtt_limit for criterion in criteria):
        return False
    if np.any(states.causes == LATENCY):
        return False
    is_hidden = (states.causes == LOSS) | (states.causes == OUTAGE)
    limit_us = min(criterion.limit_us for criterion in criteria)
    may_be_late = [
        (series.max_us > limit_us) & ((series.p50_us == MISSING) | (series.p50_us > limit_us)) for series in pair.series
    ]
    return not any(np.any(late & is_hidden) for late in may_be_late)


def _name_limit(criteria: Sequence[Criterion]) -> str:
    limits_us = {criterion.limit_us for criterion in criteria}
    return f"{min(limits_us) / 1_000:.10g} ms" if len(limits_us) == 1 else "a limit of the profile"


def _describe_section(
    section: CauseSection,
    pair: PairWindows,
    states: ScenarioStates,
    known: int,
    limit: str,
    requirements: RequirementSet,
) -> str:
    count = f"{section.minutes:,} of {known:,} minutes"
    is_jitter = bool(requirements.criteria) and not any(item.is_rtt_limit for item in requirements.criteria)
    was = "was" if section.minutes == 1 else "were"
    exceeded = f"varied by more than {limit}" if is_jitter else f"{was} above {limit}"
    where = f"in {section.episodes:,} episode{'' if section.episodes == 1 else 's'}"
    match section.cause:
        case WindowCause.OUTAGE:
            longest = f", the longest of {section.longest:,} min" if section.episodes > 1 else ""
            return f"{count} lost 20 % of their probes or more, {where}{longest}"
        case WindowCause.LOSS:
            return f"{count} lost more than {_describe_tolerance(pair, requirements)}, {where}"
        case WindowCause.BOTH:
            return f"{count} {exceeded} only by late and lost probes together, {where}"
    text = f"{count} {exceeded} by latency, {where}"
    when = find_concentration(np.flatnonzero(states.causes == LATENCY), pair.start_s, pair.time_zone)
    return f"{text}, most of them {when}" if when else text


def _describe_tolerance(pair: PairWindows, requirements: RequirementSet) -> str:
    """Return the losses that the limits tolerate: ``3 of 60 probes``."""
    texts = [_describe_tolerated_losses(pair, requirements.criteria)] if requirements.criteria else []
    if any(limit.window_s is not None for limit in requirements.loss_limits):
        texts.append("a loss limit allows on average")
    return " or ".join(texts)


def _describe_tolerated_losses(pair: PairWindows, criteria: Sequence[Criterion]) -> str:
    """Return the number of losses that the strictest statistic tolerates."""
    expected = {int(n) for series in pair.series for n in np.unique(series.expected) if n}
    if any(criterion.statistic is WindowStatistic.MAX for criterion in criteria):
        return "0 probes"
    strictest = max(
        TOLERATED_LOSS_DENOMINATORS.get(criterion.statistic, TOLERATED_LOSS_DENOMINATOR) for criterion in criteria
    )
    if len(expected) != 1:
        return f"{100 // strictest} % of their probes"
    probes = expected.pop()
    return f"{probes // strictest} of {probes} probes"


def find_concentration(minutes: IntArray, start_s: int, time_zone: str) -> str | None:
    """Return the time of day and the days that most of these minutes are in; None if they are spread.

    ``minutes`` are counted from ``start_s``. The result reads ``on weekdays 09-15 h (Europe/Berlin)``.
    """
    if (
        len(minutes) < _CONCENTRATION_MINUTES_MIN
        or len(np.unique(minutes // WINDOWS_PER_DAY)) < _CONCENTRATION_DAYS_MIN
    ):
        return None
    counts = _count_by_hour(minutes, start_s, time_zone)
    total = counts.sum()
    for label, table, ratio in (
        ("on weekdays", counts[0], _WEEKDAY_RATIO),
        ("on weekends", counts[1], _CONCENTRATION_RATIO),
        ("", counts.sum(axis=0), 0.0),
    ):
        if table.sum() < ratio * total:
            continue
        if span := _find_hours(table, _CONCENTRATION_RATIO * total):
            return f"{label or 'from'} {span[0]:02d}\N{EN DASH}{span[1]:02d} h ({time_zone})"
        if label == "on weekends":
            return f"{label} ({time_zone})"
    return None


def _find_hours(by_hour: IntArray, least: float) -> tuple[int, int] | None:
    """Return the first hour and the end of the time of day with at least ``least`` minutes; None if it is too long.

    It is the shortest such time, with the hours next to it that have at least half as many minutes as its mean hour.
    """
    for length in range(1, _CONCENTRATION_HOURS_MAX + 1):
        sums = np.convolve(np.concatenate([by_hour, by_hour[: length - 1]]), np.ones(length), "valid")
        first = int(sums.argmax())
        if sums[first] < least:
            continue
        frequent = by_hour >= sums[first] / length / 2
        end = first + length
        while end - first < _CONCENTRATION_HOURS_MAX and frequent[end % _HOURS_PER_DAY]:
            end += 1
        while end - first < _CONCENTRATION_HOURS_MAX and frequent[first - 1]:
            first -= 1
        return first % _HOURS_PER_DAY, end % _HOURS_PER_DAY or _HOURS_PER_DAY
    return None


def _count_by_hour(minutes: IntArray, start_s: int, time_zone: str) -> IntArray:
    """Return the number of minutes by kind of day (0 weekday, 1 weekend) and local hour."""
    zone = ZoneInfo(time_zone)
    hours, sizes = np.unique((start_s + minutes * WINDOW_S) // _HOUR_S, return_counts=True)
    counts = np.zeros((2, _HOURS_PER_DAY), dtype=np.int64)
    for hour, size in zip(hours.tolist(), sizes.tolist(), strict=True):
        local = datetime.fromtimestamp(hour * _HOUR_S, zone)
        counts[int(local.weekday() >= _SATURDAY), local.hour] += size
    return counts


def mask_outages(states: ScenarioStates) -> MinuteMask:
    """Return the mask of outage minutes."""
    mask: MinuteMask = states.causes == OUTAGE
    return mask
