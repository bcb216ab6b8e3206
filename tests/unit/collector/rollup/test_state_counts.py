"""State strings of hours."""

from __future__ import annotations

import numpy as np

from leadline_collector.rollup import state_counts
from leadline_verdict.states import BAD, GOOD, UNAVAILABLE, UNKNOWN


def test_a_good_hour_has_no_state_string() -> None:
    """It is None; any other hour has one letter per minute."""
    good = np.full(60, GOOD, np.uint8)
    mixed = good.copy()
    mixed[[0, 1, 30, 59]] = BAD, UNAVAILABLE, UNKNOWN, UNKNOWN

    strings = state_counts.format_state_strings(np.stack([good, mixed]))

    assert strings == [None, "bx" + 28 * "g" + "u" + 28 * "g" + "u"]


def test_no_hours_give_no_state_strings() -> None:
    """An empty array gives an empty list."""
    assert state_counts.format_state_strings(np.empty((0, 60), np.uint8)) == []
