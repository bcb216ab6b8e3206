"""Window states in arrays, as codes for ``leadline.evaluation.WindowState``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline.evaluation import CAUSE_SEVERITY, WindowCause, WindowState, WindowStateCounts

#: State codes in order of severity: the largest code of several paths or criteria is the worst.
GOOD, BAD, UNAVAILABLE, UNKNOWN = range(4)
#: The state of each code.
STATES_BY_CODE = (WindowState.GOOD, WindowState.BAD, WindowState.UNAVAILABLE, WindowState.UNKNOWN)

#: Cause codes in order of severity: the largest code of several paths or criteria counts.
NO_CAUSE, BOTH, LATENCY, LOSS, OUTAGE = range(5)
#: The cause of each code; None for NO_CAUSE.
CAUSES_BY_CODE: tuple[WindowCause | None, ...] = tuple(sorted(CAUSE_SEVERITY, key=CAUSE_SEVERITY.__getitem__))

#: One state code per minute, from the start of the period.
StateArray: TypeAlias = NDArray[np.uint8]
#: One boolean per minute.
MinuteMask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioStates:
    """States of all minutes of a period in the worst case and in the best case for the path.

    The same minutes are UNKNOWN in both.
    """

    worst_case: StateArray
    best_case: StateArray
    #: Cause codes of the worst case; NO_CAUSE for a good or unknown minute.
    causes: StateArray

    def __len__(self) -> int:
        return len(self.worst_case)

    @property
    def unknown_minutes(self) -> MinuteMask:
        """Mask of the unknown minutes."""
        unknown: MinuteMask = self.worst_case == UNKNOWN
        return unknown

    def slice_minutes(self, first: int, last: int) -> ScenarioStates:
        """Return the minutes [first, last)."""
        return ScenarioStates(
            worst_case=self.worst_case[first:last],
            best_case=self.best_case[first:last],
            causes=self.causes[first:last],
        )

    def with_unknown_as(self, state: int) -> ScenarioStates:
        """Return the states with ``state`` for every unknown minute."""
        unknown = self.unknown_minutes
        return ScenarioStates(
            worst_case=np.where(unknown, np.uint8(state), self.worst_case),
            best_case=np.where(unknown, np.uint8(state), self.best_case),
            causes=self.causes,
        )


def make_unknown_states(minutes: int) -> ScenarioStates:
    """Return the states of a period without any known minute."""
    states = np.full(minutes, UNKNOWN, dtype=np.uint8)
    return ScenarioStates(worst_case=states, best_case=states, causes=np.zeros(minutes, dtype=np.uint8))


def count_state_codes(states: StateArray) -> WindowStateCounts:
    """Count the windows by state."""
    counts = np.bincount(states, minlength=len(STATES_BY_CODE))
    return WindowStateCounts(
        good=int(counts[GOOD]), bad=int(counts[BAD]), unavailable=int(counts[UNAVAILABLE]), unknown=int(counts[UNKNOWN])
    )
