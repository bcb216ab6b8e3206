"""Who may do what. Every route declares one of the four roles below as a dependency; a test enumerates the routes.

Rule 1: a key is 256 random bits; the database holds its SHA-256, and it is found by that digest: a comparison of
digests tells an attacker nothing about the key. Where two are compared, it takes constant time.
Rule 2: one answer, 401, for every reason. No key is logged or stands in a repr.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request

from leadline_collector.problems import ProblemError
from leadline_collector.service import Service, service_of
from leadline_collector.store import Numbered

KEY_BYTES = 32


class Kind(StrEnum):
    """What a secret is for; it stands in front of it, so that a leaked one can be recognised."""

    AGENT_KEY = "ll_agent_"
    ADMIN_KEY = "ll_admin_"
    TOKEN = "ll_token_"  # noqa: S105 - a prefix


def new_secret(kind: Kind) -> str:
    """A secret nobody can guess."""
    return kind.value + secrets.token_urlsafe(KEY_BYTES)


def sha256_of(secret: str) -> bytes:
    """The form in which a secret is kept."""
    return hashlib.sha256(secret.encode()).digest()


def public(request: Request) -> None:
    """Anybody."""


def viewer(request: Request) -> None:
    """Who reads: anybody, unless the collector was started with a viewer key. The administrator may read too."""
    service = service_of(request)
    if service.viewer_sha256 is None:
        return
    given = _given(request)
    if given is None or not (hmac.compare_digest(given, service.viewer_sha256) or _is_admin(service, given)):
        raise _unauthorised('Basic realm="leadline", charset="UTF-8"')


def agent(request: Request) -> Numbered:
    """An enrolled agent."""
    given = _given(request)
    if given is not None:
        with service_of(request).store.read() as reader:
            found = reader.agent_of_key(given)
        if found is not None:
            return found
    raise _unauthorised("Bearer")


def admin(request: Request) -> None:
    """The administrator."""
    given = _given(request)
    if given is None or not _is_admin(service_of(request), given):
        raise _unauthorised("Bearer")


#: The roles; a route without one of them is a bug.
ROLES: tuple[Callable[..., object], ...] = (public, viewer, agent, admin)

Agent = Annotated[Numbered, Depends(agent)]


def _is_admin(service: Service, sha256: bytes) -> bool:
    with service.store.read() as reader:
        return reader.is_admin_key(sha256)


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


def _unauthorised(challenge: str) -> ProblemError:
    return ProblemError(401, "this needs a valid key", {"WWW-Authenticate": challenge})
