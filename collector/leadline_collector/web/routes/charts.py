"""The routes beside the page of a pair and the matrix: pictures of charts, and the parts that take their time.

What takes long is a page of its own, to be read without JavaScript; with it, the page it belongs to fetches it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from leadline_collector.http.app_state import Serving
from leadline_collector.web.charts import render
from leadline_collector.web.params import Asked
from leadline_collector.web.rendering import HEADERS, From, PageRoute, To, Viewer, page
from leadline_collector.web.views import gaps as views_gaps
from leadline_collector.web.views import pair as pair_view
from leadline_collector.web.views import verdicts as verdicts_view
from leadline_collector.web.views.pair_charts import Name

#: Pictures are drawn with styles of their own and run nothing.
SVG_HEADERS = HEADERS | {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
#: Of a picture in a page without scripts, in pixels.
CHART_WIDTH, CHART_WIDTH_MIN, CHART_WIDTH_MAX = 1_000, 300, 2_000

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Theme(StrEnum):
    """The ground a picture is drawn for."""

    LIGHT = "light"
    DARK = "dark"


def _asked(profile: str | None = None, group: str | None = None, start: From = None, end: To = None) -> Asked:
    return Asked(profile=profile or None, group=group or None, start=start or None, end=end or None)


Parameters = Annotated[Asked, Depends(_asked)]


@router.get("/verdicts", dependencies=[Viewer])
def verdicts(service: Serving, asked: Parameters) -> Response:
    """The verdicts of a small mesh or group."""
    found = verdicts_view.verdicts_page(service.store, service.verdicts, asked, service.now_s())
    return page("verdicts.html", page=found)


@router.get("/pairs/{source}/{destination}/gaps", dependencies=[Viewer])
def gaps(service: Serving, source: str, destination: str, asked: Parameters) -> Response:
    """What is missing of a pair's windows."""
    return page("gaps.html", page=views_gaps.gaps_page(service.store, source, destination, asked, service.now_s()))


@router.get("/pairs/{source}/{destination}/chart/{name}.svg", dependencies=[Viewer])
def chart(
    service: Serving,
    source: str,
    destination: str,
    name: Name,
    asked: Parameters,
    theme: Theme = Theme.LIGHT,
    width: Annotated[int, Query(ge=CHART_WIDTH_MIN, le=CHART_WIDTH_MAX)] = CHART_WIDTH,
) -> Response:
    """A chart of the page of a pair as a picture."""
    spec = pair_view.chart_spec(service.store, source, destination, name, asked, service.now_s())
    drawing = render.svg(spec, width, dark=theme is Theme.DARK)
    return Response(drawing, headers=SVG_HEADERS, media_type="image/svg+xml")
