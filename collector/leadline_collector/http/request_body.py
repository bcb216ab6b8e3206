"""Receives request bodies and enforces size and time limits (``journal/body_codec.py`` decodes them).

Rule 1: a route authenticates the sender before it reads the body.
Rule 2: memory is bounded. A body has at most ``BODY_BYTES_MAX`` or ``SMALL_BODY_BYTES_MAX`` as transferred and
``INFLATED_BYTES_MAX`` inflated. All bodies together are bounded by ``admission.BODY_MEMORY_BYTES`` and
``ingest.batch_store.DECODER_THREADS``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from leadline.wire.batch import BODY_BYTES_MAX
from leadline_collector.errors import MalformedError, SlowBodyError, TooLargeError
from leadline_collector.http.app_state import get_app_state

#: Limit of enrolment, rotation and login requests: they need a few hundred bytes, and some are unauthenticated.
SMALL_BODY_BYTES_MAX = 16 << 10
#: An oversized body is read and discarded up to this multiple of its limit. If the collector closed the connection
#: at once, a client that is still sending would see a reset instead of the 413 (RFC 9112 §9.6).
DRAIN_FACTOR = 8


async def receive_body(request: Request) -> AsyncIterator[bytes]:
    """Yield the body of a batch or a mesh: at most ``BODY_BYTES_MAX`` as transferred."""
    async with _receive_limited(request, BODY_BYTES_MAX) as body:
        yield body


async def receive_small_body(request: Request) -> AsyncIterator[bytes]:
    """Yield the body of any other request: at most ``SMALL_BODY_BYTES_MAX``."""
    async with _receive_limited(request, SMALL_BODY_BYTES_MAX) as body:
        yield body


@asynccontextmanager
async def _receive_limited(request: Request, bytes_max: int) -> AsyncIterator[bytes]:
    """Yield the body; 413 if it exceeds ``bytes_max``, 408 if it is too slow, 400 if it ends early.

    The framework's own limit responds in plain text, and before authentication.
    """
    app_state = get_app_state(request)
    with app_state.admission.reserve_memory() as reserve:
        try:
            async with asyncio.timeout(app_state.config.body_timeout_s):
                body = await _read_all(request, bytes_max, reserve)
        except TimeoutError:
            detail = f"the body took longer than {app_state.config.body_timeout_s:g} s: send it again"
            raise SlowBodyError(detail) from None
        except ClientDisconnect:
            # The response reaches no client; the 400 keeps disconnects out of the count of bugs.
            raise MalformedError("the connection closed before the end of the body") from None
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
