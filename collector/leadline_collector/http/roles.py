"""Who may do what. Every route declares one of the five roles below as a dependency; a test enumerates the routes.

Rule 1: a key is 256 random bits; the database holds its SHA-256, and it is found by that digest: a comparison of
digests tells an attacker nothing about the key. Where two are compared, it takes constant time.
Rule 2: one answer, 401, for every reason. No key is logged or stands in a repr.
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
    """HTTP Basic in UTF-8, as the challenge announces; HTTPBasic decodes ASCII only and raises an error of its own."""

    async def __call__(  # type: ignore[override]  # as HTTPBasic has it
        self, request: HTTPConnection
    ) -> HTTPBasicCredentials | None:
        given = await HTTPBase.__call__(self, request)
        if given is None or given.scheme.lower() != "basic":
            return None
        try:
            username, _, password = base64.b64decode(given.credentials, validate=True).decode().partition(":")
        except ValueError:
            return None
        return HTTPBasicCredentials(username=username, password=password)


_BEARER = HTTPBearer(scheme_name="bearer", description="the key", auto_error=False)
_BASIC = _Utf8Basic(scheme_name="basic", description="the key as the password of any user", auto_error=False)


async def _authorization_digest(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    basic: Annotated[HTTPBasicCredentials | None, Depends(_BASIC)],
) -> bytes | None:
    """SHA-256 of the secret in the Authorization header: a bearer key, or a password with any user name."""
    if bearer is not None:
        return hash_secret(bearer.credentials)
    return hash_secret(basic.password) if basic is not None else None


Given = Annotated[bytes | None, Depends(_authorization_digest)]


def public(request: Request) -> None:
    """Anybody."""


def viewer(request: Request, given: Given) -> None:
    """Who reads: anybody, unless the collector was started with a viewer key; then its holder, a browser that signed in
    with it, and the administrator.
    """
    service = get_app_state(request)
    if service.viewer_key_sha256 is None or sessions.is_signed_in(request):
        return
    if not _has_key_or_admin_key(request, given, service.viewer_key_sha256):
        raise _make_unauthorised_error('Basic realm="leadline", charset="UTF-8"')


def metrics(request: Request, given: Given) -> None:
    """Who scrapes: the holder of the metrics key, which opens nothing else; without such a key, whoever reads."""
    service = get_app_state(request)
    if service.metrics_key_sha256 is None:
        viewer(request, given)
    elif not _has_key_or_admin_key(request, given, service.metrics_key_sha256):
        raise _make_unauthorised_error("Bearer")


def agent(request: Request, given: Given) -> AuthenticatedAgent:
    """An enrolled agent."""
    service = get_app_state(request)
    if given is not None:
        with service.store.read() as reader:
            found = key_store.load_key_owner(reader.connection, given, service.now_s())
        if found is not None:
            enrolled = AuthenticatedAgent(
                id=found.agent_id,
                name=found.name,
                site=found.site,
                requires_signature=found.requires_signature,
                key_expires_at_s=found.expires_at_s,
            )
            if found.is_unused:
                key_rotation.confirm_first_use(service.store, service.clock, enrolled, given)
            return enrolled
    raise _make_unauthorised_error("Bearer")


def request_key_digest(given: Given) -> bytes:
    """SHA-256 of the key a request came with, which its role has already accepted."""
    assert given is not None
    return given


def admin(request: Request, given: Given) -> None:
    """The administrator."""
    if given is None or not is_admin(get_app_state(request), given):
        raise _make_unauthorised_error("Bearer")


CurrentAgent = Annotated[AuthenticatedAgent, Depends(agent)]
RequestKeyDigest = Annotated[bytes, Depends(request_key_digest)]


def _has_key_or_admin_key(request: Request, given: bytes | None, sha256: bytes) -> bool:
    """True if the key of a request is this one or the administrator's."""
    return given is not None and (hmac.compare_digest(given, sha256) or is_admin(get_app_state(request), given))


def is_admin(app_state: AppState, sha256: bytes) -> bool:
    """True if this is the digest of the administrator's key."""
    with app_state.store.read() as reader:
        return key_store.is_admin_key(reader.connection, sha256)


def _make_unauthorised_error(challenge: str) -> UnauthenticatedError:
    return UnauthenticatedError("this needs a valid key", challenge)
