"""Eviction of segments: selection, order and removal.

Order: acknowledged segments, then segments with dead letters, then the oldest unacknowledged ones; whole segments only.
Rule: a segment with anything unknown to the collector is replaced with its loss records before its bytes are removed.
      Other segments are deleted. If a power loss undoes the deletion, their batches are sent twice, which is harmless.
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


#: Smallest size cap, in segments: a smaller spool frees too little space for others and loses all of its data.
SEGMENTS_MIN = 2


class Evictor:
    """Evicts segments. Callers own the disk lock of the spool; methods acquire ``SpoolState.condition`` briefly."""

    def __init__(self, *, file_system: FileSystem, state: SpoolState, writer: SegmentWriter, quota: SpoolQuota) -> None:
        self._file_system, self._state, self._writer, self._quota = file_system, state, writer, quota
        #: While the disk is nearly full: the size at which the spool stopped growing.
        self._size_cap: int | None = None

    def free_space(self, needed_bytes: int) -> None:
        """Evict segments until ``needed_bytes`` fit into the quota and the disk, or no candidate is left."""
        bytes_max = min(self._quota.bytes_max, self._enforce_free_space(needed_bytes))
        while self._state.index.size + needed_bytes > bytes_max and self.evict_next():
            pass

    def _enforce_free_space(self, needed_bytes: int) -> int:
        """Evict delivered segments while the disk is nearly full; return the spool size that is now allowed.

        Segments with unacknowledged batches stay, but the spool stops growing.
        """
        while self._file_system.get_free_bytes() - needed_bytes < self._quota.free_bytes_min:
            victim = next(iter(self._list_candidates()), None)
            if victim is None or victim.eviction_priority is EvictionPriority.UNACKED or not self._evict(victim):
                if self._size_cap is None:
                    self._size_cap = max(self._state.index.size, SEGMENTS_MIN * self._quota.segment_bytes)
                return self._size_cap
        self._size_cap = None
        return self._quota.bytes_max

    def evict_on_full_disk(self) -> bool:
        """Evict a segment although the disk is full; return False without a candidate.

        The segment may be removed before its loss records are durable.
        """
        victim = self._state.index.find_removal_pending()
        if victim is None:
            return self.evict_next()
        # The manifest contains the loss records too, and may still fit when a segment does not.
        self.save_manifest(excluded_segments=[victim])
        return self._remove_segment(victim)

    def evict_next(self) -> bool:
        """Evict the first candidate that can be evicted; return False if there is none."""
        candidates = self._list_candidates()
        if not candidates and self._writer.active_segment is not None and len(self._writer.active_segment):
            self._writer.close()
            candidates = self._list_candidates()
        if not any(self._evict(candidate) for candidate in candidates):
            self._state.index.clear_stuck()
            return False
        return True

    def _list_candidates(self) -> list[SegmentIndex]:
        return self._state.index.list_eviction_candidates(self._writer.active_segment)

    def remove_expired(self, now_s: int) -> None:
        """Remove segments past their retention and dead letters over their limit."""
        with self._state.condition:
            if self._state.write_buffer.loss_records:
                return
            expired_segments = [segment for segment in self._state.index if self._is_expired(segment, now_s)]
        if expired_segments:
            self.save_manifest(excluded_segments=expired_segments)
            for segment in expired_segments:
                self._remove_segment(segment)
        dead_letter_segments = [
            segment for segment in self._list_candidates() if segment.eviction_priority is EvictionPriority.DEAD
        ]
        while sum(segment.size for segment in dead_letter_segments) > self._quota.dead_letter_bytes_max:
            self._evict(dead_letter_segments.pop(0))

    def _is_expired(self, segment: SegmentIndex, now_s: int) -> bool:
        if segment.is_removal_pending:
            return True
        if segment is self._writer.active_segment or segment.is_unreadable or self._state.list_undelivered_in(segment):
            return False
        is_retained = segment.count(BatchState.ACKED) and now_s - segment.acked_at_s <= self._quota.acked_retention_s
        return segment.eviction_priority is EvictionPriority.ACKED and not is_retained

    def save_manifest(self, excluded_segments: Collection[SegmentIndex] = ()) -> bool:
        """Write the manifest; return False on failure, which only means that some batches are sent twice."""
        with self._state.condition:
            document = self._state.build_manifest(excluded_segments)
            self._state.is_dirty = False
        try:
            manifest.save_manifest(self._file_system, document)
        except OSError as error:
            log.warning("cannot write the spool manifest", extra={"reason": error.strerror})
            self._state.is_dirty = True
            return False
        return True

    def truncate_evicted_segments(self) -> None:
        """Truncate evicted segments that a crash left at full size."""
        for segment in self._state.index:
            if segment.is_evicted and segment.size > HEADER_PAGE_BYTES:
                try:
                    self._replace_with_loss_records(segment, segment.loss_records, exact=True)
                except OSError as error:
                    log.warning(
                        "cannot truncate an evicted segment",
                        extra={"segment": segment.number, "reason": error.strerror},
                    )

    def _evict(self, segment: SegmentIndex) -> bool:
        """Evict a segment; return False on a disk error, or if its loss records do not fit into one page."""
        with self._state.condition:
            new_losses = list(segment.iter_losses())
            buffered_losses = tuple(self._state.write_buffer.loss_records)
            loss_records = [*new_losses, *self._state.list_undelivered_in(segment), *buffered_losses]
        self.save_manifest(excluded_segments=[segment])
        if not loss_records:
            return self._remove_segment(segment)
        try:
            is_evicted = self._evict_or_merge(segment, loss_records)
        except OSError as error:
            is_evicted, buffered_losses = self._handle_replace_error(segment, loss_records, error), ()
        if not is_evicted:
            return False
        with self._state.condition:
            self._state.write_buffer.remove_flushed_losses(buffered_losses)
        if new_losses:
            windows = sum(record.windows or 0 for record in new_losses)
            extra = {"segment": segment.number, "batches": len(new_losses), "windows": windows}
            log.error("spool full, oldest batches dropped", extra=extra)
        return True

    def _evict_or_merge(self, segment: SegmentIndex, loss_records: list[LossRecord]) -> bool:
        """Replace the segment with its loss records, and merge those of its neighbour if both fit into one page."""
        neighbour = self._state.index.find_evicted_before(segment)
        if neighbour is not None and self._replace_with_loss_records(
            segment, [*self._state.list_undelivered_in(neighbour), *loss_records], exact=True
        ):
            self._remove_segment(neighbour)
            return True
        return self._replace_with_loss_records(segment, loss_records, exact=False)

    def _replace_with_loss_records(self, segment: SegmentIndex, loss_records: list[LossRecord], *, exact: bool) -> bool:
        segment.is_evicted = True
        try:
            durable_losses = replace_with_loss_records(self._file_system, segment, loss_records, exact=exact)
        except OSError:
            segment.is_evicted = False
            raise
        with self._state.condition:
            segment.is_evicted = durable_losses is not None
            if durable_losses is not None:
                self._state.mark_segment_evicted(segment, durable_losses)
        return durable_losses is not None

    def _handle_replace_error(self, segment: SegmentIndex, loss_records: list[LossRecord], error: OSError) -> bool:
        """Handle a failed replacement; return whether the segment counts as evicted.

        A copy-on-write file system needs free space even to overwrite a page. If the disk is full, the loss records are
        written to the next segment, and this one is removed once they are durable. ``evict_on_full_disk`` removes it
        earlier if that write fails too: only then can a power loss destroy both. After an I/O error the segment stays,
        and the caller tries another one. Any other error is raised to the commit.
        """
        log.error("cannot evict a segment", extra={"segment": segment.number, "reason": error.strerror})
        if error.errno == errno.EIO:
            segment.is_stuck = True
            return False
        if error.errno not in DISK_FULL_ERRNOS:
            raise error
        with self._state.condition:
            self._state.write_buffer.add_loss_records(loss_records)
            segment.is_removal_pending = True
        return True

    def _remove_segment(self, segment: SegmentIndex) -> bool:
        try:
            self._file_system.unlink(format_segment_name(segment.number))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.error("cannot remove a segment", extra={"segment": segment.number, "reason": error.strerror})
            return False
        with self._state.condition:
            self._state.remove_segment(segment)
        return True
