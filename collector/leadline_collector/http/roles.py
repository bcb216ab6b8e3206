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
from leadline_collector.auth.key_store import Enrolled
from leadline_collector.auth.secrets import sha256_of
from leadline_collector.errors import UnauthenticatedError
from leadline_collector.http import sessions
from leadline_collector.http.app_state import Service, service_of


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


async def _given(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    basic: Annotated[HTTPBasicCredentials | None, Depends(_BASIC)],
) -> bytes | None:
    """SHA-256 of the secret in the Authorization header: a bearer key, or a password with any user name."""
    if bearer is not None:
        return sha256_of(bearer.credentials)
    return sha256_of(basic.password) if basic is not None else None


Given = Annotated[bytes | None, Depends(_given)]


def public(request: Request) -> None:
    """Anybody."""


def viewer(request: Request, given: Given) -> None:
    """Who reads: anybody, unless the collector was started with a viewer key; then its holder, a browser that signed in
    with it, and the administrator.
    """
    service = service_of(request)
    if service.viewer_sha256 is None or sessions.is_signed_in(request):
        return
    if not _is_one_of(request, given, service.viewer_sha256):
        raise _unauthorised('Basic realm="leadline", charset="UTF-8"')


def metrics(request: Request, given: Given) -> None:
    """Who scrapes: the holder of the metrics key, which opens nothing else; without such a key, whoever reads."""
    service = service_of(request)
    if service.metrics_sha256 is None:
        viewer(request, given)
    elif not _is_one_of(request, given, service.metrics_sha256):
        raise _unauthorised("Bearer")


def agent(request: Request, given: Given) -> Enrolled:
    """An enrolled agent."""
    service = service_of(request)
    if given is not None:
        with service.store.read() as reader:
            found = key_store.holder(reader.connection, given, service.now_s())
        if found is not None:
            enrolled = Enrolled(
                id=found.agent_id,
                name=found.name,
                site=found.site,
                signs=found.signs,
                key_expires_at_s=found.expires_at_s,
            )
            if found.is_new:
                key_rotation.confirm(service.store, service.clock, enrolled, given)
            return enrolled
    raise _unauthorised("Bearer")


def presented(given: Given) -> bytes:
    """SHA-256 of the key a request came with, which its role has already accepted."""
    assert given is not None
    return given


def admin(request: Request, given: Given) -> None:
    """The administrator."""
    if given is None or not is_admin(service_of(request), given):
        raise _unauthorised("Bearer")


Agent = Annotated[Enrolled, Depends(agent)]
Presented = Annotated[bytes, Depends(presented)]


def _is_one_of(request: Request, given: bytes | None, sha256: bytes) -> bool:
    """True if the key of a request is this one or the administrator's."""
    return given is not None and (hmac.compare_digest(given, sha256) or is_admin(service_of(request), given))


def is_admin(service: Service, sha256: bytes) -> bool:
    """True if this is the digest of the administrator's key."""
    with service.store.read() as reader:
        return key_store.is_admin_key(reader.connection, sha256)


def _unauthorised(challenge: str) -> UnauthenticatedError:
    return UnauthenticatedError("this needs a valid key", challenge)
