"""The week as 168 hours: how often each was within the limits, and how well it is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from leadline_collector.web.charts.palette import LIGHT
from leadline_collector.web.charts.spec_templates import DataRow, Spec, bind_data, build_template

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ROW_HEIGHT = 19
#: The least share of good windows of each class, best first, with its words and colour.
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
    """One hour of the week, UTC."""

    #: 0 is Monday.
    weekday: int
    hour: int
    window_count: int
    known_count: int
    good_count: int
    #: Enough of it is known.
    is_covered: bool
    #: The worst of the week.
    is_worst: bool

    @property
    def good_ratio(self) -> float | None:
        """Good windows among the known; None when none is known."""
        return self.good_count / self.known_count if self.known_count else None

    @property
    def class_label(self) -> str:
        """Its class in words."""
        ratio = self.good_ratio
        return UNKNOWN_LABEL if ratio is None else next(words for least, words, _ in SHARE_CLASSES if ratio >= least)


def build_hour_of_week_chart(hours: Iterable[HourCell], description: str) -> Spec:
    """The chart of one direction."""
    return bind_data(build_spec(), {"hours": [_to_row(hour) for hour in hours]}, {}, description)


def _to_row(hour: HourCell) -> DataRow:
    share = (
        "nothing known"
        if hour.good_ratio is None
        else f"{int(hour.good_ratio * 10_000) / 100:.2f} % of {hour.known_count:,} good"
    )
    coverage = f"{hour.known_count:,} of {hour.window_count:,} minutes known"
    tip = f"{WEEKDAYS[hour.weekday]} {hour.hour:02}:00 UTC\n{share}\n{coverage}"
    marks = {"thin": not hour.is_covered, "worst": hour.is_worst and hour.good_count < hour.known_count}
    return {"d": WEEKDAYS[hour.weekday], "h": hour.hour, "c": hour.class_label, "tip": tip, **marks}


#: Three strokes from the lower left to the upper right.
_HATCH_PATH = "M-1,0.4L0.4,-1M-1,1L1,-1M-0.4,1L1,-0.4"


@cache
def build_spec() -> Spec:
    """The specification without data: ``hours``."""
    import altair as alt

    quiet: dict[str, Any] = {"domain": False, "ticks": False}
    gap = alt.Scale(paddingInner=0.08)
    hours = alt.Axis(**quiet, labelAngle=0, values=list(range(0, 24, 3)))
    place: dict[str, Any] = {
        "x": alt.X("h:O", title="hour of the day, UTC", axis=hours, scale=gap),
        "y": alt.Y("d:O", title=None, sort=list(WEEKDAYS), axis=alt.Axis(**quiet), scale=gap),
    }
    classes = {words: LIGHT[colour] for _, words, colour in (*SHARE_CLASSES, (0, UNKNOWN_LABEL, "heat-none"))}
    paint = alt.Scale(domain=list(classes), range=list(classes.values()))
    cells = alt.Chart(alt.NamedData("hours"))
    thin = cells.transform_filter("datum.thin").mark_point(
        shape=_HATCH_PATH, size=190, strokeWidth=1, color=LIGHT["unknown"], opacity=1, tooltip=None
    )
    worst = cells.transform_filter("datum.worst").mark_rect(
        filled=False, strokeWidth=2, stroke=LIGHT["ink"], tooltip=None
    )
    chart = alt.layer(
        cells.mark_rect().encode(**place, tooltip="tip:N", color=alt.Color("c:N", scale=paint, legend=None)),
        thin.encode(**place),
        worst.encode(**place),
    )
    return build_template(
        chart.properties(height=ROW_HEIGHT * len(WEEKDAYS)), padding={"left": 2, "right": 2, "top": 4, "bottom": 4}
    )
