"""Request bodies: counted while they arrive, inflated without trust, decoded strictly.

Rule 1: nothing is read before the sender is known to be allowed to send it.
Rule 2: memory is bounded whatever bodies claim to be and however many come: each by ``BODY_BYTES_MAX`` or
``SMALL_BYTES_MAX`` as it travels and ``INFLATED_BYTES_MAX`` inflated, all of them together by ``door.ROOM_BYTES`` and
``ingest.DECODING_MAX``.
Rule 3: damaged bytes are 400, a sound document that says something wrong is 422 with the path.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from leadline.errors import WireError, WireVersionError
from leadline.wire import batch as wire
from leadline.wire.batch import BODY_BYTES_MAX, INFLATED_BYTES_MAX, Batch
from leadline_collector.http.app_state import service_of
from leadline_collector.http.problems import ProblemError

#: Of a request for a token or with one: its names and secrets are a few hundred bytes, and strangers may send it.
SMALL_BYTES_MAX = 16 << 10
#: How many times its limit of a body that is too large is read and thrown away: a client that is still sending would
#: see a reset connection instead of the 413 (RFC 9112 §9.6).
DRAIN_FACTOR = 8
#: zlib: a gzip wrapper and nothing else (zlib.h, inflateInit2).
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"

Document = TypeVar("Document")


async def receive(request: Request) -> AsyncIterator[bytes]:
    """A body of measurements or a mesh: at most ``BODY_BYTES_MAX`` as transferred."""
    async with _received(request, BODY_BYTES_MAX) as body:
        yield body


async def receive_small(request: Request) -> AsyncIterator[bytes]:
    """The body of any other request: at most ``SMALL_BYTES_MAX``."""
    async with _received(request, SMALL_BYTES_MAX) as body:
        yield body


@asynccontextmanager
async def _received(request: Request, bytes_max: int) -> AsyncIterator[bytes]:
    """The body; 413 if it is larger than ``bytes_max``, announced or not, 408 if it is too slow, 400 if it ends early.

    The framework's own limit answers with plain text and before the sender's key was looked at.
    """
    service = service_of(request)
    with service.door.held() as keep:
        try:
            async with asyncio.timeout(service.config.body_s_max):
                body = await _all_of(request, bytes_max, keep)
        except TimeoutError:
            detail = f"the body took longer than {service.config.body_s_max:g} s: send it again"
            raise ProblemError(408, detail, {"Connection": "close"}) from None
        except ClientDisconnect:
            # Nobody hears it, but it is counted: lines are cut, and that is no bug of the collector.
            raise ProblemError(400, "the connection ended within the body") from None
        yield body


async def _all_of(request: Request, bytes_max: int, keep: Callable[[int], None]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= bytes_max:
            keep(len(chunk))
            chunks.append(chunk)
        elif size > DRAIN_FACTOR * bytes_max:
            break
    if size > bytes_max:
        raise ProblemError(413, f"the body is larger than {bytes_max} bytes: send less at once")
    return b"".join(chunks)


def document(body: bytes, kind: type[Document]) -> Document:
    """A JSON document that is not compressed."""
    try:
        return wire.decode(body, kind)
    except WireError as error:
        raise _refusal(error) from error


def batch(body: bytes, encoding: str) -> Batch:
    """The batch in a body with this Content-Encoding ("" for none)."""
    if encoding not in {"gzip", "identity", ""}:
        raise ProblemError(415, f"Content-Encoding {encoding!r} is not known: use gzip", {"Accept-Encoding": "gzip"})
    plain = inflate(body) if encoding == "gzip" else body
    try:
        return wire.decode_batch(plain)
    except WireError as error:
        raise _refusal(error) from error


def stored_batch(body: bytes) -> Batch:
    """The batch in a body of the journal: compressed or not can be seen, JSON never begins as gzip does."""
    return batch(body, "gzip" if body.startswith(_GZIP_MAGIC) else "")


def stored_text(body: bytes) -> bytes:
    """The JSON in a body of the journal."""
    return inflate(body) if body.startswith(_GZIP_MAGIC) else body


def inflate(body: bytes) -> bytes:
    """What a gzip member holds; 413 past ``INFLATED_BYTES_MAX``, 400 if it is damaged, cut or followed by anything."""
    inflater = zlib.decompressobj(wbits=_GZIP)
    try:
        plain = inflater.decompress(body, INFLATED_BYTES_MAX + 1)
    except zlib.error as error:
        raise ProblemError(400, f"the body is not gzip: {error}") from error
    if len(plain) > INFLATED_BYTES_MAX:
        raise ProblemError(413, f"the body inflates to more than {INFLATED_BYTES_MAX} bytes: send less at once")
    if not inflater.eof:
        raise ProblemError(400, "the gzip body is cut off")
    if inflater.unused_data:
        raise ProblemError(400, f"{len(inflater.unused_data)} bytes follow the gzip body")
    return plain


def _refusal(error: WireError) -> ProblemError:
    if isinstance(error, WireVersionError):
        return ProblemError(
            426, f"{error}: upgrade the collector; the agent keeps its batches meanwhile", path=error.path
        )
    return ProblemError(400 if _is_malformed(error) else 422, str(error), path=error.path)


def _is_malformed(error: WireError) -> bool:
    """True if the bytes are no JSON, False if they are and say something wrong."""
    cause = error.__cause__
    if isinstance(cause, msgspec.ValidationError):
        return False
    return isinstance(cause, (msgspec.DecodeError, RecursionError, UnicodeDecodeError))
