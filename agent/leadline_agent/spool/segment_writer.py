"""The one segment that is written to, and how a segment becomes its own tombstone.

Rule 1: nothing that ``write`` was given counts before it returns: bytes synced, names synced, name still there.
Rule 2: after any error the descriptor is given up; what it wrote since its last success is not trusted again.
Rule 3: a number is used for one file only, also when making that file failed.
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
    """Appends records to the active segment, and begins a new one when it is full."""

    def __init__(self, file_system: FileSystem, *, next_segment_number: int, segment_bytes: int) -> None:
        self._file_system, self._segment_bytes = file_system, segment_bytes
        self._next_segment_number = next_segment_number
        self._handle: int | None = None
        #: Begun since the last success: their names are not durable yet.
        self._new_segments: list[SegmentIndex] = []
        #: The segment in use; None before the first record and after an error.
        self.active_segment: SegmentIndex | None = None

    def write(self, records: Sequence[Record]) -> list[RecordLocation]:
        """Make all of them durable, in order; where each lies. After an OSError none of them counts."""
        try:
            places = [self._write_record(frame) for frame in records]
            self._sync()
        except OSError:
            self._discard_new_segments()
            raise
        self._new_segments = []
        return places

    def close(self) -> None:
        """End the active segment; what was written durably stays."""
        handle, self._handle, self.active_segment = self._handle, None, None
        if handle is not None:
            self._file_system.close(handle)

    def _write_record(self, frame: Record) -> RecordLocation:
        data = encode_record(frame)
        segment = self.active_segment
        if segment is None or not self._can_append(segment, frame, len(data)):
            segment = self._begin_segment(frame)
        assert self._handle is not None
        place = RecordLocation(segment, segment.size)
        self._file_system.write(self._handle, data)
        segment.size += len(data)
        return place

    def _can_append(self, segment: SegmentIndex, frame: Record, size: int) -> bool:
        """One epoch for all batches of a segment; tombstones go anywhere. One record fits any new segment."""
        foreign = frame.kind is RecordKind.BATCH and frame.epoch != segment.epoch
        return not foreign and (segment.size + size <= self._segment_bytes or segment.size == HEADER_PAGE_BYTES)

    def _begin_segment(self, frame: Record) -> SegmentIndex:
        if self._handle is not None:
            self._file_system.fdatasync(self._handle)
            self.close()
        segment = SegmentIndex(self._next_segment_number, frame.epoch, frame.seq)
        self._next_segment_number += 1
        self._handle = self._file_system.create(format_segment_name(segment.number))
        self.active_segment = segment
        self._new_segments.append(segment)
        opening = encode_header_page(Record(kind=RecordKind.HEADER_PAGE, epoch=frame.epoch, seq=frame.seq))
        assert opening is not None
        self._file_system.write(self._handle, opening)
        segment.size = HEADER_PAGE_BYTES
        return segment

    def _sync(self) -> None:
        if self._handle is None or self.active_segment is None:
            return
        self._file_system.fdatasync(self._handle)
        if self._new_segments:
            self._file_system.fsync_dir()
        # An open descriptor outlives its name: without this, a removed spool would take everything and keep nothing.
        if not self._file_system.is_same_file(format_segment_name(self.active_segment.number), self._handle):
            raise FileNotFoundError(errno.ENOENT, "the segment is no longer in the spool directory")

    def _discard_new_segments(self) -> None:
        """Let go of the descriptor, and of files that hold nothing that counts."""
        with suppress(OSError):
            self.close()
        for segment in self._new_segments:
            with suppress(OSError):
                self._file_system.unlink(format_segment_name(segment.number))
        self._new_segments = []


def replace_with_loss_records(
    file_system: FileSystem, segment: SegmentIndex, loss_records: Iterable[LossRecord], *, exact: bool
) -> list[LossRecord] | None:
    """Turn a segment into the note of what it held; the note, or None when it does not fit one page.

    The note goes over the first page, where no batch lies, and is durable before the rest is cut off. So a full disk
    needs no room for it, and a power loss in between leaves either all batches or the whole note. Unless it has to be
    ``exact``, a note that is too long is told in fewer words, which claim more.
    """
    note = merge_adjacent(loss_records)
    page = encode_header_page(encode_loss_records(note, segment.epoch, 0))
    if page is None and not exact:
        note = merge_by_reason(note)
        page = encode_header_page(encode_loss_records(note, segment.epoch, 0))
    if page is None:
        return None
    handle = file_system.open_existing(format_segment_name(segment.number))
    try:
        file_system.write(handle, page)
        file_system.fdatasync(handle)
        # From here on it is a tombstone, whatever happens. What is not cut off now is cut off at the next start.
        with suppress(OSError):
            file_system.truncate(handle, HEADER_PAGE_BYTES)
            file_system.fdatasync(handle)
    finally:
        file_system.close(handle)
    return note
