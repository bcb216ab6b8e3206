"""The routes beside the page of a pair and the matrix: pictures of charts, and the parts that take their time.

What takes long is a page of its own, to be read without JavaScript; with it, the page it belongs to fetches it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from leadline_collector.http.app_state import AppStateDep
from leadline_collector.web.charts import render
from leadline_collector.web.params import PageParams
from leadline_collector.web.rendering import PAGE_HEADERS, FromParam, PageRoute, ToParam, Viewer, render_page
from leadline_collector.web.views import gaps as views_gaps
from leadline_collector.web.views import pair as pair_view
from leadline_collector.web.views import verdicts as verdicts_view
from leadline_collector.web.views.pair_charts import PairChart

#: Pictures are drawn with styles of their own and run nothing.
SVG_HEADERS = PAGE_HEADERS | {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
#: Of a picture in a page without scripts, in pixels.
CHART_WIDTH, CHART_WIDTH_MIN, CHART_WIDTH_MAX = 1_000, 300, 2_000

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Theme(StrEnum):
    """The ground a picture is drawn for."""

    LIGHT = "light"
    DARK = "dark"


def _parse_page_params(
    profile: str | None = None, group: str | None = None, start: FromParam = None, end: ToParam = None
) -> PageParams:
    return PageParams(profile=profile or None, group=group or None, start=start or None, end=end or None)


PageParamsDep = Annotated[PageParams, Depends(_parse_page_params)]


@router.get("/verdicts", dependencies=[Viewer])
def show_verdicts(app_state: AppStateDep, params: PageParamsDep) -> Response:
    """The verdicts of a small mesh or group."""
    found = verdicts_view.build_verdicts_page(app_state.store, app_state.verdict_cache, params, app_state.now_s())
    return render_page("verdicts.html", page=found)


@router.get("/pairs/{source}/{destination}/gaps", dependencies=[Viewer])
def show_gaps(app_state: AppStateDep, source: str, destination: str, params: PageParamsDep) -> Response:
    """What is missing of a pair's windows."""
    return render_page(
        "gaps.html", page=views_gaps.build_gaps_page(app_state.store, source, destination, params, app_state.now_s())
    )


@router.get("/pairs/{source}/{destination}/chart/{name}.svg", dependencies=[Viewer])
def serve_chart_svg(
    app_state: AppStateDep,
    source: str,
    destination: str,
    name: PairChart,
    params: PageParamsDep,
    theme: Theme = Theme.LIGHT,
    width: Annotated[int, Query(ge=CHART_WIDTH_MIN, le=CHART_WIDTH_MAX)] = CHART_WIDTH,
) -> Response:
    """A chart of the page of a pair as a picture."""
    spec = pair_view.build_chart_spec(app_state.store, source, destination, name, params, app_state.now_s())
    drawing = render.render_svg(spec, width, dark=theme is Theme.DARK)
    return Response(drawing, headers=SVG_HEADERS, media_type="image/svg+xml")
