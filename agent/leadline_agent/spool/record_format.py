"""Byte format of a segment: a header page, followed by records; damage to one record does not affect the others.

No I/O. docs/spool.md shows the format.

Rule 1: a record is self-describing. It can be read without its neighbours and without the header page.
Rule 2: the header has a separate checksum. If only the payload is damaged, the batch is still identified.
Rule 3: ``*.seg`` means this layout. Another layout gets another suffix, and versions that do not know it ignore it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

#: Not text, gzip or zeros: never occurs inside JSON and rarely inside compressed bytes.
MAGIC = b"\xd4LL\x1a"
VERSION = 1
_HEADER_FIELDS = struct.Struct("<4sBBHI16sQIIII")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _HEADER_FIELDS.size + _CHECKSUM.size
#: One page. Eviction overwrites it with the loss records, which therefore need no free space on a full disk.
HEADER_PAGE_BYTES = 4_096
#: A batch body is at most 1 MiB on the wire; loss records and the manifest of a damaged spool can be larger.
RECORD_PAYLOAD_BYTES_MAX = 16 << 20

_SEGMENT_NAME = re.compile(r"(\d{10})\.seg")


class RecordKind(IntEnum):
    """Type of a record. Unknown types are ignored."""

    #: Header page of a segment that is not evicted. ``seq`` is the first sequence number the segment was created for.
    HEADER_PAGE = 1
    BATCH = 2
    #: A list of loss records as JSON.
    LOSS_RECORDS = 3
    MANIFEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record to be written. Times are epoch seconds of the first and last window; 0 without windows."""

    kind: RecordKind
    epoch: str
    seq: int = 0
    windows: int = 0
    t_first_s: int = 0
    t_last_s: int = 0
    payload: bytes = b""


class RecordHeader(NamedTuple):
    """A record header with a valid checksum."""

    kind: int
    payload_bytes: int
    epoch: str
    seq: int
    windows: int
    t_first_s: int
    t_last_s: int
    payload_crc: int


class ScannedRecord(NamedTuple):
    """A record of a scan: its header, the offset of the header, and whether the payload checksum is valid."""

    header: RecordHeader
    offset: int
    is_intact: bool


class CorruptRange(NamedTuple):
    """Bytes without a record; ``is_blank`` if all are zero (an extent that was never written)."""

    offset: int
    size: int
    is_blank: bool


def format_segment_name(number: int) -> str:
    """Return the file name of a segment. Names sort in numeric order."""
    return f"{number:010d}.seg"


def parse_segment_number(name: str) -> int | None:
    """Return the number of a segment file; None for any other file."""
    match = _SEGMENT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def encode_record(record: Record) -> bytes:
    """Return the bytes of a record."""
    assert len(record.payload) <= RECORD_PAYLOAD_BYTES_MAX, f"a payload of {len(record.payload)} bytes"
    fields = _HEADER_FIELDS.pack(
        MAGIC, VERSION, record.kind, 0, len(record.payload), bytes.fromhex(record.epoch), record.seq, record.windows,
        record.t_first_s, record.t_last_s, crc32(record.payload),
    )  # fmt: skip
    return fields + _CHECKSUM.pack(crc32(fields)) + record.payload


def encode_header_page(record: Record) -> bytes | None:
    """Return the header page with this record; None if the record does not fit."""
    data = encode_record(record)
    return data.ljust(HEADER_PAGE_BYTES, b"\0") if len(data) <= HEADER_PAGE_BYTES else None


def parse_header(data: bytes, offset: int) -> RecordHeader | None:
    """Return the record header at ``offset``, or None if there is no valid header."""
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
    """Return the payload of the record at ``offset``; None if it is damaged."""
    payload = data[offset + HEADER_BYTES : offset + HEADER_BYTES + header.payload_bytes]
    return payload if len(payload) == header.payload_bytes and crc32(payload) == header.payload_crc else None


def parse_record(data: bytes, offset: int) -> tuple[RecordHeader, bytes] | None:
    """Return header and payload of the record at ``offset``; None if it is not intact."""
    header = parse_header(data, offset)
    payload = None if header is None else parse_payload(data, offset, header)
    return None if header is None or payload is None else (header, payload)


def scan_records(data: bytes) -> Iterator[ScannedRecord | CorruptRange]:
    """Yield the content after the header page, in order: records and corrupt ranges."""
    view = memoryview(data)
    offset = HEADER_PAGE_BYTES
    while offset < len(data):
        header = parse_header(data, offset)
        end = offset if header is None else offset + HEADER_BYTES + header.payload_bytes
        is_intact = False
        if header is not None:
            is_intact = end <= len(data) and crc32(view[offset + HEADER_BYTES : end]) == header.payload_crc
            yield ScannedRecord(header, offset, is_intact)
        if is_intact:
            offset = end
            continue
        # The length in the header of a damaged payload bounds the damage. The scan does not rely on it to continue.
        offset = _find_next_header(data, offset + 1)
        if offset > end and end < len(data):
            yield CorruptRange(end, offset - end, is_blank=not data[end:offset].strip(b"\0"))


def _find_next_header(data: bytes, start: int) -> int:
    """Return the offset of the next valid header from ``start`` on; the length of the data if there is none."""
    offset = data.find(MAGIC, start)
    while offset >= 0 and parse_header(data, offset) is None:
        offset = data.find(MAGIC, offset + 1)
    return offset if offset >= 0 else len(data)
