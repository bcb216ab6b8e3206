"""Signing in and out of the pages: the viewer key once, then a session (``sessions``).

Rule 1: one answer for every wrong key; a peer that fails too often waits, as with enrolments.
Rule 2: a form of another site signs nobody in or out: the browser says where a POST comes from.
Rule 3: after signing in the way leads to a page of this collector, never elsewhere.
"""

from __future__ import annotations

import hmac
import logging
import re
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from leadline_collector.auth.secrets import hash_secret
from leadline_collector.errors import ForbiddenError, TooManyAttemptsError
from leadline_collector.http import request_body, roles, sessions
from leadline_collector.http.app_state import AppState, AppStateDep
from leadline_collector.http.client_address import get_client_network
from leadline_collector.web.rendering import PAGE_HEADERS, PageRoute, render_page

log = logging.getLogger(__name__)

#: A path of this host: one slash, and nothing that a browser could read as another host.
_LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*\Z")
NEXT_LENGTH_MAX = 2_000

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Body = Annotated[bytes, Depends(request_body.receive_small_body)]


@router.get("/login", dependencies=[Depends(roles.public)])
def show_login(request: Request, app_state: AppStateDep, next: str = "/") -> Response:
    """The form; where nobody needs a key or one is signed in already, the page that was wanted."""
    if app_state.viewer_key_sha256 is None or sessions.is_signed_in(request):
        return _redirect_to(sanitise_next_path(next))
    return render_page("login.html", next=sanitise_next_path(next), refused=False, now_s=app_state.now_s())


@router.post("/login", dependencies=[Depends(roles.public)])
def sign_in(request: Request, app_state: AppStateDep, body: Body) -> Response:
    """A session for whoever knows the viewer key or the administrator's."""
    reject_cross_site_form(request)
    fields = parse_qs(body.decode(errors="replace"), max_num_fields=8)
    wanted = sanitise_next_path(fields.get("next", ["/"])[0])
    if app_state.viewer_key_sha256 is None:
        return _redirect_to(wanted)
    peer = get_client_network(request, app_state.config.behind_proxy)
    if not _accepts_key(app_state, app_state.viewer_key_sha256, fields.get("key", [""])[0], peer):
        return render_page("login.html", 401, next=wanted, refused=True, now_s=app_state.now_s())
    answer = _redirect_to(wanted)
    sessions.set_session_cookie(answer, app_state.config, app_state.viewer_key_sha256, app_state.now_s())
    return answer


@router.post("/logout", dependencies=[Depends(roles.viewer)])
def sign_out(request: Request, app_state: AppStateDep) -> Response:
    """End the session of this browser."""
    reject_cross_site_form(request)
    answer = _redirect_to("/login")
    sessions.delete_session_cookie(answer, app_state.config)
    return answer


def sanitise_next_path(path: str) -> str:
    """The path, if it is one of this host; else that of the matrix."""
    return path if len(path) <= NEXT_LENGTH_MAX and _LOCAL_PATH.match(path) else "/"


def reject_cross_site_form(request: Request) -> None:
    """403 for a form of another site. Browsers send Origin with every POST; what sends none is no browser."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ForbiddenError(f"this form was sent from {origin}, not from a page of this collector")


def _accepts_key(app_state: AppState, viewer_key_sha256: bytes, key: str, client: str) -> bool:
    """True if the key may read; a wrong one is counted, and 429 past the count."""
    wait_s = app_state.login_limiter.retry_after_s(client)
    if wait_s:
        raise TooManyAttemptsError(f"too many wrong keys: wait {wait_s} s", retry_after_s=wait_s)
    given = hash_secret(key.strip())
    if hmac.compare_digest(given, viewer_key_sha256) or roles.is_admin(app_state, given):
        return True
    app_state.login_limiter.record_failure(client)
    log.warning("sign-in refused", extra={"peer": client})
    return False


def _redirect_to(path: str) -> Response:
    return RedirectResponse(path, 303, headers=PAGE_HEADERS | {"Cache-Control": "no-store"})
