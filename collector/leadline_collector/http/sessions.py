"""Browser sessions: a cookie with the end of the session, signed with the viewer key.

Rule 1: the collector stores no session. The signature is an HMAC under a key derived from the viewer key's digest:
every collector with the same viewer key accepts it, and a new viewer key ends every session.
Rule 2: a session grants read access only; changes need a key in the Authorization header.
Rule 3: scripts cannot read the cookie, and browsers do not send it with a POST from another site (SameSite=Lax).
"""

from __future__ import annotations

import hashlib

from itsdangerous import BadSignature, Signer
from starlette.requests import Request
from starlette.responses import Response

from leadline_collector.config import CollectorConfig
from leadline_collector.http.app_state import get_app_state

#: A working day: one login in the morning is enough.
SESSION_LIFETIME_S = 12 * 3_600
_KEY_CONTEXT = b"leadline session 1"


def sign(viewer_sha256: bytes, end_s: int) -> str:
    """Return the cookie of a session: its end in epoch seconds, a dot, and the signature."""
    return _signer(viewer_sha256).sign(str(end_s)).decode()


def is_valid(viewer_sha256: bytes, cookie: str, now_s: int) -> bool:
    """Return True if this viewer key signed the cookie and the session has not ended."""
    try:
        end = _signer(viewer_sha256).unsign(cookie)
    except BadSignature:
        return False
    return now_s < int(end)


def is_signed_in(request: Request) -> bool:
    """Return True if the request has a valid session cookie; False if the collector has no viewer key."""
    app_state = get_app_state(request)
    cookie = request.cookies.get(_cookie_name(app_state.config))
    if app_state.viewer_key_sha256 is None or cookie is None:
        return False
    return is_valid(app_state.viewer_key_sha256, cookie, app_state.now_s())


def set_session_cookie(response: Response, config: CollectorConfig, viewer_key_sha256: bytes, now_s: int) -> None:
    """Set the cookie of a new session."""
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
    """Delete the session cookie."""
    response.delete_cookie(_cookie_name(config), path="/", secure=_is_secure(config), httponly=True, samesite="lax")


def _signer(viewer_sha256: bytes) -> Signer:
    # Not TimestampSigner: it rejects cookies of a collector with a clock ahead of this one.
    return Signer(viewer_sha256, salt=_KEY_CONTEXT, key_derivation="hmac", digest_method=hashlib.sha256)


def _is_secure(config: CollectorConfig) -> bool:
    """Return True if browsers use TLS, to the collector or to the proxy in front of it."""
    return config.tls_cert is not None or config.behind_proxy


def _cookie_name(config: CollectorConfig) -> str:
    """Return the cookie name. Browsers accept ``__Host-`` only over TLS, from the host itself (RFC 6265bis §4.1.3)."""
    return "__Host-leadline" if _is_secure(config) else "leadline"
