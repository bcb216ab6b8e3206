"""What lies on disk and where: columns for every segment, 29 bytes a batch, and never a body.

Pure bookkeeping: it opens no file. A segment holds batches of one epoch.
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
    """Names a batch of this agent for ever."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """A sealed batch as it travels, with what the spool has to know of it; the body carries its id inside."""

    id: BatchId
    body: bytes
    windows: int
    #: Epoch seconds of the first and the last minute in it.
    t_first_s: int
    t_last_s: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.body) <= BODY_BYTES_MAX:
            raise ValueError(f"a body of {len(self.body)} bytes; a collector takes 1 to {BODY_BYTES_MAX}")
        if self.windows < 0 or not 0 <= self.t_first_s <= self.t_last_s < 1 << 32:
            raise ValueError(f"{self.windows} windows from {self.t_first_s} to {self.t_last_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledBatch:
    """A batch in the spool, without its body."""

    id: BatchId
    size: int
    windows: int
    t_first_s: int
    t_last_s: int


class BatchState(IntEnum):
    """What became of a batch so far."""

    UNACKED = 0
    ACKED = 1
    #: Refused for ever by the collector.
    DEAD = 2
    #: Found damaged when it was read.
    LOST = 3


class EvictionPriority(IntEnum):
    """What goes first when there is no room."""

    ACKED = 0
    DEAD = 1
    UNACKED = 2


class RecordLocation(NamedTuple):
    """Where a record lies: the offset is that of its header."""

    segment: SegmentIndex
    offset: int


class SegmentIndex:
    """One segment: a row for each batch, in order of writing, and the tombstones it holds."""

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
        #: Numbers from here on are claimed to be in this segment or in a later one.
        self.first_seq = first_seq
        #: Bytes of the file.
        self.size = 0
        #: Wall clock of the last acknowledgement, epoch seconds; 0 when there was none.
        self.acked_at_s = 0
        #: Its batches were given up: only tombstones are left.
        self.is_evicted = False
        #: It could not be read at the start: left alone until the next one.
        self.is_unreadable = False
        #: The disk refused to give it up: others go first.
        self.is_stuck = False
        #: It goes as soon as the note of what it held, which it had no room for itself, is durable elsewhere.
        self.is_removal_pending = False
        self.loss_records: list[LossRecord] = []
        #: Numbers ascend, unless threads overtook each other between reserving and appending.
        self._is_ordered = True
        self._seqs = array("Q")
        self._offsets, self._lengths, self._windows = array("I"), array("I"), array("I")
        self._t_firsts_s, self._t_lasts_s = array("I"), array("I")
        self._states = bytearray()

    def __len__(self) -> int:
        return len(self._seqs)

    def add(self, batch: SpooledBatch, offset: int, state: BatchState = BatchState.UNACKED) -> None:
        """Put a batch behind the others; ``offset`` is that of its record."""
        self._is_ordered = self._is_ordered and (not self._seqs or self._seqs[-1] < batch.id.seq)
        self._seqs.append(batch.id.seq)
        self._offsets.append(offset)
        self._lengths.append(batch.size)
        self._windows.append(batch.windows)
        self._t_firsts_s.append(batch.t_first_s)
        self._t_lasts_s.append(batch.t_last_s)
        self._states.append(state)

    def get_batch(self, row: int) -> SpooledBatch:
        """The batch of a row."""
        return SpooledBatch(
            id=BatchId(self.epoch, self._seqs[row]),
            size=self._lengths[row],
            windows=self._windows[row],
            t_first_s=self._t_firsts_s[row],
            t_last_s=self._t_lasts_s[row],
        )

    def iter_batches(self) -> Iterator[tuple[SpooledBatch, BatchState]]:
        """Every batch with its state, in order of writing."""
        for row, state in enumerate(self._states):
            yield self.get_batch(row), BatchState(state)

    def find_row(self, seq: int) -> int | None:
        """The row of a number; None when it is not here."""
        if self._is_ordered:
            row = bisect_left(self._seqs, seq)
            return row if row < len(self._seqs) and self._seqs[row] == seq else None
        return next((row for row, found in enumerate(self._seqs) if found == seq), None)

    def iter_rows(self) -> Iterator[tuple[int, int]]:
        """Every row with its number."""
        return enumerate(self._seqs)

    def get_offset(self, row: int) -> int:
        """Where the record of a row begins."""
        return self._offsets[row]

    def get_state(self, row: int) -> BatchState:
        """The state of a row."""
        return BatchState(self._states[row])

    def set_state(self, row: int, state: BatchState) -> None:
        """Give a row its state."""
        self._states[row] = state

    def count(self, state: BatchState) -> int:
        """Batches in a state."""
        return self._states.count(state)

    @property
    def last_seq(self) -> int:
        """The largest number here; one before ``first_seq`` when there is none."""
        return max(self._seqs, default=self.first_seq - 1)

    @property
    def times_s(self) -> tuple[int, int] | None:
        """The first minute of the first batch and the last of the last; None without a batch."""
        return (self._t_firsts_s[0], self._t_lasts_s[-1]) if len(self) else None

    @property
    def eviction_priority(self) -> EvictionPriority:
        """What its loss would mean."""
        if self.count(BatchState.UNACKED):
            return EvictionPriority.UNACKED
        return EvictionPriority.DEAD if self.count(BatchState.DEAD) else EvictionPriority.ACKED

    def find_time_before_s(self, seq: int) -> int | None:
        """The last minute of the nearest smaller number; None when there is none here."""
        row = bisect_left(self._seqs, seq) - 1
        return self._t_lasts_s[row] if row >= 0 else None

    def find_time_after_s(self, seq: int) -> int | None:
        """The first minute of the nearest larger number; None when there is none here."""
        row = bisect_right(self._seqs, seq)
        return self._t_firsts_s[row] if row < len(self._seqs) else None

    def find_oldest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """The first batch that waits for its acknowledgement."""
        row = self._states.find(BatchState.UNACKED)
        while row >= 0 and BatchId(self.epoch, self._seqs[row]) in skipped_ids:
            row = self._states.find(BatchState.UNACKED, row + 1)
        return self.get_batch(row) if row >= 0 else None

    def find_newest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """The last batch that waits for its acknowledgement."""
        row = self._states.rfind(BatchState.UNACKED)
        while row >= 0 and BatchId(self.epoch, self._seqs[row]) in skipped_ids:
            row = self._states.rfind(BatchState.UNACKED, 0, row)
        return self.get_batch(row) if row >= 0 else None

    def collect_seqs(self, state: BatchState) -> RangeSet:
        """The numbers in a state."""
        result = RangeSet()
        for row, found in enumerate(self._states):
            if found == state:
                result.add(self._seqs[row], self._seqs[row])
        return result

    def iter_losses(self) -> Iterator[LossRecord]:
        """What is lost when this segment is given up, a tombstone for each batch."""
        for batch, state in self.iter_batches():
            if state is BatchState.UNACKED:
                yield build_loss_record(batch, LossReason.OVERFLOW)

    def rewind(self, since_seq: int) -> int:
        """Let acknowledged batches from ``since_seq`` on wait again; how many."""
        rows = [
            row for row, state in enumerate(self._states) if state == BatchState.ACKED and self._seqs[row] >= since_seq
        ]
        for row in rows:
            self._states[row] = BatchState.UNACKED
        return len(rows)


def build_loss_record(batch: SpooledBatch, reason: LossReason) -> LossRecord:
    """The tombstone of one batch."""
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
    """All segments, in order of number, which is the order in which they were begun."""

    def __init__(self, segments: Iterable[SegmentIndex] = ()) -> None:
        self._segments = {segment.number: segment for segment in segments}

    def __iter__(self) -> Iterator[SegmentIndex]:
        return iter(tuple(self._segments.values()))

    @property
    def size(self) -> int:
        """Bytes of all segments but those that are about to go."""
        return sum(segment.size for segment in self if not segment.is_removal_pending)

    def put(self, segment: SegmentIndex) -> None:
        """Add a segment, newer than all others, or take it instead of the one with its number."""
        self._segments[segment.number] = segment

    def remove(self, segment: SegmentIndex) -> None:
        """Forget a segment, if it is here."""
        self._segments.pop(segment.number, None)

    def find_batch(self, batch_id: BatchId) -> tuple[SegmentIndex, int] | None:
        """The segment and row of a batch; None when it is not here (any more)."""
        for segment in reversed(tuple(self._segments.values())):
            if segment.epoch == batch_id.epoch and (row := segment.find_row(batch_id.seq)) is not None:
                return segment, row
        return None

    def find_oldest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """The oldest batch that waits for its acknowledgement."""
        return next((found for segment in self if (found := segment.find_oldest(skipped_ids))), None)

    def find_newest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """The newest batch that waits for its acknowledgement."""
        backwards = reversed(tuple(self._segments.values()))
        return next((found for segment in backwards if (found := segment.find_newest(skipped_ids))), None)

    def count(self, state: BatchState) -> int:
        """Batches in a state."""
        return sum(segment.count(state) for segment in self)

    def list_eviction_candidates(self, active: SegmentIndex | None) -> list[SegmentIndex]:
        """Segments that can be given up for room, the first to go first."""
        kept = (
            one
            for one in self
            if one is active or one.is_evicted or one.is_removal_pending or one.is_unreadable or one.is_stuck
        )
        closed = set(self).difference(kept)
        return sorted(closed, key=lambda segment: (segment.eviction_priority, segment.number))

    def clear_stuck(self) -> None:
        """What the disk refused once it may allow the next time."""
        for segment in self:
            segment.is_stuck = False

    def find_removal_pending(self) -> SegmentIndex | None:
        """The first segment that waits for its note to become durable."""
        return next((segment for segment in self if segment.is_removal_pending), None)

    def find_evicted_before(self, segment: SegmentIndex) -> SegmentIndex | None:
        """The last segment before ``victim`` that is only tombstones: both can be told in one."""
        return next((one for one in reversed(tuple(self)) if one.is_evicted and one.number < segment.number), None)
