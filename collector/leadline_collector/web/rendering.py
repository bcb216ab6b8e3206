"""Renders pages: templates, static files, response headers, and problems as pages.

Rule 1: a problem on the way to a page is a page too, with the status and the words the API would answer.
Rule 2: every page needs the role ``viewer``, like the answers it shows; whoever has no key is shown the login.
Rule 3: whatever comes from outside reaches HTML through Jinja's escaping; no template switches it off. A chart's
specification is JSON in which no element can begin (``_embedded``).
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
from leadline_collector.web import formatting
from leadline_collector.web.charts import render
from leadline_collector.web.charts.spec_templates import Spec

#: Nothing from elsewhere: scripts and styles from our files only, none in the page, and no text is evaluated (charts.js
#: has Vega interpret its expressions). No address of ours leaks to a vendor's site.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}
#: The files there are; a name outside of this list is looked for nowhere.
STATIC_MEDIA_TYPES = {"charts.js": "text/javascript", "leadline.css": "text/css", "leadline.svg": "image/svg+xml"}
#: Made by vl-convert, not a file of ours.
VEGA_SCRIPT = "vega.js"
#: The address of a file changes with its content, so a browser may keep it.
STATIC_HEADERS = PAGE_HEADERS | {"Cache-Control": "private, max-age=31536000, immutable"}

#: Whether the request that is being answered came with a session: its page offers to end it.
SIGNED_IN: ContextVar[bool] = ContextVar("signed_in", default=False)

FromParam = Annotated[str | None, Query(alias="from")]
ToParam = Annotated[str | None, Query(alias="to")]
Viewer = Depends(roles.viewer)


class PageRoute(APIRoute):
    """A route whose problems are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def handler(request: Request) -> Response:
            SIGNED_IN.set(sessions.is_signed_in(request))
            try:
                return await answer(request)
            except (LeadlineError, HTTPException, RequestValidationError) as error:
                if _is_login_needed(request, error):
                    return RedirectResponse(
                        build_login_path(request), 303, headers=PAGE_HEADERS | {"Cache-Control": "no-store"}
                    )
                return await _render_problem_page(request, error)

        return handler


def _is_login_needed(request: Request, error: Exception) -> bool:
    """True for somebody without a key who asks for a page; a wrong key in the header is answered with 401."""
    is_refused = isinstance(error, UnauthenticatedError)
    return is_refused and request.method == "GET" and "authorization" not in request.headers


def build_login_path(request: Request) -> str:
    """Where a request for a page goes first."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "/login" if wanted == "/" else f"/login?{urlencode({'next': wanted})}"


def render_page(template: str, status: int = 200, headers: dict[str, str] | None = None, **values: object) -> Response:
    """A rendered page."""
    text = _create_environment().get_template(template).render(values)
    return Response(text, status, headers=(headers or {}) | PAGE_HEADERS, media_type="text/html")


async def _render_problem_page(request: Request, error: Exception) -> Response:
    """What the application answers to this error (``problems.install``), as a page."""
    handlers = request.app.exception_handlers
    handler = next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)
    answer: Response = await handler(request, error)
    kept = {name: value for name in ("WWW-Authenticate", "Retry-After") if (value := answer.headers.get(name))}
    problem = msgspec.json.decode(answer.body)
    return render_page("problem.html", answer.status_code, kept, problem=problem, now_s=get_app_state(request).now_s())


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
        "ms": formatting.format_ms,
        "count": formatting.format_count,
        "moment": formatting.format_time,
        "comparison": formatting.format_comparison,
        "embedded": _embed_spec,
    }
    environment.globals |= {
        "static": _build_static_url,
        "vega_address": _build_vega_url,
        "version": __version__,
        "campaign": evaluation.compute_campaign(),
        "signed_in": SIGNED_IN.get,
    }
    return environment


def _embed_spec(spec: Spec) -> Markup:
    """A specification as the content of a script element, which ends at the first ``</`` that it holds."""
    text = msgspec.json.encode(spec).decode().replace("<", "\\u003c")
    return Markup(text)  # JSON without "<" is text to HTML


def _build_vega_url() -> str:
    return f"/static/{VEGA_SCRIPT}?v={render.bundle_version()}"


def _build_static_url(name: str) -> str:
    return f"/static/{name}?v={hashlib.sha256(static_content(name)).hexdigest()[:12]}"


@cache
def static_content(name: str) -> bytes:
    return files("leadline_collector.web").joinpath("static", name).read_bytes()
