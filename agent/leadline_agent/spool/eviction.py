"""Making room: which segments go, in which order, and how.

Order: what is acknowledged, then dead letters, then the oldest that waits; whole segments.
Rule: a segment that holds anything the collector does not know becomes its own tombstone before its bytes go. One that
      does not is removed, and if that is undone by a power loss, its batches are sent again, which harms nobody.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Collection

from leadline_agent.spool import manifest
from leadline_agent.spool.filesystem import FileSystem
from leadline_agent.spool.index import BatchState, EvictionPriority, SegmentIndex
from leadline_agent.spool.loss_records import LossRecord
from leadline_agent.spool.quota import SpoolQuota
from leadline_agent.spool.record_format import HEADER_PAGE_BYTES, format_segment_name
from leadline_agent.spool.segment_writer import SegmentWriter, replace_with_loss_records
from leadline_agent.spool.spool_state import SpoolState

log = logging.getLogger(__name__)

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})


#: A spool of this size is never cut for the sake of others: they would not notice, and we would lose everything.
SEGMENTS_MIN = 2


class Evictor:
    """Gives segments up. The caller holds the spool's disk lock; ``contents.changed`` is taken here, for moments."""

    def __init__(self, *, file_system: FileSystem, state: SpoolState, writer: SegmentWriter, quota: SpoolQuota) -> None:
        self._file_system, self._state, self._writer, self._quota = file_system, state, writer, quota
        #: While the disk is nearly full: the size at which the spool stopped to grow.
        self._size_cap: int | None = None

    def free_space(self, needed_bytes: int) -> None:
        """Give up segments until ``needed_bytes`` fit the budget and the disk, as far as that goes."""
        bytes_max = min(self._quota.bytes_max, self._enforce_free_space(needed_bytes))
        while self._state.index.size + needed_bytes > bytes_max and self.evict_next():
            pass

    def _enforce_free_space(self, needed_bytes: int) -> int:
        """The size the free space allows. What nobody waits for goes at once; what waits stays, but grows no more."""
        while self._file_system.get_free_bytes() - needed_bytes < self._quota.free_bytes_min:
            victim = next(iter(self._list_candidates()), None)
            if victim is None or victim.eviction_priority is EvictionPriority.UNACKED or not self._evict(victim):
                if self._size_cap is None:
                    self._size_cap = max(self._state.index.size, SEGMENTS_MIN * self._quota.segment_bytes)
                return self._size_cap
        self._size_cap = None
        return self._quota.bytes_max

    def evict_on_full_disk(self) -> bool:
        """The disk has no room: give up a segment, if need be before its note is durable; False when there is none."""
        condemned = self._state.index.find_removal_pending()
        if condemned is None:
            return self.evict_next()
        # The ledger carries the note as well, and may find the room that a segment does not.
        self.save_manifest(excluded_segments=[condemned])
        return self._remove_segment(condemned)

    def evict_next(self) -> bool:
        """Give up the segment that matters least; False when there is none to be had."""
        victims = self._list_candidates()
        if not victims and self._writer.active_segment is not None and len(self._writer.active_segment):
            self._writer.close()
            victims = self._list_candidates()
        if not any(self._evict(victim) for victim in victims):
            self._state.index.clear_stuck()
            return False
        return True

    def _list_candidates(self) -> list[SegmentIndex]:
        return self._state.index.list_eviction_candidates(self._writer.active_segment)

    def remove_expired(self, now_s: int) -> None:
        """Remove what has served its time, and dead letters beyond their limit."""
        with self._state.condition:
            if self._state.write_buffer.loss_records:
                return
            done = [segment for segment in self._state.index if self._is_expired(segment, now_s)]
        if done:
            self.save_manifest(excluded_segments=done)
            for segment in done:
                self._remove_segment(segment)
        dead = [segment for segment in self._list_candidates() if segment.eviction_priority is EvictionPriority.DEAD]
        while sum(segment.size for segment in dead) > self._quota.dead_letter_bytes_max:
            self._evict(dead.pop(0))

    def _is_expired(self, segment: SegmentIndex, now_s: int) -> bool:
        if segment.is_removal_pending:
            return True
        if segment is self._writer.active_segment or segment.is_unreadable or self._state.list_undelivered_in(segment):
            return False
        kept = segment.count(BatchState.ACKED) and now_s - segment.acked_at_s <= self._quota.acked_retention_s
        return segment.eviction_priority is EvictionPriority.ACKED and not kept

    def save_manifest(self, excluded_segments: Collection[SegmentIndex] = ()) -> bool:
        """Write the ledger; False when it cannot be written now, which costs only repetition."""
        with self._state.condition:
            written = self._state.build_manifest(excluded_segments)
            self._state.is_dirty = False
        try:
            manifest.save_manifest(self._file_system, written)
        except OSError as error:
            log.warning("ledger not written", extra={"reason": error.strerror})
            self._state.is_dirty = True
            return False
        return True

    def truncate_evicted_segments(self) -> None:
        """Cut off what a crash left behind a tombstone."""
        for segment in self._state.index:
            if segment.is_evicted and segment.size > HEADER_PAGE_BYTES:
                try:
                    self._replace_with_loss_records(segment, segment.loss_records, exact=True)
                except OSError as error:
                    log.warning("segment not cut", extra={"segment": segment.number, "reason": error.strerror})

    def _evict(self, segment: SegmentIndex) -> bool:
        """Let a segment go; False when the disk or the length of its note does not let it."""
        with self._state.condition:
            losses = list(segment.iter_losses())
            taken = tuple(self._state.write_buffer.loss_records)
            note = [*losses, *self._state.list_undelivered_in(segment), *taken]
        self.save_manifest(excluded_segments=[segment])
        if not note:
            return self._remove_segment(segment)
        try:
            gone = self._evict_or_merge(segment, note)
        except OSError as error:
            gone, taken = self._handle_replace_error(segment, note, error), ()
        if not gone:
            return False
        with self._state.condition:
            self._state.write_buffer.remove_flushed_losses(taken)
        if losses:
            windows = sum(one.windows or 0 for one in losses)
            extra = {"segment": segment.number, "batches": len(losses), "windows": windows}
            log.error("spool full, oldest batches dropped", extra=extra)
        return True

    def _evict_or_merge(self, segment: SegmentIndex, note: list[LossRecord]) -> bool:
        """Make the segment its own tombstone, and take that of its neighbour in, if both fit one page."""
        before = self._state.index.find_evicted_before(segment)
        if before is not None and self._replace_with_loss_records(
            segment, [*self._state.list_undelivered_in(before), *note], exact=True
        ):
            self._remove_segment(before)
            return True
        return self._replace_with_loss_records(segment, note, exact=False)

    def _replace_with_loss_records(self, segment: SegmentIndex, note: list[LossRecord], *, exact: bool) -> bool:
        segment.is_evicted = True
        try:
            written = replace_with_loss_records(self._file_system, segment, note, exact=exact)
        except OSError:
            segment.is_evicted = False
            raise
        with self._state.condition:
            segment.is_evicted = written is not None
            if written is not None:
                self._state.mark_segment_evicted(segment, written)
        return written is not None

    def _handle_replace_error(self, segment: SegmentIndex, note: list[LossRecord], error: OSError) -> bool:
        """A file system that copies on write needs room even to write over a page, and has none when it is full.

        Then the note goes into the next segment, and this one goes when that is durable. Only where even that has no
        room it goes first (``give_up_on_full_disk``): the one moment in which a power loss could take both. A segment
        on a bad spot of the disk stays, and another one goes. Any other error is for the commit.
        """
        log.error("segment cannot be given up", extra={"segment": segment.number, "reason": error.strerror})
        if error.errno == errno.EIO:
            segment.is_stuck = True
            return False
        if error.errno not in DISK_FULL_ERRNOS:
            raise error
        with self._state.condition:
            self._state.write_buffer.add_loss_records(note)
            segment.is_removal_pending = True
        return True

    def _remove_segment(self, segment: SegmentIndex) -> bool:
        try:
            self._file_system.unlink(format_segment_name(segment.number))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.error("segment cannot be removed", extra={"segment": segment.number, "reason": error.strerror})
            return False
        with self._state.condition:
            self._state.remove_segment(segment)
        return True
