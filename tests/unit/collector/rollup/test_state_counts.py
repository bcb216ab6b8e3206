"""The states of the minutes of an hour as they are kept beside its counts."""

from __future__ import annotations

import numpy as np

from leadline_collector.rollup import state_counts
from leadline_verdict.states import BAD, GOOD, UNAVAILABLE, UNKNOWN


def test_an_hour_that_is_good_takes_no_room() -> None:
    """It is None; any other hour is a letter a minute."""
    good = np.full(60, GOOD, np.uint8)
    mixed = good.copy()
    mixed[[0, 1, 30, 59]] = BAD, UNAVAILABLE, UNKNOWN, UNKNOWN

    found = state_counts.format_state_strings(np.stack([good, mixed]))

    assert found == [None, "bx" + 28 * "g" + "u" + 28 * "g" + "u"]


def test_no_hours_have_no_letters() -> None:
    """As when nobody measured."""
    assert state_counts.format_state_strings(np.empty((0, 60), np.uint8)) == []
