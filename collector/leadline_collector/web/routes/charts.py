"""Routes of chart images and of the slow parts of the matrix and pair pages.

Each slow part is a page of its own that works without JavaScript; with JavaScript, the page it belongs to loads it.
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

#: SVG images have inline styles and no scripts.
SVG_HEADERS = PAGE_HEADERS | {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
#: Width of an image in pixels, for pages without scripts.
CHART_WIDTH, CHART_WIDTH_MIN, CHART_WIDTH_MAX = 1_000, 300, 2_000

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Theme(StrEnum):
    """Background of an image."""

    LIGHT = "light"
    DARK = "dark"


def _parse_page_params(
    profile: str | None = None, group: str | None = None, start: FromParam = None, end: ToParam = None
) -> PageParams:
    return PageParams(profile=profile or None, group=group or None, start=start or None, end=end or None)


PageParamsDep = Annotated[PageParams, Depends(_parse_page_params)]


@router.get("/verdicts", dependencies=[Viewer])
def show_verdicts(app_state: AppStateDep, params: PageParamsDep) -> Response:
    """Render the verdicts of a small mesh or group."""
    page = verdicts_view.build_verdicts_page(app_state.store, app_state.verdict_cache, params, app_state.now_s())
    return render_page("verdicts.html", page=page)


@router.get("/pairs/{source}/{destination}/gaps", dependencies=[Viewer])
def show_gaps(app_state: AppStateDep, source: str, destination: str, params: PageParamsDep) -> Response:
    """Render the missing windows of a pair."""
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
    """Return a chart of the pair page as SVG."""
    spec = pair_view.build_chart_spec(app_state.store, source, destination, name, params, app_state.now_s())
    svg = render.render_svg(spec, width, dark=theme is Theme.DARK)
    return Response(svg, headers=SVG_HEADERS, media_type="image/svg+xml")
