"""What is in the charts' specifications: valid Vega-Lite, axes from zero, gaps that stay, lines with their labels."""

from __future__ import annotations

import math
import re
from importlib.resources import files
from typing import Any

import altair
import numpy as np
import pytest

from leadline.evaluation import WindowState
from leadline_collector.web.charts import distribution, hour_of_week, render, timeline
from leadline_collector.web.charts.distribution import CURVE_POINTS_MAX, DistributionCurve
from leadline_collector.web.charts.hour_of_week import HourCell
from leadline_collector.web.charts.palette import DARK, LIGHT, to_dark_theme
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.charts.timeline import LIMIT_RATIO_MAX, STATE_SHARE_MIN, ReferenceLine, TimeBucket
from leadline_collector.web.charts.timeline_spec import LIMIT_WIDTH

START_S = 1_795_327_200
LIMIT = ReferenceLine(rtt_us=5_000, label="< 5 ms", description="< 5 ms for p95", kind="limit")
GLASS = ReferenceLine(rtt_us=3_516, label="glass 3.52", description="glass floor", kind="floor")


def step(number: int, p95_us: int | None = 4_900, infinite: int = 0, **states: int) -> TimeBucket:
    """Two minutes; None where nothing came back."""
    known = {WindowState(name): count for name, count in states.items()}
    nothing = p95_us is None
    return TimeBucket(
        start_s=START_S + 120 * number,
        end_s=START_S + 120 * number + 120,
        min_us=None if p95_us is None else p95_us - 500,
        p50_us=None if p95_us is None else p95_us - 200,
        p95_us=p95_us,
        max_us=None if p95_us is None else p95_us + 900,
        infinite_count=infinite,
        state_counts=known or {WindowState.UNKNOWN if nothing else WindowState.GOOD: 2},
    )


def time_chart(*steps: TimeBucket, lines: tuple[ReferenceLine, ...] = (LIMIT, GLASS)) -> Spec:
    return timeline.build_timeline_chart(steps, lines, "in words").spec


def curves_chart(*values_us: int, infinite: int = 0) -> Spec:
    curve = DistributionCurve(name="fra → ams", values_us=np.sort(np.array(values_us)), infinite_count=infinite)
    return distribution.build_distribution_chart([curve], [LIMIT], 0.995, "in words")


def week_chart(**of_first: Any) -> Spec:
    facts = {"window_count": 240, "known_count": 240, "good_count": 240, "is_covered": True, "is_worst": False}
    hours = [HourCell(**facts | {"weekday": day, "hour": hour}) for day in range(7) for hour in range(24)]  # type: ignore[arg-type]
    first = HourCell(**facts | {"weekday": 0, "hour": 0} | of_first)
    return hour_of_week.build_hour_of_week_chart([first, *hours[1:]], "in words")


def value(spec: Spec, name: str) -> Any:
    """What a parameter was given."""
    return next(one["value"] for one in spec["params"] if one["name"] == name)


def found(spec: Any, key: str) -> list[Any]:
    """Every value of a key, wherever it stands."""
    if isinstance(spec, dict):
        here = [spec[key]] if key in spec else []
        return here + [one for part in spec.values() for one in found(part, key)]
    return [one for part in spec for one in found(part, key)] if isinstance(spec, list) else []


EVERY = {
    "timeline": lambda: time_chart(step(0), step(1, None), step(2, 5_100, 1, bad=1, unavailable=1)),
    "distribution": lambda: curves_chart(4_000, 4_900, 6_000, infinite=2),
    "week": lambda: week_chart(known_count=100, good_count=90, is_covered=False, is_worst=True),
}


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_a_specification_is_valid_vega_lite(make: Any) -> None:
    """Pages do not validate, which takes too long: so it is done here, against Altair's own schema."""
    altair.LayerChart.from_dict(make())


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_a_chart_can_be_drawn_without_a_browser(make: Any) -> None:
    """In both grounds, each with its own ink."""
    light, dark = render.render_svg(make(), 600), render.render_svg(make(), 600, dark=True)

    assert (LIGHT["muted"] in light, DARK["muted"] in dark) == (True, True)
    assert not [colour for colour in LIGHT.values() if colour in dark]


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_data_of_one_chart_does_not_stay_in_the_next(make: Any) -> None:
    """The template is shared, what it is filled with is not."""
    before = make()

    time_chart(step(0, 50_000))
    curves_chart(50_000)
    week_chart(good_count=0)

    assert before == make()


def test_the_axis_of_the_round_trip_begins_at_zero_and_ends_above_the_data() -> None:
    """In milliseconds, whatever the lowest value is."""
    spec = time_chart(step(0, 4_900), step(1, 5_600))

    assert 0 in found(spec, "domainMin")
    assert not [one for one in found(spec, "scale") if isinstance(one, dict) and one.get("zero") is False]
    assert 5.6 < value(spec, "top") < 6.1


def test_the_time_axis_is_the_period_even_where_nothing_is_known() -> None:
    """From the start of the first step to the end of the last, in milliseconds since the epoch."""
    spec = time_chart(step(0, None), step(1), step(2, None))

    assert (value(spec, "first"), value(spec, "last")) == (START_S * 1_000, (START_S + 360) * 1_000)


def test_a_gap_is_not_bridged() -> None:
    """Between two runs stands a row without figures, at which Vega interrupts lines and areas."""
    spec = time_chart(step(0), step(1), step(2, None), step(3))

    rows = [(row["t"] // 1_000 - START_S, row["p95"]) for row in spec["datasets"]["steps"]]
    assert rows == [(0, 4.9), (120, 4.9), (240, 4.9), (240, None), (360, None), (360, 4.9), (480, 4.9), (480, None)]
    assert not [one for one in found(spec, "invalid") if one != "break-paths-show-path-domains"]


def test_limits_and_floors_are_lines_with_labels() -> None:
    """Each at its own height, its label beside it, floors told from limits."""
    rows = time_chart(step(0), lines=(LIMIT, GLASS))["datasets"]["lines"]

    assert [(row["y"], row["label"], row["look"]) for row in rows] == [
        (5.0, "< 5 ms", "limit"),
        (3.516, "glass 3.52", "floor"),
    ]


def test_labels_of_neighbouring_lines_do_not_lie_on_each_other() -> None:
    """The lower one is pushed down, its line is not."""
    near = ReferenceLine(rtt_us=4_990, label="< 4.99 ms", description="", kind="limit")

    first, second = time_chart(step(0), lines=(LIMIT, near))["datasets"]["lines"]

    assert second["y"] == 4.99
    assert first["at"] - second["at"] > 0.3


def test_a_limit_far_above_the_data_is_named_and_not_drawn() -> None:
    """It would press the data to the ground."""
    far = ReferenceLine(rtt_us=150_000, label="≤ 150 ms", description="", kind="limit")

    drawn = timeline.build_timeline_chart([step(0)], [LIMIT, far], "in words")

    assert drawn.omitted_lines == (far,)
    assert LIMIT_RATIO_MAX * value(drawn.spec, "top") < 150


def test_a_maximum_above_the_axis_is_told() -> None:
    """The axis is made for the p95: one stray reply must not flatten a month."""
    assert timeline.build_timeline_chart([step(0)], [], "in words").clipped_max_us == 5_800
    assert (
        timeline.build_timeline_chart(
            [step(0)], [ReferenceLine(rtt_us=9_000, label="", description="", kind="limit")], ""
        ).clipped_max_us
        is None
    )


def test_two_directions_can_have_one_axis() -> None:
    """So that they can be compared by eye."""
    tops = {value(timeline.build_timeline_chart([step(0, us)], [], "", 8_000).spec, "top") for us in (4_900, 8_000)}

    assert tops == {8.48}


def test_an_infinite_p95_is_marked() -> None:
    """In the middle of its step."""
    assert time_chart(step(0), step(1, infinite=1))["datasets"]["infinite"] == [{"t": (START_S + 180) * 1_000}]


def test_a_state_that_occurred_at_all_is_seen() -> None:
    """One bad window in a day of good ones has a part of the strip that can be seen, on top."""
    rows = time_chart(step(0, good=1_439, bad=1))["datasets"]["strip"]

    assert [row["s"] for row in rows] == ["good", "bad"]
    assert rows[1]["b"] == pytest.approx(1, abs=0.001)
    assert rows[1]["b"] - rows[1]["a"] >= STATE_SHARE_MIN / (1 + STATE_SHARE_MIN) - 0.001


def test_equal_neighbours_are_one_piece_of_the_strip() -> None:
    """A quiet month is one rectangle."""
    (row,) = time_chart(*(step(number) for number in range(50)))["datasets"]["strip"]

    assert (row["t"], row["u"]) == (START_S * 1_000, (START_S + 6_000) * 1_000)


def test_a_limit_is_not_taken_for_the_median() -> None:
    """In chart and key: a colour of its own, and more than the width of a line of the data."""
    marks = [one for one in found(time_chart(step(0)), "mark") if "strokeWidth" in one]

    limits = [one["strokeWidth"] for one in marks if one.get("color") == LIGHT["limit"]]
    others = [one["strokeWidth"] for one in marks if one.get("color") != LIGHT["limit"]]
    assert limits == [LIMIT_WIDTH]
    assert 1.5 * max(others) < LIMIT_WIDTH
    assert LIGHT["limit"] in found(curves_chart(4_000), "color")


@pytest.mark.parametrize("longest_us", [2_600, 4_900, 5_100, 60_000])
def test_a_limit_near_the_values_has_its_place_on_the_axis(longest_us: int) -> None:
    """The axis goes up to it."""
    spec = curves_chart(*[longest_us] * 50)

    (row,) = spec["datasets"]["lines"]
    assert row["x"] == 5.0
    assert value(spec, "right") > 5.0


def test_a_limit_far_above_the_values_is_left_to_words() -> None:
    """Nothing is drawn where there is no axis: neither above all values nor above nearly all."""
    values = [*[400] * 5_000, 9_000]

    assert curves_chart(*values)["datasets"]["lines"] == []
    assert (
        distribution.select_drawable_lines(
            [DistributionCurve(name="", values_us=np.array(values), infinite_count=0)], [LIMIT]
        )
        == []
    )


def test_a_curve_says_the_exact_share_above_each_value() -> None:
    """Infinite ones are above everything, so the curve does not come down to the foot."""
    rows = curves_chart(4_000, 4_000, 5_000, infinite=1)["datasets"]["curve"]

    assert [(row["x"], row["y"]) for row in rows] == [(0.0, 1.0), (4.0, 0.5), (5.0, 0.25)]


def test_a_curve_of_a_month_keeps_its_ends_and_few_corners() -> None:
    """Of 40,000 different values some hundreds are drawn, the first and the largest among them."""
    rows = curves_chart(*range(4_000, 44_000))["datasets"]["curve"]

    assert len(rows) <= CURVE_POINTS_MAX + 2
    assert rows[-1]["x"] == 43.999
    exact = [row["y"] == pytest.approx((43_999 - row["x"] * 1_000) / 40_000, abs=1e-6) for row in rows[1:-1]]
    assert all(exact)


def test_the_target_is_a_line_in_the_distribution() -> None:
    """What a verdict allows above a limit: 0.5 % of the windows."""
    (row,) = curves_chart(4_000)["datasets"]["target"]

    assert row["y"] == pytest.approx(0.005)
    assert row["label"] == "0.5 % may be above"


@pytest.mark.parametrize(
    ("good", "words"), [(240, "100 %"), (239, "from 99.5 %"), (238, "from 99 %"), (228, "from 95 %"), (0, "under 95 %")]
)
def test_an_hour_of_the_week_has_a_class_in_words(good: int, words: str) -> None:
    """Colour is never alone: the class is in the data, and the legend names it."""
    assert week_chart(good_count=good)["datasets"]["hours"][0]["c"] == words


def test_an_hour_that_is_not_known_is_no_good_one() -> None:
    """It has a class of its own, and is hatched."""
    row = week_chart(known_count=0, good_count=0, is_covered=False)["datasets"]["hours"][0]

    assert (row["c"], row["thin"], row["worst"]) == ("not known", True, False)


def test_colours_are_those_of_the_style_sheet() -> None:
    """Light and dark: the script replaces each by the variable of its name."""
    sheet = files("leadline_collector.web").joinpath("static", "leadline.css").read_text(encoding="utf-8")
    light, dark = sheet.split("@media (prefers-color-scheme: dark)")

    for name in LIGHT:
        assert f"--{name}: {LIGHT[name]};" in light
        assert f"--{name}: {DARK[name]};" in dark or LIGHT[name] == DARK[name]
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_a_specification_for_a_dark_ground_differs_in_colours_only() -> None:
    """Texts and numbers stay, also where a text is longer than a colour."""
    assert to_dark_theme({"a": [LIGHT["ink"], 1, None], "b": f"{LIGHT['ink']} in words"}) == {
        "a": [DARK["ink"], 1, None],
        "b": f"{LIGHT['ink']} in words",
    }


def test_the_bundle_interprets_expressions_instead_of_evaluating_them() -> None:
    """Vega-Embed takes the interpreter with it where ``ast`` is asked for: pages forbid ``eval``."""
    import gzip

    script = gzip.decompress(render.build_bundle()).decode()

    assert "expressionInterpreter" in script
    assert not re.search(r"import\s*\(?[\"']https?:", script)
    assert render.build_bundle() is render.build_bundle()
    assert math.log10(len(render.build_bundle())) < 6
