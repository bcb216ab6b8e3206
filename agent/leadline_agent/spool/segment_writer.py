"""Writer of the active segment, and the replacement of a segment with its loss records.

Rule 1: records are accepted only once ``write`` returns: bytes synced, names synced, file still in the directory.
Rule 2: after any error the file descriptor is closed, and everything it wrote since its last success is discarded.
Rule 3: a segment number is used for one file only, even if its creation failed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from contextlib import suppress

from leadline_agent.spool.filesystem import FileSystem
from leadline_agent.spool.index import RecordLocation, SegmentIndex
from leadline_agent.spool.loss_records import LossRecord, encode_loss_records, merge_adjacent, merge_by_reason
from leadline_agent.spool.record_format import (
    HEADER_PAGE_BYTES,
    Record,
    RecordKind,
    encode_header_page,
    encode_record,
    format_segment_name,
)


class SegmentWriter:
    """Appends records to the active segment; starts a new segment when the active one is full."""

    def __init__(self, file_system: FileSystem, *, next_segment_number: int, segment_bytes: int) -> None:
        self._file_system, self._segment_bytes = file_system, segment_bytes
        self._next_segment_number = next_segment_number
        self._handle: int | None = None
        #: Segments created since the last success; their names are not durable yet.
        self._new_segments: list[SegmentIndex] = []
        #: None before the first record and after an error.
        self.active_segment: SegmentIndex | None = None

    def write(self, records: Sequence[Record]) -> list[RecordLocation]:
        """Write the records durably, in order; return their locations. After an OSError, none of them is accepted."""
        try:
            locations = [self._write_record(record) for record in records]
            self._sync()
        except OSError:
            self._discard_new_segments()
            raise
        self._new_segments = []
        return locations

    def close(self) -> None:
        """Close the active segment. Durable records stay."""
        handle, self._handle, self.active_segment = self._handle, None, None
        if handle is not None:
            self._file_system.close(handle)

    def _write_record(self, record: Record) -> RecordLocation:
        data = encode_record(record)
        segment = self.active_segment
        if segment is None or not self._can_append(segment, record, len(data)):
            segment = self._begin_segment(record)
        assert self._handle is not None
        location = RecordLocation(segment, segment.size)
        self._file_system.write(self._handle, data)
        segment.size += len(data)
        return location

    def _can_append(self, segment: SegmentIndex, record: Record, size: int) -> bool:
        """Return whether the record may be appended.

        All batches of a segment have one epoch; loss records fit anywhere. An empty segment takes a record of any size.
        """
        is_other_epoch = record.kind is RecordKind.BATCH and record.epoch != segment.epoch
        return not is_other_epoch and (segment.size + size <= self._segment_bytes or segment.size == HEADER_PAGE_BYTES)

    def _begin_segment(self, record: Record) -> SegmentIndex:
        if self._handle is not None:
            self._file_system.fdatasync(self._handle)
            self.close()
        segment = SegmentIndex(self._next_segment_number, record.epoch, record.seq)
        self._next_segment_number += 1
        self._handle = self._file_system.create(format_segment_name(segment.number))
        self.active_segment = segment
        self._new_segments.append(segment)
        header_page = encode_header_page(Record(kind=RecordKind.HEADER_PAGE, epoch=record.epoch, seq=record.seq))
        assert header_page is not None
        self._file_system.write(self._handle, header_page)
        segment.size = HEADER_PAGE_BYTES
        return segment

    def _sync(self) -> None:
        if self._handle is None or self.active_segment is None:
            return
        self._file_system.fdatasync(self._handle)
        if self._new_segments:
            self._file_system.fsync_dir()
        # An open descriptor survives unlink: without this check, batches written to a removed spool would be lost.
        if not self._file_system.is_same_file(format_segment_name(self.active_segment.number), self._handle):
            raise FileNotFoundError(errno.ENOENT, "the segment was removed from the spool directory")

    def _discard_new_segments(self) -> None:
        """Close the descriptor and delete the files without accepted records."""
        with suppress(OSError):
            self.close()
        for segment in self._new_segments:
            with suppress(OSError):
                self._file_system.unlink(format_segment_name(segment.number))
        self._new_segments = []


def replace_with_loss_records(
    file_system: FileSystem, segment: SegmentIndex, loss_records: Iterable[LossRecord], *, exact: bool
) -> list[LossRecord] | None:
    """Replace a segment with loss records; return the written ones, or None if they do not fit into one page.

    The records overwrite the header page, which contains no batch, and are durable before the file is truncated. So a
    full disk needs no free space, and after a power loss either all batches or all loss records are there. Without
    ``exact``, records that do not fit are merged to wider ranges.
    """
    merged = merge_adjacent(loss_records)
    page = encode_header_page(encode_loss_records(merged, segment.epoch, 0))
    if page is None and not exact:
        merged = merge_by_reason(merged)
        page = encode_header_page(encode_loss_records(merged, segment.epoch, 0))
    if page is None:
        return None
    handle = file_system.open_existing(format_segment_name(segment.number))
    try:
        file_system.write(handle, page)
        file_system.fdatasync(handle)
        # The replacement is durable now. If truncation fails, the next start truncates the file.
        with suppress(OSError):
            file_system.truncate(handle, HEADER_PAGE_BYTES)
            file_system.fdatasync(handle)
    finally:
        file_system.close(handle)
    return merged
