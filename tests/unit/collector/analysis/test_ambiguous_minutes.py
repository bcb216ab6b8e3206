"""Minutes without a reply that a silent destination may explain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from leadline.model import WINDOW_S
from leadline_collector.analysis.ambiguous_minutes import find_ambiguous_minutes
from leadline_collector.mesh.store import PathIds
from leadline_verdict.series import PathSeries, make_empty_columns
from tests.support.window_factories import DAY, START_S, build_columns, lose_probes

#: Minutes that a path is measured in, counted from START_S; negative ones are before the period.
Minutes = Iterable[int]

OUTGOING = PathIds(src_id=1, dst_id=2)
OTHER_OUTGOING = PathIds(src_id=3, dst_id=2)
INCOMING = PathIds(src_id=2, dst_id=1)
DARK = range(2 * DAY, 9 * DAY)


def find(
    lost: Minutes,
    measured: Minutes,
    also_measured: Minutes = (),
    replied: Minutes = (),
    loads: list[tuple[PathIds, int, int]] | None = None,
) -> list[int]:
    """Return the ambiguous minutes of ten days of which the probes of ``lost`` are lost.

    ``measured`` and ``also_measured`` are minutes of the two outgoing paths, ``replied`` those of the incoming one.
    ``loads`` gets the path and the first and last minute of everything that is loaded.
    """
    columns = build_columns(10)
    lose_probes(columns, lost)
    minutes_by_path = {OUTGOING: set(measured), OTHER_OUTGOING: set(also_measured), INCOMING: set(replied)}

    def load(ids: PathIds, start_s: int, end_s: int) -> PathSeries:
        first, last = (start_s - START_S) // WINDOW_S, (end_s - START_S) // WINDOW_S
        if loads is not None:
            loads.append((ids, first, last))
        windows = make_empty_columns(last - first)
        for name in ("expected", "sent", "received"):
            windows[name][[minute - first for minute in minutes_by_path[ids] if first <= minute < last]] = 60
        return PathSeries.from_columns(start_s, windows)

    series = [PathSeries.from_columns(START_S, columns)]
    found = find_ambiguous_minutes(series, [OUTGOING, OTHER_OUTGOING], [INCOMING], load)
    assert found.shape == (10 * DAY,)
    return [int(minute) for minute in np.flatnonzero(found)]


def outside(minutes: range) -> list[int]:
    """Return the other minutes of the period, of the day before and of the day after."""
    return [minute for minute in range(-DAY, 11 * DAY) if minute not in minutes]


def test_an_agent_that_never_ran_explains_nothing() -> None:
    """A week of 10,080 dark minutes toward a site without a window is a loss."""
    assert len(DARK) == 10_080
    assert find(DARK, measured=[]) == []


def test_a_reboot_of_five_minutes_is_ambiguous() -> None:
    """The agent of the site has windows until the reboot and after it."""
    reboot = range(5_000, 5_005)

    assert find(reboot, measured=outside(reboot)) == list(reboot)


def test_an_agent_that_measured_meanwhile_shows_a_loss() -> None:
    """The site was cut off in the minutes with a window; another path of the site counts as well."""
    reboot = range(5_000, 5_005)

    assert find(reboot, measured=range(10 * DAY)) == []
    assert find(reboot, measured=outside(reboot), also_measured=[5_001]) == [5_000, 5_002, 5_003, 5_004]


def test_a_reply_to_another_agent_shows_a_loss() -> None:
    """Another agent reached the site in the minute, so the site was up."""
    reboot = range(5_000, 5_005)

    assert find(reboot, measured=outside(reboot), replied=[5_003]) == [5_000, 5_001, 5_002, 5_004]


def test_a_decommissioned_agent_explains_nothing_after_its_last_window() -> None:
    """The site was heard before and never again."""
    assert find(DARK, measured=range(-DAY, DARK.start)) == []


def test_a_new_agent_explains_nothing_before_its_first_window() -> None:
    """The site was not heard before."""
    assert find(DARK, measured=range(DARK.stop, 11 * DAY)) == []


@pytest.mark.parametrize(
    ("length", "ambiguous"),
    [
        (DAY - 1, range(DAY - 1)),
        (DAY, range(DAY)),
        (DAY + 1, range(1, DAY)),
        (DAY + 100, range(100, DAY)),
        (2 * DAY - 1, range(DAY - 1, DAY)),
        (2 * DAY, []),
    ],
)
def test_a_long_silence_is_ambiguous_within_a_day_of_both_ends_only(length: int, ambiguous: Sequence[int]) -> None:
    """Of a silence of a day and 100 minutes, the first and last 100 minutes are a loss."""
    dark = range(3_000, 3_000 + length)

    assert find(dark, measured=outside(dark)) == [3_000 + minute for minute in ambiguous]


def test_a_site_that_returns_after_the_period_explains_its_end() -> None:
    """The first window is within a day of all dark minutes: at the last of the day after the first dark minute."""
    dark = range(10 * DAY - 60, 10 * DAY)
    before = range(9 * DAY, dark.start)
    returned = dark.start + DAY

    assert find(dark, measured=[*before, returned]) == list(dark)
    assert find(dark, measured=[*before, returned + 1]) == list(dark)[1:]
    assert find(dark, measured=before) == []


def test_a_site_that_was_heard_before_the_period_explains_its_start() -> None:
    """The last window is within a day of all dark minutes: at the first of the day before the last dark minute."""
    dark = range(60)
    after = range(60, DAY)
    heard = 59 - DAY

    assert find(dark, measured=[heard, *after]) == list(dark)
    assert find(dark, measured=[heard - 1, *after]) == list(dark)[:-1]
    assert find(dark, measured=after) == []


def test_agents_of_a_site_explain_together() -> None:
    """One was heard before and was replaced by the other."""
    dark = range(5_000, 5_010)

    assert find(dark, measured=range(dark.start), also_measured=range(dark.stop, 10 * DAY)) == list(dark)


def test_nothing_is_loaded_without_a_silent_minute() -> None:
    """A pair without a minute of total loss costs nothing."""
    loads: list[tuple[PathIds, int, int]] = []

    assert find([], measured=range(10 * DAY), loads=loads) == []
    assert loads == []


def test_only_the_minutes_around_a_silence_are_loaded() -> None:
    """One path shows that the agent ran a day before and after; the others are loaded for the silence alone."""
    loads: list[tuple[PathIds, int, int]] = []
    reboot = range(5_000, 5_005)

    find(reboot, measured=outside(reboot), loads=loads)

    assert loads == [
        (OUTGOING, 5_000, 5_005),
        (OTHER_OUTGOING, 5_000, 5_005),
        (OUTGOING, 5_000 - DAY, 5_005 + DAY),
        (INCOMING, 5_000, 5_005),
    ]
