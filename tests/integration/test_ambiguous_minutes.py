"""Minutes without a reply that a silent destination may explain, from stored windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
import pytest

from leadline.model import Pair
from leadline_collector.analysis.verdicts import PairWindowLoader
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import service as mesh_service
from leadline_collector.time_range import TimeRange
from tests.integration.conftest import Client
from tests.integration.test_verdicts import END_S, measured, whole

DAY = 1_440
#: Days that are stored: the period, the day before and the day after it.
STORED_DAYS = 10
PERIOD = TimeRange(start_s=END_S - 9 * 86_400, end_s=END_S - 86_400)

FindAmbiguous: TypeAlias = Callable[[Iterable[int], Iterable[int]], list[int]]


@pytest.fixture(name="find_ambiguous")
def _find_ambiguous(client: Client, store: Store) -> FindAmbiguous:
    """Return a function that stores windows and returns the ambiguous minutes of fra to ams over eight days.

    It takes the minutes in which ams does not reply, and those in which its agent has no window, both counted from the
    start of the period.
    """
    assert client.apply().status == 200

    def find(dark: Iterable[int], silent: Iterable[int]) -> list[int]:
        measured(store, "fra1", "ams1", STORED_DAYS, {DAY + minute: whole(5_000, lost=60) for minute in dark})
        measured(store, "ams1", "fra1", STORED_DAYS, {DAY + minute: None for minute in silent})
        with store.read() as reader:
            active_mesh = mesh_service.load_active_mesh(reader)
            assert active_mesh is not None
            loader = PairWindowLoader(reader, active_mesh[1], PERIOD)
            windows = loader.load_pair(Pair(source="fra", destination="ams"))
        return [int(minute) for minute in np.flatnonzero(windows.ambiguous_minutes)]

    return find


def test_an_agent_that_never_ran_excuses_nothing(find_ambiguous: FindAmbiguous) -> None:
    """A week of 10,080 dark minutes toward a site with an agent that is only enrolled is a loss."""
    assert find_ambiguous(range(10_080), range(-DAY, 9 * DAY)) == []


def test_a_reboot_of_the_target_and_its_agent_is_excused(find_ambiguous: FindAmbiguous) -> None:
    """The target does not reply for five minutes, in which its agent does not measure either."""
    assert find_ambiguous(range(5_000, 5_005), range(5_000, 5_005)) == list(range(5_000, 5_005))


def test_a_decommissioned_agent_excuses_nothing_after_its_end(find_ambiguous: FindAmbiguous) -> None:
    """It was heard before the dark minutes and never again."""
    assert find_ambiguous(range(5_000, 8 * DAY), range(5_000, 9 * DAY)) == []


def test_an_agent_that_returns_after_the_period_excuses_its_end(find_ambiguous: FindAmbiguous) -> None:
    """The site is silent for the last hour of the period and the first half of the next day."""
    dark = range(8 * DAY - 60, 8 * DAY + 720)

    assert find_ambiguous(dark, dark) == list(range(8 * DAY - 60, 8 * DAY))


def test_an_agent_heard_before_the_period_excuses_its_start(find_ambiguous: FindAmbiguous) -> None:
    """The site is silent from an hour before the period to an hour after its start."""
    dark = range(-60, 60)

    assert find_ambiguous(dark, dark) == list(range(60))


def test_a_long_silence_is_excused_within_a_day_of_both_ends(find_ambiguous: FindAmbiguous) -> None:
    """Of a day and a half only the middle is within a day of the last window before and of the first one after."""
    dark = range(3_000, 3_000 + DAY + 720)

    assert find_ambiguous(dark, dark) == list(range(3_720, 3_000 + DAY))
