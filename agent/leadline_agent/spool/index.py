"""In-memory index of the segments on disk: one set of columns for each segment, 29 bytes a batch, without bodies.

No I/O. All batches of a segment belong to one epoch.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from leadline.wire.batch import BODY_BYTES_MAX
from leadline_agent.spool.loss_records import LossReason, LossRecord
from leadline_agent.spool.range_set import RangeSet


class BatchId(NamedTuple):
    """Permanent identity of a batch of this agent."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """An encoded batch and its metadata; the body contains the id as well."""

    id: BatchId
    body: bytes
    windows: int
    #: Epoch seconds of the first and the last window.
    t_first_s: int
    t_last_s: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.body) <= BODY_BYTES_MAX:
            raise ValueError(f"a body of {len(self.body)} bytes; the allowed range is 1 to {BODY_BYTES_MAX}")
        if self.windows < 0 or not 0 <= self.t_first_s <= self.t_last_s < 1 << 32:
            raise ValueError(f"invalid batch: {self.windows} windows from {self.t_first_s} to {self.t_last_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledBatch:
    """Metadata of a batch in the spool, without its body."""

    id: BatchId
    size: int
    windows: int
    t_first_s: int
    t_last_s: int


class BatchState(IntEnum):
    """State of a batch."""

    UNACKED = 0
    ACKED = 1
    #: Permanently refused by the collector.
    DEAD = 2
    #: Damaged on disk.
    LOST = 3


class EvictionPriority(IntEnum):
    """Eviction order of segments; the smallest value is evicted first."""

    ACKED = 0
    DEAD = 1
    UNACKED = 2


class RecordLocation(NamedTuple):
    """Position of a record: its segment and the offset of its header."""

    segment: SegmentIndex
    offset: int


class SegmentIndex:
    """Index of one segment: one row for each batch, in write order, and the loss records in the segment."""

    __slots__ = (
        "_is_ordered",
        "_lengths",
        "_offsets",
        "_seqs",
        "_states",
        "_t_firsts_s",
        "_t_lasts_s",
        "_windows",
        "acked_at_s",
        "epoch",
        "first_seq",
        "is_evicted",
        "is_removal_pending",
        "is_stuck",
        "is_unreadable",
        "loss_records",
        "number",
        "size",
    )  # fmt: skip

    def __init__(self, number: int, epoch: str, first_seq: int) -> None:
        self.number, self.epoch = number, epoch
        #: Sequence numbers from here on must be in this segment or in a later one.
        self.first_seq = first_seq
        #: File size in bytes.
        self.size = 0
        #: Time of the last acknowledgement, epoch seconds of the wall clock; 0 without one.
        self.acked_at_s = 0
        #: The batches were evicted; only loss records are left.
        self.is_evicted = False
        #: The file could not be read at start; it stays untouched until the next start.
        self.is_unreadable = False
        #: The last eviction failed with an I/O error; other segments are tried first.
        self.is_stuck = False
        #: The file is removed once its loss records are durable in another segment.
        self.is_removal_pending = False
        self.loss_records: list[LossRecord] = []
        #: False if two threads appended in another order than they reserved their numbers.
        self._is_ordered = True
        self._seqs = array("Q")
        self._offsets, self._lengths, self._windows = array("I"), array("I"), array("I")
        self._t_firsts_s, self._t_lasts_s = array("I"), array("I")
        self._states = bytearray()

    def __len__(self) -> int:
        return len(self._seqs)

    def add(self, batch: SpooledBatch, offset: int, state: BatchState = BatchState.UNACKED) -> None:
        """Append a batch; ``offset`` is that of its record."""
        self._is_ordered = self._is_ordered and (not self._seqs or self._seqs[-1] < batch.id.seq)
        self._seqs.append(batch.id.seq)
        self._offsets.append(offset)
        self._lengths.append(batch.size)
        self._windows.append(batch.windows)
        self._t_firsts_s.append(batch.t_first_s)
        self._t_lasts_s.append(batch.t_last_s)
        self._states.append(state)

    def get_batch(self, row: int) -> SpooledBatch:
        """Return the batch of a row."""
        return SpooledBatch(
            id=BatchId(self.epoch, self._seqs[row]),
            size=self._lengths[row],
            windows=self._windows[row],
            t_first_s=self._t_firsts_s[row],
            t_last_s=self._t_lasts_s[row],
        )

    def iter_batches(self) -> Iterator[tuple[SpooledBatch, BatchState]]:
        """Yield every batch with its state, in write order."""
        for row, state in enumerate(self._states):
            yield self.get_batch(row), BatchState(state)

    def find_row(self, seq: int) -> int | None:
        """Return the row of a sequence number; None if it is not in this segment."""
        if self._is_ordered:
            row = bisect_left(self._seqs, seq)
            return row if row < len(self._seqs) and self._seqs[row] == seq else None
        return next((row for row, row_seq in enumerate(self._seqs) if row_seq == seq), None)

    def iter_rows(self) -> Iterator[tuple[int, int]]:
        """Yield every row with its sequence number."""
        return enumerate(self._seqs)

    def get_offset(self, row: int) -> int:
        """Return the file offset of the record of a row."""
        return self._offsets[row]

    def get_state(self, row: int) -> BatchState:
        """Return the state of a row."""
        return BatchState(self._states[row])

    def set_state(self, row: int, state: BatchState) -> None:
        """Set the state of a row."""
        self._states[row] = state

    def count(self, state: BatchState) -> int:
        """Return the number of batches in a state."""
        return self._states.count(state)

    @property
    def last_seq(self) -> int:
        """Largest sequence number; ``first_seq - 1`` without a batch."""
        return max(self._seqs, default=self.first_seq - 1)

    @property
    def times_s(self) -> tuple[int, int] | None:
        """First window of the first batch and last window of the last one, epoch seconds; None without a batch."""
        return (self._t_firsts_s[0], self._t_lasts_s[-1]) if len(self) else None

    @property
    def eviction_priority(self) -> EvictionPriority:
        """Eviction priority by the most important batch."""
        if self.count(BatchState.UNACKED):
            return EvictionPriority.UNACKED
        return EvictionPriority.DEAD if self.count(BatchState.DEAD) else EvictionPriority.ACKED

    def find_time_before_s(self, seq: int) -> int | None:
        """Return the last window of the nearest batch before ``seq``, epoch seconds; None without one."""
        row = bisect_left(self._seqs, seq) - 1
        return self._t_lasts_s[row] if row >= 0 else None

    def find_time_after_s(self, seq: int) -> int | None:
        """Return the first window of the nearest batch after ``seq``, epoch seconds; None without one."""
        row = bisect_right(self._seqs, seq)
        return self._t_firsts_s[row] if row < len(self._seqs) else None

    def find_oldest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """Return the first unacknowledged batch, except ``skipped_ids``."""
        row = self._states.find(BatchState.UNACKED)
        while row >= 0 and BatchId(self.epoch, self._seqs[row]) in skipped_ids:
            row = self._states.find(BatchState.UNACKED, row + 1)
        return self.get_batch(row) if row >= 0 else None

    def find_newest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """Return the last unacknowledged batch, except ``skipped_ids``."""
        row = self._states.rfind(BatchState.UNACKED)
        while row >= 0 and BatchId(self.epoch, self._seqs[row]) in skipped_ids:
            row = self._states.rfind(BatchState.UNACKED, 0, row)
        return self.get_batch(row) if row >= 0 else None

    def collect_seqs(self, state: BatchState) -> RangeSet:
        """Return the sequence numbers of the batches in a state."""
        result = RangeSet()
        for row, row_state in enumerate(self._states):
            if row_state == state:
                result.add(self._seqs[row], self._seqs[row])
        return result

    def iter_losses(self) -> Iterator[LossRecord]:
        """Yield one loss record for each batch that is lost if this segment is evicted."""
        for batch, state in self.iter_batches():
            if state is BatchState.UNACKED:
                yield build_loss_record(batch, LossReason.OVERFLOW)

    def rewind(self, since_seq: int) -> int:
        """Mark acknowledged batches from ``since_seq`` on as unacknowledged; return their number."""
        rows = [
            row for row, state in enumerate(self._states) if state == BatchState.ACKED and self._seqs[row] >= since_seq
        ]
        for row in rows:
            self._states[row] = BatchState.UNACKED
        return len(rows)


def build_loss_record(batch: SpooledBatch, reason: LossReason) -> LossRecord:
    """Return the loss record of one batch."""
    return LossRecord(
        epoch=batch.id.epoch,
        first_seq=batch.id.seq,
        last_seq=batch.id.seq,
        t_first_s=batch.t_first_s,
        t_last_s=batch.t_last_s,
        windows=batch.windows,
        reason=reason,
    )


class SpoolIndex:
    """All segments, ordered by number, that is by creation."""

    def __init__(self, segments: Iterable[SegmentIndex] = ()) -> None:
        self._segments = {segment.number: segment for segment in segments}

    def __iter__(self) -> Iterator[SegmentIndex]:
        return iter(tuple(self._segments.values()))

    @property
    def size(self) -> int:
        """Bytes of all segments, without those that wait for removal."""
        return sum(segment.size for segment in self if not segment.is_removal_pending)

    def put(self, segment: SegmentIndex) -> None:
        """Add the newest segment, or replace the segment with the same number."""
        self._segments[segment.number] = segment

    def remove(self, segment: SegmentIndex) -> None:
        """Remove a segment if it is in the index."""
        self._segments.pop(segment.number, None)

    def find_batch(self, batch_id: BatchId) -> tuple[SegmentIndex, int] | None:
        """Return the segment and the row of a batch; None if it is not in the index."""
        for segment in reversed(tuple(self._segments.values())):
            if segment.epoch == batch_id.epoch and (row := segment.find_row(batch_id.seq)) is not None:
                return segment, row
        return None

    def find_oldest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """Return the oldest unacknowledged batch, except ``skipped_ids``."""
        return next((batch for segment in self if (batch := segment.find_oldest(skipped_ids))), None)

    def find_newest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """Return the newest unacknowledged batch, except ``skipped_ids``."""
        newest_first = reversed(tuple(self._segments.values()))
        return next((batch for segment in newest_first if (batch := segment.find_newest(skipped_ids))), None)

    def count(self, state: BatchState) -> int:
        """Return the number of batches in a state."""
        return sum(segment.count(state) for segment in self)

    def list_eviction_candidates(self, active: SegmentIndex | None) -> list[SegmentIndex]:
        """Return the segments that can be evicted, in eviction order."""
        excluded = (
            segment
            for segment in self
            if segment is active
            or segment.is_evicted
            or segment.is_removal_pending
            or segment.is_unreadable
            or segment.is_stuck
        )
        candidates = set(self).difference(excluded)
        return sorted(candidates, key=lambda segment: (segment.eviction_priority, segment.number))

    def clear_stuck(self) -> None:
        """Allow eviction of all segments again after I/O errors."""
        for segment in self:
            segment.is_stuck = False

    def find_removal_pending(self) -> SegmentIndex | None:
        """Return the first segment that waits for its loss records to become durable."""
        return next((segment for segment in self if segment.is_removal_pending), None)

    def find_evicted_before(self, segment: SegmentIndex) -> SegmentIndex | None:
        """Return the last evicted segment before ``segment``; the loss records of both may fit into one page."""
        older = (other for other in reversed(tuple(self)) if other.number < segment.number)
        return next((other for other in older if other.is_evicted), None)
