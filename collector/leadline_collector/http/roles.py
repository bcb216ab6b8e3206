"""Who may do what. Every route declares one of the five roles below as a dependency; a test enumerates the routes.

Rule 1: a key is 256 random bits; the database holds its SHA-256, and it is found by that digest: a comparison of
digests tells an attacker nothing about the key. Where two are compared, it takes constant time.
Rule 2: one answer, 401, for every reason. No key is logged or stands in a repr.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Annotated

from fastapi import Depends, Request

from leadline_collector.auth import key_rotation, key_store
from leadline_collector.auth.key_store import Enrolled
from leadline_collector.auth.secrets import sha256_of
from leadline_collector.errors import UnauthenticatedError
from leadline_collector.http import sessions
from leadline_collector.http.app_state import Service, service_of


def public(request: Request) -> None:
    """Anybody."""


def viewer(request: Request) -> None:
    """Who reads: anybody, unless the collector was started with a viewer key; then its holder, a browser that signed in
    with it, and the administrator.
    """
    service = service_of(request)
    if service.viewer_sha256 is None or sessions.is_signed_in(request):
        return
    if not _is_one_of(request, service.viewer_sha256):
        raise _unauthorised('Basic realm="leadline", charset="UTF-8"')


def metrics(request: Request) -> None:
    """Who scrapes: the holder of the metrics key, which opens nothing else; without such a key, whoever reads."""
    service = service_of(request)
    if service.metrics_sha256 is None:
        viewer(request)
    elif not _is_one_of(request, service.metrics_sha256):
        raise _unauthorised("Bearer")


def agent(request: Request) -> Enrolled:
    """An enrolled agent."""
    given = _given(request)
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


def presented(request: Request) -> bytes:
    """SHA-256 of the key a request came with, which its role has already accepted."""
    given = _given(request)
    assert given is not None
    return given


def admin(request: Request) -> None:
    """The administrator."""
    given = _given(request)
    if given is None or not is_admin(service_of(request), given):
        raise _unauthorised("Bearer")


Agent = Annotated[Enrolled, Depends(agent)]
Presented = Annotated[bytes, Depends(presented)]


def _is_one_of(request: Request, sha256: bytes) -> bool:
    """True if the key of a request is this one or the administrator's."""
    given = _given(request)
    return given is not None and (hmac.compare_digest(given, sha256) or is_admin(service_of(request), given))


def is_admin(service: Service, sha256: bytes) -> bool:
    """True if this is the digest of the administrator's key."""
    with service.store.read() as reader:
        return key_store.is_admin_key(reader.connection, sha256)


def _given(request: Request) -> bytes | None:
    """SHA-256 of the secret in the Authorization header: a bearer key, or a password with any user name."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return sha256_of(value.strip())
        case "basic":
            password = _password(value)
            return sha256_of(password) if password is not None else None
        case _:
            return None


def _password(value: str) -> str | None:
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


def _unauthorised(challenge: str) -> UnauthenticatedError:
    return UnauthenticatedError("this needs a valid key", challenge)
