"""Where things lie on the chart of a pair."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from leadline.judge import Tally
from leadline_collector.pages.chart import (
    LABEL_HEIGHT,
    LEFT,
    PLOT_BOTTOM,
    PLOT_TOP,
    RIGHT,
    STATE_MIN,
    STRIP_HEIGHT,
    Chart,
    Line,
    chart,
)
from leadline_collector.pages.pair_history import BINS_MAX, Bin, bin_length_s
from leadline_collector.period import PERIOD_S_MAX, Period

START_S = 1_795_327_200
HOUR = Period(start_s=START_S, end_s=START_S + 3_600)


def bins(*p95s_us: int | None) -> list[Bin]:
    """One bin a minute; None has no figure at all."""
    return [
        Bin(
            start_s=START_S + 60 * number,
            min_us=None if us is None else us - 500,
            p50_us=None if us is None else us - 200,
            p95_us=us,
            infinite=0,
        )
        for number, us in enumerate(p95s_us)
    ]


def line(us: float, label: str = "limit") -> Line:
    """A limit."""
    return Line(us=us, label=label, text=f"{label} in words", look="limit")


def drawn(*p95s_us: int | None, lines: list[Line] | None = None) -> Chart:
    """A chart of an hour of these bins, without strips."""
    return chart(HOUR, 60, bins(*p95s_us), [], lines or [])


def test_the_axis_begins_at_zero_and_ends_above_the_data() -> None:
    """The lowest tick is 0 at the bottom; the highest carries the unit."""
    ticks = drawn(4_000, 4_900).y_ticks

    assert (ticks[0].text, ticks[0].at) == ("0", PLOT_BOTTOM)
    assert ticks[-1].at == PLOT_TOP
    assert ticks[-1].text.endswith(" ms")
    assert float(ticks[-1].text.removesuffix(" ms")) > 4.9


def test_a_gap_interrupts_the_lines() -> None:
    """Two runs of bins are two pieces, of the line as of the area; nothing is drawn across."""
    found = drawn(4_000, 4_100, None, None, 4_200)

    assert (found.p95.count("M"), found.p50.count("M"), found.band.count("Z")) == (2, 2, 2)
    width = (RIGHT - LEFT) / 60
    ends = [float(x) for x in re.findall(r"H([\d.]+)", found.p95)]
    assert ends == pytest.approx([LEFT + width, LEFT + 2 * width, LEFT + 5 * width], abs=0.06)


def test_a_single_bin_is_visible() -> None:
    """It is a step as wide as itself, not a point."""
    found = drawn(None, 4_000, None)

    left, right = (float(x) for x in re.findall(r"[MH]([\d.]+)", found.p95))
    assert right - left == pytest.approx((RIGHT - LEFT) / 60, abs=0.11)


def test_a_limit_far_above_the_data_is_named_and_not_drawn() -> None:
    """It would squeeze the data to the floor of the chart."""
    found = drawn(4_000, lines=[line(5_000, "5"), line(150_000, "150")])

    assert [level.label for level in found.levels] == ["5"]
    assert (found.lines, found.above) == (("5 in words",), ("150 in words",))


def test_a_limit_lies_on_the_scale_of_the_data() -> None:
    """The same number has the same height, whether it was measured or demanded."""
    found = drawn(5_000, lines=[line(5_000)])

    assert f" {found.levels[0].y}H" in found.p95


def test_labels_do_not_lie_on_each_other() -> None:
    """Lines may be close; their labels keep their distance."""
    found = drawn(5_000, lines=[line(5_000, "a"), line(5_010, "b"), line(4_990, "c")])

    heights = [level.label_y for level in found.levels]
    assert [level.label for level in found.levels] == ["b", "a", "c"]
    assert all(lower - upper >= LABEL_HEIGHT for upper, lower in pairwise(heights))


def test_one_bad_window_in_a_day_is_seen() -> None:
    """Its share of a step is a thousandth, its height is not."""
    tallies = [Tally(good=1_439, bad=1)]
    found = chart(HOUR, 3_600, bins(4_000)[:1], [("p", tallies)], [])

    (strip,) = found.strips
    areas = dict(strip.areas)
    top, bottom = (float(y) for y in re.findall(r"V([\d.]+)", areas["bad"]))
    assert set(areas) == {"good", "bad"}
    assert bottom - top == pytest.approx(STATE_MIN * STRIP_HEIGHT / (STRIP_HEIGHT + STATE_MIN), abs=0.2)


def test_nothing_with_a_reply_still_has_strips() -> None:
    """An hour of total loss has no scale of its own and is drawn all the same."""
    found = chart(HOUR, 60, bins(None), [("p", [Tally(unavailable=1)])], [line(5_000)])

    assert [state for state, _ in found.strips[0].areas] == ["unavailable"]
    assert [level.label for level in found.levels] == ["limit"]
    assert found.p95 == ""


@pytest.mark.parametrize("length_s", [60, 3_600, 86_400, 7 * 86_400, 28 * 86_400, PERIOD_S_MAX])
def test_every_period_fits_the_chart(length_s: int) -> None:
    """At most as many bins as there are, however long the period is."""
    found = bin_length_s(Period(start_s=0, end_s=length_s))

    assert length_s / found <= BINS_MAX
    assert found % 60 == 0


@pytest.mark.parametrize("length_s", [60, 3_600, 86_400, 28 * 86_400, PERIOD_S_MAX])
def test_the_time_axis_has_few_ticks(length_s: int) -> None:
    """Enough to read it by, none on top of another."""
    period = Period(start_s=START_S, end_s=START_S + length_s)

    ticks = chart(period, 86_400, [], [], []).x_ticks

    assert 1 <= len(ticks) <= 15
