"""Decodes bodies, as received and as stored in the journal: inflated with a bound, decoded strictly.

Damaged bytes raise MalformedError; a sound document with a wrong value raises InvalidRequestError with its path.
"""

from __future__ import annotations

import zlib
from typing import TypeVar

import msgspec

from leadline.errors import WireError, WireVersionError
from leadline.wire import batch as wire
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

#: zlib: a gzip wrapper and nothing else (zlib.h, inflateInit2).
_GZIP_WBITS = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"

T = TypeVar("T")


def decode_document(body: bytes, kind: type[T]) -> T:
    """A JSON document that is not compressed."""
    try:
        return codec.decode(body, kind)
    except WireError as error:
        raise _to_problem(error) from error


def decode_batch(body: bytes, encoding: str) -> Batch:
    """The batch in a body with this Content-Encoding ("" for none)."""
    if encoding not in {"gzip", "identity", ""}:
        raise UnsupportedEncodingError(f"Content-Encoding {encoding!r} is not known: use gzip")
    plain = inflate_body(body) if encoding == "gzip" else body
    try:
        return wire.decode_batch(plain)
    except WireError as error:
        raise _to_problem(error) from error


def decode_stored_batch(body: bytes) -> Batch:
    """The batch in a body of the journal: compressed or not can be seen, JSON never begins as gzip does."""
    return decode_batch(body, "gzip" if body.startswith(_GZIP_MAGIC) else "")


def read_stored_json(body: bytes) -> bytes:
    """The JSON in a body of the journal."""
    return inflate_body(body) if body.startswith(_GZIP_MAGIC) else body


def inflate_body(body: bytes) -> bytes:
    """What a gzip member holds; 413 past ``INFLATED_BYTES_MAX``, 400 if it is damaged, cut or followed by anything."""
    inflater = zlib.decompressobj(wbits=_GZIP_WBITS)
    try:
        plain = inflater.decompress(body, INFLATED_BYTES_MAX + 1)
    except zlib.error as error:
        raise MalformedError(f"the body is not gzip: {error}") from error
    if len(plain) > INFLATED_BYTES_MAX:
        raise TooLargeError(f"the body inflates to more than {INFLATED_BYTES_MAX} bytes: send less at once")
    if not inflater.eof:
        raise MalformedError("the gzip body is cut off")
    if inflater.unused_data:
        raise MalformedError(f"{len(inflater.unused_data)} bytes follow the gzip body")
    return plain


def _to_problem(error: WireError) -> CollectorError:
    if isinstance(error, WireVersionError):
        return UnsupportedVersionError(
            f"{error}: upgrade the collector; the agent keeps its batches meanwhile", path=error.path
        )
    kind = MalformedError if _is_malformed(error) else InvalidRequestError
    return kind(str(error), path=error.path)


def _is_malformed(error: WireError) -> bool:
    """True if the bytes are no JSON, False if they are and say something wrong."""
    cause = error.__cause__
    if isinstance(cause, msgspec.ValidationError):
        return False
    return isinstance(cause, (msgspec.DecodeError, RecursionError, UnicodeDecodeError))
