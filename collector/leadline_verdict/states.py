"""States of windows in arrays: ``leadline.evaluation.State`` for whoever has a month of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline.evaluation import State

#: Codes in the order of severity: of several paths or criteria the largest is the worst.
GOOD, BAD, UNAVAILABLE, UNKNOWN = range(4)
#: The state of each code.
STATES = (State.GOOD, State.BAD, State.UNAVAILABLE, State.UNKNOWN)

#: One code a minute, the first for the start of a period.
States: TypeAlias = NDArray[np.uint8]
#: One truth a minute.
Minutes: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Every minute of a period in the reading least and in the one most favourable to the path.

    The same minutes are UNKNOWN in both.
    """

    pessimistic: States
    optimistic: States

    def __len__(self) -> int:
        return len(self.pessimistic)

    @property
    def unknown(self) -> Minutes:
        """The minutes nobody knows."""
        unknown: Minutes = self.pessimistic == UNKNOWN
        return unknown

    def between(self, first: int, last: int) -> Readings:
        """The minutes [first, last)."""
        return Readings(pessimistic=self.pessimistic[first:last], optimistic=self.optimistic[first:last])

    def supposed(self, state: int) -> Readings:
        """With every unknown minute taken for ``state``."""
        unknown = self.unknown
        return Readings(
            pessimistic=np.where(unknown, np.uint8(state), self.pessimistic),
            optimistic=np.where(unknown, np.uint8(state), self.optimistic),
        )


def nothing_known(minutes: int) -> Readings:
    """A period of which no minute is known."""
    states = np.full(minutes, UNKNOWN, dtype=np.uint8)
    return Readings(pessimistic=states, optimistic=states)
