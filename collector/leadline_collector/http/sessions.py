"""Sessions of browsers: a cookie that says until when its holder may read, sealed with the viewer key.

Rule 1: nothing is kept. The seal is an HMAC under a key derived from the viewer key's digest, so every collector with
the same viewer key knows it, and with another viewer key every session ends.
Rule 2: a session reads and nothing else; what changes something needs a key in the Authorization header.
Rule 3: no script can read the cookie, and no other site can make a browser send it with a POST (SameSite=Lax).
"""

from __future__ import annotations

import hashlib
import hmac

from starlette.requests import Request
from starlette.responses import Response

from leadline_collector.config import CollectorConfig
from leadline_collector.http.app_state import service_of

#: A working day: whoever comes in the morning is asked once.
SESSION_S = 12 * 3_600
_PURPOSE = b"leadline session 1"
#: A seal in hex, a dot, and the end in epoch seconds.
_LENGTH_MAX = 64 + 1 + 12


def sealed(viewer_sha256: bytes, end_s: int) -> str:
    """The cookie of a session that ends then."""
    return f"{_seal(viewer_sha256, str(end_s))}.{end_s}"


def is_sealed(viewer_sha256: bytes, cookie: str, now_s: int) -> bool:
    """True if this viewer key sealed the cookie and its end is still to come."""
    seal, _, end = cookie.partition(".")
    if len(cookie) > _LENGTH_MAX or not (end.isascii() and end.isdigit()):
        return False
    is_ours = hmac.compare_digest(seal.encode(), _seal(viewer_sha256, end).encode())
    return is_ours and now_s < int(end)


def is_signed_in(request: Request) -> bool:
    """True if a request comes with a session of this collector; False where reading needs no key."""
    service = service_of(request)
    cookie = request.cookies.get(_name(service.config))
    if service.viewer_sha256 is None or cookie is None:
        return False
    return is_sealed(service.viewer_sha256, cookie, service.now_s())


def begin(response: Response, config: CollectorConfig, viewer_sha256: bytes, now_s: int) -> None:
    """Give the browser a session."""
    value = sealed(viewer_sha256, now_s + SESSION_S)
    response.set_cookie(
        _name(config), value, max_age=SESSION_S, path="/", secure=_is_secure(config), httponly=True, samesite="lax"
    )


def end(response: Response, config: CollectorConfig) -> None:
    """Have the browser forget its session."""
    response.delete_cookie(_name(config), path="/", secure=_is_secure(config), httponly=True, samesite="lax")


def _seal(viewer_sha256: bytes, end: str) -> str:
    key = hmac.digest(viewer_sha256, _PURPOSE, hashlib.sha256)
    return hmac.new(key, end.encode(), hashlib.sha256).hexdigest()


def _is_secure(config: CollectorConfig) -> bool:
    """True if browsers come over TLS: to the collector or to the proxy in front of it."""
    return config.tls_cert is not None or config.behind_proxy


def _name(config: CollectorConfig) -> str:
    """The prefix has browsers refuse the cookie from another host or without TLS (RFC 6265bis §4.1.3)."""
    return "__Host-leadline" if _is_secure(config) else "leadline"
