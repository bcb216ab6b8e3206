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

from leadline_collector.auth.secrets import sha256_of
from leadline_collector.errors import ForbiddenError, TooManyAttemptsError
from leadline_collector.http import request_body, roles, sessions
from leadline_collector.http.app_state import Service, Serving
from leadline_collector.http.client_address import peer_of
from leadline_collector.web.rendering import HEADERS, PageRoute, page

log = logging.getLogger(__name__)

#: A path of this host: one slash, and nothing that a browser could read as another host.
_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*\Z")
NEXT_MAX = 2_000

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Body = Annotated[bytes, Depends(request_body.receive_small)]


@router.get("/login", dependencies=[Depends(roles.public)])
def form(request: Request, service: Serving, next: str = "/") -> Response:  # noqa: A002  the parameter's name
    """The form; where nobody needs a key or one is signed in already, the page that was wanted."""
    if service.viewer_sha256 is None or sessions.is_signed_in(request):
        return _to(local_path(next))
    return page("login.html", next=local_path(next), refused=False, now_s=service.now_s())


@router.post("/login", dependencies=[Depends(roles.public)])
def sign_in(request: Request, service: Serving, body: Body) -> Response:
    """A session for whoever knows the viewer key or the administrator's."""
    refuse_foreign(request)
    fields = parse_qs(body.decode(errors="replace"), max_num_fields=8)
    wanted = local_path(fields.get("next", ["/"])[0])
    if service.viewer_sha256 is None:
        return _to(wanted)
    peer = peer_of(request, service.config.behind_proxy)
    if not _opens(service, service.viewer_sha256, fields.get("key", [""])[0], peer):
        return page("login.html", 401, next=wanted, refused=True, now_s=service.now_s())
    answer = _to(wanted)
    sessions.begin(answer, service.config, service.viewer_sha256, service.now_s())
    return answer


@router.post("/logout", dependencies=[Depends(roles.viewer)])
def sign_out(request: Request, service: Serving) -> Response:
    """End the session of this browser."""
    refuse_foreign(request)
    answer = _to("/login")
    sessions.end(answer, service.config)
    return answer


def local_path(wanted: str) -> str:
    """The path, if it is one of this host; else that of the matrix."""
    return wanted if len(wanted) <= NEXT_MAX and _LOCAL.match(wanted) else "/"


def refuse_foreign(request: Request) -> None:
    """403 for a form of another site. Browsers send Origin with every POST; what sends none is no browser."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ForbiddenError(f"this form was sent from {origin}, not from a page of this collector")


def _opens(service: Service, viewer_sha256: bytes, key: str, peer: str) -> bool:
    """True if the key may read; a wrong one is counted, and 429 past the count."""
    wait_s = service.login_limit.wait_s(peer)
    if wait_s:
        raise TooManyAttemptsError(f"too many wrong keys: wait {wait_s} s", retry_after_s=wait_s)
    given = sha256_of(key.strip())
    if hmac.compare_digest(given, viewer_sha256) or roles.is_admin(service, given):
        return True
    service.login_limit.failed(peer)
    log.warning("sign-in refused", extra={"peer": peer})
    return False


def _to(path: str) -> Response:
    return RedirectResponse(path, 303, headers=HEADERS | {"Cache-Control": "no-store"})
