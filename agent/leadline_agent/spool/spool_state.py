"""Everything a spool knows, in memory: what is on disk, what is not yet, and what became of it. No I/O.

Whoever calls holds ``changed``; it is held for moments only.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Container, Iterable, Sequence
from typing import NamedTuple

from leadline_agent.spool import manifest
from leadline_agent.spool.index import BatchId, Place, SegmentIndex, Shelf, Spooled, State, lost
from leadline_agent.spool.loss_records import Loss, Tombstone
from leadline_agent.spool.manifest import DeadLetter, Ledger
from leadline_agent.spool.record_format import BLOCK_BYTES
from leadline_agent.spool.recovery import Recovered
from leadline_agent.spool.write_buffer import Pending, Record

log = logging.getLogger(__name__)


#: Each start begins an epoch. An agent that starts more often in two days asks about the last ones only.
DOUBTS_MAX = 100


class Doubt(NamedTuple):
    """A batch that the collector acknowledged before this start, and how many of its epoch its store must have."""

    batch: Spooled
    stored: int


class Contents:
    """Batches by lane and by name, tombstones and dead letters."""

    def __init__(self, found: Recovered, memory_bytes_max: int) -> None:
        self.changed = threading.Condition()
        self.shelf: Shelf = found.shelf
        self.pending = Pending(memory_bytes_max)
        self.pending.bury(found.lost)
        self.dead = dict(found.dead)
        self._delivered = set(found.delivered)
        #: Something that the ledger on disk does not say.
        self.marked = True

    def newest(self, passing_over: Container[BatchId]) -> Spooled | None:
        """The newest batch that waits."""
        return self.pending.newest(passing_over) or self.shelf.newest(passing_over)

    def oldest(self, passing_over: Container[BatchId]) -> Spooled | None:
        """The oldest batch that waits."""
        return self.shelf.oldest(passing_over) or self.pending.oldest(passing_over)

    def doubts(self) -> list[Doubt]:
        """Of each epoch that has acknowledged batches the newest of them; the newest epoch first."""
        doubts: dict[str, Doubt] = {}
        for segment in reversed(tuple(self.shelf)):
            acked = [row for row, _ in segment.rows() if segment.state(row) is State.ACKED]
            if not acked:
                continue
            if (known := doubts.get(segment.epoch)) is not None:
                doubts[segment.epoch] = known._replace(stored=known.stored + len(acked))
            elif len(doubts) < DOUBTS_MAX:
                doubts[segment.epoch] = Doubt(segment.batch(acked[-1]), len(acked))
        return list(doubts.values())

    def waits(self, batch: BatchId) -> bool:
        """Whether it is here and not acknowledged, refused or lost."""
        if (state := self.pending.state(batch)) is None and (found := self.shelf.find(batch)) is not None:
            state = found[0].state(found[1])
        return state is State.UNACKED

    def count(self, state: State) -> int:
        """Batches in a state."""
        return self.shelf.count(state) + self.pending.count(state)

    def ack(self, batch: BatchId, now_s: int) -> bool:
        """The collector has it; False when it did not wait."""
        if not self._mark(batch, State.ACKED):
            return False
        if (found := self.shelf.find(batch)) is not None:
            found[0].acked_at_s = now_s
        return True

    def refuse(self, batch: BatchId, now_s: int, reason: str) -> bool:
        """The collector never takes it: a dead letter with its tombstone; False when it did not wait."""
        if not self._mark(batch, State.DEAD):
            return False
        found = self.shelf.find(batch)
        spooled = found[0].batch(found[1]) if found else self.pending.spooled(batch)
        assert spooled is not None
        self.dead[batch] = DeadLetter(batch.epoch, batch.seq, now_s, reason[: manifest.REASON_LENGTH_MAX])
        self.pending.bury([lost(spooled, Loss.REFUSED)])
        return True

    def _mark(self, batch: BatchId, state: State) -> bool:
        found = self.shelf.find(batch)
        if self.pending.state(batch) is State.UNACKED:
            self.pending.set_state(batch, state)
        elif found is not None and found[0].state(found[1]) is State.UNACKED:
            found[0].set_state(found[1], state)
        else:
            return False
        self.marked = True
        return True

    def rewind(self, since_seq: int, epoch: str | None) -> int:
        """Let acknowledged batches wait again; how many."""
        self.marked = True
        # The store that lost batches lost what they told as well, and the batch that told it may be gone by now.
        on_disk = {one for segment in self.shelf for one in segment.tombstones}
        self.pending.bury(self._delivered - on_disk)
        self._delivered.clear()
        segments = [segment for segment in self.shelf if epoch in {None, segment.epoch}]
        return sum(segment.rewind(since_seq) for segment in segments) + self.pending.rewind(epoch, since_seq)

    def write_off(self, segment: SegmentIndex, row: int) -> None:
        """A batch was found damaged or its file gone; a tombstone, if it still waited."""
        batch, state = segment.batch(row), segment.state(row)
        if segment.entombed or state is State.LOST or self.shelf.find(batch.id) != (segment, row):
            return
        segment.set_state(row, State.LOST)
        self.dead.pop(batch.id, None)
        if state is State.UNACKED:
            self.pending.bury([lost(batch, Loss.CORRUPT)])
        log.error("batch damaged on disk", extra={"seq": batch.id.seq, "segment": segment.number})

    def missing(self, segment: SegmentIndex) -> None:
        """A segment is no longer on disk."""
        waiting = [batch for batch, state in segment.batches() if state is State.UNACKED]
        self.pending.bury([*self.undelivered(segment), *(lost(batch, Loss.CORRUPT) for batch in waiting)])
        self.forget(segment)
        log.error("segment is gone", extra={"segment": segment.number, "batches_lost": len(waiting)})

    def forget(self, segment: SegmentIndex) -> None:
        """A segment left the disk, and what it could tell is told elsewhere."""
        self.shelf.remove(segment)
        self._forget_dead(segment)

    def bury(self, segment: SegmentIndex, tombstones: list[Tombstone]) -> None:
        """Of a segment only the note of what it held is left."""
        tomb = SegmentIndex(segment.number, segment.epoch, 0)
        tomb.entombed, tomb.size, tomb.tombstones = True, BLOCK_BYTES, tombstones
        self.shelf.put(tomb)
        self._forget_dead(segment)

    def _forget_dead(self, segment: SegmentIndex) -> None:
        for batch, state in segment.batches():
            if state is State.DEAD:
                self.dead.pop(batch.id, None)
        self.marked = True

    def undelivered(self, segment: SegmentIndex) -> list[Tombstone]:
        """Tombstones of a segment that the collector does not know."""
        return [one for one in segment.tombstones if one not in self._delivered]

    def tombstones(self) -> list[Tombstone]:
        """Losses that the collector does not know, durable or not."""
        everything = [*(one for segment in self.shelf for one in segment.tombstones), *self.pending.tombstones]
        return [one for one in dict.fromkeys(everything) if one not in self._delivered]

    def deliver(self, tombstones: Iterable[Tombstone]) -> None:
        """The collector knows them."""
        self._delivered.update(tombstones)
        self.marked = True

    def accept(self, records: Sequence[Record], places: Sequence[Place], now_s: int) -> tuple[BatchId, ...]:
        """Records are durable where they lie; the batches among them."""
        for record, place in zip(records, places, strict=True):
            self.shelf.put(place.segment)
            if record.batch is not None:
                state = self.pending.settle(record.batch.id)
                place.segment.add(record.batch, place.offset, state)
                place.segment.acked_at_s = now_s if state is State.ACKED else place.segment.acked_at_s
            place.segment.tombstones += record.tombstones
            self.pending.settle_tombstones(record.tombstones)
        self.pending.failed()
        return tuple(record.batch.id for record in records if record.batch is not None)

    def ledger(self, without: Collection[SegmentIndex]) -> Ledger:
        """What the ledger has to say, but for some segments."""
        segments = [segment for segment in self.shelf if segment not in without]
        self._forget_delivered()
        return Ledger(
            rows=[manifest.row_of(segment) for segment in segments if len(segment)],
            dead=list(self.dead.values()),
            undelivered=self.tombstones(),
            delivered=sorted(self._delivered, key=lambda one: (one.epoch, one.first_seq)),
        )

    def _forget_delivered(self) -> None:
        """Let go of what nothing on disk could bring up again."""
        on_disk = {one for segment in self.shelf for one in segment.tombstones}
        epochs = {segment.epoch for segment in self.shelf if len(segment)}
        self._delivered = {one for one in self._delivered if one in on_disk or one.epoch in epochs}
