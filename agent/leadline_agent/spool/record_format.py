"""The bytes of a segment: a block at its beginning, records behind it, each framed so that damage costs only itself.

Pure: bytes in, values out. docs/spool.md draws the format.

Rule 1: a record says everything about itself, so that it can be read without its neighbours and without its block.
Rule 2: the header has a checksum of its own. Where only the body is damaged we still know which batch it was.
Rule 3: ``*.seg`` means this layout. Another layout gets another suffix, and is passed over by who does not know it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

#: Not text, not gzip, not zeros: it cannot begin inside JSON, and seldom inside compressed bytes.
MAGIC = b"\xd4LL\x1a"
VERSION = 1
_FIELDS = struct.Struct("<4sBBHI16sQIIII")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CHECKSUM.size
#: One page. It holds a header of no importance until the segment is given up; then it takes the tombstone, so that
#: the note of what is lost needs no room on a full disk.
BLOCK_BYTES = 4_096
#: A body is at most 1 MiB on the wire; tombstones and the ledger of a broken spool may be larger.
PAYLOAD_BYTES_MAX = 16 << 20

_NAME = re.compile(r"(\d{10})\.seg")


class Kind(IntEnum):
    """What a record is. An unknown kind is passed over."""

    #: The block of a segment in use. ``seq`` is the first number it was opened for.
    OPENING = 1
    BATCH = 2
    #: A list of tombstones as JSON.
    TOMBSTONES = 3
    LEDGER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A record to be written. Times are epoch seconds of the first and last window; 0 where there are none."""

    kind: Kind
    epoch: str
    seq: int = 0
    windows: int = 0
    t_first_s: int = 0
    t_last_s: int = 0
    payload: bytes = b""


class Header(NamedTuple):
    """A header whose checksum is right."""

    kind: int
    payload_bytes: int
    epoch: str
    seq: int
    windows: int
    t_first_s: int
    t_last_s: int
    payload_crc: int


class Found(NamedTuple):
    """A record: its header, where that begins, and whether the payload is as it was written."""

    header: Header
    offset: int
    intact: bool


class Damage(NamedTuple):
    """A stretch in which no record begins; ``blank`` when it is zeros only, as an extent that was never written."""

    offset: int
    size: int
    blank: bool


def segment_name(number: int) -> str:
    """The file of a segment; names sort as numbers do."""
    return f"{number:010d}.seg"


def segment_number(name: str) -> int | None:
    """The number of a segment's file; None for any other file."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def encode(frame: Frame) -> bytes:
    """The record as it stands in the file."""
    assert len(frame.payload) <= PAYLOAD_BYTES_MAX, f"a payload of {len(frame.payload)} bytes"
    fields = _FIELDS.pack(
        MAGIC, VERSION, frame.kind, 0, len(frame.payload), bytes.fromhex(frame.epoch), frame.seq, frame.windows,
        frame.t_first_s, frame.t_last_s, crc32(frame.payload),
    )  # fmt: skip
    return fields + _CHECKSUM.pack(crc32(fields)) + frame.payload


def block(frame: Frame) -> bytes | None:
    """The first page of a segment; None when the frame is too long for it."""
    data = encode(frame)
    return data.ljust(BLOCK_BYTES, b"\0") if len(data) <= BLOCK_BYTES else None


def header_at(data: bytes, offset: int) -> Header | None:
    """The header that begins there; None when what begins there is none."""
    if len(data) - offset < HEADER_BYTES or data[offset : offset + len(MAGIC)] != MAGIC:
        return None
    fields_end = offset + _FIELDS.size
    if crc32(data[offset:fields_end]) != _CHECKSUM.unpack_from(data, fields_end)[0]:
        return None
    _, version, kind, _, size, epoch, seq, windows, t_first_s, t_last_s, crc = _FIELDS.unpack_from(data, offset)
    if version != VERSION or size > PAYLOAD_BYTES_MAX:
        return None
    return Header(kind, size, epoch.hex(), seq, windows, t_first_s, t_last_s, crc)


def payload_at(data: bytes, offset: int, header: Header) -> bytes | None:
    """The payload of the record that begins there; None when it is damaged."""
    payload = data[offset + HEADER_BYTES : offset + HEADER_BYTES + header.payload_bytes]
    return payload if len(payload) == header.payload_bytes and crc32(payload) == header.payload_crc else None


def record_at(data: bytes, offset: int) -> tuple[Header, bytes] | None:
    """The intact record that begins there; None when there is none."""
    header = header_at(data, offset)
    payload = None if header is None else payload_at(data, offset, header)
    return None if header is None or payload is None else (header, payload)


def scan(data: bytes) -> Iterator[Found | Damage]:
    """Everything behind the block, in order: records, and the stretches that are none."""
    view = memoryview(data)
    at = BLOCK_BYTES
    while at < len(data):
        header = header_at(data, at)
        end = at if header is None else at + HEADER_BYTES + header.payload_bytes
        intact = False
        if header is not None:
            intact = end <= len(data) and crc32(view[at + HEADER_BYTES : end]) == header.payload_crc
            yield Found(header, at, intact)
        if intact:
            at = end
            continue
        # The length of a damaged body is trusted only as far as to say what is damaged, not where to go on.
        at = _next_header(data, at + 1)
        if at > end and end < len(data):
            yield Damage(end, at - end, blank=not data[end:at].strip(b"\0"))


def _next_header(data: bytes, start: int) -> int:
    """Where the next header begins; the end of the data when there is none."""
    at = data.find(MAGIC, start)
    while at >= 0 and header_at(data, at) is None:
        at = data.find(MAGIC, at + 1)
    return at if at >= 0 else len(data)
