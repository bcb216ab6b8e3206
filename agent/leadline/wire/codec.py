"""Strict decoding into types, safe for threads that meet a type at the same time.

msgspec 0.22 looks at a type when it is first asked to decode one, in part in Python; two threads that do so at once
crash the interpreter. A collector that starts has a hundred agents asking for their plan in the same moment.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, TypeVar

import msgspec

Kind = TypeVar("Kind")

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
