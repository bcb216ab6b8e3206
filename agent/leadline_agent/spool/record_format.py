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
_HEADER_FIELDS = struct.Struct("<4sBBHI16sQIIII")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _HEADER_FIELDS.size + _CHECKSUM.size
#: One page. It holds a header of no importance until the segment is given up; then it takes the tombstone, so that
#: the note of what is lost needs no room on a full disk.
HEADER_PAGE_BYTES = 4_096
#: A body is at most 1 MiB on the wire; tombstones and the ledger of a broken spool may be larger.
RECORD_PAYLOAD_BYTES_MAX = 16 << 20

_SEGMENT_NAME = re.compile(r"(\d{10})\.seg")


class RecordKind(IntEnum):
    """What a record is. An unknown kind is passed over."""

    #: The block of a segment in use. ``seq`` is the first number it was opened for.
    HEADER_PAGE = 1
    BATCH = 2
    #: A list of tombstones as JSON.
    LOSS_RECORDS = 3
    MANIFEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record to be written. Times are epoch seconds of the first and last window; 0 where there are none."""

    kind: RecordKind
    epoch: str
    seq: int = 0
    windows: int = 0
    t_first_s: int = 0
    t_last_s: int = 0
    payload: bytes = b""


class RecordHeader(NamedTuple):
    """A header whose checksum is right."""

    kind: int
    payload_bytes: int
    epoch: str
    seq: int
    windows: int
    t_first_s: int
    t_last_s: int
    payload_crc: int


class ScannedRecord(NamedTuple):
    """A record: its header, where that begins, and whether the payload is as it was written."""

    header: RecordHeader
    offset: int
    is_intact: bool


class CorruptRange(NamedTuple):
    """A stretch in which no record begins; ``blank`` when it is zeros only, as an extent that was never written."""

    offset: int
    size: int
    is_blank: bool


def format_segment_name(number: int) -> str:
    """The file of a segment; names sort as numbers do."""
    return f"{number:010d}.seg"


def parse_segment_number(name: str) -> int | None:
    """The number of a segment's file; None for any other file."""
    match = _SEGMENT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def encode_record(record: Record) -> bytes:
    """The record as it stands in the file."""
    assert len(record.payload) <= RECORD_PAYLOAD_BYTES_MAX, f"a payload of {len(record.payload)} bytes"
    fields = _HEADER_FIELDS.pack(
        MAGIC, VERSION, record.kind, 0, len(record.payload), bytes.fromhex(record.epoch), record.seq, record.windows,
        record.t_first_s, record.t_last_s, crc32(record.payload),
    )  # fmt: skip
    return fields + _CHECKSUM.pack(crc32(fields)) + record.payload


def encode_header_page(record: Record) -> bytes | None:
    """The first page of a segment; None when the frame is too long for it."""
    data = encode_record(record)
    return data.ljust(HEADER_PAGE_BYTES, b"\0") if len(data) <= HEADER_PAGE_BYTES else None


def parse_header(data: bytes, offset: int) -> RecordHeader | None:
    """The header that begins there; None when what begins there is none."""
    if len(data) - offset < HEADER_BYTES or data[offset : offset + len(MAGIC)] != MAGIC:
        return None
    fields_end = offset + _HEADER_FIELDS.size
    if crc32(data[offset:fields_end]) != _CHECKSUM.unpack_from(data, fields_end)[0]:
        return None
    _, version, kind, _, size, epoch, seq, windows, t_first_s, t_last_s, crc = _HEADER_FIELDS.unpack_from(data, offset)
    if version != VERSION or size > RECORD_PAYLOAD_BYTES_MAX:
        return None
    return RecordHeader(kind, size, epoch.hex(), seq, windows, t_first_s, t_last_s, crc)


def parse_payload(data: bytes, offset: int, header: RecordHeader) -> bytes | None:
    """The payload of the record that begins there; None when it is damaged."""
    payload = data[offset + HEADER_BYTES : offset + HEADER_BYTES + header.payload_bytes]
    return payload if len(payload) == header.payload_bytes and crc32(payload) == header.payload_crc else None


def parse_record(data: bytes, offset: int) -> tuple[RecordHeader, bytes] | None:
    """The intact record that begins there; None when there is none."""
    header = parse_header(data, offset)
    payload = None if header is None else parse_payload(data, offset, header)
    return None if header is None or payload is None else (header, payload)


def scan_records(data: bytes) -> Iterator[ScannedRecord | CorruptRange]:
    """Everything behind the block, in order: records, and the stretches that are none."""
    view = memoryview(data)
    at = HEADER_PAGE_BYTES
    while at < len(data):
        header = parse_header(data, at)
        end = at if header is None else at + HEADER_BYTES + header.payload_bytes
        intact = False
        if header is not None:
            intact = end <= len(data) and crc32(view[at + HEADER_BYTES : end]) == header.payload_crc
            yield ScannedRecord(header, at, intact)
        if intact:
            at = end
            continue
        # The length of a damaged body is trusted only as far as to say what is damaged, not where to go on.
        at = _find_next_header(data, at + 1)
        if at > end and end < len(data):
            yield CorruptRange(end, at - end, is_blank=not data[end:at].strip(b"\0"))


def _find_next_header(data: bytes, start: int) -> int:
    """Where the next header begins; the end of the data when there is none."""
    at = data.find(MAGIC, start)
    while at >= 0 and parse_header(data, at) is None:
        at = data.find(MAGIC, at + 1)
    return at if at >= 0 else len(data)
