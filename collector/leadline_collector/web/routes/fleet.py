"""The routes of the pages beside matrix and pair: map, agents, limits. Each parses, has a view made and renders it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from leadline_collector.errors import NotFoundError
from leadline_collector.http.app_state import Serving
from leadline_collector.live import agent_health
from leadline_collector.web.charts import render
from leadline_collector.web.charts.site_map import HEIGHT
from leadline_collector.web.rendering import From, PageRoute, Viewer, page
from leadline_collector.web.routes.charts import CHART_WIDTH, CHART_WIDTH_MAX, CHART_WIDTH_MIN, SVG_HEADERS, Theme
from leadline_collector.web.views import agent as agent_view
from leadline_collector.web.views import agents as agents_view
from leadline_collector.web.views import limits as limits_view
from leadline_collector.web.views import map as map_view

#: What vl-convert puts before the address of a link; nothing of ours leads there.
ELSEWHERE = "https://vega.github.io/vega-datasets/"

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def _asked(
    profile: str | None = None, group: str | None = None, reach: str | None = None, start: From = None
) -> map_view.Asked:
    return map_view.Asked(profile=profile or None, group=group, reach=reach or None, start=start or None)


MapAsked = Annotated[map_view.Asked, Depends(_asked)]


@router.get("/map", dependencies=[Viewer])
def site_map(service: Serving, asked: MapAsked) -> Response:
    """The map."""
    return page("map.html", page=map_view.map_page(service.store, asked, service.now_s()))


@router.get("/map.svg", dependencies=[Viewer])
def map_picture(
    service: Serving,
    asked: MapAsked,
    theme: Theme = Theme.LIGHT,
    width: Annotated[int, Query(ge=CHART_WIDTH_MIN, le=CHART_WIDTH_MAX)] = CHART_WIDTH,
) -> Response:
    """The map as a picture."""
    spec = map_view.map_spec(service.store, asked, service.now_s())
    if spec is None:
        raise NotFoundError("there is no site to draw: run `leadline mesh apply FILE`")
    drawing = render.svg(spec, width, dark=theme is Theme.DARK, height=HEIGHT).replace(ELSEWHERE, "")
    return Response(drawing, headers=SVG_HEADERS, media_type="image/svg+xml")


@router.get("/agents", dependencies=[Viewer])
def agents(service: Serving) -> Response:
    """Every agent."""
    found = agents_view.agents_page(service.store, service.now_s())
    return page("agents.html", page=found, rules=agent_health)


@router.get("/agents/{name}", dependencies=[Viewer])
def agent(service: Serving, name: str) -> Response:
    """One agent."""
    found = agent_view.agent_page(service.store, name, service.now_s())
    return page("agent.html", page=found, rules=agent_health)


@router.get("/limits", dependencies=[Viewer])
def limits(service: Serving, q: str = "", vendor: str | None = None, used: str | None = None) -> Response:
    """The catalogue."""
    return page("limits.html", page=limits_view.limits_page(service.store, q, vendor or None, bool(used)))


@router.get("/limits/{limit_id}", dependencies=[Viewer])
def limit(service: Serving, limit_id: str) -> Response:
    """One profile or limit."""
    profile = limits_view.profile_page(service.store, limit_id)
    if profile is not None:
        return page("profile.html", page=profile)
    return page("limit.html", page=limits_view.limit_page(service.store, limit_id))
