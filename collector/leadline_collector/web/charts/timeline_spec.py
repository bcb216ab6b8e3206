"""Specification of the timeline chart; ``timeline`` prepares its data."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from leadline.evaluation import WindowCause, WindowState
from leadline_collector.web.charts.palette import LIGHT
from leadline_collector.web.charts.spec_templates import Spec, build_template

if TYPE_CHECKING:
    import altair as alt

CHART_HEIGHT = 210
#: Twice the width of data lines, so that limits are distinct.
LIMIT_WIDTH = 2.4
STRIP_TOP, STRIP_BOTTOM = CHART_HEIGHT + 7, CHART_HEIGHT + 23
#: Causes that each lane below the strip shows, from top to bottom.
CAUSES_BY_LANE = {
    "latency": (WindowCause.LATENCY, WindowCause.BOTH),
    "loss": (WindowCause.LOSS, WindowCause.BOTH),
    "outage": (WindowCause.OUTAGE,),
}
LANE_COLOURS = {"latency": "bad", "loss": "loss", "outage": "unavailable"}
LANES_TOP, LANE_PITCH, LANE_HEIGHT = STRIP_BOTTOM + 4, 10, 7
LANES_BOTTOM = LANES_TOP + LANE_PITCH * len(CAUSES_BY_LANE)
#: Smallest width of a mark in pixels.
MARK_WIDTH_MIN = 1.5
#: Labels of the time axis: a date at midnight, else a time of day.
_TIME_LABEL_EXPR = (
    "utchours(datum.value) || utcminutes(datum.value) "
    "? utcFormat(datum.value, '%H:%M') : utcFormat(datum.value, '%-d %b')"
)


@cache
def build_spec() -> Spec:
    """Build the specification.

    Its data sets are ``steps``, ``tips``, ``lines``, ``infinite``, ``strip``, ``lanes`` and ``causes``.
    """
    import altair as alt

    params = [alt.param(name="top", value=1), alt.param(name="first", value=0), alt.param(name="last", value=1)]
    layers = [_draw_hit_areas(), *_draw_bands(), *_draw_reference_lines(), _draw_infinite_markers()]
    chart = alt.layer(alt.layer(*layers), _draw_state_strip(), *_draw_cause_lanes()).resolve_scale(y="independent")
    return build_template(
        chart.add_params(*params).properties(height=CHART_HEIGHT),
        padding={"left": 2, "right": 6, "top": 14, "bottom": 4},
    )


def _encode_time() -> alt.X:
    """Return the time axis below the lanes."""
    import altair as alt

    # With more ticks, narrow screens drop every other label, which may be the dates.
    ticks = alt.ExprRef("max(2, min(10, width / 60))")
    offset = LANES_BOTTOM - CHART_HEIGHT + 2
    scale = alt.Scale(type="utc", domainMin=alt.ExprRef("first"), domainMax=alt.ExprRef("last"), nice=False)
    axis = alt.Axis(grid=False, offset=offset, labelOverlap=True, tickCount=ticks, labelExpr=_TIME_LABEL_EXPR)
    return alt.X("t:T", title=None, scale=scale, axis=axis)


def _encode_rtt(field: str) -> alt.Y:
    """Return the RTT axis."""
    import altair as alt

    scale = alt.Scale(domainMin=0, domainMax=alt.ExprRef("top"), nice=False)
    axis = alt.Axis(title="round trip, ms", tickCount=6, domain=False, ticks=False)
    return alt.Y(f"{field}:Q", scale=scale, axis=axis)


def _draw_hit_areas() -> alt.Chart:
    """Draw invisible rectangles for tooltips and zoom, as high as chart, strip and lanes."""
    import altair as alt

    zoom = alt.selection_interval(name="zoom", encodings=["x"], mark=alt.BrushConfig(fill=LIGHT["accent"]))
    rects = alt.Chart(alt.NamedData("tips")).mark_rect(opacity=0)
    ends: dict[str, Any] = {"y": alt.value(0), "y2": alt.value(LANES_BOTTOM)}
    chart: alt.Chart = rects.encode(x=_encode_time(), x2="u", tooltip="tip:N", **ends).add_params(zoom)
    return chart


def _draw_bands() -> Iterator[alt.Chart]:
    """Draw the bands from p50 to p95 and from p95 to the maximum, and the lines of p95 and p50."""
    import altair as alt

    steps = alt.Chart(alt.NamedData("steps"))
    style: dict[str, Any] = {"interpolate": "step-after", "tooltip": None, "color": LIGHT["accent"]}
    yield steps.mark_area(**style, clip=True, opacity=0.13).encode(x=_encode_time(), y=_encode_rtt("p95"), y2="max")
    yield steps.mark_area(**style, clip=True, opacity=0.3).encode(x=_encode_time(), y=_encode_rtt("p50"), y2="p95")
    yield steps.mark_line(**style, strokeWidth=1.1).encode(x=_encode_time(), y=_encode_rtt("p95"))
    yield steps.mark_line(**style | {"color": LIGHT["ink"]}, strokeWidth=1.2).encode(
        x=_encode_time(), y=_encode_rtt("p50")
    )


def _draw_reference_lines() -> Iterator[alt.Chart]:
    """Draw the reference lines with labels: limits thick and in their own colour, floors thin and dashed."""
    import altair as alt

    lines = alt.Chart(alt.NamedData("lines"))
    limit_style: dict[str, Any] = {"color": LIGHT["limit"], "strokeWidth": LIMIT_WIDTH}
    floor_style: dict[str, Any] = {"color": LIGHT["muted"], "strokeWidth": 1.2, "strokeDash": [5, 3]}
    for kind, style, weight in (("limit", limit_style, "bold"), ("floor", floor_style, "normal")):
        lines_of_kind = lines.transform_filter(alt.datum.look == kind)
        yield lines_of_kind.mark_rule(**style, tooltip=None).encode(y=_encode_rtt("y"))
        font: dict[str, Any] = {"color": style["color"], "fontWeight": weight, "align": "left", "baseline": "middle"}
        yield lines_of_kind.mark_text(**font, dx=6, tooltip=None).encode(
            x=alt.value("width"), y=_encode_rtt("at"), text="label:N"
        )


def _draw_infinite_markers() -> alt.Chart:
    """Draw a triangle above the chart for each bucket with an infinite p95."""
    import altair as alt

    points = alt.Chart(alt.NamedData("infinite"))
    triangles = points.mark_point(shape="triangle-up", filled=True, size=34, opacity=1, color=LIGHT["unavailable"])
    chart: alt.Chart = triangles.encode(x=_encode_time(), y=alt.value(-5))
    return chart


def _draw_state_strip() -> alt.Chart:
    """Draw the strip of states; unknown is hollow."""
    import altair as alt

    states = [state.value for state in WindowState]
    fills = [LIGHT["good"], LIGHT["bad"], LIGHT["unavailable"], LIGHT["heat-none"]]
    strokes = [*fills[:3], LIGHT["unknown"]]
    strip_scale = alt.Scale(domain=[0, 1], range=[STRIP_BOTTOM, STRIP_TOP])
    chart: alt.Chart = (
        alt.Chart(alt.NamedData("strip"))
        .mark_rect(tooltip=None)
        .encode(
            x=_encode_time(),
            x2="u",
            y=alt.Y("a:Q", scale=strip_scale, axis=None),
            y2="b",
            fill=alt.Fill("s:N", scale=alt.Scale(domain=states, range=fills), legend=None),
            stroke=alt.Stroke("s:N", scale=alt.Scale(domain=states, range=strokes), legend=None),
            strokeWidth=alt.condition(alt.datum.s == WindowState.UNKNOWN.value, alt.value(0.8), alt.value(0)),
        )
    )
    return chart


def _draw_cause_lanes() -> Iterator[alt.Chart]:
    """Draw a lane for each cause: its name on the right, a line, and the marked buckets."""
    import altair as alt

    marks = alt.Chart(alt.NamedData("causes"))
    for number, lane in enumerate(CAUSES_BY_LANE):
        top = LANES_TOP + LANE_PITCH * number
        middle = top + LANE_HEIGHT / 2
        colour = LIGHT[LANE_COLOURS[lane]]
        position = alt.Chart(alt.NamedData("lanes")).transform_filter(alt.datum.c == lane)
        yield position.mark_rule(color=LIGHT["line"], tooltip=None).encode(
            x=alt.value(0), x2=alt.value("width"), y=alt.value(middle)
        )
        yield position.mark_text(
            text=lane, color=LIGHT["ink"], fontSize=10.5, align="left", baseline="middle", dx=6, tooltip=None
        ).encode(x=alt.value("width"), y=alt.value(middle))
        ends: dict[str, Any] = {"y": alt.value(top), "y2": alt.value(top + LANE_HEIGHT)}
        # The stroke keeps a short mark visible.
        yield (
            marks.transform_filter(alt.datum.c == lane)
            .mark_rect(color=colour, stroke=colour, strokeWidth=MARK_WIDTH_MIN, tooltip=None)
            .encode(x=_encode_time(), x2="u", **ends)
        )
