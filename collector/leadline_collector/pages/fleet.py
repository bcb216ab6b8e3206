"""The routes of the pages beside matrix and pair: map, agents, limits. Each parses, has a view made and renders it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from leadline_collector import agent_standing
from leadline_collector.pages import web_agents, web_limits
from leadline_collector.pages.web import PageRoute, Viewer, page
from leadline_collector.service import Serving

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/agents", dependencies=[Viewer])
def agents(service: Serving) -> Response:
    """Every agent."""
    found = web_agents.agents_page(service.store, service.now_s())
    return page("agents.html", page=found, rules=agent_standing)


@router.get("/agents/{name}", dependencies=[Viewer])
def agent(service: Serving, name: str) -> Response:
    """One agent."""
    found = web_agents.agent_page(service.store, name, service.now_s())
    return page("agent.html", page=found, rules=agent_standing)


@router.get("/limits", dependencies=[Viewer])
def limits(service: Serving, q: str = "", vendor: str | None = None, used: str | None = None) -> Response:
    """The catalogue."""
    return page("limits.html", page=web_limits.limits_page(service.store, q, vendor or None, bool(used)))


@router.get("/limits/{limit_id}", dependencies=[Viewer])
def limit(service: Serving, limit_id: str) -> Response:
    """One profile or limit."""
    profile = web_limits.profile_page(service.store, limit_id)
    if profile is not None:
        return page("profile.html", page=profile)
    return page("limit.html", page=web_limits.limit_page(service.store, limit_id))
