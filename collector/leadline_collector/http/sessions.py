"""Sessions of browsers: a cookie with the end of the session, signed with the viewer key.

Rule 1: nothing is kept. The signature is an HMAC under a key derived from the viewer key's digest, so every collector
with the same viewer key accepts it, and with another viewer key every session ends.
Rule 2: a session reads and nothing else; what changes something needs a key in the Authorization header.
Rule 3: no script can read the cookie, and no other site can make a browser send it with a POST (SameSite=Lax).
"""

from __future__ import annotations

import hashlib

from itsdangerous import BadSignature, Signer
from starlette.requests import Request
from starlette.responses import Response

from leadline_collector.config import CollectorConfig
from leadline_collector.http.app_state import get_app_state

#: A working day: whoever comes in the morning is asked once.
SESSION_LIFETIME_S = 12 * 3_600
_KEY_CONTEXT = b"leadline session 1"


def sign(viewer_sha256: bytes, end_s: int) -> str:
    """Return the cookie of a session: its end in epoch seconds, a dot, and the signature."""
    return _signer(viewer_sha256).sign(str(end_s)).decode()


def is_valid(viewer_sha256: bytes, cookie: str, now_s: int) -> bool:
    """Return whether this viewer key signed the cookie and its end is still to come."""
    try:
        end = _signer(viewer_sha256).unsign(cookie)
    except BadSignature:
        return False
    return now_s < int(end)


def is_signed_in(request: Request) -> bool:
    """True if a request comes with a session of this collector; False where reading needs no key."""
    service = get_app_state(request)
    cookie = request.cookies.get(_cookie_name(service.config))
    if service.viewer_key_sha256 is None or cookie is None:
        return False
    return is_valid(service.viewer_key_sha256, cookie, service.now_s())


def set_session_cookie(response: Response, config: CollectorConfig, viewer_key_sha256: bytes, now_s: int) -> None:
    """Give the browser a session."""
    value = sign(viewer_key_sha256, now_s + SESSION_LIFETIME_S)
    response.set_cookie(
        _cookie_name(config),
        value,
        max_age=SESSION_LIFETIME_S,
        path="/",
        secure=_is_secure(config),
        httponly=True,
        samesite="lax",
    )


def delete_session_cookie(response: Response, config: CollectorConfig) -> None:
    """Have the browser forget its session."""
    response.delete_cookie(_cookie_name(config), path="/", secure=_is_secure(config), httponly=True, samesite="lax")


def _signer(viewer_sha256: bytes) -> Signer:
    # Not TimestampSigner: it rejects a cookie signed by a collector with a clock ahead of this one.
    return Signer(viewer_sha256, salt=_KEY_CONTEXT, key_derivation="hmac", digest_method=hashlib.sha256)


def _is_secure(config: CollectorConfig) -> bool:
    """True if browsers come over TLS: to the collector or to the proxy in front of it."""
    return config.tls_cert is not None or config.behind_proxy


def _cookie_name(config: CollectorConfig) -> str:
    """The prefix has browsers refuse the cookie from another host or without TLS (RFC 6265bis §4.1.3)."""
    return "__Host-leadline" if _is_secure(config) else "leadline"
