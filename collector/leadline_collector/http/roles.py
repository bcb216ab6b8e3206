"""Authentication and roles. Every route declares one of the five roles as a dependency; a test enumerates the routes.

Rule 1: a key is 256 random bits. The database stores its SHA-256 and finds it by that digest, so timing reveals
nothing about the key. Two digests are compared in constant time.
Rule 2: every failure is the same 401. No key appears in a log or a repr.
"""

from __future__ import annotations

import base64
import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer
from fastapi.security.http import HTTPBase
from starlette.requests import HTTPConnection

from leadline_collector.auth import key_rotation, key_store
from leadline_collector.auth.key_store import AuthenticatedAgent
from leadline_collector.auth.secrets import hash_secret
from leadline_collector.errors import UnauthenticatedError
from leadline_collector.http import sessions
from leadline_collector.http.app_state import AppState, get_app_state


class _Utf8Basic(HTTPBasic):
    """HTTP Basic in UTF-8, as in the challenge; HTTPBasic decodes ASCII only and raises its own error."""

    async def __call__(  # type: ignore[override]  # as in HTTPBasic
        self, request: HTTPConnection
    ) -> HTTPBasicCredentials | None:
        header = await HTTPBase.__call__(self, request)
        if header is None or header.scheme.lower() != "basic":
            return None
        try:
            username, _, password = base64.b64decode(header.credentials, validate=True).decode().partition(":")
        except ValueError:
            return None
        return HTTPBasicCredentials(username=username, password=password)


_BEARER = HTTPBearer(scheme_name="bearer", description="the key", auto_error=False)
_BASIC = _Utf8Basic(scheme_name="basic", description="the key as the password of any user", auto_error=False)


async def _authorization_digest(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    basic: Annotated[HTTPBasicCredentials | None, Depends(_BASIC)],
) -> bytes | None:
    """Return the SHA-256 of the key in the Authorization header: a bearer token, or a password with any user name."""
    if bearer is not None:
        return hash_secret(bearer.credentials)
    return hash_secret(basic.password) if basic is not None else None


KeyDigest = Annotated[bytes | None, Depends(_authorization_digest)]


def public(request: Request) -> None:
    """Allow every request."""


def viewer(request: Request, key_digest: KeyDigest) -> None:
    """Allow read access: for everybody without a viewer key, else with the viewer key, its session or the admin key."""
    app_state = get_app_state(request)
    if app_state.viewer_key_sha256 is None or sessions.is_signed_in(request):
        return
    if not _has_key_or_admin_key(request, key_digest, app_state.viewer_key_sha256):
        raise _make_unauthorised_error('Basic realm="leadline", charset="UTF-8"')


def metrics(request: Request, key_digest: KeyDigest) -> None:
    """Allow scrapes with the metrics key, which gives no other access; without a metrics key, as ``viewer``."""
    app_state = get_app_state(request)
    if app_state.metrics_key_sha256 is None:
        viewer(request, key_digest)
    elif not _has_key_or_admin_key(request, key_digest, app_state.metrics_key_sha256):
        raise _make_unauthorised_error("Bearer")


def agent(request: Request, key_digest: KeyDigest) -> AuthenticatedAgent:
    """Return the enrolled agent that owns the key of the request."""
    app_state = get_app_state(request)
    if key_digest is not None:
        with app_state.store.read() as reader:
            owner = key_store.load_key_owner(reader.connection, key_digest, app_state.now_s())
        if owner is not None:
            authenticated_agent = AuthenticatedAgent(
                id=owner.agent_id,
                name=owner.name,
                site=owner.site,
                requires_signature=owner.requires_signature,
                key_expires_at_s=owner.expires_at_s,
            )
            if owner.is_unused:
                key_rotation.confirm_first_use(app_state.store, app_state.clock, authenticated_agent, key_digest)
            return authenticated_agent
    raise _make_unauthorised_error("Bearer")


def request_key_digest(key_digest: KeyDigest) -> bytes:
    """Return the SHA-256 of the request's key; a role has already accepted it."""
    assert key_digest is not None
    return key_digest


def admin(request: Request, key_digest: KeyDigest) -> None:
    """Allow requests with the administrator's key."""
    if key_digest is None or not is_admin(get_app_state(request), key_digest):
        raise _make_unauthorised_error("Bearer")


CurrentAgent = Annotated[AuthenticatedAgent, Depends(agent)]
RequestKeyDigest = Annotated[bytes, Depends(request_key_digest)]


def _has_key_or_admin_key(request: Request, key_digest: bytes | None, sha256: bytes) -> bool:
    return key_digest is not None and (
        hmac.compare_digest(key_digest, sha256) or is_admin(get_app_state(request), key_digest)
    )


def is_admin(app_state: AppState, sha256: bytes) -> bool:
    """Return True if this is the digest of the administrator's key."""
    with app_state.store.read() as reader:
        return key_store.is_admin_key(reader.connection, sha256)


def _make_unauthorised_error(challenge: str) -> UnauthenticatedError:
    return UnauthenticatedError("a valid key is required", challenge)
