"""The week as 168 hours: how often each was within the limits, and how well it is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from leadline_collector.web.charts.palette import LIGHT
from leadline_collector.web.charts.spec_templates import Row, Spec, filled, template

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ROW_HEIGHT = 19
#: The least share of good windows of each class, best first, with its words and colour.
CLASSES = (
    (1.0, "100 %", "heat-0"),
    (0.995, "from 99.5 %", "heat-1"),
    (0.99, "from 99 %", "heat-2"),
    (0.95, "from 95 %", "heat-3"),
    (0.0, "under 95 %", "heat-4"),
)
NONE = "not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """One hour of the week, UTC."""

    #: 0 is Monday.
    day: int
    hour: int
    windows: int
    known: int
    good: int
    #: Enough of it is known.
    covered: bool
    #: The worst of the week.
    worst: bool

    @property
    def ratio(self) -> float | None:
        """Good windows among the known; None when none is known."""
        return self.good / self.known if self.known else None

    @property
    def words(self) -> str:
        """Its class in words."""
        ratio = self.ratio
        return NONE if ratio is None else next(words for least, words, _ in CLASSES if ratio >= least)


def week(hours: Iterable[Hour], text: str) -> Spec:
    """The chart of one direction."""
    return filled(drawing(), {"hours": [_row(hour) for hour in hours]}, {}, text)


def _row(hour: Hour) -> Row:
    share = "nothing known" if hour.ratio is None else f"{int(hour.ratio * 10_000) / 100:.2f} % of {hour.known:,} good"
    coverage = f"{hour.known:,} of {hour.windows:,} minutes known"
    tip = f"{DAYS[hour.day]} {hour.hour:02}:00 UTC\n{share}\n{coverage}"
    marks = {"thin": not hour.covered, "worst": hour.worst and hour.good < hour.known}
    return {"d": DAYS[hour.day], "h": hour.hour, "c": hour.words, "tip": tip, **marks}


#: Three strokes from the lower left to the upper right.
_HATCH = "M-1,0.4L0.4,-1M-1,1L1,-1M-0.4,1L1,-0.4"


@cache
def drawing() -> Spec:
    """The specification without data: ``hours``."""
    import altair as alt

    quiet: dict[str, Any] = {"domain": False, "ticks": False}
    gap = alt.Scale(paddingInner=0.08)
    hours = alt.Axis(**quiet, labelAngle=0, values=list(range(0, 24, 3)))
    place: dict[str, Any] = {
        "x": alt.X("h:O", title="hour of the day, UTC", axis=hours, scale=gap),
        "y": alt.Y("d:O", title=None, sort=list(DAYS), axis=alt.Axis(**quiet), scale=gap),
    }
    classes = {words: LIGHT[colour] for _, words, colour in (*CLASSES, (0, NONE, "heat-none"))}
    paint = alt.Scale(domain=list(classes), range=list(classes.values()))
    cells = alt.Chart(alt.NamedData("hours"))
    thin = cells.transform_filter("datum.thin").mark_point(
        shape=_HATCH, size=190, strokeWidth=1, color=LIGHT["unknown"], opacity=1, tooltip=None
    )
    worst = cells.transform_filter("datum.worst").mark_rect(
        filled=False, strokeWidth=2, stroke=LIGHT["ink"], tooltip=None
    )
    chart = alt.layer(
        cells.mark_rect().encode(**place, tooltip="tip:N", color=alt.Color("c:N", scale=paint, legend=None)),
        thin.encode(**place),
        worst.encode(**place),
    )
    return template(
        chart.properties(height=ROW_HEIGHT * len(DAYS)), padding={"left": 2, "right": 2, "top": 4, "bottom": 4}
    )
