"""State strings of hours."""

from __future__ import annotations

import numpy as np

from leadline_collector.rollup import state_counts
from leadline_verdict.states import BAD, BOTH, GOOD, LATENCY, LOSS, NO_CAUSE, OUTAGE, UNAVAILABLE, UNKNOWN


def test_a_good_hour_has_no_state_string() -> None:
    """It is None; any other hour has one letter per minute, and bad minutes have the letter of their cause."""
    good, no_causes = np.full(60, GOOD, np.uint8), np.full(60, NO_CAUSE, np.uint8)
    mixed, causes = good.copy(), no_causes.copy()
    mixed[[0, 1, 2, 3, 30, 59]] = BAD, BAD, BAD, UNAVAILABLE, UNKNOWN, UNKNOWN
    causes[:4] = LOSS, LATENCY, BOTH, OUTAGE

    strings = state_counts.format_state_strings(np.stack([good, mixed]), np.stack([no_causes, causes]))

    assert strings == [None, "ltbx" + 26 * "g" + "u" + 28 * "g" + "u"]


def test_no_hours_give_no_state_strings() -> None:
    """An empty array gives an empty list."""
    empty = np.empty((0, 60), np.uint8)

    assert state_counts.format_state_strings(empty, empty) == []
