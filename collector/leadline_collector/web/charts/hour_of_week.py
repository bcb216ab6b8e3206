"""Hour-of-week chart: share of good windows and coverage for each of the 168 hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from leadline.evaluation import WindowCause
from leadline.rounding import format_percent_of
from leadline_collector.web.charts.palette import LIGHT
from leadline_collector.web.charts.spec_templates import DataRow, Spec, bind_data, build_template
from leadline_collector.web.formatting import format_cause_counts

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ROW_HEIGHT = 19
#: Minimum share of good windows, label and colour of each class, best first.
SHARE_CLASSES = (
    (1.0, "100 %", "heat-0"),
    (0.995, "from 99.5 %", "heat-1"),
    (0.99, "from 99 %", "heat-2"),
    (0.95, "from 95 %", "heat-3"),
    (0.0, "under 95 %", "heat-4"),
)
UNKNOWN_LABEL = "not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class HourCell:
    """Data of one hour of the week, UTC."""

    #: 0 is Monday.
    weekday: int
    hour: int
    window_count: int
    known_count: int
    good_count: int
    #: Bad and unavailable windows by cause.
    cause_counts: Mapping[WindowCause, int]
    #: The coverage of the hour is sufficient.
    is_covered: bool
    #: The worst hour of the week.
    is_worst: bool

    @property
    def good_ratio(self) -> float | None:
        """Share of good windows among the known; None without known windows."""
        return self.good_count / self.known_count if self.known_count else None

    @property
    def class_label(self) -> str:
        """Label of the hour's class."""
        ratio = self.good_ratio
        if ratio is None:
            return UNKNOWN_LABEL
        return next(label for share_min, label, _ in SHARE_CLASSES if ratio >= share_min)


def build_hour_of_week_chart(hours: Iterable[HourCell], description: str) -> Spec:
    """Build the chart of one direction."""
    return bind_data(build_spec(), {"hours": [_to_row(hour) for hour in hours]}, {}, description)


def _to_row(hour: HourCell) -> DataRow:
    share = (
        "nothing known"
        if hour.good_ratio is None
        else f"{format_percent_of(hour.good_count, hour.known_count, 2)} % of {hour.known_count:,} good"
    )
    coverage = f"{hour.known_count:,} of {hour.window_count:,} minutes known"
    causes = format_cause_counts(hour.cause_counts)
    tip = (
        f"{WEEKDAYS[hour.weekday]} {hour.hour:02}:00 UTC\n{share}\n"
        + (f"cause: {causes}\n" if causes else "")
        + coverage
    )
    flags = {"thin": not hour.is_covered, "worst": hour.is_worst and hour.good_count < hour.known_count}
    return {"d": WEEKDAYS[hour.weekday], "h": hour.hour, "c": hour.class_label, "tip": tip, **flags}


#: Hatching: three strokes from the lower left to the upper right.
_HATCH_PATH = "M-1,0.4L0.4,-1M-1,1L1,-1M-0.4,1L1,-0.4"


@cache
def build_spec() -> Spec:
    """Build the specification; its data set is ``hours``."""
    import altair as alt

    plain_axis: dict[str, Any] = {"domain": False, "ticks": False}
    cell_scale = alt.Scale(paddingInner=0.08)
    hour_axis = alt.Axis(**plain_axis, labelAngle=0, values=list(range(0, 24, 3)))
    position: dict[str, Any] = {
        "x": alt.X("h:O", title="hour of the day, UTC", axis=hour_axis, scale=cell_scale),
        "y": alt.Y("d:O", title=None, sort=list(WEEKDAYS), axis=alt.Axis(**plain_axis), scale=cell_scale),
    }
    colours = {label: LIGHT[colour] for _, label, colour in (*SHARE_CLASSES, (0, UNKNOWN_LABEL, "heat-none"))}
    colour_scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    cells = alt.Chart(alt.NamedData("hours"))
    thin = cells.transform_filter("datum.thin").mark_point(
        shape=_HATCH_PATH, size=190, strokeWidth=1, color=LIGHT["unknown"], opacity=1, tooltip=None
    )
    worst = cells.transform_filter("datum.worst").mark_rect(
        filled=False, strokeWidth=2, stroke=LIGHT["ink"], tooltip=None
    )
    chart = alt.layer(
        cells.mark_rect().encode(**position, tooltip="tip:N", color=alt.Color("c:N", scale=colour_scale, legend=None)),
        thin.encode(**position),
        worst.encode(**position),
    )
    return build_template(
        chart.properties(height=ROW_HEIGHT * len(WEEKDAYS)), padding={"left": 2, "right": 2, "top": 4, "bottom": 4}
    )
