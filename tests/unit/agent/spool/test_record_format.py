"""The bytes of a segment: what is written reads back, and damage costs only what it hit."""

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


def frame(seq: int, payload: bytes) -> Record:
    return Record(kind=RecordKind.BATCH, epoch=EPOCH, seq=seq, windows=4, t_first_s=60, t_last_s=120, payload=payload)


def segment(*payloads: bytes) -> bytes:
    opening = encode_header_page(Record(kind=RecordKind.HEADER_PAGE, epoch=EPOCH, seq=0))
    assert opening is not None
    return opening + b"".join(encode_record(frame(seq, payload)) for seq, payload in enumerate(payloads))


def intact_seqs(data: bytes) -> list[int]:
    return [item.header.seq for item in scan_records(data) if isinstance(item, ScannedRecord) and item.is_intact]


def offset_of(index: int) -> int:
    return HEADER_PAGE_BYTES + sum(HEADER_BYTES + len(body) for body in BODIES[:index])


def test_a_record_has_the_bytes_that_the_page_on_the_format_draws() -> None:
    """Golden: a spool written by this version is read by every later one."""
    data = encode_record(frame(7, b"body"))

    assert data.hex() == (
        "d44c4c1a" "01" "02" "0000" "04000000" "00112233445566778899aabbccddeeff" "0700000000000000"
        "04000000" "3c000000" "78000000" "b20ba8db" "4321a67c" "626f6479"
    )  # fmt: skip


@given(st.binary(max_size=2_000), st.integers(0, (1 << 64) - 1))
def test_a_record_reads_back(payload: bytes, seq: int) -> None:
    """Any bytes, also some that look like a record."""
    inner = encode_record(frame(seq, payload))

    found = parse_record(encode_record(frame(1, inner)), 0)

    assert found is not None
    assert (found[0].epoch, found[0].seq, found[1]) == (EPOCH, 1, inner)


def test_an_intact_segment_is_all_records() -> None:
    """Nothing between them, nothing behind them."""
    items = list(scan_records(segment(*BODIES)))

    assert [(item.header.seq, item.is_intact) for item in items if isinstance(item, ScannedRecord)] == [
        (0, True),
        (1, True),
        (2, True),
    ]
    assert not any(isinstance(item, CorruptRange) for item in items)


@given(st.data())
def test_a_flipped_bit_costs_one_record(data: st.DataObject) -> None:
    """Wherever it is, the others are found; behind the block they cannot all survive."""
    whole = bytearray(segment(*BODIES))
    at = data.draw(st.integers(HEADER_PAGE_BYTES, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))

    hit = max(index for index in range(len(BODIES)) if offset_of(index) <= at)
    assert intact_seqs(bytes(whole)) == [seq for seq in range(len(BODIES)) if seq != hit]


@given(st.integers(0, len(segment(*BODIES))))
def test_a_cut_costs_what_lies_behind_it(size: int) -> None:
    """Records that end before the cut are whole."""
    found = intact_seqs(segment(*BODIES)[:size])

    assert found == [index for index, body in enumerate(BODIES) if offset_of(index) + HEADER_BYTES + len(body) <= size]


def test_a_zeroed_page_costs_what_it_covered() -> None:
    """Resync finds the next header behind it, and says how far the damage goes and that it is blank."""
    whole = bytearray(segment(*BODIES))
    whole[offset_of(1) : offset_of(2)] = bytes(offset_of(2) - offset_of(1))

    assert [item for item in scan_records(bytes(whole)) if isinstance(item, CorruptRange)] == [
        CorruptRange(offset_of(1), offset_of(2) - offset_of(1), is_blank=True)
    ]
    assert intact_seqs(bytes(whole)) == [0, 2]


def test_a_damaged_body_still_says_which_batch_it_was() -> None:
    """The header has a checksum of its own."""
    whole = bytearray(segment(*BODIES))
    whole[offset_of(1) + HEADER_BYTES] ^= 1

    damaged = [
        item.header for item in scan_records(bytes(whole)) if isinstance(item, ScannedRecord) and not item.is_intact
    ]

    assert [(header.seq, header.windows, header.t_last_s) for header in damaged] == [(1, 4, 120)]


def test_a_damaged_length_does_not_hide_the_records_behind_it() -> None:
    """A header is searched for inside a damaged body as well."""
    whole = (
        segment(BODIES[0])
        + encode_record(frame(1, b"x" * 5_000))[: HEADER_BYTES + 10]
        + encode_record(frame(2, BODIES[2]))
    )

    assert intact_seqs(whole) == [0, 2]


def test_the_magic_inside_a_body_is_no_record() -> None:
    """Only a header with its checksum is one."""
    whole = bytearray(segment(MAGIC * 50, BODIES[1]))
    whole[HEADER_PAGE_BYTES] ^= 1

    assert intact_seqs(bytes(whole)) == [1]


def test_a_damaged_block_costs_nothing() -> None:
    """Records say everything about themselves."""
    assert intact_seqs(bytes(HEADER_PAGE_BYTES) + segment(*BODIES)[HEADER_PAGE_BYTES:]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("size", "fits"), [(HEADER_PAGE_BYTES - HEADER_BYTES, True), (HEADER_PAGE_BYTES - HEADER_BYTES + 1, False)]
)
def test_a_block_is_one_page_or_none(size: int, fits: bool) -> None:
    """At the limit it fits, one byte past it it does not."""
    page = encode_header_page(Record(kind=RecordKind.LOSS_RECORDS, epoch=EPOCH, payload=b"x" * size))

    assert (page is not None) == fits
    assert page is None or len(page) == HEADER_PAGE_BYTES


def test_only_segments_have_numbers() -> None:
    """Other files of the directory, and segments of another layout, are passed over."""
    assert parse_segment_number(format_segment_name(42)) == 42
    assert [
        parse_segment_number(name) for name in ("ledger", "lock", "0000000001.seg2", "1.seg", "x0000000001.seg")
    ] == [None] * 5
