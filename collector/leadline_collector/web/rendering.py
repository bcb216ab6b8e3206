"""Renders pages: templates, static files, response headers, and problem pages.

Rule 1: an error in a page route renders a page with the status and the detail of the API's problem document.
Rule 2: every page needs the role ``viewer``; a request without a key is redirected to the login.
Rule 3: external data reaches HTML only through Jinja's escaping; no template disables it. The JSON of a chart contains
no ``<``, so it cannot start an element (``_embed_spec``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from fastapi import Depends, Query
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from leadline import __version__, evaluation
from leadline.errors import LeadlineError
from leadline_collector.errors import UnauthenticatedError
from leadline_collector.http import roles, sessions
from leadline_collector.http.app_state import get_app_state
from leadline_collector.web.charts import render
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.formatting import format_comparison, format_count, format_ms, format_time

#: Scripts and styles load from the collector only; inline scripts and ``eval`` are forbidden (charts.js uses Vega's
#: expression interpreter). Links to vendors' sites send no referrer.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}
#: The static files; any other name gets 404 without a file lookup.
STATIC_MEDIA_TYPES = {"charts.js": "text/javascript", "leadline.css": "text/css", "leadline.svg": "image/svg+xml"}
#: Name of the script that vl-convert builds; it is not in the static folder.
VEGA_SCRIPT = "vega.js"
#: The URL of a file changes with its content, so browsers may cache it.
STATIC_HEADERS = PAGE_HEADERS | {"Cache-Control": "private, max-age=31536000, immutable"}

#: True if the current request has a session; its page offers to sign out.
SIGNED_IN: ContextVar[bool] = ContextVar("signed_in", default=False)

FromParam = Annotated[str | None, Query(alias="from")]
ToParam = Annotated[str | None, Query(alias="to")]
Viewer = Depends(roles.viewer)


class PageRoute(APIRoute):
    """Route that renders errors as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle_request = super().get_route_handler()

        async def handler(request: Request) -> Response:
            SIGNED_IN.set(sessions.is_signed_in(request))
            try:
                return await handle_request(request)
            except (LeadlineError, HTTPException, RequestValidationError) as error:
                if _is_login_needed(request, error):
                    return RedirectResponse(
                        build_login_path(request), 303, headers=PAGE_HEADERS | {"Cache-Control": "no-store"}
                    )
                return await _render_problem_page(request, error)

        return handler


def _is_login_needed(request: Request, error: Exception) -> bool:
    """Return True for a page request without a key; a wrong key in the header gets 401."""
    is_unauthenticated = isinstance(error, UnauthenticatedError)
    return is_unauthenticated and request.method == "GET" and "authorization" not in request.headers


def build_login_path(request: Request) -> str:
    """Return the path of the login page that leads back to the requested page."""
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "/login" if path == "/" else f"/login?{urlencode({'next': path})}"


def render_page(template: str, status: int = 200, headers: dict[str, str] | None = None, **values: object) -> Response:
    """Render a template as an HTML response."""
    text = _create_environment().get_template(template).render(values)
    return Response(text, status, headers=(headers or {}) | PAGE_HEADERS, media_type="text/html")


async def _render_problem_page(request: Request, error: Exception) -> Response:
    """Render the application's response to an error (``problems.install_error_handlers``) as a page."""
    handlers = request.app.exception_handlers
    handler = next(handlers[error_type] for error_type in type(error).__mro__ if error_type in handlers)
    response: Response = await handler(request, error)
    headers = {name: value for name in ("WWW-Authenticate", "Retry-After") if (value := response.headers.get(name))}
    problem = msgspec.json.decode(response.body)
    now_s = get_app_state(request).now_s()
    return render_page("problem.html", response.status_code, headers, problem=problem, now_s=now_s)


@cache
def _create_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("leadline_collector.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "ms": format_ms,
        "count": format_count,
        "format_time": format_time,
        "format_comparison": format_comparison,
        "embed_spec": _embed_spec,
    }
    environment.globals |= {
        "static_url": _build_static_url,
        "vega_url": _build_vega_url,
        "version": __version__,
        "campaign": evaluation.compute_campaign(),
        "signed_in": SIGNED_IN.get,
    }
    return environment


def _embed_spec(spec: Spec) -> Markup:
    """Encode a specification as the content of a script element; such an element ends at the first ``</``."""
    text = msgspec.json.encode(spec).decode().replace("<", "\\u003c")
    return Markup(text)  # noqa: S704  # safe: no "<" remains


def _build_vega_url() -> str:
    return f"/static/{VEGA_SCRIPT}?v={render.bundle_version()}"


def _build_static_url(name: str) -> str:
    return f"/static/{name}?v={hashlib.sha256(static_content(name)).hexdigest()[:12]}"


@cache
def static_content(name: str) -> bytes:
    """Return the content of a static file; ``name`` is a key of ``STATIC_MEDIA_TYPES``."""
    return files("leadline_collector.web").joinpath("static", name).read_bytes()
