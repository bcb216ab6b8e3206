"""Routes of the matrix, the pair and the static files."""

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
    """The matrix."""
    prewarm.start_prewarming()
    asked = PageParams(
        profile=profile or None, group=group or None, start=start or None, end=end or None, sort=sort or None
    )
    return render_page("matrix.html", page=matrix_view.build_matrix_page(app_state.store, asked, app_state.now_s()))


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
    """One directed pair."""
    asked = PageParams(profile=profile or None, group=group or None, start=start or None, end=end or None)
    return render_page(
        "pair.html", page=pair_view.build_pair_page(app_state.store, source, destination, asked, app_state.now_s())
    )


@router.get(f"/static/{VEGA_SCRIPT}", dependencies=[Viewer])
def serve_vega_script(accept_encoding: Annotated[str, Header()] = "") -> Response:
    """What draws charts in a browser; made when it is first asked for."""
    headers = STATIC_HEADERS | {"Vary": "Accept-Encoding"}
    if "gzip" in accept_encoding:
        headers |= {"Content-Encoding": "gzip"}
        return Response(render.build_bundle(), headers=headers, media_type="text/javascript")
    return Response(gzip.decompress(render.build_bundle()), headers=headers, media_type="text/javascript")


@router.get("/static/{name}", dependencies=[Depends(roles.public)])
def serve_static_file(name: str) -> Response:
    """A file the pages use, that of the login too; nothing in it is anybody's."""
    if name not in STATIC_MEDIA_TYPES:
        raise NotFoundError(f"there is no file {name!r}")
    return Response(static_content(name), headers=STATIC_HEADERS, media_type=STATIC_MEDIA_TYPES[name])
