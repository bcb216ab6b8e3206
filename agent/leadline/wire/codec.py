"""Strict decoding into types, safe for threads that meet a type at the same time.

msgspec 0.22 looks at a type when it is first asked to decode one, in part in Python; two threads that do so at once
crash the interpreter. A collector that starts has a hundred agents asking for their plan in the same moment.
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
    """The decoder of JSON documents of a type; always the same one, for any thread."""
    with _DECODER_LOCK:
        if document_type not in _decoders:
            _decoders[document_type] = msgspec.json.Decoder(document_type, strict=True)
        return _decoders[document_type]


def convert(value: object, document_type: type[DocumentT]) -> DocumentT:
    """What was read from TOML as a value of a type; msgspec.ValidationError where it is none."""
    get_decoder(document_type)
    return msgspec.convert(value, document_type, strict=True)


def encode(document: Struct) -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(document)


def decode(data: bytes, document_type: type[DocumentT]) -> DocumentT:
    """The document in ``data``; WireError names the path of what is wrong with it."""
    try:
        return get_decoder(document_type).decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _to_wire_error(error) from error


def _to_wire_error(error: Exception) -> WireError:
    found = re.fullmatch(r"(.*?)(?: - at `\$?\.?(.*)`)?", str(error), re.DOTALL)
    assert found is not None
    return WireError(found[2] or "document", found[1])
