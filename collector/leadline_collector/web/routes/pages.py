"""Routes of the matrix page, the pair page and the static files."""

from __future__ import annotations

import gzip
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from starlette.responses import Response

from leadline_collector.errors import NotFoundError
from leadline_collector.http import roles
from leadline_collector.http.app_state import AppStateDep
from leadline_collector.web import prewarm
from leadline_collector.web.charts import render
from leadline_collector.web.params import PageParams
from leadline_collector.web.rendering import (
    STATIC_HEADERS,
    STATIC_MEDIA_TYPES,
    VEGA_SCRIPT,
    FromParam,
    PageRoute,
    ToParam,
    Viewer,
    render_page,
    static_content,
)
from leadline_collector.web.views import matrix as matrix_view
from leadline_collector.web.views import pair as pair_view

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/", dependencies=[Viewer])
def show_matrix(
    app_state: AppStateDep,
    profile: str | None = None,
    group: str | None = None,
    start: FromParam = None,
    end: ToParam = None,
    sort: str | None = None,
) -> Response:
    """Render the matrix."""
    prewarm.start_prewarming()
    params = PageParams(
        profile=profile or None, group=group or None, start=start or None, end=end or None, sort=sort or None
    )
    return render_page("matrix.html", page=matrix_view.build_matrix_page(app_state.store, params, app_state.now_s()))


@router.get("/pairs/{source}/{destination}", dependencies=[Viewer])
def show_pair(
    app_state: AppStateDep,
    source: str,
    destination: str,
    profile: str | None = None,
    group: str | None = None,
    start: FromParam = None,
    end: ToParam = None,
) -> Response:
    """Render one directed pair."""
    params = PageParams(profile=profile or None, group=group or None, start=start or None, end=end or None)
    return render_page(
        "pair.html", page=pair_view.build_pair_page(app_state.store, source, destination, params, app_state.now_s())
    )


@router.get(f"/static/{VEGA_SCRIPT}", dependencies=[Viewer])
def serve_vega_script(accept_encoding: Annotated[str, Header()] = "") -> Response:
    """Return the script that draws charts in a browser; the first request builds it."""
    headers = STATIC_HEADERS | {"Vary": "Accept-Encoding"}
    if "gzip" in accept_encoding:
        headers |= {"Content-Encoding": "gzip"}
        return Response(render.build_bundle(), headers=headers, media_type="text/javascript")
    return Response(gzip.decompress(render.build_bundle()), headers=headers, media_type="text/javascript")


@router.get("/static/{name}", dependencies=[Depends(roles.public)])
def serve_static_file(name: str) -> Response:
    """Return a static file. Public, because the login page needs it; no file contains data."""
    if name not in STATIC_MEDIA_TYPES:
        raise NotFoundError(f"no static file {name!r}")
    return Response(static_content(name), headers=STATIC_HEADERS, media_type=STATIC_MEDIA_TYPES[name])
