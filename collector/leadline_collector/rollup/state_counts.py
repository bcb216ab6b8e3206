"""State counts of site pairs in the worst case, with causes, and in the best case. Pure.

``leadline_verdict.evaluation`` evaluates the windows. With the counts, a matrix over months is a sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline.evaluation import Criterion
from leadline_collector.rollup import hour_reader
from leadline_collector.rollup.hour_reader import HourBlock
from leadline_collector.rollup.window_codec import MINUTES_PER_HOUR
from leadline_collector.windows.dirty_hours import DAY_S, HOUR_S
from leadline_verdict.evaluation import combine_paths, evaluate_path
from leadline_verdict.series import MISSING
from leadline_verdict.states import (
    BAD,
    BOTH,
    GOOD,
    LATENCY,
    LOSS,
    NO_CAUSE,
    OUTAGE,
    UNAVAILABLE,
    UNKNOWN,
    ScenarioStates,
)

#: Site id by agent id or by target id.
SiteIds: TypeAlias = Mapping[int, int]
_BoolArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairHours:
    """States of hours (or days) of site pairs: one row per pair and hour."""

    #: (source site, destination site, start of the hour).
    keys: Sequence[tuple[int, int, int]]
    #: In the order of ``keys``: (hour, minute).
    worst_case: NDArray[np.uint8]
    best_case: NDArray[np.uint8]
    #: Cause codes of the worst case.
    causes: NDArray[np.uint8]
    #: MISSING without a reply.
    min_us: NDArray[np.int32]
    simulated: _BoolArray
    #: At least one window comes from a file.
    imported: _BoolArray
    #: Smallest number of scheduled probes of a window.
    expected_min: NDArray[np.int32]


def evaluate_pair_hours(
    hours: HourBlock,
    criteria: Sequence[Criterion],
    site_by_agent: SiteIds,
    site_by_target: SiteIds,
    minutes: slice = slice(MINUTES_PER_HOUR),
    *,
    imported_agents: Collection[int] = (),
) -> PairHours:
    """Evaluate these minutes of the hours of paths, and combine the paths of each pair.

    ``imported_agents`` are the sources of imported windows.
    """
    states = evaluate_path(hour_reader.flatten_hours(hours, minutes), criteria)
    width = len(range(MINUTES_PER_HOUR)[minutes])
    worst_case, best_case, causes = (
        column.reshape(-1, width) for column in (states.worst_case, states.best_case, states.causes)
    )
    min_us = _row_min(hours.get_column("min_us")[:, minutes])
    expected = hours.get_column("expected")[:, minutes]
    expected_min = _row_min(np.where(expected > 0, expected, np.int32(MISSING)))
    imported = np.array([key[0] in imported_agents for key in hours.keys], bool)
    indices_by_pair: defaultdict[tuple[int, int, int], list[int]] = defaultdict(list)
    has_window = hour_reader.is_present(hours)[:, minutes].any(axis=1)
    for index in np.flatnonzero(has_window).tolist():
        src_id, dst_id, hour_s = hours.keys[index]
        indices_by_pair[site_by_agent[src_id], site_by_target[dst_id], hour_s].append(index)
    first_indices = [indices[0] for indices in indices_by_pair.values()]
    pairs = PairHours(
        keys=list(indices_by_pair),
        worst_case=worst_case[first_indices],
        best_case=best_case[first_indices],
        causes=causes[first_indices],
        min_us=min_us[first_indices],
        simulated=hours.simulated[first_indices],
        imported=imported[first_indices],
        expected_min=expected_min[first_indices],
    )
    for row, indices in enumerate(indices_by_pair.values()):
        if len(indices) > 1:
            combined = combine_paths(
                [
                    ScenarioStates(worst_case=worst_case[index], best_case=best_case[index], causes=causes[index])
                    for index in indices
                ],
                width,
            )
            pairs.worst_case[row], pairs.best_case[row] = combined.worst_case, combined.best_case
            pairs.causes[row] = combined.causes
            pairs.min_us[row] = _row_min(min_us[indices][None])[0]
            pairs.simulated[row] = hours.simulated[indices].any()
            pairs.imported[row] = imported[indices].any()
            pairs.expected_min[row] = _row_min(expected_min[indices][None])[0]
    return pairs


def combine_day(pairs: PairHours, day_s: int) -> PairHours:
    """Join the hours of one day: one row per pair. A minute without a window is unknown."""
    row_by_pair: dict[tuple[int, int], int] = {}
    rows = np.array([row_by_pair.setdefault(key[:2], len(row_by_pair)) for key in pairs.keys], np.intp)
    hours = np.array([(key[2] - day_s) // HOUR_S for key in pairs.keys], np.intp)
    worst_case = np.full((len(row_by_pair), DAY_S // HOUR_S, MINUTES_PER_HOUR), UNKNOWN, np.uint8)
    best_case, causes = worst_case.copy(), np.full(worst_case.shape, NO_CAUSE, np.uint8)
    min_us = np.full(worst_case.shape[:2], MISSING, np.int32)
    expected_min, simulated = min_us.copy(), np.zeros(worst_case.shape[:2], bool)
    imported = simulated.copy()
    worst_case[rows, hours], best_case[rows, hours] = pairs.worst_case, pairs.best_case
    causes[rows, hours] = pairs.causes
    min_us[rows, hours], simulated[rows, hours] = pairs.min_us, pairs.simulated
    expected_min[rows, hours], imported[rows, hours] = pairs.expected_min, pairs.imported
    return PairHours(
        keys=[(*pair, day_s) for pair in row_by_pair],
        worst_case=worst_case.reshape(len(row_by_pair), -1),
        best_case=best_case.reshape(len(row_by_pair), -1),
        causes=causes.reshape(len(row_by_pair), -1),
        min_us=_row_min(min_us),
        simulated=np.logical_or.reduce(simulated, axis=1),
        imported=np.logical_or.reduce(imported, axis=1),
        expected_min=_row_min(expected_min),
    )


def _row_min(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the smallest value of each row; MISSING if all are MISSING."""
    if not values.shape[1]:
        return np.full(len(values), MISSING, np.int32)
    # MISSING is the largest unsigned value.
    minima: NDArray[np.int32] = values.view(np.uint32).min(axis=1).view(np.int32)
    return minima


def count_states(pairs: PairHours) -> NDArray[np.int64]:
    """Return the number of windows of each row by state and cause, in the order of ``tables.COUNT_COLUMNS``."""
    return np.column_stack(
        [
            (codes == code).sum(axis=1)
            for codes, counted in (
                (pairs.worst_case, (GOOD, BAD, UNAVAILABLE)),
                (pairs.best_case, (GOOD, BAD, UNAVAILABLE)),
                (pairs.causes, (LOSS, LATENCY, BOTH)),
            )
            for code in counted
        ]
    )


#: Letters of ``tally_hour.states`` by cause code. In hours that were counted before the causes, b is any bad window.
_LETTER_BY_CAUSE = {NO_CAUSE: "g", BOTH: "b", LATENCY: "t", LOSS: "l", OUTAGE: "x"}
_CAUSE_LETTERS = np.frombuffer(
    "".join(_LETTER_BY_CAUSE[cause] for cause in sorted(_LETTER_BY_CAUSE)).encode(), np.uint8
)
_UNKNOWN_LETTER = np.uint8(ord("u"))


def format_state_strings(states: NDArray[np.uint8], causes: NDArray[np.uint8]) -> list[str | None]:
    """Return one letter per minute for each row of states and causes of the worst case.

    None for a row with only good minutes, as nearly all rows have.
    """
    letters = np.where(states == UNKNOWN, _UNKNOWN_LETTER, _CAUSE_LETTERS[causes])
    texts = letters.view(f"S{states.shape[1]}")[:, 0]
    all_good = (states == GOOD).all(axis=1)
    return [None if good else text.decode() for good, text in zip(all_good.tolist(), texts.tolist(), strict=True)]
