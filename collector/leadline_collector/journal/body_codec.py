"""Decoding of bodies, as received and as stored in the journal, with a limit on the inflated size.

Damaged bytes raise MalformedError; a well-formed document with a wrong value raises InvalidRequestError with its path.
"""

from __future__ import annotations

import zlib
from typing import TypeVar

import msgspec

from leadline.errors import WireError, WireVersionError
from leadline.wire import batch as wire_batch
from leadline.wire import codec
from leadline.wire.batch import INFLATED_BYTES_MAX, Batch
from leadline_collector.errors import (
    CollectorError,
    InvalidRequestError,
    MalformedError,
    TooLargeError,
    UnsupportedEncodingError,
    UnsupportedVersionError,
)

#: zlib accepts only a gzip wrapper (zlib.h, inflateInit2).
_GZIP_WBITS = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"

T = TypeVar("T")


def decode_document(body: bytes, kind: type[T]) -> T:
    """Decode an uncompressed JSON document."""
    try:
        return codec.decode(body, kind)
    except WireError as error:
        raise _to_problem(error) from error


def decode_batch(body: bytes, encoding: str) -> Batch:
    """Decode the batch in a body with this Content-Encoding ("" for none)."""
    if encoding not in {"gzip", "identity", ""}:
        raise UnsupportedEncodingError(f"Content-Encoding {encoding!r} is not supported: use gzip")
    plain = inflate_body(body) if encoding == "gzip" else body
    try:
        return wire_batch.decode_batch(plain)
    except WireError as error:
        raise _to_problem(error) from error


def decode_stored_batch(body: bytes) -> Batch:
    """Decode the batch in a body of the journal, compressed or not: JSON never begins with gzip's magic bytes."""
    return decode_batch(body, "gzip" if body.startswith(_GZIP_MAGIC) else "")


def read_stored_json(body: bytes) -> bytes:
    """Return the JSON in a body of the journal, compressed or not."""
    return inflate_body(body) if body.startswith(_GZIP_MAGIC) else body


def inflate_body(body: bytes) -> bytes:
    """Return the content of a gzip body.

    Raise TooLargeError above ``INFLATED_BYTES_MAX``, MalformedError if it is damaged, truncated or has trailing bytes.
    """
    inflater = zlib.decompressobj(wbits=_GZIP_WBITS)
    try:
        plain = inflater.decompress(body, INFLATED_BYTES_MAX + 1)
    except zlib.error as error:
        raise MalformedError(f"the body is not gzip: {error}") from error
    if len(plain) > INFLATED_BYTES_MAX:
        raise TooLargeError(f"the body inflates to more than {INFLATED_BYTES_MAX} bytes: send less at once")
    if not inflater.eof:
        raise MalformedError("the gzip body is truncated")
    if inflater.unused_data:
        raise MalformedError(f"{len(inflater.unused_data)} bytes follow the gzip body")
    return plain


def _to_problem(error: WireError) -> CollectorError:
    if isinstance(error, WireVersionError):
        return UnsupportedVersionError(
            f"{error}: upgrade the collector; the agent keeps its batches until then", path=error.path
        )
    kind = MalformedError if _is_malformed(error) else InvalidRequestError
    return kind(str(error), path=error.path)


def _is_malformed(error: WireError) -> bool:
    """Return True if the bytes are not JSON, False if they are JSON with a wrong value."""
    cause = error.__cause__
    if isinstance(cause, msgspec.ValidationError):
        return False
    return isinstance(cause, (msgspec.DecodeError, RecursionError, UnicodeDecodeError))
