"""Login and logout: the viewer key starts a session (``http/sessions.py``).

Rule 1: every wrong key gets the same response; a client with too many failures has to wait, as for enrolments.
Rule 2: forms of other sites are rejected by the Origin header.
Rule 3: after the login, the redirect stays on this collector.
"""

from __future__ import annotations

import hmac
import logging
import re
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from leadline_collector.auth.secrets import hash_secret
from leadline_collector.errors import ForbiddenError, TooManyAttemptsError
from leadline_collector.http import request_body, roles, sessions
from leadline_collector.http.app_state import AppState, AppStateDep
from leadline_collector.http.client_address import get_client_network
from leadline_collector.web.rendering import PAGE_HEADERS, PageRoute, render_page

log = logging.getLogger(__name__)

#: Path on this host: one leading slash, and nothing that a browser reads as another host.
_LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*\Z")
NEXT_LENGTH_MAX = 2_000

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Body = Annotated[bytes, Depends(request_body.receive_small_body)]


@router.get("/login", dependencies=[Depends(roles.public)])
def show_login(
    request: Request, app_state: AppStateDep, next_path: Annotated[str, Query(alias="next")] = "/"
) -> Response:
    """Render the login form, or redirect to the next page if no login is necessary."""
    local_path = sanitise_next_path(next_path)
    if app_state.viewer_key_sha256 is None or sessions.is_signed_in(request):
        return _redirect_to(local_path)
    return render_page("login.html", next=local_path, refused=False, now_s=app_state.now_s())


@router.post("/login", dependencies=[Depends(roles.public)])
def sign_in(request: Request, app_state: AppStateDep, body: Body) -> Response:
    """Start a session if the form contains the viewer key or the administrator's key."""
    reject_cross_site_form(request)
    fields = parse_qs(body.decode(errors="replace"), max_num_fields=8)
    next_path = sanitise_next_path(fields.get("next", ["/"])[0])
    if app_state.viewer_key_sha256 is None:
        return _redirect_to(next_path)
    client = get_client_network(request, app_state.config.behind_proxy)
    if not _accepts_key(app_state, app_state.viewer_key_sha256, fields.get("key", [""])[0], client):
        return render_page("login.html", 401, next=next_path, refused=True, now_s=app_state.now_s())
    response = _redirect_to(next_path)
    sessions.set_session_cookie(response, app_state.config, app_state.viewer_key_sha256, app_state.now_s())
    return response


@router.post("/logout", dependencies=[Depends(roles.viewer)])
def sign_out(request: Request, app_state: AppStateDep) -> Response:
    """End the session of this browser."""
    reject_cross_site_form(request)
    response = _redirect_to("/login")
    sessions.delete_session_cookie(response, app_state.config)
    return response


def sanitise_next_path(path: str) -> str:
    """Return the path if it is on this host, else the path of the matrix."""
    return path if len(path) <= NEXT_LENGTH_MAX and _LOCAL_PATH.match(path) else "/"


def reject_cross_site_form(request: Request) -> None:
    """Raise 403 for a form of another site. Browsers send Origin with every POST; other clients may omit it."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ForbiddenError(f"the form comes from {origin}, not from a page of this collector")


def _accepts_key(app_state: AppState, viewer_key_sha256: bytes, key: str, client: str) -> bool:
    """Return True if the key grants read access. Count a wrong key; raise 429 after too many of them."""
    wait_s = app_state.login_limiter.retry_after_s(client)
    if wait_s:
        raise TooManyAttemptsError(f"too many wrong keys: wait {wait_s} s", retry_after_s=wait_s)
    sha256 = hash_secret(key.strip())
    if hmac.compare_digest(sha256, viewer_key_sha256) or roles.is_admin(app_state, sha256):
        return True
    app_state.login_limiter.record_failure(client)
    log.warning("sign-in refused", extra={"peer": client})
    return False


def _redirect_to(path: str) -> Response:
    return RedirectResponse(path, 303, headers=PAGE_HEADERS | {"Cache-Control": "no-store"})
