"""Routes of the matrix, the pair and the static files."""

from __future__ import annotations

import gzip
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from starlette.responses import Response

from leadline_collector.errors import NotFoundError
from leadline_collector.http import roles
from leadline_collector.http.app_state import Serving
from leadline_collector.web import prewarm
from leadline_collector.web.charts import render
from leadline_collector.web.params import Asked
from leadline_collector.web.rendering import (
    STATIC,
    STATIC_HEADERS,
    VEGA,
    From,
    PageRoute,
    To,
    Viewer,
    page,
    static_content,
)
from leadline_collector.web.views import matrix as matrix_view
from leadline_collector.web.views import pair as pair_view

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/", dependencies=[Viewer])
def matrix(
    service: Serving,
    profile: str | None = None,
    group: str | None = None,
    start: From = None,
    end: To = None,
    sort: str | None = None,
) -> Response:
    """The matrix."""
    prewarm.begin()
    asked = Asked(profile=profile or None, group=group or None, start=start or None, end=end or None, sort=sort or None)
    return page("matrix.html", page=matrix_view.matrix_page(service.store, asked, service.now_s()))


@router.get("/pairs/{source}/{destination}", dependencies=[Viewer])
def pair(
    service: Serving,
    source: str,
    destination: str,
    profile: str | None = None,
    group: str | None = None,
    start: From = None,
    end: To = None,
) -> Response:
    """One directed pair."""
    asked = Asked(profile=profile or None, group=group or None, start=start or None, end=end or None)
    return page("pair.html", page=pair_view.pair_page(service.store, source, destination, asked, service.now_s()))


@router.get(f"/static/{VEGA}", dependencies=[Viewer])
def vega(accept_encoding: Annotated[str, Header()] = "") -> Response:
    """What draws charts in a browser; made when it is first asked for."""
    headers = STATIC_HEADERS | {"Vary": "Accept-Encoding"}
    if "gzip" in accept_encoding:
        headers |= {"Content-Encoding": "gzip"}
        return Response(render.bundle(), headers=headers, media_type="text/javascript")
    return Response(gzip.decompress(render.bundle()), headers=headers, media_type="text/javascript")


@router.get("/static/{name}", dependencies=[Depends(roles.public)])
def static(name: str) -> Response:
    """A file the pages use, that of the login too; nothing in it is anybody's."""
    if name not in STATIC:
        raise NotFoundError(f"there is no file {name!r}")
    return Response(static_content(name), headers=STATIC_HEADERS, media_type=STATIC[name])
