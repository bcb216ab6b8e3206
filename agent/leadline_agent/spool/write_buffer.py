"""What is in memory only: batches and tombstones that no commit has made durable yet. No I/O, bounded.

Whoever calls holds the spool's lock.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from leadline_agent.spool.index import BatchId, PackedBatch, Spooled, State, lost
from leadline_agent.spool.loss_records import Loss, Tombstone, joined, tombstone_frame
from leadline_agent.spool.record_format import Frame, Kind

#: Tombstones in one record: 50 kB of JSON.
TOMBSTONES_MAX = 500


class Record(NamedTuple):
    """A frame to write and what it means: one batch, or tombstones."""

    frame: Frame
    batch: Spooled | None
    tombstones: tuple[Tombstone, ...]


@dataclass(slots=True)
class _Waiting:
    batch: PackedBatch
    spooled: Spooled
    state: State = State.UNACKED


class Pending:
    """Batches in order of number, and tombstones."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._batches: dict[BatchId, _Waiting] = {}
        self._bytes = 0
        #: Being written right now: they are not given up, or they would be durable and lost at once.
        self._writing: frozenset[BatchId] = frozenset()
        self.tombstones: list[Tombstone] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __bool__(self) -> bool:
        return bool(self._batches or self.tombstones)

    def add(self, batch: PackedBatch) -> list[Spooled]:
        """Take a batch in; those given up for it, each with a tombstone, unless they are in the store already."""
        spooled = _spooled(batch)
        self._batches[batch.id] = _Waiting(batch, spooled)
        self._bytes += len(batch.body)
        dropped = []
        while self._bytes > self._bytes_max and (oldest := self._oldest_idle(batch.id)) is not None:
            gone = self._batches.pop(oldest)
            self._bytes -= len(gone.batch.body)
            if gone.state is State.UNACKED:
                self.bury([lost(gone.spooled, Loss.OVERFLOW)])
                dropped.append(gone.spooled)
        return dropped

    def _oldest_idle(self, newest: BatchId) -> BatchId | None:
        return next((one for one in self._batches if one not in self._writing and one != newest), None)

    def bury(self, tombstones: Iterable[Tombstone]) -> None:
        """Add tombstones to be written; neighbours become one, so that an outage of weeks stays one line."""
        self.tombstones = joined([*self.tombstones, *tombstones])

    def find(self, batch: BatchId) -> PackedBatch | None:
        """A batch with its body; None when it is not here (any more)."""
        waiting = self._batches.get(batch)
        return waiting.batch if waiting else None

    def spooled(self, batch: BatchId) -> Spooled | None:
        """A batch without its body; None when it is not here."""
        waiting = self._batches.get(batch)
        return waiting.spooled if waiting else None

    def state(self, batch: BatchId) -> State | None:
        """The state of a batch; None when it is not here."""
        waiting = self._batches.get(batch)
        return waiting.state if waiting else None

    def set_state(self, batch: BatchId, state: State) -> None:
        """Give a batch its state."""
        self._batches[batch].state = state

    def rewind(self, epoch: str | None, since_seq: int) -> int:
        """Let acknowledged batches wait again; how many."""
        again = [
            waiting
            for (its_epoch, seq), waiting in self._batches.items()
            if waiting.state is State.ACKED and epoch in {None, its_epoch} and seq >= since_seq
        ]
        for waiting in again:
            waiting.state = State.UNACKED
        return len(again)

    def oldest(self, passing_over: Container[BatchId]) -> Spooled | None:
        """The oldest batch that waits for its acknowledgement."""
        return _first(self._batches.values(), passing_over)

    def newest(self, passing_over: Container[BatchId]) -> Spooled | None:
        """The newest batch that waits for its acknowledgement."""
        return _first(reversed(self._batches.values()), passing_over)

    def count(self, state: State) -> int:
        """Batches in a state."""
        return sum(waiting.state is state for waiting in self._batches.values())

    def begin(self, next_id: BatchId) -> list[Record]:
        """Everything as records to write, batches first; ``next_id`` is the next to be given out."""
        self._writing = frozenset(self._batches)
        records = [Record(_frame(waiting.batch), waiting.spooled, ()) for waiting in self._batches.values()]
        for first in range(0, len(self.tombstones), TOMBSTONES_MAX):
            some = tuple(self.tombstones[first : first + TOMBSTONES_MAX])
            records.append(Record(tombstone_frame(some, *next_id), None, some))
        return records

    def failed(self) -> None:
        """What ``begin`` gave out is not durable."""
        self._writing = frozenset()

    def settle(self, batch: BatchId) -> State:
        """A batch is durable and leaves; the state it has come to meanwhile."""
        waiting = self._batches.pop(batch)
        self._bytes -= len(waiting.batch.body)
        return waiting.state

    def settle_tombstones(self, durable: Container[Tombstone]) -> None:
        """Those are durable. One that grew meanwhile stays, and is written once more."""
        self.tombstones = [one for one in self.tombstones if one not in durable]


def _first(waiting: Iterable[_Waiting], passing_over: Container[BatchId]) -> Spooled | None:
    idle = (one.spooled for one in waiting if one.state is State.UNACKED and one.batch.id not in passing_over)
    return next(idle, None)


def _spooled(batch: PackedBatch) -> Spooled:
    return Spooled(
        id=batch.id,
        size=len(batch.body),
        windows=batch.windows,
        t_first_s=batch.t_first_s,
        t_last_s=batch.t_last_s,
    )


def _frame(batch: PackedBatch) -> Frame:
    return Frame(
        kind=Kind.BATCH,
        epoch=batch.id.epoch,
        seq=batch.id.seq,
        windows=batch.windows,
        t_first_s=batch.t_first_s,
        t_last_s=batch.t_last_s,
        payload=batch.body,
    )
