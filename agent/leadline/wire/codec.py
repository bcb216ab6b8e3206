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

Kind = TypeVar("Kind")
Document = TypeVar("Document")

_MEETING = Lock()
_met: dict[object, msgspec.json.Decoder[Any]] = {}


def decoder(kind: type[Kind]) -> msgspec.json.Decoder[Kind]:
    """The decoder of JSON documents of a type; always the same one, for any thread."""
    with _MEETING:
        if kind not in _met:
            _met[kind] = msgspec.json.Decoder(kind, strict=True)
        return _met[kind]


def convert(value: object, kind: type[Kind]) -> Kind:
    """What was read from TOML as a value of a type; msgspec.ValidationError where it is none."""
    decoder(kind)
    return msgspec.convert(value, kind, strict=True)


def encode(document: Struct) -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(document)


def decode(data: bytes, kind: type[Document]) -> Document:
    """The document in ``data``; WireError names the path of what is wrong with it."""
    try:
        return decoder(kind).decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _wire_error(error) from error


def _wire_error(error: Exception) -> WireError:
    found = re.fullmatch(r"(.*?)(?: - at `\$?\.?(.*)`)?", str(error), re.DOTALL)
    assert found is not None
    return WireError(found[2] or "document", found[1])
