"""Byte format of a segment: round trip, and limited effect of damage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline_agent.spool.record_format import (
    HEADER_BYTES,
    HEADER_PAGE_BYTES,
    MAGIC,
    CorruptRange,
    Record,
    RecordKind,
    ScannedRecord,
    encode_header_page,
    encode_record,
    format_segment_name,
    parse_record,
    parse_segment_number,
    scan_records,
)

EPOCH = "00112233445566778899aabbccddeeff"
BODIES = (b"first body", b"second" * 100, b"third")


def batch_record(seq: int, payload: bytes) -> Record:
    return Record(kind=RecordKind.BATCH, epoch=EPOCH, seq=seq, windows=4, t_first_s=60, t_last_s=120, payload=payload)


def segment(*payloads: bytes) -> bytes:
    header_page = encode_header_page(Record(kind=RecordKind.HEADER_PAGE, epoch=EPOCH, seq=0))
    assert header_page is not None
    return header_page + b"".join(encode_record(batch_record(seq, payload)) for seq, payload in enumerate(payloads))


def intact_seqs(data: bytes) -> list[int]:
    return [item.header.seq for item in scan_records(data) if isinstance(item, ScannedRecord) and item.is_intact]


def offset_of(index: int) -> int:
    return HEADER_PAGE_BYTES + sum(HEADER_BYTES + len(body) for body in BODIES[:index])


def test_record_has_the_documented_bytes() -> None:
    """Golden bytes: every later version must read a spool of this version."""
    data = encode_record(batch_record(7, b"body"))

    assert data.hex() == (
        "d44c4c1a" "01" "02" "0000" "04000000" "00112233445566778899aabbccddeeff" "0700000000000000"
        "04000000" "3c000000" "78000000" "b20ba8db" "4321a67c" "626f6479"
    )  # fmt: skip


@given(st.binary(max_size=2_000), st.integers(0, (1 << 64) - 1))
def test_a_record_reads_back(payload: bytes, seq: int) -> None:
    """Any payload survives the round trip, even one that contains a record."""
    inner = encode_record(batch_record(seq, payload))

    parsed = parse_record(encode_record(batch_record(1, inner)), 0)

    assert parsed is not None
    assert (parsed[0].epoch, parsed[0].seq, parsed[1]) == (EPOCH, 1, inner)


def test_an_intact_segment_is_all_records() -> None:
    """The scan returns all records and no corrupt range."""
    items = list(scan_records(segment(*BODIES)))

    assert [(item.header.seq, item.is_intact) for item in items if isinstance(item, ScannedRecord)] == [
        (0, True),
        (1, True),
        (2, True),
    ]
    assert not any(isinstance(item, CorruptRange) for item in items)


@given(st.data())
def test_a_flipped_bit_costs_one_record(data: st.DataObject) -> None:
    """A flipped bit at any offset after the header page damages exactly one record."""
    content = bytearray(segment(*BODIES))
    offset = data.draw(st.integers(HEADER_PAGE_BYTES, len(content) - 1))
    content[offset] ^= 1 << data.draw(st.integers(0, 7))

    damaged_index = max(index for index in range(len(BODIES)) if offset_of(index) <= offset)
    assert intact_seqs(bytes(content)) == [seq for seq in range(len(BODIES)) if seq != damaged_index]


@given(st.integers(0, len(segment(*BODIES))))
def test_truncation_costs_the_records_after_it(size: int) -> None:
    """Records that end before the truncation stay intact."""
    seqs = intact_seqs(segment(*BODIES)[:size])

    assert seqs == [index for index, body in enumerate(BODIES) if offset_of(index) + HEADER_BYTES + len(body) <= size]


def test_zeroed_page_costs_only_the_covered_records() -> None:
    """The scan continues at the next header and returns the blank range."""
    content = bytearray(segment(*BODIES))
    content[offset_of(1) : offset_of(2)] = bytes(offset_of(2) - offset_of(1))

    assert [item for item in scan_records(bytes(content)) if isinstance(item, CorruptRange)] == [
        CorruptRange(offset_of(1), offset_of(2) - offset_of(1), is_blank=True)
    ]
    assert intact_seqs(bytes(content)) == [0, 2]


def test_damaged_payload_keeps_its_header() -> None:
    """The header has a separate checksum."""
    content = bytearray(segment(*BODIES))
    content[offset_of(1) + HEADER_BYTES] ^= 1

    headers = [
        item.header for item in scan_records(bytes(content)) if isinstance(item, ScannedRecord) and not item.is_intact
    ]

    assert [(header.seq, header.windows, header.t_last_s) for header in headers] == [(1, 4, 120)]


def test_damaged_length_does_not_hide_later_records() -> None:
    """The scan also searches inside a damaged payload for the next header."""
    content = (
        segment(BODIES[0])
        + encode_record(batch_record(1, b"x" * 5_000))[: HEADER_BYTES + 10]
        + encode_record(batch_record(2, BODIES[2]))
    )

    assert intact_seqs(content) == [0, 2]


def test_magic_inside_a_payload_is_not_a_record() -> None:
    """Only a header with a valid checksum starts a record."""
    content = bytearray(segment(MAGIC * 50, BODIES[1]))
    content[HEADER_PAGE_BYTES] ^= 1

    assert intact_seqs(bytes(content)) == [1]


def test_damaged_header_page_costs_nothing() -> None:
    """Records are self-describing."""
    assert intact_seqs(bytes(HEADER_PAGE_BYTES) + segment(*BODIES)[HEADER_PAGE_BYTES:]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("size", "fits"), [(HEADER_PAGE_BYTES - HEADER_BYTES, True), (HEADER_PAGE_BYTES - HEADER_BYTES + 1, False)]
)
def test_header_page_is_limited_to_one_page(size: int, fits: bool) -> None:
    """A record at the limit fits; one more byte does not."""
    page = encode_header_page(Record(kind=RecordKind.LOSS_RECORDS, epoch=EPOCH, payload=b"x" * size))

    assert (page is not None) == fits
    assert page is None or len(page) == HEADER_PAGE_BYTES


def test_only_segments_have_numbers() -> None:
    """Other files of the directory and segments of another layout are ignored."""
    assert parse_segment_number(format_segment_name(42)) == 42
    assert [
        parse_segment_number(name) for name in ("ledger", "lock", "0000000001.seg2", "1.seg", "x0000000001.seg")
    ] == [None] * 5
