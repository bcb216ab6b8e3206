"""States of windows in arrays: ``leadline.evaluation.State`` for whoever has a month of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline.evaluation import WindowState

#: Codes in the order of severity: of several paths or criteria the largest is the worst.
GOOD, BAD, UNAVAILABLE, UNKNOWN = range(4)
#: The state of each code.
STATES_BY_CODE = (WindowState.GOOD, WindowState.BAD, WindowState.UNAVAILABLE, WindowState.UNKNOWN)

#: One code a minute, the first for the start of a period.
StateArray: TypeAlias = NDArray[np.uint8]
#: One truth a minute.
MinuteMask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioStates:
    """Every minute of a period in the reading least and in the one most favourable to the path.

    The same minutes are UNKNOWN in both.
    """

    worst_case: StateArray
    best_case: StateArray

    def __len__(self) -> int:
        return len(self.worst_case)

    @property
    def unknown_minutes(self) -> MinuteMask:
        """The minutes nobody knows."""
        unknown: MinuteMask = self.worst_case == UNKNOWN
        return unknown

    def slice_minutes(self, first: int, last: int) -> ScenarioStates:
        """The minutes [first, last)."""
        return ScenarioStates(worst_case=self.worst_case[first:last], best_case=self.best_case[first:last])

    def with_unknown_as(self, state: int) -> ScenarioStates:
        """With every unknown minute taken for ``state``."""
        unknown = self.unknown_minutes
        return ScenarioStates(
            worst_case=np.where(unknown, np.uint8(state), self.worst_case),
            best_case=np.where(unknown, np.uint8(state), self.best_case),
        )


def make_unknown_states(minutes: int) -> ScenarioStates:
    """A period of which no minute is known."""
    states = np.full(minutes, UNKNOWN, dtype=np.uint8)
    return ScenarioStates(worst_case=states, best_case=states)
