"""Causes of the minutes out of limit, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from leadline.evaluation import (
    TOLERATED_LOSS_DENOMINATOR,
    TOLERATED_LOSS_DENOMINATORS,
    UNAVAILABLE_DENOMINATOR,
    Criterion,
    WindowCause,
    WindowStatistic,
)
from leadline_collector.analysis.documents import CauseCountsResponse
from leadline_verdict.episodes import find_runs
from leadline_verdict.pair import PairWindows
from leadline_verdict.states import CAUSES_BY_CODE, ScenarioStates, StateArray


def count_causes(causes: StateArray) -> dict[WindowCause, int]:
    """Count minutes by cause, from cause codes."""
    counts = np.bincount(causes.ravel(), minlength=len(CAUSES_BY_CODE)).tolist()
    return {cause: count for cause, count in zip(CAUSES_BY_CODE, counts, strict=True) if cause is not None}


def map_causes(response: CauseCountsResponse) -> dict[WindowCause, int]:
    """Return the counts of a response by cause."""
    return {
        WindowCause.OUTAGE: response.outage,
        WindowCause.LOSS: response.loss,
        WindowCause.LATENCY: response.latency,
        WindowCause.BOTH: response.both,
    }


def describe_causes(windows: PairWindows, scenarios: ScenarioStates, criteria: Sequence[Criterion]) -> str:
    """Describe how many minutes each cause put out of limit, in the worst case; empty if no minute is known."""
    known_count = int((~scenarios.unknown_minutes).sum())
    if not known_count or not criteria:
        return ""
    counts = count_causes(scenarios.causes)
    if not any(counts.values()):
        return f"All {known_count:,} known minutes were within the limits."
    episodes = {
        cause: len(find_runs(scenarios.causes == code))
        for code, cause in enumerate(CAUSES_BY_CODE)
        if cause is not None
    }
    text = "; ".join(_iter_clauses(counts, episodes, known_count, windows, criteria))
    return f"{text[0].upper()}{text[1:]}."


def _iter_clauses(
    counts: Mapping[WindowCause, int],
    episodes: Mapping[WindowCause, int],
    known_count: int,
    windows: PairWindows,
    criteria: Sequence[Criterion],
) -> Iterator[str]:
    limit, tolerance = _name_limit(criteria), _name_tolerance(windows, criteria)

    def format_count(cause: WindowCause, text: str) -> str:
        count, episode_count = counts[cause], episodes[cause]
        if not count:
            return f"no minute {text}"
        in_episodes = f", in {episode_count:,} episode{'' if episode_count == 1 else 's'}"
        return f"{count:,} of {known_count:,} {text}{in_episodes}"

    yield format_count(WindowCause.LATENCY, f"exceeded {limit} by latency")
    yield format_count(WindowCause.LOSS, f"lost {tolerance}")
    if counts[WindowCause.BOTH]:
        yield format_count(WindowCause.BOTH, f"exceeded {limit} only by losses and late replies together")
    if counts[WindowCause.OUTAGE]:
        share = f"{100 // UNAVAILABLE_DENOMINATOR}\u00a0% of the probes or more"
        yield format_count(WindowCause.OUTAGE, f"lost {share} (outage)")


def _name_limit(criteria: Sequence[Criterion]) -> str:
    limits_us = {criterion.limit_us for criterion in criteria}
    return f"{limits_us.pop() / 1_000:g}\u00a0ms" if len(limits_us) == 1 else "a limit"


def _name_tolerance(windows: PairWindows, criteria: Sequence[Criterion]) -> str:
    """Name the losses that the criteria do not tolerate: ``more than 3 of 60 probes``."""
    probe_counts = {
        int(count) for series in windows.series for count in np.unique(series.expected[series.expected > 0])
    }
    denominators = {
        None
        if criterion.statistic is WindowStatistic.MAX
        else TOLERATED_LOSS_DENOMINATORS.get(criterion.statistic, TOLERATED_LOSS_DENOMINATOR)
        for criterion in criteria
    }
    if len(probe_counts) == 1 and len(denominators) == 1:
        (probe_count,), (denominator,) = probe_counts, denominators
        tolerated = 0 if denominator is None else probe_count // denominator
        return f"more than {tolerated} of {probe_count} probes"
    return "more probes than a limit tolerates"
