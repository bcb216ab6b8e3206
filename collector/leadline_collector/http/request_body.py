"""Receives request bodies: counted while they arrive (``journal/body_codec.py`` decodes them).

Rule 1: nothing is read before the sender is known to be allowed to send it.
Rule 2: memory is bounded whatever bodies claim to be and however many come: each by ``BODY_BYTES_MAX`` or
``SMALL_BYTES_MAX`` as it travels and ``INFLATED_BYTES_MAX`` inflated, all of them together by ``door.ROOM_BYTES`` and
``ingest.DECODING_MAX``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from leadline.wire.batch import BODY_BYTES_MAX
from leadline_collector.errors import MalformedError, SlowBodyError, TooLargeError
from leadline_collector.http.app_state import get_app_state

#: Of a request for a token or with one: its names and secrets are a few hundred bytes, and strangers may send it.
SMALL_BODY_BYTES_MAX = 16 << 10
#: How many times its limit of a body that is too large is read and thrown away: a client that is still sending would
#: see a reset connection instead of the 413 (RFC 9112 §9.6).
DRAIN_FACTOR = 8


async def receive_body(request: Request) -> AsyncIterator[bytes]:
    """A body of measurements or a mesh: at most ``BODY_BYTES_MAX`` as transferred."""
    async with _receive_limited(request, BODY_BYTES_MAX) as body:
        yield body


async def receive_small_body(request: Request) -> AsyncIterator[bytes]:
    """The body of any other request: at most ``SMALL_BYTES_MAX``."""
    async with _receive_limited(request, SMALL_BODY_BYTES_MAX) as body:
        yield body


@asynccontextmanager
async def _receive_limited(request: Request, bytes_max: int) -> AsyncIterator[bytes]:
    """The body; 413 if it is larger than ``bytes_max``, announced or not, 408 if it is too slow, 400 if it ends early.

    The framework's own limit answers with plain text and before the sender's key was looked at.
    """
    service = get_app_state(request)
    with service.admission.reserve_memory() as keep:
        try:
            async with asyncio.timeout(service.config.body_timeout_s):
                body = await _read_all(request, bytes_max, keep)
        except TimeoutError:
            detail = f"the body took longer than {service.config.body_timeout_s:g} s: send it again"
            raise SlowBodyError(detail) from None
        except ClientDisconnect:
            # Nobody hears it, but it is counted: lines are cut, and that is no bug of the collector.
            raise MalformedError("the connection ended within the body") from None
        yield body


async def _read_all(request: Request, bytes_max: int, reserve: Callable[[int], None]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= bytes_max:
            reserve(len(chunk))
            chunks.append(chunk)
        elif size > DRAIN_FACTOR * bytes_max:
            break
    if size > bytes_max:
        raise TooLargeError(f"the body is larger than {bytes_max} bytes: send less at once")
    return b"".join(chunks)
