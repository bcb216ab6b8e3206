"""Reading a spool at start: what is there, what ought to be there, and the tombstones for the difference.

Reading changes nothing, so reading again finds the same. What is found is synced before it counts: after a kill -9 it
may be in the page cache only, and a tombstone that is not durable must not excuse the removal of what it names.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from leadline_agent.spool.filesystem import FileSystem
from leadline_agent.spool.index import BatchId, BatchState, SegmentIndex, SpooledBatch, SpoolIndex
from leadline_agent.spool.loss_records import LossReason, LossRecord, decode_loss_records, is_superset
from leadline_agent.spool.manifest import DeadLetter, Manifest, load_manifest
from leadline_agent.spool.range_set import RangeSet
from leadline_agent.spool.record_format import (
    HEADER_BYTES,
    CorruptRange,
    RecordHeader,
    RecordKind,
    ScannedRecord,
    format_segment_name,
    parse_payload,
    parse_record,
    parse_segment_number,
    scan_records,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredSpool:
    """A spool as it was found."""

    index: SpoolIndex
    #: Losses that no tombstone on disk tells of yet.
    unrecorded_losses: list[LossRecord]
    dead_letters: dict[BatchId, DeadLetter]
    delivered_losses: set[LossRecord]
    next_segment_number: int


@dataclass(slots=True)
class _SegmentScan:
    """One segment after reading: its index, and what is known of records that are damaged."""

    index: SegmentIndex
    #: Every number whose header can be read, in whatever state its body is.
    known_seqs: RangeSet = field(default_factory=RangeSet)
    corrupt_headers: list[RecordHeader] = field(default_factory=list)
    #: Something that is no record and not blank stands behind the last header.
    has_corrupt_tail: bool = False


def recover_spool(file_system: FileSystem) -> RecoveredSpool:
    """Read the ledger and every segment. OSError when the directory itself cannot be read."""
    ledger = load_manifest(file_system)
    numbers = sorted(number for name in file_system.list_names() if (number := parse_segment_number(name)) is not None)
    found: dict[str, RangeSet] = defaultdict(RangeSet)
    # Newest first: of two copies the later one was accepted, the earlier may never have left the page cache.
    reads = [_scan_segment(file_system, number, found) for number in reversed(numbers)][::-1]
    _apply_manifest(reads, ledger)
    lost = list(_iter_losses(reads, ledger, found))
    if lost:
        log.error("spool damaged", extra={"lost": [(one.epoch, one.first_seq, one.last_seq) for one in lost]})
    known = {read.index.number: read.index for read in reads}
    return RecoveredSpool(
        index=SpoolIndex(known.values()),
        unrecorded_losses=lost,
        dead_letters={BatchId(letter.epoch, letter.seq): letter for letter in ledger.dead},
        delivered_losses=set(ledger.delivered),
        next_segment_number=max([*numbers, *(row.number for row in ledger.rows)], default=0) + 1,
    )


def _scan_segment(files: FileSystem, number: int, found: dict[str, RangeSet]) -> _SegmentScan:
    """Index one segment; one that cannot be read is kept as it is and holds nothing until the next start."""
    name = format_segment_name(number)
    _sync_segment(files, name)
    try:
        return _index_segment(number, files.read_at(name, 0, files.get_size(name)), found)
    except OSError as error:
        log.error("segment cannot be read", extra={"segment": name, "reason": error.strerror})
        read = _SegmentScan(SegmentIndex(number, "", 0))
        read.index.is_unreadable = True
        return read


def _sync_segment(files: FileSystem, name: str) -> None:
    """Make durable what is found; where that fails it is used all the same, as the best there is."""
    try:
        handle = files.open_existing(name)
        try:
            files.fdatasync(handle)
        finally:
            files.close(handle)
    except OSError as error:
        log.warning("segment not synced", extra={"segment": name, "reason": error.strerror})


def _index_segment(number: int, data: bytes, found: dict[str, RangeSet]) -> _SegmentScan:
    opening = parse_record(data, 0)
    if opening is not None and opening[0].kind == RecordKind.LOSS_RECORDS:
        return _index_evicted_segment(number, data, opening)
    items = list(scan_records(data))
    batches = [
        item.header for item in items if isinstance(item, ScannedRecord) and item.header.kind == RecordKind.BATCH
    ]
    first = opening[0] if opening is not None else next(iter(batches), None)
    read = _SegmentScan(SegmentIndex(number, first.epoch if first else "", first.seq if first else 0))
    read.index.size = len(data)
    for item in items:
        if isinstance(item, CorruptRange):
            read.has_corrupt_tail = not item.is_blank
        elif item.header.kind == RecordKind.BATCH and item.header.epoch == read.index.epoch:
            # A body that the file ends in: what was written behind it is gone, however much that was.
            read.has_corrupt_tail = item.offset + HEADER_BYTES + item.header.payload_bytes > len(data)
            _index_batch(read, item, found[item.header.epoch])
        elif item.header.kind == RecordKind.LOSS_RECORDS and item.is_intact:
            payload = parse_payload(data, item.offset, item.header)
            read.index.loss_records += decode_loss_records(payload or b"")
    return read


def _index_evicted_segment(number: int, data: bytes, opening: tuple[RecordHeader, bytes]) -> _SegmentScan:
    index = SegmentIndex(number, opening[0].epoch, 0)
    index.is_evicted = True
    index.size = len(data)
    index.loss_records = decode_loss_records(opening[1])
    return _SegmentScan(index)


def _index_batch(read: _SegmentScan, item: ScannedRecord, found: RangeSet) -> None:
    """Take a batch in; a copy known from a later segment, after a write that was tried again, is passed over."""
    header = item.header
    read.known_seqs.add(header.seq, header.seq)
    if not item.is_intact:
        read.corrupt_headers.append(header)
    elif header.seq not in found:
        found.add(header.seq, header.seq)
        read.index.add(_build_spooled_batch(header), item.offset)


def _build_spooled_batch(header: RecordHeader) -> SpooledBatch:
    return SpooledBatch(
        id=BatchId(header.epoch, header.seq),
        size=header.payload_bytes,
        windows=header.windows,
        t_first_s=header.t_first_s,
        t_last_s=header.t_last_s,
    )


def _apply_manifest(reads: list[_SegmentScan], ledger: Manifest) -> None:
    """Give every batch the state the ledger has for it."""
    acked_at_s = {row.number: row.acked_at_s for row in ledger.rows}
    acked = {epoch: ledger.collect_acked(epoch) for epoch in {read.index.epoch for read in reads}}
    dead = {BatchId(letter.epoch, letter.seq) for letter in ledger.dead}
    for index in (read.index for read in reads):
        index.acked_at_s = acked_at_s.get(index.number, 0)
        for row, seq in index.iter_rows():
            if seq in acked[index.epoch]:
                index.set_state(row, BatchState.ACKED)
            if dead and BatchId(index.epoch, seq) in dead:
                index.set_state(row, BatchState.DEAD)


def _iter_losses(reads: list[_SegmentScan], ledger: Manifest, found: dict[str, RangeSet]) -> Iterator[LossRecord]:
    """A tombstone for everything that ought to be there, is not, and is not accounted for."""
    told = [*ledger.delivered, *(one for read in reads for one in read.index.loss_records)]
    for one in ledger.undelivered:
        if not any(is_superset(other, one) for other in told):
            told.append(one)
            yield one
    for epoch, claimed in sorted(_collect_claimed_seqs(reads, ledger).items()):
        mine = [read for read in reads if read.index.epoch == epoch]
        mine_told = [one for one in told if one.epoch == epoch]
        accounted = _collect_accounted_seqs(found[epoch], ledger.collect_acked(epoch), mine_told, claimed.last)
        for first, last in claimed.difference(accounted):
            yield _build_loss_record(epoch, mine, first, last)
        if mine and mine[-1].has_corrupt_tail and all(one.last_seq is not None for one in mine_told):
            yield _build_open_ended_loss_record(epoch, mine, claimed.last + 1)


def _collect_accounted_seqs(found: RangeSet, acked: RangeSet, told: Iterable[LossRecord], last: int) -> RangeSet:
    """The numbers nobody needs to ask about. An open end reaches as far as any claim."""
    result = RangeSet()
    for ranges in (found, acked):
        for one_first, one_last in ranges:
            result.add(one_first, one_last)
    for one in told:
        result.add(one.first_seq, last if one.last_seq is None else one.last_seq)
    return result


def _collect_claimed_seqs(reads: list[_SegmentScan], ledger: Manifest) -> dict[str, RangeSet]:
    """The numbers that must have been on disk, by epoch: what the ledger says, and what segments say by themselves."""
    claims: dict[str, RangeSet] = defaultdict(RangeSet)
    for row in ledger.rows:
        claims[row.epoch].add(row.first_seq, row.last_seq)
    before: _SegmentScan | None = None
    for read in reads:
        if read.known_seqs:
            first = min(read.index.first_seq, read.known_seqs.first)
            if before is not None and _is_adjacent(before, read):
                first = min(first, before.known_seqs.last + 1)
            claims[read.index.epoch].add(first, read.known_seqs.last)
        before = read
    return claims


def _is_adjacent(before: _SegmentScan, read: _SegmentScan) -> bool:
    """Whether no number can lie between two segments but one that was lost."""
    same_epoch = before.index.epoch == read.index.epoch
    return same_epoch and before.index.number == read.index.number - 1 and bool(before.known_seqs)


def _build_loss_record(epoch: str, mine: list[_SegmentScan], first: int, last: int) -> LossRecord:
    """The tombstone of a range: exact where all headers can be read, else bounded by what lies around it."""
    headers = {header.seq: header for read in mine for header in read.corrupt_headers if first <= header.seq <= last}
    if len(headers) == last - first + 1:
        t_first_s: int | None = min(header.t_first_s for header in headers.values())
        t_last_s: int | None = max(header.t_last_s for header in headers.values())
        windows: int | None = sum(header.windows for header in headers.values())
    else:
        t_first_s, t_last_s, windows = _find_time_before(mine, first), _find_time_after(mine, last), None
    return LossRecord(epoch, first, last, t_first_s, t_last_s, windows, LossReason.CORRUPT)


def _build_open_ended_loss_record(epoch: str, mine: list[_SegmentScan], first: int) -> LossRecord:
    return LossRecord(epoch, first, None, _find_time_before(mine, first), None, None, LossReason.CORRUPT)


def _find_time_before(mine: list[_SegmentScan], seq: int) -> int | None:
    """The last minute known before a number."""
    times = (read.index.find_time_before_s(seq) for read in reversed(mine))
    return next((at_s for at_s in times if at_s is not None), None)


def _find_time_after(mine: list[_SegmentScan], seq: int) -> int | None:
    """The first minute known behind a number."""
    times = (read.index.find_time_after_s(seq) for read in mine)
    return next((at_s for at_s in times if at_s is not None), None)
