"""Routes of the map, agents and limits pages. Each route parses its parameters, builds a view and renders it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from leadline_collector.errors import NotFoundError
from leadline_collector.http.app_state import AppStateDep
from leadline_collector.live import agent_health
from leadline_collector.web.charts import render
from leadline_collector.web.charts.site_map import MAP_HEIGHT
from leadline_collector.web.rendering import FromParam, PageRoute, Viewer, render_page
from leadline_collector.web.routes.charts import CHART_WIDTH, CHART_WIDTH_MAX, CHART_WIDTH_MIN, SVG_HEADERS, Theme
from leadline_collector.web.views import agent as agent_view
from leadline_collector.web.views import agents as agents_view
from leadline_collector.web.views import limits as limits_view
from leadline_collector.web.views import map as map_view

#: Prefix that vl-convert adds to relative links in an SVG.
VEGA_DATASETS_URL = "https://vega.github.io/vega-datasets/"

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def _parse_map_params(
    profile: str | None = None, group: str | None = None, reach: str | None = None, start: FromParam = None
) -> map_view.MapParams:
    return map_view.MapParams(profile=profile or None, group=group, reach=reach or None, start=start or None)


MapParamsDep = Annotated[map_view.MapParams, Depends(_parse_map_params)]


@router.get("/map", dependencies=[Viewer])
def show_map(app_state: AppStateDep, params: MapParamsDep) -> Response:
    """Render the map."""
    return render_page("map.html", page=map_view.build_map_page(app_state.store, params, app_state.now_s()))


@router.get("/map.svg", dependencies=[Viewer])
def serve_map_svg(
    app_state: AppStateDep,
    params: MapParamsDep,
    theme: Theme = Theme.LIGHT,
    width: Annotated[int, Query(ge=CHART_WIDTH_MIN, le=CHART_WIDTH_MAX)] = CHART_WIDTH,
) -> Response:
    """Return the map as SVG."""
    spec = map_view.build_map_spec(app_state.store, params, app_state.now_s())
    if spec is None:
        raise NotFoundError("the map has no sites: run `leadline mesh apply FILE`")
    svg = render.render_svg(spec, width, dark=theme is Theme.DARK, height=MAP_HEIGHT).replace(VEGA_DATASETS_URL, "")
    return Response(svg, headers=SVG_HEADERS, media_type="image/svg+xml")


@router.get("/agents", dependencies=[Viewer])
def show_agents(app_state: AppStateDep) -> Response:
    """Render the list of agents."""
    page = agents_view.build_agents_page(app_state.store, app_state.now_s())
    return render_page("agents.html", page=page, health=agent_health)


@router.get("/agents/{name}", dependencies=[Viewer])
def show_agent(app_state: AppStateDep, name: str) -> Response:
    """Render one agent."""
    page = agent_view.build_agent_page(app_state.store, name, app_state.now_s())
    return render_page("agent.html", page=page, health=agent_health)


@router.get("/limits", dependencies=[Viewer])
def show_limits(app_state: AppStateDep, q: str = "", vendor: str | None = None, used: str | None = None) -> Response:
    """Render the catalogue of limits."""
    return render_page(
        "limits.html", page=limits_view.build_limits_page(app_state.store, q, vendor or None, bool(used))
    )


@router.get("/limits/{limit_id}", dependencies=[Viewer])
def show_limit(app_state: AppStateDep, limit_id: str) -> Response:
    """Render one profile or limit."""
    profile = limits_view.build_profile_page(app_state.store, limit_id)
    if profile is not None:
        return render_page("profile.html", page=profile)
    return render_page("limit.html", page=limits_view.build_limit_page(app_state.store, limit_id))
