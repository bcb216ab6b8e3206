"""Distribution chart: the share of windows with a p95 above x.

The share has a logarithmic scale, so that one window in ten thousand is visible: limits of 99.5 % need that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import floor, log10
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leadline_collector.web.charts.palette import LIGHT
from leadline_collector.web.charts.spec_templates import DataRow, Spec, bind_data, build_template
from leadline_collector.web.charts.timeline import ReferenceLine
from leadline_collector.web.charts.timeline_spec import LIMIT_WIDTH

if TYPE_CHECKING:
    import altair as alt

CHART_HEIGHT = 230
#: Maximum number of points of a curve; more are not distinguishable.
CURVE_POINTS_MAX = 240
#: The axis ends at this multiple of the highest limit or median at most; the curve may continue beyond it.
_AXIS_RATIO_MAX = 2.5
#: A limit is drawn up to this multiple of ``_TAIL_QUANTILE``; the axis includes it.
LIMIT_RATIO_MAX = 2.0
#: Quantile of the values that decides which limits are drawn.
_TAIL_QUANTILE = 0.999
#: Beyond this share of the axis, the label of a line is on its left.
_LEFT_LABEL_FROM = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionCurve:
    """Data of one curve: the finite values in microseconds, ascending, and the number of infinite ones."""

    name: str
    values_us: NDArray[np.integer]
    infinite_count: int

    @property
    def window_count(self) -> int:
        """Number of windows, including infinite ones."""
        return len(self.values_us) + self.infinite_count


def build_distribution_chart(
    curves: Sequence[DistributionCurve], lines: Sequence[ReferenceLine], target_share: float, description: str
) -> Spec:
    """Build the chart. Each curve has at least one value. ``target_share`` is what a verdict requires within limits."""
    longest_us = max((int(curve.values_us[-1]) for curve in curves if len(curve.values_us)), default=1_000)
    drawable_lines = select_drawable_lines(curves, lines)
    highest_line_us = max((line.rtt_us for line in drawable_lines), default=0)
    axis_max_us = _AXIS_RATIO_MAX * max(_max_quantile(curves, 0.5), highest_line_us)
    top_us = max(highest_line_us, min(longest_us, axis_max_us)) * 1.04
    low = 10.0 ** floor(log10(0.5 / max(curve.window_count for curve in curves)))
    data: dict[str, Sequence[DataRow]] = {
        "curve": [row for curve in curves for row in _build_curve_rows(curve, low)],
        "lines": [
            {"x": line.rtt_us / 1_000, "label": line.label, "left": line.rtt_us > _LEFT_LABEL_FROM * top_us}
            for line in drawable_lines
        ],
        "target": [{"y": 1 - target_share, "label": f"{100 * (1 - target_share):.3g} % may be above"}],
    }
    return bind_data(build_spec(), data, {"right": top_us / 1_000, "low": low}, description)


def select_drawable_lines(curves: Sequence[DistributionCurve], lines: Sequence[ReferenceLine]) -> list[ReferenceLine]:
    """Return the lines to draw; lines far above the data would compress the curves."""
    return [line for line in lines if line.rtt_us <= LIMIT_RATIO_MAX * _max_quantile(curves, _TAIL_QUANTILE)]


def _max_quantile(curves: Sequence[DistributionCurve], ratio: float) -> float:
    """Return the highest quantile of the curves, in microseconds."""
    quantiles = (float(np.quantile(curve.values_us, ratio)) for curve in curves if len(curve.values_us))
    return max(quantiles, default=1_000.0)


def _build_curve_rows(curve: DistributionCurve, floor: float) -> Iterator[DataRow]:
    """Yield the points of a curve from share 1 at zero downwards. Shares below ``floor`` are drawn at ``floor``."""
    values, counts = np.unique(curve.values_us, return_counts=True)
    shares_above = (curve.window_count - np.cumsum(counts)) / curve.window_count
    yield {"x": 0.0, "y": 1.0, "c": curve.name}
    for index in _select_curve_points(shares_above).tolist():
        yield {"x": int(values[index]) / 1_000, "y": max(floor, float(shares_above[index])), "c": curve.name}


def _select_curve_points(shares_above: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the indices of the points to draw: of points at nearly the same height, only the last."""
    if len(shares_above) <= CURVE_POINTS_MAX:
        return np.arange(len(shares_above))
    height = np.log10(np.maximum(shares_above, shares_above[shares_above > 0].min() / 2))
    slot = np.floor((height - height[-1]) / (height[0] - height[-1] or 1) * CURVE_POINTS_MAX)
    return np.flatnonzero(np.append(slot[1:] != slot[:-1], True))


@cache
def build_spec() -> Spec:
    """Build the specification; its data sets are ``curve``, ``lines`` and ``target``."""
    import altair as alt

    chart = alt.layer(*_draw_target(), *_draw_limits(), _draw_curves()).resolve_scale(
        color="independent", strokeDash="independent"
    )
    params = [alt.param(name="right", value=1), alt.param(name="low", value=0.0001)]
    return build_template(
        chart.add_params(*params).properties(height=CHART_HEIGHT),
        padding={"left": 2, "right": 20, "top": 4, "bottom": 4},
    )


def _encode_x() -> alt.X:
    import altair as alt

    scale = alt.Scale(domainMin=0, domainMax=alt.ExprRef("right"), nice=False)
    return alt.X("x:Q", scale=scale, axis=alt.Axis(title="p95 of a window, ms", grid=False, tickCount=8))


def _encode_y() -> alt.Y:
    import altair as alt

    scale = alt.Scale(type="log", domainMin=alt.ExprRef("low"), domainMax=1, nice=False)
    label = "format(100 * datum.value, '.7~f') + ' %'"
    values = [1, 0.1, 0.01, 0.001, 0.0001, 0.00001]
    axis = alt.Axis(title="share of windows above", values=values, labelExpr=label, domain=False, ticks=False)
    return alt.Y("y:Q", scale=scale, axis=axis)


def _draw_target() -> Iterator[alt.Chart]:
    """Yield the line of the share that a verdict allows above a limit, and its label."""
    import altair as alt

    target = alt.Chart(alt.NamedData("target"))
    yield target.mark_rule(strokeWidth=1, strokeDash=[2, 3], color=LIGHT["bad"]).encode(y=_encode_y())
    label = target.mark_text(align="left", baseline="top", dx=4, dy=3, color=LIGHT["muted"])
    yield label.encode(x=alt.value(0), y=_encode_y(), text="label:N")


def _draw_limits() -> Iterator[alt.Chart]:
    import altair as alt

    lines = alt.Chart(alt.NamedData("lines"))
    yield lines.mark_rule(strokeWidth=LIMIT_WIDTH, color=LIGHT["limit"]).encode(x=_encode_x())
    style: dict[str, Any] = {"baseline": "top", "dy": 2, "fontWeight": "bold", "color": LIGHT["limit"]}
    for align, condition in (("left", "!datum.left"), ("right", "datum.left")):
        offset = {"align": align, "dx": 4 if align == "left" else -4}
        labels = lines.transform_filter(condition).mark_text(**style | offset)
        yield labels.encode(x=_encode_x(), y=alt.value(0), text="label:N")


def _draw_curves() -> alt.Chart:
    import altair as alt

    legend = alt.Legend(title=None, orient="top", direction="horizontal", symbolType="stroke", symbolSize=220)
    colours = alt.Scale(range=[LIGHT["accent"], LIGHT["ink"]])
    chart: alt.Chart = (
        alt.Chart(alt.NamedData("curve"))
        .mark_line(interpolate="step-after", clip=True, strokeWidth=1.8)
        .encode(
            x=_encode_x(),
            y=_encode_y(),
            color=alt.Color("c:N", scale=colours, sort=None, legend=legend),
            strokeDash=alt.StrokeDash("c:N", scale=alt.Scale(range=[[1, 0], [4, 2]]), sort=None, legend=legend),
        )
    )
    return chart
