"""JSON encoding and strict, thread-safe decoding of wire documents.

msgspec 0.22 inspects a type on its first decode, partly in Python; two threads that do this at the same time crash the
interpreter. This happens at the start of a collector, when a hundred agents request their plan at once.
"""

from __future__ import annotations

import re
from threading import Lock
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from leadline.errors import WireError

DocumentT = TypeVar("DocumentT")

_DECODER_LOCK = Lock()
_decoders: dict[object, msgspec.json.Decoder[Any]] = {}


def get_decoder(document_type: type[DocumentT]) -> msgspec.json.Decoder[DocumentT]:
    """Return the decoder for JSON documents of a type; all threads share one decoder per type."""
    with _DECODER_LOCK:
        if document_type not in _decoders:
            _decoders[document_type] = msgspec.json.Decoder(document_type, strict=True)
        return _decoders[document_type]


def convert(value: object, document_type: type[DocumentT]) -> DocumentT:
    """Convert a value parsed from TOML to a type; raise msgspec.ValidationError if it does not match."""
    get_decoder(document_type)
    return msgspec.convert(value, document_type, strict=True)


def encode(document: Struct) -> bytes:
    """Encode a document as JSON."""
    return msgspec.json.encode(document)


def decode(data: bytes, document_type: type[DocumentT]) -> DocumentT:
    """Decode a document; raise WireError with the path of the error if it is invalid."""
    try:
        return get_decoder(document_type).decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _to_wire_error(error) from error


def _to_wire_error(error: Exception) -> WireError:
    match = re.fullmatch(r"(.*?)(?: - at `\$?\.?(.*)`)?", str(error), re.DOTALL)
    assert match is not None
    return WireError(match[2] or "document", match[1])
