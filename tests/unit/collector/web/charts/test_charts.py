"""Chart specifications: valid Vega-Lite, axes from zero, gaps in lines, reference lines with labels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import altair
import numpy as np
import pytest

from leadline.evaluation import WindowCause, WindowState
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


def bucket(
    number: int,
    p95_us: int | None = 4_900,
    infinite: int = 0,
    causes: Mapping[WindowCause, int] = MappingProxyType({}),
    **states: int,
) -> TimeBucket:
    """Create a bucket of two minutes; ``p95_us`` None means no reply."""
    state_counts = {WindowState(name): count for name, count in states.items()}
    return TimeBucket(
        start_s=START_S + 120 * number,
        end_s=START_S + 120 * number + 120,
        min_us=None if p95_us is None else p95_us - 500,
        p50_us=None if p95_us is None else p95_us - 200,
        p95_us=p95_us,
        max_us=None if p95_us is None else p95_us + 900,
        infinite_count=infinite,
        state_counts=state_counts or {WindowState.UNKNOWN if p95_us is None else WindowState.GOOD: 2},
        cause_counts=causes,
    )


def time_chart(*buckets: TimeBucket, lines: tuple[ReferenceLine, ...] = (LIMIT, GLASS)) -> Spec:
    return timeline.build_timeline_chart(buckets, lines, "in words").spec


def curves_chart(*values_us: int, infinite: int = 0) -> Spec:
    curve = DistributionCurve(name="fra → ams", values_us=np.sort(np.array(values_us)), infinite_count=infinite)
    return distribution.build_distribution_chart([curve], [LIMIT], 0.995, "in words")


def week_chart(**first_fields: Any) -> Spec:
    """Build a chart of 168 good hours; ``first_fields`` change the first one."""
    fields: dict[str, Any] = {
        "window_count": 240,
        "known_count": 240,
        "good_count": 240,
        "cause_counts": {},
        "is_covered": True,
        "is_worst": False,
    }
    hours = [HourCell(**fields | {"weekday": day, "hour": hour}) for day in range(7) for hour in range(24)]
    first = HourCell(**fields | {"weekday": 0, "hour": 0} | first_fields)
    return hour_of_week.build_hour_of_week_chart([first, *hours[1:]], "in words")


def value(spec: Spec, name: str) -> Any:
    """Return the value of a parameter."""
    return next(param["value"] for param in spec["params"] if param["name"] == name)


def find_values(spec: Any, key: str) -> list[Any]:
    """Return all values of a key at any depth."""
    if isinstance(spec, dict):
        own = [spec[key]] if key in spec else []
        return own + [value for part in spec.values() for value in find_values(part, key)]
    return [value for part in spec for value in find_values(part, key)] if isinstance(spec, list) else []


CHARTS = {
    "timeline": lambda: time_chart(bucket(0), bucket(1, None), bucket(2, 5_100, 1, bad=1, unavailable=1)),
    "distribution": lambda: curves_chart(4_000, 4_900, 6_000, infinite=2),
    "week": lambda: week_chart(known_count=100, good_count=90, is_covered=False, is_worst=True),
}


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_a_specification_is_valid_vega_lite(make: Any) -> None:
    """Pages skip validation because it is slow; this test validates against Altair's schema."""
    altair.LayerChart.from_dict(make())


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_a_chart_can_be_drawn_without_a_browser(make: Any) -> None:
    """Light and dark images use their own colours only."""
    light, dark = render.render_svg(make(), 600), render.render_svg(make(), 600, dark=True)

    assert (LIGHT["muted"] in light, DARK["muted"] in dark) == (True, True)
    assert not [colour for colour in LIGHT.values() if colour in dark]


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_charts_do_not_share_data(make: Any) -> None:
    """They share the template only."""
    before = make()

    time_chart(bucket(0, 50_000))
    curves_chart(50_000)
    week_chart(good_count=0)

    assert before == make()


def test_the_axis_of_the_round_trip_begins_at_zero_and_ends_above_the_data() -> None:
    """It starts at zero for any lowest value."""
    spec = time_chart(bucket(0, 4_900), bucket(1, 5_600))

    assert 0 in find_values(spec, "domainMin")
    assert not [scale for scale in find_values(spec, "scale") if isinstance(scale, dict) and scale.get("zero") is False]
    assert 5.6 < value(spec, "top") < 6.1


def test_the_time_axis_is_the_period_even_without_data() -> None:
    """From the start of the first bucket to the end of the last, in milliseconds since the epoch."""
    spec = time_chart(bucket(0, None), bucket(1), bucket(2, None))

    assert (value(spec, "first"), value(spec, "last")) == (START_S * 1_000, (START_S + 360) * 1_000)


def test_a_gap_is_not_bridged() -> None:
    """A row of nulls separates two runs; Vega interrupts lines and areas there."""
    spec = time_chart(bucket(0), bucket(1), bucket(2, None), bucket(3))

    rows = [(row["t"] // 1_000 - START_S, row["p95"]) for row in spec["datasets"]["steps"]]
    assert rows == [(0, 4.9), (120, 4.9), (240, 4.9), (240, None), (360, None), (360, 4.9), (480, 4.9), (480, None)]
    assert not [value for value in find_values(spec, "invalid") if value != "break-paths-show-path-domains"]


def test_limits_and_floors_are_lines_with_labels() -> None:
    """Each line has its height, its label and its kind."""
    rows = time_chart(bucket(0), lines=(LIMIT, GLASS))["datasets"]["lines"]

    assert [(row["y"], row["label"], row["look"]) for row in rows] == [
        (5.0, "< 5 ms", "limit"),
        (3.516, "glass 3.52", "floor"),
    ]


def test_labels_of_close_lines_do_not_overlap() -> None:
    """The lower label moves down, its line does not."""
    near = ReferenceLine(rtt_us=4_990, label="< 4.99 ms", description="", kind="limit")

    first, second = time_chart(bucket(0), lines=(LIMIT, near))["datasets"]["lines"]

    assert second["y"] == 4.99
    assert first["at"] - second["at"] > 0.3


def test_a_limit_far_above_the_data_is_omitted() -> None:
    """It would compress the data."""
    far = ReferenceLine(rtt_us=150_000, label="≤ 150 ms", description="", kind="limit")

    chart = timeline.build_timeline_chart([bucket(0)], [LIMIT, far], "in words")

    assert chart.omitted_lines == (far,)
    assert LIMIT_RATIO_MAX * value(chart.spec, "top") < 150


def test_a_maximum_above_the_axis_is_reported() -> None:
    """The p95 determines the axis, so that one late reply does not flatten a month."""
    assert timeline.build_timeline_chart([bucket(0)], [], "in words").clipped_max_us == 5_800
    assert (
        timeline.build_timeline_chart(
            [bucket(0)], [ReferenceLine(rtt_us=9_000, label="", description="", kind="limit")], ""
        ).clipped_max_us
        is None
    )


def test_two_directions_can_share_an_axis() -> None:
    """Their charts are then comparable."""
    tops = {value(timeline.build_timeline_chart([bucket(0, us)], [], "", 8_000).spec, "top") for us in (4_900, 8_000)}

    assert tops == {8.48}


def test_an_infinite_p95_is_marked() -> None:
    """The mark is in the middle of the bucket."""
    assert time_chart(bucket(0), bucket(1, infinite=1))["datasets"]["infinite"] == [{"t": (START_S + 180) * 1_000}]


def test_every_state_that_occurs_is_visible() -> None:
    """One bad window in a day of good ones gets a visible part of the strip, on top."""
    rows = time_chart(bucket(0, good=1_439, bad=1))["datasets"]["strip"]

    assert [row["s"] for row in rows] == ["good", "bad"]
    assert rows[1]["b"] == pytest.approx(1, abs=0.001)
    assert rows[1]["b"] - rows[1]["a"] >= STATE_SHARE_MIN / (1 + STATE_SHARE_MIN) - 0.001


def test_equal_neighbours_in_the_strip_are_joined() -> None:
    """A month of good windows is one rectangle."""
    (row,) = time_chart(*(bucket(number) for number in range(50)))["datasets"]["strip"]

    assert (row["t"], row["u"]) == (START_S * 1_000, (START_S + 6_000) * 1_000)


def test_every_cause_has_a_lane() -> None:
    """Adjacent buckets are one mark. Minutes out of limit by loss and latency together are in both lanes."""
    latency, both, outage = ({cause: 1} for cause in (WindowCause.LATENCY, WindowCause.BOTH, WindowCause.OUTAGE))
    rows = time_chart(
        bucket(0), bucket(1, causes=latency), bucket(2, causes=both), bucket(3), bucket(4, causes=outage)
    )["datasets"]["causes"]

    assert [(row["c"], (row["t"] // 1_000 - START_S) // 120, (row["u"] // 1_000 - START_S) // 120) for row in rows] == [
        ("latency", 1, 3),
        ("loss", 2, 3),
        ("outage", 4, 5),
    ]


def test_tooltips_contain_the_causes() -> None:
    """The tooltip of a bucket and of an hour of the week count them; without causes there is no such line."""
    causes = {WindowCause.LATENCY: 2, WindowCause.LOSS: 11}
    good, bad = time_chart(bucket(0), bucket(1, causes=causes))["datasets"]["tips"]
    first_hour, *hours = week_chart(good_count=227, cause_counts=causes)["datasets"]["hours"]

    assert "cause: 11\u00a0loss, 2\u00a0latency" in bad["tip"]
    assert "cause: 11\u00a0loss, 2\u00a0latency" in first_hour["tip"]
    assert not any("cause" in row["tip"] for row in (good, *hours))


def test_a_limit_looks_different_from_the_median() -> None:
    """It has its own colour and a thicker line."""
    marks = [mark for mark in find_values(time_chart(bucket(0)), "mark") if "strokeWidth" in mark]

    limit_widths = [mark["strokeWidth"] for mark in marks if mark.get("color") == LIGHT["limit"]]
    other_widths = [mark["strokeWidth"] for mark in marks if mark.get("color") != LIGHT["limit"]]
    assert limit_widths == [LIMIT_WIDTH]
    assert 1.5 * max(other_widths) < LIMIT_WIDTH
    assert LIGHT["limit"] in find_values(curves_chart(4_000), "color")


@pytest.mark.parametrize("longest_us", [2_600, 4_900, 5_100, 60_000])
def test_the_axis_includes_a_limit_near_the_values(longest_us: int) -> None:
    """The limit is drawn."""
    spec = curves_chart(*[longest_us] * 50)

    (row,) = spec["datasets"]["lines"]
    assert row["x"] == 5.0
    assert value(spec, "right") > 5.0


def test_a_limit_far_above_the_values_is_not_drawn() -> None:
    """A single outlier does not change that."""
    values = [*[400] * 5_000, 9_000]

    assert curves_chart(*values)["datasets"]["lines"] == []
    assert (
        distribution.select_drawable_lines(
            [DistributionCurve(name="", values_us=np.array(values), infinite_count=0)], [LIMIT]
        )
        == []
    )


def test_a_curve_has_the_exact_share_above_each_value() -> None:
    """Infinite values are above every value, so the curve ends above zero."""
    rows = curves_chart(4_000, 4_000, 5_000, infinite=1)["datasets"]["curve"]

    assert [(row["x"], row["y"]) for row in rows] == [(0.0, 1.0), (4.0, 0.5), (5.0, 0.25)]


def test_a_curve_of_a_month_has_few_points() -> None:
    """A few hundred of 40,000 different values are drawn, including the first and the largest."""
    rows = curves_chart(*range(4_000, 44_000))["datasets"]["curve"]

    assert len(rows) <= CURVE_POINTS_MAX + 2
    assert rows[-1]["x"] == 43.999
    exact = [row["y"] == pytest.approx((43_999 - row["x"] * 1_000) / 40_000, abs=1e-6) for row in rows[1:-1]]
    assert all(exact)


def test_the_target_is_a_line_in_the_distribution() -> None:
    """A verdict allows 0.5 % of the windows above a limit."""
    (row,) = curves_chart(4_000)["datasets"]["target"]

    assert row["y"] == pytest.approx(0.005)
    assert row["label"] == "0.5 % may be above"


@pytest.mark.parametrize(
    ("good", "label"), [(240, "100 %"), (239, "from 99.5 %"), (238, "from 99 %"), (228, "from 95 %"), (0, "under 95 %")]
)
def test_an_hour_of_the_week_has_a_class_label(good: int, label: str) -> None:
    """The data contains the label, so colour is not the only mark."""
    assert week_chart(good_count=good)["datasets"]["hours"][0]["c"] == label


def test_an_hour_without_known_windows_is_not_good() -> None:
    """It has its own class and is hatched."""
    row = week_chart(known_count=0, good_count=0, is_covered=False)["datasets"]["hours"][0]

    assert (row["c"], row["thin"], row["worst"]) == ("not known", True, False)


def test_colours_are_those_of_the_style_sheet() -> None:
    """The script replaces each colour by the variable with its name, light and dark."""
    sheet = files("leadline_collector.web").joinpath("static", "leadline.css").read_text(encoding="utf-8")
    light, dark = sheet.split("@media (prefers-color-scheme: dark)")

    for name in LIGHT:
        assert f"--{name}: {LIGHT[name]};" in light
        assert f"--{name}: {DARK[name]};" in dark or LIGHT[name] == DARK[name]
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_a_specification_for_a_dark_background_differs_in_colours_only() -> None:
    """Texts and numbers stay, including texts that begin with a colour."""
    assert to_dark_theme({"a": [LIGHT["ink"], 1, None], "b": f"{LIGHT['ink']} in words"}) == {
        "a": [DARK["ink"], 1, None],
        "b": f"{LIGHT['ink']} in words",
    }


def test_the_bundle_interprets_expressions_instead_of_evaluating_them() -> None:
    """Pages forbid ``eval``; with the option ``ast``, Vega-Embed uses the interpreter."""
    import gzip

    script = gzip.decompress(render.build_bundle()).decode()

    assert "expressionInterpreter" in script
    assert not re.search(r"import\s*\(?[\"']https?:", script)
    assert render.build_bundle() is render.build_bundle()
    assert math.log10(len(render.build_bundle())) < 6
