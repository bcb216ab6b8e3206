"""What is in memory only: batches and tombstones that no commit has made durable yet. No I/O, bounded.

Whoever calls holds the spool's lock.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from leadline_agent.spool.index import BatchId, BatchState, PackedBatch, SpooledBatch, build_loss_record
from leadline_agent.spool.loss_records import LossReason, LossRecord, encode_loss_records, merge_adjacent
from leadline_agent.spool.record_format import Record, RecordKind

#: Tombstones in one record: 50 kB of JSON.
LOSSES_PER_RECORD_MAX = 500


class PendingRecord(NamedTuple):
    """A frame to write and what it means: one batch, or tombstones."""

    record: Record
    batch: SpooledBatch | None
    loss_records: tuple[LossRecord, ...]


@dataclass(slots=True)
class _BufferedBatch:
    packed_batch: PackedBatch
    spooled_batch: SpooledBatch
    state: BatchState = BatchState.UNACKED


class WriteBuffer:
    """Batches in order of number, and tombstones."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._batches: dict[BatchId, _BufferedBatch] = {}
        self._size_bytes = 0
        #: Being written right now: they are not given up, or they would be durable and lost at once.
        self._flushing_ids: frozenset[BatchId] = frozenset()
        self.loss_records: list[LossRecord] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __bool__(self) -> bool:
        return bool(self._batches or self.loss_records)

    def add(self, batch: PackedBatch) -> list[SpooledBatch]:
        """Take a batch in; those given up for it, each with a tombstone, unless they are in the store already."""
        spooled = _build_spooled_batch(batch)
        self._batches[batch.id] = _BufferedBatch(batch, spooled)
        self._size_bytes += len(batch.body)
        dropped = []
        while self._size_bytes > self._bytes_max and (oldest := self._find_oldest_idle(batch.id)) is not None:
            gone = self._batches.pop(oldest)
            self._size_bytes -= len(gone.packed_batch.body)
            if gone.state is BatchState.UNACKED:
                self.add_loss_records([build_loss_record(gone.spooled_batch, LossReason.OVERFLOW)])
                dropped.append(gone.spooled_batch)
        return dropped

    def _find_oldest_idle(self, newest: BatchId) -> BatchId | None:
        return next((one for one in self._batches if one not in self._flushing_ids and one != newest), None)

    def add_loss_records(self, loss_records: Iterable[LossRecord]) -> None:
        """Add tombstones to be written; neighbours become one, so that an outage of weeks stays one line."""
        self.loss_records = merge_adjacent([*self.loss_records, *loss_records])

    def find_packed(self, batch_id: BatchId) -> PackedBatch | None:
        """A batch with its body; None when it is not here (any more)."""
        waiting = self._batches.get(batch_id)
        return waiting.packed_batch if waiting else None

    def find_spooled(self, batch_id: BatchId) -> SpooledBatch | None:
        """A batch without its body; None when it is not here."""
        waiting = self._batches.get(batch_id)
        return waiting.spooled_batch if waiting else None

    def get_state(self, batch_id: BatchId) -> BatchState | None:
        """The state of a batch; None when it is not here."""
        waiting = self._batches.get(batch_id)
        return waiting.state if waiting else None

    def set_state(self, batch_id: BatchId, state: BatchState) -> None:
        """Give a batch its state."""
        self._batches[batch_id].state = state

    def rewind(self, epoch: str | None, since_seq: int) -> int:
        """Let acknowledged batches wait again; how many."""
        again = [
            waiting
            for (its_epoch, seq), waiting in self._batches.items()
            if waiting.state is BatchState.ACKED and epoch in {None, its_epoch} and seq >= since_seq
        ]
        for waiting in again:
            waiting.state = BatchState.UNACKED
        return len(again)

    def find_oldest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """The oldest batch that waits for its acknowledgement."""
        return _find_first_unacked(self._batches.values(), skipped_ids)

    def find_newest(self, skipped_ids: Container[BatchId]) -> SpooledBatch | None:
        """The newest batch that waits for its acknowledgement."""
        return _find_first_unacked(reversed(self._batches.values()), skipped_ids)

    def count(self, state: BatchState) -> int:
        """Batches in a state."""
        return sum(waiting.state is state for waiting in self._batches.values())

    def begin_flush(self, next_id: BatchId) -> list[PendingRecord]:
        """Everything as records to write, batches first; ``next_id`` is the next to be given out."""
        self._flushing_ids = frozenset(self._batches)
        records = [
            PendingRecord(_build_record(waiting.packed_batch), waiting.spooled_batch, ())
            for waiting in self._batches.values()
        ]
        for first in range(0, len(self.loss_records), LOSSES_PER_RECORD_MAX):
            some = tuple(self.loss_records[first : first + LOSSES_PER_RECORD_MAX])
            records.append(PendingRecord(encode_loss_records(some, *next_id), None, some))
        return records

    def end_flush(self) -> None:
        """What ``begin`` gave out is not durable."""
        self._flushing_ids = frozenset()

    def remove_flushed(self, batch_id: BatchId) -> BatchState:
        """A batch is durable and leaves; the state it has come to meanwhile."""
        waiting = self._batches.pop(batch_id)
        self._size_bytes -= len(waiting.packed_batch.body)
        return waiting.state

    def remove_flushed_losses(self, loss_records: Container[LossRecord]) -> None:
        """Those are durable. One that grew meanwhile stays, and is written once more."""
        self.loss_records = [one for one in self.loss_records if one not in loss_records]


def _find_first_unacked(waiting: Iterable[_BufferedBatch], passing_over: Container[BatchId]) -> SpooledBatch | None:
    idle = (
        one.spooled_batch
        for one in waiting
        if one.state is BatchState.UNACKED and one.packed_batch.id not in passing_over
    )
    return next(idle, None)


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
