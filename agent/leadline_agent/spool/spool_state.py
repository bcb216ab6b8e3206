"""In-memory state of a spool: batches on disk and in memory, their states, losses and dead letters. No I/O.

Callers own ``SpoolState.condition``, and only briefly.
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


#: Every start creates an epoch. After more starts within two days, only the newest epochs are verified.
BATCHES_TO_VERIFY_MAX = 100


class BatchToVerify(NamedTuple):
    """A batch acknowledged before this start, and how many batches of its epoch the collector must have."""

    batch: SpooledBatch
    expected_batches: int


class SpoolState:
    """Batches by id and by queue, loss records and dead letters."""

    def __init__(self, recovered_spool: RecoveredSpool, memory_bytes_max: int) -> None:
        self.condition = threading.Condition()
        self.index: SpoolIndex = recovered_spool.index
        self.write_buffer = WriteBuffer(memory_bytes_max)
        self.write_buffer.add_loss_records(recovered_spool.unrecorded_losses)
        self.dead_letters = dict(recovered_spool.dead_letters)
        self._delivered_losses = set(recovered_spool.delivered_losses)
        #: True if the manifest on disk is outdated.
        self.is_dirty = True

    def find_newest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """Return the newest unacknowledged batch, except ``skipped_ids``; None without one."""
        return self.write_buffer.find_newest(skipped_ids) or self.index.find_newest(skipped_ids)

    def find_oldest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """Return the oldest unacknowledged batch, except ``skipped_ids``; None without one."""
        return self.index.find_oldest(skipped_ids) or self.write_buffer.find_oldest(skipped_ids)

    def list_batches_to_verify(self) -> list[BatchToVerify]:
        """Return the newest acknowledged batch of each epoch, newest epoch first."""
        batches: dict[str, BatchToVerify] = {}
        for segment in reversed(tuple(self.index)):
            acked = [row for row, _ in segment.iter_rows() if segment.get_state(row) is BatchState.ACKED]
            if not acked:
                continue
            if (batch := batches.get(segment.epoch)) is not None:
                batches[segment.epoch] = batch._replace(expected_batches=batch.expected_batches + len(acked))
            elif len(batches) < BATCHES_TO_VERIFY_MAX:
                batches[segment.epoch] = BatchToVerify(segment.get_batch(acked[-1]), len(acked))
        return list(batches.values())

    def is_unacked(self, batch_id: BatchId) -> bool:
        """Return whether the batch is in the spool and neither acknowledged, refused nor lost."""
        if (state := self.write_buffer.get_state(batch_id)) is None and (
            position := self.index.find_batch(batch_id)
        ) is not None:
            state = position[0].get_state(position[1])
        return state is BatchState.UNACKED

    def count(self, state: BatchState) -> int:
        """Return the number of batches in a state."""
        return self.index.count(state) + self.write_buffer.count(state)

    def ack(self, batch_id: BatchId, now_s: int) -> bool:
        """Mark a batch as acknowledged; return False if it was not unacknowledged."""
        if not self._set_state(batch_id, BatchState.ACKED):
            return False
        if (position := self.index.find_batch(batch_id)) is not None:
            position[0].acked_at_s = now_s
        return True

    def refuse(self, batch_id: BatchId, now_s: int, reason: str) -> bool:
        """Turn a refused batch into a dead letter with a loss record; return False if it was not unacknowledged."""
        if not self._set_state(batch_id, BatchState.DEAD):
            return False
        position = self.index.find_batch(batch_id)
        spooled_batch = position[0].get_batch(position[1]) if position else self.write_buffer.find_spooled(batch_id)
        assert spooled_batch is not None
        self.dead_letters[batch_id] = DeadLetter(
            batch_id.epoch, batch_id.seq, now_s, reason[: manifest.REASON_LENGTH_MAX]
        )
        self.write_buffer.add_loss_records([build_loss_record(spooled_batch, LossReason.REFUSED)])
        return True

    def _set_state(self, batch: BatchId, state: BatchState) -> bool:
        position = self.index.find_batch(batch)
        if self.write_buffer.get_state(batch) is BatchState.UNACKED:
            self.write_buffer.set_state(batch, state)
        elif position is not None and position[0].get_state(position[1]) is BatchState.UNACKED:
            position[0].set_state(position[1], state)
        else:
            return False
        self.is_dirty = True
        return True

    def rewind(self, since_seq: int, epoch: str | None) -> int:
        """Mark acknowledged batches as unacknowledged; return their number."""
        self.is_dirty = True
        # A collector that lost batches also lost the losses they reported, and those batches may have been evicted.
        on_disk = {record for segment in self.index for record in segment.loss_records}
        self.write_buffer.add_loss_records(self._delivered_losses - on_disk)
        self._delivered_losses.clear()
        segments = [segment for segment in self.index if epoch in {None, segment.epoch}]
        return sum(segment.rewind(since_seq) for segment in segments) + self.write_buffer.rewind(epoch, since_seq)

    def mark_lost(self, segment: SegmentIndex, row: int) -> None:
        """Mark a damaged or missing batch as lost; add a loss record if it was unacknowledged."""
        batch, state = segment.get_batch(row), segment.get_state(row)
        if segment.is_evicted or state is BatchState.LOST or self.index.find_batch(batch.id) != (segment, row):
            return
        segment.set_state(row, BatchState.LOST)
        self.dead_letters.pop(batch.id, None)
        if state is BatchState.UNACKED:
            self.write_buffer.add_loss_records([build_loss_record(batch, LossReason.CORRUPT)])
        log.error("batch damaged on disk", extra={"seq": batch.id.seq, "segment": segment.number})

    def mark_segment_missing(self, segment: SegmentIndex) -> None:
        """Remove a segment that is missing on disk; add loss records for its unacknowledged batches."""
        unacked_batches = [batch for batch, state in segment.iter_batches() if state is BatchState.UNACKED]
        self.write_buffer.add_loss_records(
            [
                *self.list_undelivered_in(segment),
                *(build_loss_record(batch, LossReason.CORRUPT) for batch in unacked_batches),
            ]
        )
        self.remove_segment(segment)
        log.error("a segment is missing", extra={"segment": segment.number, "batches_lost": len(unacked_batches)})

    def remove_segment(self, segment: SegmentIndex) -> None:
        """Remove a deleted segment. Its undelivered loss records, if any, must be in another segment."""
        self.index.remove(segment)
        self._remove_dead_letters(segment)

    def mark_segment_evicted(self, segment: SegmentIndex, loss_records: list[LossRecord]) -> None:
        """Replace a segment with an evicted one that contains only loss records."""
        evicted = SegmentIndex(segment.number, segment.epoch, 0)
        evicted.is_evicted, evicted.size, evicted.loss_records = True, HEADER_PAGE_BYTES, loss_records
        self.index.put(evicted)
        self._remove_dead_letters(segment)

    def _remove_dead_letters(self, segment: SegmentIndex) -> None:
        for batch, state in segment.iter_batches():
            if state is BatchState.DEAD:
                self.dead_letters.pop(batch.id, None)
        self.is_dirty = True

    def list_undelivered_in(self, segment: SegmentIndex) -> list[LossRecord]:
        """Return the loss records of a segment that the collector does not have."""
        return [record for record in segment.loss_records if record not in self._delivered_losses]

    def list_undelivered_losses(self) -> list[LossRecord]:
        """Return all losses that the collector does not have, durable or not."""
        on_disk = [record for segment in self.index for record in segment.loss_records]
        distinct = dict.fromkeys([*on_disk, *self.write_buffer.loss_records])
        return [record for record in distinct if record not in self._delivered_losses]

    def mark_delivered(self, loss_records: Iterable[LossRecord]) -> None:
        """Mark losses as known to the collector."""
        self._delivered_losses.update(loss_records)
        self.is_dirty = True

    def accept_records(
        self, records: Sequence[PendingRecord], locations: Sequence[RecordLocation], now_s: int
    ) -> tuple[BatchId, ...]:
        """Move records from the write buffer to the index after they became durable; return the ids of the batches."""
        for record, location in zip(records, locations, strict=True):
            self.index.put(location.segment)
            if record.batch is not None:
                state = self.write_buffer.remove_flushed(record.batch.id)
                location.segment.add(record.batch, location.offset, state)
                location.segment.acked_at_s = now_s if state is BatchState.ACKED else location.segment.acked_at_s
            location.segment.loss_records += record.loss_records
            self.write_buffer.remove_flushed_losses(record.loss_records)
        self.write_buffer.end_flush()
        return tuple(record.batch.id for record in records if record.batch is not None)

    def build_manifest(self, excluded_segments: Collection[SegmentIndex]) -> Manifest:
        """Return the content of the manifest without ``excluded_segments``."""
        segments = [segment for segment in self.index if segment not in excluded_segments]
        self._prune_delivered_losses()
        return Manifest(
            rows=[manifest.build_entry(segment) for segment in segments if len(segment)],
            dead=list(self.dead_letters.values()),
            undelivered=self.list_undelivered_losses(),
            delivered=sorted(self._delivered_losses, key=lambda record: (record.epoch, record.first_seq)),
        )

    def _prune_delivered_losses(self) -> None:
        """Drop the delivered losses that no segment on disk can produce again."""
        on_disk = {record for segment in self.index for record in segment.loss_records}
        epochs = {segment.epoch for segment in self.index if len(segment)}
        self._delivered_losses = {
            record for record in self._delivered_losses if record in on_disk or record.epoch in epochs
        }
