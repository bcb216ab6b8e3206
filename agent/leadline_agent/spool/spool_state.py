"""Everything a spool knows, in memory: what is on disk, what is not yet, and what became of it. No I/O.

Whoever calls holds ``changed``; it is held for moments only.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Container, Iterable, Sequence
from typing import NamedTuple

from leadline_agent.spool import manifest
from leadline_agent.spool.index import (
    BatchId,
    BatchState,
    RecordLocation,
    SegmentIndex,
    SpooledBatch,
    SpoolIndex,
    build_loss_record,
)
from leadline_agent.spool.loss_records import LossReason, LossRecord
from leadline_agent.spool.manifest import DeadLetter, Manifest
from leadline_agent.spool.record_format import HEADER_PAGE_BYTES
from leadline_agent.spool.recovery import RecoveredSpool
from leadline_agent.spool.write_buffer import PendingRecord, WriteBuffer

log = logging.getLogger(__name__)


#: Each start begins an epoch. An agent that starts more often in two days asks about the last ones only.
RECONCILE_PROBES_MAX = 100


class ReconcileProbe(NamedTuple):
    """A batch that the collector acknowledged before this start, and how many of its epoch its store must have."""

    batch: SpooledBatch
    expected_batches: int


class SpoolState:
    """Batches by lane and by name, tombstones and dead letters."""

    def __init__(self, recovered_spool: RecoveredSpool, memory_bytes_max: int) -> None:
        self.condition = threading.Condition()
        self.index: SpoolIndex = recovered_spool.index
        self.write_buffer = WriteBuffer(memory_bytes_max)
        self.write_buffer.add_loss_records(recovered_spool.unrecorded_losses)
        self.dead_letters = dict(recovered_spool.dead_letters)
        self._delivered_losses = set(recovered_spool.delivered_losses)
        #: Something that the ledger on disk does not say.
        self.is_dirty = True

    def find_newest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """The newest batch that waits."""
        return self.write_buffer.find_newest(skipped_ids) or self.index.find_newest(skipped_ids)

    def find_oldest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """The oldest batch that waits."""
        return self.index.find_oldest(skipped_ids) or self.write_buffer.find_oldest(skipped_ids)

    def list_reconcile_probes(self) -> list[ReconcileProbe]:
        """Of each epoch that has acknowledged batches the newest of them; the newest epoch first."""
        doubts: dict[str, ReconcileProbe] = {}
        for segment in reversed(tuple(self.index)):
            acked = [row for row, _ in segment.iter_rows() if segment.get_state(row) is BatchState.ACKED]
            if not acked:
                continue
            if (known := doubts.get(segment.epoch)) is not None:
                doubts[segment.epoch] = known._replace(expected_batches=known.expected_batches + len(acked))
            elif len(doubts) < RECONCILE_PROBES_MAX:
                doubts[segment.epoch] = ReconcileProbe(segment.get_batch(acked[-1]), len(acked))
        return list(doubts.values())

    def is_unacked(self, batch_id: BatchId) -> bool:
        """Whether it is here and not acknowledged, refused or lost."""
        if (state := self.write_buffer.get_state(batch_id)) is None and (
            found := self.index.find_batch(batch_id)
        ) is not None:
            state = found[0].get_state(found[1])
        return state is BatchState.UNACKED

    def count(self, state: BatchState) -> int:
        """Batches in a state."""
        return self.index.count(state) + self.write_buffer.count(state)

    def ack(self, batch_id: BatchId, now_s: int) -> bool:
        """The collector has it; False when it did not wait."""
        if not self._set_state(batch_id, BatchState.ACKED):
            return False
        if (found := self.index.find_batch(batch_id)) is not None:
            found[0].acked_at_s = now_s
        return True

    def refuse(self, batch_id: BatchId, now_s: int, reason: str) -> bool:
        """The collector never takes it: a dead letter with its tombstone; False when it did not wait."""
        if not self._set_state(batch_id, BatchState.DEAD):
            return False
        found = self.index.find_batch(batch_id)
        spooled = found[0].get_batch(found[1]) if found else self.write_buffer.find_spooled(batch_id)
        assert spooled is not None
        self.dead_letters[batch_id] = DeadLetter(
            batch_id.epoch, batch_id.seq, now_s, reason[: manifest.REASON_LENGTH_MAX]
        )
        self.write_buffer.add_loss_records([build_loss_record(spooled, LossReason.REFUSED)])
        return True

    def _set_state(self, batch: BatchId, state: BatchState) -> bool:
        found = self.index.find_batch(batch)
        if self.write_buffer.get_state(batch) is BatchState.UNACKED:
            self.write_buffer.set_state(batch, state)
        elif found is not None and found[0].get_state(found[1]) is BatchState.UNACKED:
            found[0].set_state(found[1], state)
        else:
            return False
        self.is_dirty = True
        return True

    def rewind(self, since_seq: int, epoch: str | None) -> int:
        """Let acknowledged batches wait again; how many."""
        self.is_dirty = True
        # The store that lost batches lost what they told as well, and the batch that told it may be gone by now.
        on_disk = {one for segment in self.index for one in segment.loss_records}
        self.write_buffer.add_loss_records(self._delivered_losses - on_disk)
        self._delivered_losses.clear()
        segments = [segment for segment in self.index if epoch in {None, segment.epoch}]
        return sum(segment.rewind(since_seq) for segment in segments) + self.write_buffer.rewind(epoch, since_seq)

    def mark_lost(self, segment: SegmentIndex, row: int) -> None:
        """A batch was found damaged or its file gone; a tombstone, if it still waited."""
        batch, state = segment.get_batch(row), segment.get_state(row)
        if segment.is_evicted or state is BatchState.LOST or self.index.find_batch(batch.id) != (segment, row):
            return
        segment.set_state(row, BatchState.LOST)
        self.dead_letters.pop(batch.id, None)
        if state is BatchState.UNACKED:
            self.write_buffer.add_loss_records([build_loss_record(batch, LossReason.CORRUPT)])
        log.error("batch damaged on disk", extra={"seq": batch.id.seq, "segment": segment.number})

    def mark_segment_missing(self, segment: SegmentIndex) -> None:
        """A segment is no longer on disk."""
        waiting = [batch for batch, state in segment.iter_batches() if state is BatchState.UNACKED]
        self.write_buffer.add_loss_records(
            [*self.list_undelivered_in(segment), *(build_loss_record(batch, LossReason.CORRUPT) for batch in waiting)]
        )
        self.remove_segment(segment)
        log.error("segment is gone", extra={"segment": segment.number, "batches_lost": len(waiting)})

    def remove_segment(self, segment: SegmentIndex) -> None:
        """A segment left the disk, and what it could tell is told elsewhere."""
        self.index.remove(segment)
        self._remove_dead_letters(segment)

    def mark_segment_evicted(self, segment: SegmentIndex, loss_records: list[LossRecord]) -> None:
        """Of a segment only the note of what it held is left."""
        tomb = SegmentIndex(segment.number, segment.epoch, 0)
        tomb.is_evicted, tomb.size, tomb.loss_records = True, HEADER_PAGE_BYTES, loss_records
        self.index.put(tomb)
        self._remove_dead_letters(segment)

    def _remove_dead_letters(self, segment: SegmentIndex) -> None:
        for batch, state in segment.iter_batches():
            if state is BatchState.DEAD:
                self.dead_letters.pop(batch.id, None)
        self.is_dirty = True

    def list_undelivered_in(self, segment: SegmentIndex) -> list[LossRecord]:
        """Tombstones of a segment that the collector does not know."""
        return [one for one in segment.loss_records if one not in self._delivered_losses]

    def list_undelivered_losses(self) -> list[LossRecord]:
        """Losses that the collector does not know, durable or not."""
        everything = [*(one for segment in self.index for one in segment.loss_records), *self.write_buffer.loss_records]
        return [one for one in dict.fromkeys(everything) if one not in self._delivered_losses]

    def mark_delivered(self, loss_records: Iterable[LossRecord]) -> None:
        """The collector knows them."""
        self._delivered_losses.update(loss_records)
        self.is_dirty = True

    def accept_records(
        self, records: Sequence[PendingRecord], locations: Sequence[RecordLocation], now_s: int
    ) -> tuple[BatchId, ...]:
        """Records are durable where they lie; the batches among them."""
        for record, place in zip(records, locations, strict=True):
            self.index.put(place.segment)
            if record.batch is not None:
                state = self.write_buffer.remove_flushed(record.batch.id)
                place.segment.add(record.batch, place.offset, state)
                place.segment.acked_at_s = now_s if state is BatchState.ACKED else place.segment.acked_at_s
            place.segment.loss_records += record.loss_records
            self.write_buffer.remove_flushed_losses(record.loss_records)
        self.write_buffer.end_flush()
        return tuple(record.batch.id for record in records if record.batch is not None)

    def build_manifest(self, excluded_segments: Collection[SegmentIndex]) -> Manifest:
        """What the ledger has to say, but for some segments."""
        segments = [segment for segment in self.index if segment not in excluded_segments]
        self._prune_delivered_losses()
        return Manifest(
            rows=[manifest.build_entry(segment) for segment in segments if len(segment)],
            dead=list(self.dead_letters.values()),
            undelivered=self.list_undelivered_losses(),
            delivered=sorted(self._delivered_losses, key=lambda one: (one.epoch, one.first_seq)),
        )

    def _prune_delivered_losses(self) -> None:
        """Let go of what nothing on disk could bring up again."""
        on_disk = {one for segment in self.index for one in segment.loss_records}
        epochs = {segment.epoch for segment in self.index if len(segment)}
        self._delivered_losses = {one for one in self._delivered_losses if one in on_disk or one.epoch in epochs}
