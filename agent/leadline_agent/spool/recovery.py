"""Reads a spool at start: compares the batches on disk with the expected ones and returns loss records for the rest.

Recovery writes nothing, so a second run gives the same result. Every segment is synced before it is read: after a
kill -9 its data may be in the page cache only, and a segment may be removed only if its loss records are durable.
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
    """Result of a recovery."""

    index: SpoolIndex
    #: Losses without a loss record in a segment.
    unrecorded_losses: list[LossRecord]
    dead_letters: dict[BatchId, DeadLetter]
    delivered_losses: set[LossRecord]
    next_segment_number: int


@dataclass(slots=True)
class _SegmentScan:
    """Scan result of one segment: its index and its damaged records."""

    index: SegmentIndex
    #: Sequence numbers of all valid headers, with intact or damaged payload.
    known_seqs: RangeSet = field(default_factory=RangeSet)
    corrupt_headers: list[RecordHeader] = field(default_factory=list)
    #: Non-zero bytes without a record follow the last record.
    has_corrupt_tail: bool = False


def recover_spool(file_system: FileSystem) -> RecoveredSpool:
    """Read the manifest and every segment. Raise OSError if the directory cannot be read."""
    manifest = load_manifest(file_system)
    numbers = sorted(number for name in file_system.list_names() if (number := parse_segment_number(name)) is not None)
    intact_seqs: dict[str, RangeSet] = defaultdict(RangeSet)
    # Newest segment first: if a batch exists twice, the later copy was accepted. The earlier one may never have left
    # the page cache.
    scans = [_scan_segment(file_system, number, intact_seqs) for number in reversed(numbers)][::-1]
    _apply_manifest(scans, manifest)
    losses = list(_iter_losses(scans, manifest, intact_seqs))
    if losses:
        ranges = [(record.epoch, record.first_seq, record.last_seq) for record in losses]
        log.error("spool damaged", extra={"lost": ranges})
    return RecoveredSpool(
        index=SpoolIndex(scan.index for scan in scans),
        unrecorded_losses=losses,
        dead_letters={BatchId(letter.epoch, letter.seq): letter for letter in manifest.dead},
        delivered_losses=set(manifest.delivered),
        next_segment_number=max([*numbers, *(row.number for row in manifest.rows)], default=0) + 1,
    )


def _scan_segment(file_system: FileSystem, number: int, intact_seqs: dict[str, RangeSet]) -> _SegmentScan:
    """Index one segment. An unreadable one stays unchanged on disk and counts as empty until the next start."""
    name = format_segment_name(number)
    _sync_segment(file_system, name)
    try:
        return _index_segment(number, file_system.read_at(name, 0, file_system.get_size(name)), intact_seqs)
    except OSError as error:
        log.error("cannot read a segment", extra={"segment": name, "reason": error.strerror})
        scan = _SegmentScan(SegmentIndex(number, "", 0))
        scan.index.is_unreadable = True
        return scan


def _sync_segment(file_system: FileSystem, name: str) -> None:
    """Sync a segment; on failure log a warning, and use the segment anyway."""
    try:
        handle = file_system.open_existing(name)
        try:
            file_system.fdatasync(handle)
        finally:
            file_system.close(handle)
    except OSError as error:
        log.warning("cannot sync a segment", extra={"segment": name, "reason": error.strerror})


def _index_segment(number: int, data: bytes, intact_seqs: dict[str, RangeSet]) -> _SegmentScan:
    opening_record = parse_record(data, 0)
    if opening_record is not None and opening_record[0].kind == RecordKind.LOSS_RECORDS:
        return _index_evicted_segment(number, data, opening_record)
    items = list(scan_records(data))
    batches = [
        item.header for item in items if isinstance(item, ScannedRecord) and item.header.kind == RecordKind.BATCH
    ]
    first = opening_record[0] if opening_record is not None else next(iter(batches), None)
    scan = _SegmentScan(SegmentIndex(number, first.epoch if first else "", first.seq if first else 0))
    scan.index.size = len(data)
    for item in items:
        if isinstance(item, CorruptRange):
            scan.has_corrupt_tail = not item.is_blank
        elif item.header.kind == RecordKind.BATCH and item.header.epoch == scan.index.epoch:
            # The file ends inside the payload, so an unknown number of later records is lost.
            scan.has_corrupt_tail = item.offset + HEADER_BYTES + item.header.payload_bytes > len(data)
            _index_batch(scan, item, intact_seqs[item.header.epoch])
        elif item.header.kind == RecordKind.LOSS_RECORDS and item.is_intact:
            payload = parse_payload(data, item.offset, item.header)
            scan.index.loss_records += decode_loss_records(payload or b"")
    return scan


def _index_evicted_segment(number: int, data: bytes, opening_record: tuple[RecordHeader, bytes]) -> _SegmentScan:
    index = SegmentIndex(number, opening_record[0].epoch, 0)
    index.is_evicted = True
    index.size = len(data)
    index.loss_records = decode_loss_records(opening_record[1])
    return _SegmentScan(index)


def _index_batch(scan: _SegmentScan, item: ScannedRecord, intact_seqs: RangeSet) -> None:
    """Add a batch to the index, except a copy of a batch in a later segment (left by a retried write)."""
    header = item.header
    scan.known_seqs.add(header.seq, header.seq)
    if not item.is_intact:
        scan.corrupt_headers.append(header)
    elif header.seq not in intact_seqs:
        intact_seqs.add(header.seq, header.seq)
        scan.index.add(_build_spooled_batch(header), item.offset)


def _build_spooled_batch(header: RecordHeader) -> SpooledBatch:
    return SpooledBatch(
        id=BatchId(header.epoch, header.seq),
        size=header.payload_bytes,
        windows=header.windows,
        t_first_s=header.t_first_s,
        t_last_s=header.t_last_s,
    )


def _apply_manifest(scans: list[_SegmentScan], manifest: Manifest) -> None:
    """Set the state of every batch from the manifest."""
    acked_at_s = {row.number: row.acked_at_s for row in manifest.rows}
    acked = {epoch: manifest.collect_acked(epoch) for epoch in {scan.index.epoch for scan in scans}}
    dead = {BatchId(letter.epoch, letter.seq) for letter in manifest.dead}
    for index in (scan.index for scan in scans):
        index.acked_at_s = acked_at_s.get(index.number, 0)
        for row, seq in index.iter_rows():
            if seq in acked[index.epoch]:
                index.set_state(row, BatchState.ACKED)
            if dead and BatchId(index.epoch, seq) in dead:
                index.set_state(row, BatchState.DEAD)


def _iter_losses(
    scans: list[_SegmentScan], manifest: Manifest, intact_seqs: dict[str, RangeSet]
) -> Iterator[LossRecord]:
    """Yield a loss record for every expected batch that is neither on disk nor accounted for."""
    recorded = [*manifest.delivered, *(record for scan in scans for record in scan.index.loss_records)]
    for record in manifest.undelivered:
        if not any(is_superset(other, record) for other in recorded):
            recorded.append(record)
            yield record
    for epoch, claimed in sorted(_collect_claimed_seqs(scans, manifest).items()):
        epoch_scans = [scan for scan in scans if scan.index.epoch == epoch]
        epoch_losses = [record for record in recorded if record.epoch == epoch]
        acked = manifest.collect_acked(epoch)
        accounted = _collect_accounted_seqs(intact_seqs[epoch], acked, epoch_losses, claimed.last)
        for first, last in claimed.difference(accounted):
            yield _build_loss_record(epoch, epoch_scans, first, last)
        has_open_end = any(record.last_seq is None for record in epoch_losses)
        if epoch_scans and epoch_scans[-1].has_corrupt_tail and not has_open_end:
            yield _build_open_ended_loss_record(epoch, epoch_scans, claimed.last + 1)


def _collect_accounted_seqs(
    intact_seqs: RangeSet, acked: RangeSet, loss_records: Iterable[LossRecord], last: int
) -> RangeSet:
    """Return the intact, acknowledged and lost sequence numbers. An open-ended loss extends to ``last``."""
    result = RangeSet()
    for ranges in (intact_seqs, acked):
        for range_first, range_last in ranges:
            result.add(range_first, range_last)
    for record in loss_records:
        result.add(record.first_seq, last if record.last_seq is None else record.last_seq)
    return result


def _collect_claimed_seqs(scans: list[_SegmentScan], manifest: Manifest) -> dict[str, RangeSet]:
    """Return the sequence numbers that must have been on disk, by epoch, from the manifest and the segments."""
    claims: dict[str, RangeSet] = defaultdict(RangeSet)
    for row in manifest.rows:
        claims[row.epoch].add(row.first_seq, row.last_seq)
    previous: _SegmentScan | None = None
    for scan in scans:
        if scan.known_seqs:
            first = min(scan.index.first_seq, scan.known_seqs.first)
            if previous is not None and _is_adjacent(previous, scan):
                first = min(first, previous.known_seqs.last + 1)
            claims[scan.index.epoch].add(first, scan.known_seqs.last)
        previous = scan
    return claims


def _is_adjacent(previous: _SegmentScan, scan: _SegmentScan) -> bool:
    """Return whether every number between the two segments must be a lost batch."""
    same_epoch = previous.index.epoch == scan.index.epoch
    return same_epoch and previous.index.number == scan.index.number - 1 and bool(previous.known_seqs)


def _build_loss_record(epoch: str, scans: list[_SegmentScan], first: int, last: int) -> LossRecord:
    """Return the loss record of a range: exact if all headers are valid, else bounded by the neighbouring batches."""
    headers = {header.seq: header for scan in scans for header in scan.corrupt_headers if first <= header.seq <= last}
    if len(headers) == last - first + 1:
        t_first_s: int | None = min(header.t_first_s for header in headers.values())
        t_last_s: int | None = max(header.t_last_s for header in headers.values())
        windows: int | None = sum(header.windows for header in headers.values())
    else:
        t_first_s, t_last_s, windows = _find_time_before(scans, first), _find_time_after(scans, last), None
    return LossRecord(epoch, first, last, t_first_s, t_last_s, windows, LossReason.CORRUPT)


def _build_open_ended_loss_record(epoch: str, scans: list[_SegmentScan], first: int) -> LossRecord:
    return LossRecord(epoch, first, None, _find_time_before(scans, first), None, None, LossReason.CORRUPT)


def _find_time_before(scans: list[_SegmentScan], seq: int) -> int | None:
    """Return the last known window before a sequence number, epoch seconds."""
    times = (scan.index.find_time_before_s(seq) for scan in reversed(scans))
    return next((time_s for time_s in times if time_s is not None), None)


def _find_time_after(scans: list[_SegmentScan], seq: int) -> int | None:
    """Return the first known window after a sequence number, epoch seconds."""
    times = (scan.index.find_time_after_s(seq) for scan in scans)
    return next((time_s for time_s in times if time_s is not None), None)
