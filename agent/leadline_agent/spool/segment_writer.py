"""The one segment that is written to, and how a segment becomes its own tombstone.

Rule 1: nothing that ``write`` was given counts before it returns: bytes synced, names synced, name still there.
Rule 2: after any error the descriptor is given up; what it wrote since its last success is not trusted again.
Rule 3: a number is used for one file only, also when making that file failed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from contextlib import suppress

from leadline_agent.spool.filesystem import Files
from leadline_agent.spool.index import Place, SegmentIndex
from leadline_agent.spool.loss_records import Tombstone, joined, spanned, tombstone_frame
from leadline_agent.spool.record_format import BLOCK_BYTES, Frame, Kind, block, encode, segment_name


class SegmentWriter:
    """Appends records to the active segment, and begins a new one when it is full."""

    def __init__(self, files: Files, *, next_number: int, segment_bytes: int) -> None:
        self._files, self._segment_bytes = files, segment_bytes
        self._next_number = next_number
        self._handle: int | None = None
        #: Begun since the last success: their names are not durable yet.
        self._new: list[SegmentIndex] = []
        #: The segment in use; None before the first record and after an error.
        self.active: SegmentIndex | None = None

    def write(self, frames: Sequence[Frame]) -> list[Place]:
        """Make all of them durable, in order; where each lies. After an OSError none of them counts."""
        try:
            places = [self._put(frame) for frame in frames]
            self._sync()
        except OSError:
            self._abandon()
            raise
        self._new = []
        return places

    def close(self) -> None:
        """End the active segment; what was written durably stays."""
        handle, self._handle, self.active = self._handle, None, None
        if handle is not None:
            self._files.close(handle)

    def _put(self, frame: Frame) -> Place:
        data = encode(frame)
        segment = self.active
        if segment is None or not self._takes(segment, frame, len(data)):
            segment = self._begin(frame)
        assert self._handle is not None
        place = Place(segment, segment.size)
        self._files.write(self._handle, data)
        segment.size += len(data)
        return place

    def _takes(self, segment: SegmentIndex, frame: Frame, size: int) -> bool:
        """One epoch for all batches of a segment; tombstones go anywhere. One record fits any new segment."""
        foreign = frame.kind is Kind.BATCH and frame.epoch != segment.epoch
        return not foreign and (segment.size + size <= self._segment_bytes or segment.size == BLOCK_BYTES)

    def _begin(self, frame: Frame) -> SegmentIndex:
        if self._handle is not None:
            self._files.fdatasync(self._handle)
            self.close()
        segment = SegmentIndex(self._next_number, frame.epoch, frame.seq)
        self._next_number += 1
        self._handle = self._files.create(segment_name(segment.number))
        self.active = segment
        self._new.append(segment)
        opening = block(Frame(kind=Kind.OPENING, epoch=frame.epoch, seq=frame.seq))
        assert opening is not None
        self._files.write(self._handle, opening)
        segment.size = BLOCK_BYTES
        return segment

    def _sync(self) -> None:
        if self._handle is None or self.active is None:
            return
        self._files.fdatasync(self._handle)
        if self._new:
            self._files.fsync_dir()
        # An open descriptor outlives its name: without this, a removed spool would take everything and keep nothing.
        if not self._files.leads_to(segment_name(self.active.number), self._handle):
            raise FileNotFoundError(errno.ENOENT, "the segment is no longer in the spool directory")

    def _abandon(self) -> None:
        """Let go of the descriptor, and of files that hold nothing that counts."""
        with suppress(OSError):
            self.close()
        for segment in self._new:
            with suppress(OSError):
                self._files.unlink(segment_name(segment.number))
        self._new = []


def entomb(
    files: Files, segment: SegmentIndex, tombstones: Iterable[Tombstone], *, exact: bool
) -> list[Tombstone] | None:
    """Turn a segment into the note of what it held; the note, or None when it does not fit one page.

    The note goes over the first page, where no batch lies, and is durable before the rest is cut off. So a full disk
    needs no room for it, and a power loss in between leaves either all batches or the whole note. Unless it has to be
    ``exact``, a note that is too long is told in fewer words, which claim more.
    """
    note = joined(tombstones)
    page = block(tombstone_frame(note, segment.epoch, 0))
    if page is None and not exact:
        note = spanned(note)
        page = block(tombstone_frame(note, segment.epoch, 0))
    if page is None:
        return None
    handle = files.modify(segment_name(segment.number))
    try:
        files.write(handle, page)
        files.fdatasync(handle)
        # From here on it is a tombstone, whatever happens. What is not cut off now is cut off at the next start.
        with suppress(OSError):
            files.truncate(handle, BLOCK_BYTES)
            files.fdatasync(handle)
    finally:
        files.close(handle)
    return note
