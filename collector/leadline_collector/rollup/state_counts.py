"""The windows of pairs of sites counted by their states, in both readings. Pure.

What a window is, ``leadline_verdict.evaluation`` says; here it is only counted, so that a matrix of months is a sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
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
from leadline_verdict.states import BAD, GOOD, UNAVAILABLE, UNKNOWN, ScenarioStates

#: Number of the destination site by number of the target.
SiteIds: TypeAlias = Mapping[int, int]
_BoolArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairHours:
    """Hours of pairs of sites in both readings: one row an hour of a pair."""

    #: (source site, destination site, start of the hour).
    keys: Sequence[tuple[int, int, int]]
    #: In the order of ``keys``: (hour, minute).
    worst_case: NDArray[np.uint8]
    best_case: NDArray[np.uint8]
    #: NONE without a reply.
    min_us: NDArray[np.int32]
    simulated: _BoolArray


def evaluate_pair_hours(
    hours: HourBlock,
    criteria: Sequence[Criterion],
    site_by_agent: SiteIds,
    site_by_target: SiteIds,
    minutes: slice = slice(MINUTES_PER_HOUR),
) -> PairHours:
    """These minutes of the hours of paths as hours of their pairs; ``source_of`` has the site of every agent."""
    readings = evaluate_path(hour_reader.flatten_hours(hours, minutes), criteria)
    width = len(range(MINUTES_PER_HOUR)[minutes])
    pessimistic, optimistic = readings.worst_case.reshape(-1, width), readings.best_case.reshape(-1, width)
    least_us = _row_min(hours.get_column("min_us")[:, minutes])
    places: defaultdict[tuple[int, int, int], list[int]] = defaultdict(list)
    has_window = hour_reader.is_present(hours)[:, minutes].any(axis=1)
    for number in np.flatnonzero(has_window).tolist():
        src_id, dst_id, hour_s = hours.keys[number]
        places[site_by_agent[src_id], site_by_target[dst_id], hour_s].append(number)
    first = [of_pair[0] for of_pair in places.values()]
    pair = PairHours(
        keys=list(places),
        worst_case=pessimistic[first],
        best_case=optimistic[first],
        min_us=least_us[first],
        simulated=hours.simulated[first],
    )
    for number, several in enumerate(places.values()):
        if len(several) > 1:
            both = combine_paths(
                [ScenarioStates(worst_case=pessimistic[one], best_case=optimistic[one]) for one in several], width
            )
            pair.worst_case[number], pair.best_case[number] = both.worst_case, both.best_case
            pair.min_us[number] = _row_min(least_us[several][None])[0]
            pair.simulated[number] = hours.simulated[several].any()
    return pair


def combine_day(pairs: PairHours, day_s: int) -> PairHours:
    """The hours of one day put together: one row a pair; a minute without a window is unknown."""
    of_pair: dict[tuple[int, int], int] = {}
    rows = np.array([of_pair.setdefault(key[:2], len(of_pair)) for key in pairs.keys], np.intp)
    hour_of = np.array([(key[2] - day_s) // HOUR_S for key in pairs.keys], np.intp)
    pessimistic = np.full((len(of_pair), DAY_S // HOUR_S, MINUTES_PER_HOUR), UNKNOWN, np.uint8)
    optimistic, least_us = pessimistic.copy(), np.full(pessimistic.shape[:2], MISSING, np.int32)
    simulated = np.zeros(pessimistic.shape[:2], bool)
    pessimistic[rows, hour_of], optimistic[rows, hour_of] = pairs.worst_case, pairs.best_case
    least_us[rows, hour_of], simulated[rows, hour_of] = pairs.min_us, pairs.simulated
    return PairHours(
        keys=[(*pair, day_s) for pair in of_pair],
        worst_case=pessimistic.reshape(len(of_pair), -1),
        best_case=optimistic.reshape(len(of_pair), -1),
        min_us=_row_min(least_us),
        simulated=np.logical_or.reduce(simulated, axis=1),
    )


def _row_min(values_us: NDArray[np.int32]) -> NDArray[np.int32]:
    """The least of each row; NONE where all are NONE."""
    if not values_us.shape[1]:
        return np.full(len(values_us), MISSING, np.int32)
    least: NDArray[np.int32] = values_us.view(np.uint32).min(axis=1).view(np.int32)  # NONE is the largest without sign
    return least


def count_states(worst_case: NDArray[np.uint8], best_case: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many windows of each row are what: ``tables.COUNT_COLUMNS``."""
    return np.column_stack(
        [(reading == state).sum(axis=1) for reading in (worst_case, best_case) for state in (GOOD, BAD, UNAVAILABLE)]
    )


#: A letter for each code of a state, as ``tally_hour.states`` has it: good, bad, unavailable, unknown.
_STATE_LETTERS = np.frombuffer(b"gbxu", np.uint8)


def format_state_strings(states: NDArray[np.uint8]) -> list[str | None]:
    """The minutes of each row, a letter each; None where all are good, which nearly all rows are."""
    texts = np.ascontiguousarray(_STATE_LETTERS[states]).view(f"S{states.shape[1]}")[:, 0]
    all_good = (states == GOOD).all(axis=1)
    return [None if good else text.decode() for good, text in zip(all_good.tolist(), texts.tolist(), strict=True)]
