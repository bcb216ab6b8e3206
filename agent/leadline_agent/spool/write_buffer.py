"""Write buffer: batches and loss records that are not durable yet. Bounded, no I/O.

Callers own ``SpoolState.condition``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from leadline_agent.spool.index import BatchId, BatchState, PackedBatch, SpooledBatch, build_loss_record
from leadline_agent.spool.loss_records import LossReason, LossRecord, encode_loss_records, merge_adjacent
from leadline_agent.spool.record_format import Record, RecordKind

#: Loss records in one spool record: about 50 kB of JSON.
LOSSES_PER_RECORD_MAX = 500


class PendingRecord(NamedTuple):
    """A record to write and its content: one batch, or loss records."""

    record: Record
    batch: SpooledBatch | None
    loss_records: tuple[LossRecord, ...]


@dataclass(slots=True)
class _BufferedBatch:
    packed_batch: PackedBatch
    spooled_batch: SpooledBatch
    state: BatchState = BatchState.UNACKED


class WriteBuffer:
    """Batches in append order, and loss records."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._batches: dict[BatchId, _BufferedBatch] = {}
        self._size_bytes = 0
        #: Batches that are being written. They are not dropped: they would be both durable and reported as lost.
        self._flushing_ids: frozenset[BatchId] = frozenset()
        self.loss_records: list[LossRecord] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __bool__(self) -> bool:
        return bool(self._batches or self.loss_records)

    def add(self, batch: PackedBatch) -> list[SpooledBatch]:
        """Add a batch; return the unacknowledged batches that were dropped for it, each with a loss record."""
        self._batches[batch.id] = _BufferedBatch(batch, _build_spooled_batch(batch))
        self._size_bytes += len(batch.body)
        dropped = []
        while self._size_bytes > self._bytes_max and (oldest := self._find_oldest_idle(batch.id)) is not None:
            buffered = self._batches.pop(oldest)
            self._size_bytes -= len(buffered.packed_batch.body)
            if buffered.state is BatchState.UNACKED:
                self.add_loss_records([build_loss_record(buffered.spooled_batch, LossReason.OVERFLOW)])
                dropped.append(buffered.spooled_batch)
        return dropped

    def _find_oldest_idle(self, newest: BatchId) -> BatchId | None:
        idle = (batch_id for batch_id in self._batches if batch_id not in self._flushing_ids and batch_id != newest)
        return next(idle, None)

    def add_loss_records(self, loss_records: Iterable[LossRecord]) -> None:
        """Add loss records. Adjacent ranges are merged, so that an outage of weeks stays one record."""
        self.loss_records = merge_adjacent([*self.loss_records, *loss_records])

    def find_packed(self, batch_id: BatchId) -> PackedBatch | None:
        """Return a batch with its body; None if it is not in the buffer."""
        buffered = self._batches.get(batch_id)
        return buffered.packed_batch if buffered else None

    def find_spooled(self, batch_id: BatchId) -> SpooledBatch | None:
        """Return a batch without its body; None if it is not in the buffer."""
        buffered = self._batches.get(batch_id)
        return buffered.spooled_batch if buffered else None

    def get_state(self, batch_id: BatchId) -> BatchState | None:
        """Return the state of a batch; None if it is not in the buffer."""
        buffered = self._batches.get(batch_id)
        return buffered.state if buffered else None

    def set_state(self, batch_id: BatchId, state: BatchState) -> None:
        """Set the state of a batch."""
        self._batches[batch_id].state = state

    def rewind(self, epoch: str | None, since_seq: int) -> int:
        """Mark acknowledged batches as unacknowledged; return their number."""
        rewound = [
            buffered
            for (batch_epoch, seq), buffered in self._batches.items()
            if buffered.state is BatchState.ACKED and epoch in {None, batch_epoch} and seq >= since_seq
        ]
        for buffered in rewound:
            buffered.state = BatchState.UNACKED
        return len(rewound)

    def find_oldest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """Return the oldest unacknowledged batch, except ``skipped_ids``; None without one."""
        return _find_first_unacked(self._batches.values(), skipped_ids)

    def find_newest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """Return the newest unacknowledged batch, except ``skipped_ids``; None without one."""
        return _find_first_unacked(reversed(self._batches.values()), skipped_ids)

    def count(self, state: BatchState) -> int:
        """Return the number of batches in a state."""
        return sum(buffered.state is state for buffered in self._batches.values())

    def begin_flush(self, next_id: BatchId) -> list[PendingRecord]:
        """Return all batches and loss records as records to write, batches first; ``next_id`` is the next free id."""
        self._flushing_ids = frozenset(self._batches)
        records = [
            PendingRecord(_build_record(buffered.packed_batch), buffered.spooled_batch, ())
            for buffered in self._batches.values()
        ]
        for start in range(0, len(self.loss_records), LOSSES_PER_RECORD_MAX):
            chunk = tuple(self.loss_records[start : start + LOSSES_PER_RECORD_MAX])
            records.append(PendingRecord(encode_loss_records(chunk, *next_id), None, chunk))
        return records

    def end_flush(self) -> None:
        """End a flush, successful or not."""
        self._flushing_ids = frozenset()

    def remove_flushed(self, batch_id: BatchId) -> BatchState:
        """Remove a durable batch; return its current state, which may have changed during the flush."""
        buffered = self._batches.pop(batch_id)
        self._size_bytes -= len(buffered.packed_batch.body)
        return buffered.state

    def remove_flushed_losses(self, loss_records: Container[LossRecord]) -> None:
        """Remove durable loss records. A record that grew during the flush stays and is written again."""
        self.loss_records = [record for record in self.loss_records if record not in loss_records]


def _find_first_unacked(batches: Iterable[_BufferedBatch], skipped_ids: Container[BatchId]) -> SpooledBatch | None:
    unacked = (buffered for buffered in batches if buffered.state is BatchState.UNACKED)
    return next((buffered.spooled_batch for buffered in unacked if buffered.packed_batch.id not in skipped_ids), None)


def _build_spooled_batch(batch: PackedBatch) -> SpooledBatch:
    return SpooledBatch(
        id=batch.id,
        size=len(batch.body),
        windows=batch.windows,
        t_first_s=batch.t_first_s,
        t_last_s=batch.t_last_s,
    )


def _build_record(batch: PackedBatch) -> Record:
    return Record(
        kind=RecordKind.BATCH,
        epoch=batch.id.epoch,
        seq=batch.id.seq,
        windows=batch.windows,
        t_first_s=batch.t_first_s,
        t_last_s=batch.t_last_s,
        payload=batch.body,
    )
