"""Oracle of a single spool, and a simulated life of a spool to check.

The oracle checks one invariant: every accepted batch is readable with its original bytes, or a loss record covers it,
or the collector has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from random import Random

from leadline_agent.spool.filesystem import FileSystem
from leadline_agent.spool.index import BatchId, PackedBatch, SpooledBatch
from leadline_agent.spool.loss_records import LossReason, LossRecord
from leadline_agent.spool.quota import SpoolQuota
from leadline_agent.spool.spool import CommitFailure, CommitSuccess, Spool
from tests.chaos.crashing_files import CrashingFiles, PowerLossError
from tests.support.clock import FakeClock

#: Few batches per segment and few segments: a hundred batches exercise every case.
SMALL_QUOTA = SpoolQuota(
    bytes_max=64 << 10,
    free_bytes_min=0,
    segment_bytes=10 << 10,
    memory_bytes_max=12 << 10,
    dead_letter_bytes_max=24 << 10,
    acked_retention_s=3_600,
)
MINUTE_NS = 60_000_000_000


class SpoolOracle:
    """Promises and loss reports of one spool, over all its processes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.bodies: dict[BatchId, bytes] = {}
        self.accepted: set[BatchId] = set()
        #: Batches that the collector has.
        self.acked: set[BatchId] = set()
        self.reported_losses: list[LossRecord] = []
        #: True if the test damaged the disk. Otherwise CORRUPT is not a valid reason: a crash must not lose accepted
        #: batches.
        self.is_damaged = False
        self._epochs = count(1)

    def open(self, file_system: FileSystem, quota: SpoolQuota = SMALL_QUOTA) -> Spool:
        """Open the spool, as a new process does."""
        return Spool(file_system=file_system, clock=self.clock, make_epoch=self._next_epoch, quota=quota)

    def _next_epoch(self) -> str:
        """Return an epoch that sorts before the earlier ones: the order of random epochs is not that of time."""
        return f"{(1 << 127) - next(self._epochs):032x}"

    def create_batch(self, spool: Spool, size: int) -> PackedBatch:
        """Return a new batch with bytes derived from its id."""
        batch_id = spool.reserve_id()
        assert batch_id not in self.bodies, f"{batch_id} was reserved twice"
        self.bodies[batch_id] = Random(f"{batch_id.epoch}/{batch_id.seq}").randbytes(size)
        minute_s = self.clock.wall_ns() // MINUTE_NS * 60
        return PackedBatch(id=batch_id, body=self.bodies[batch_id], windows=2, t_first_s=minute_s, t_last_s=minute_s)

    def commit(self, spool: Spool) -> CommitSuccess | CommitFailure:
        """Commit and record the accepted batches."""
        result = spool.commit()
        if isinstance(result, CommitSuccess):
            self.accepted.update(result.accepted_ids)
        return result

    def ack(self, spool: Spool, batch: BatchId) -> None:
        """Record that the collector has the batch; then acknowledge it."""
        self.acked.add(batch)
        spool.ack(batch)

    def deliver(self, spool: Spool) -> None:
        """Record that the collector has the losses; then mark them as delivered."""
        losses = spool.list_undelivered_losses()
        self.reported_losses += losses
        spool.mark_delivered(losses)

    def find_broken_promises(self, spool: Spool) -> list[str]:
        """Return accepted batches that are lost without a report, and batches with other bytes than appended."""
        losses = [
            loss
            for loss in (*self.reported_losses, *spool.list_undelivered_losses())
            if self.is_damaged or loss.reason is not LossReason.CORRUPT
        ]
        return [
            *(
                f"{batch_id} is lost without a report"
                for batch_id in sorted(self.accepted - self.acked)
                if spool.read_body(batch_id) != self.bodies[batch_id]
                and not any(has_batch(loss, batch_id) for loss in losses)
            ),
            *(
                f"{batch.id} has other bytes"
                for batch in iter_unacked(spool)
                if spool.read_body(batch.id) not in {None, self.bodies.get(batch.id)}
            ),
        ]


def has_batch(loss: LossRecord, batch_id: BatchId) -> bool:
    """Return whether a loss record covers a batch."""
    last = batch_id.seq if loss.last_seq is None else loss.last_seq
    return loss.epoch == batch_id.epoch and loss.first_seq <= batch_id.seq <= last


def iter_unacked(spool: Spool) -> Iterator[SpooledBatch]:
    """Yield every unacknowledged batch, oldest first, as the backfill queue does."""
    visited: set[BatchId] = set()
    while (batch := spool.find_oldest(visited)) is not None:
        visited.add(batch.id)
        yield batch


def simulate_spool_life(files: CrashingFiles, oracle: SpoolOracle, rng: Random, *, steps: int) -> None:
    """Run a spool through a random sequence of all operations; stop early at a power loss."""
    try:
        spool = oracle.open(files)
        for _ in range(steps):
            spool = _step(spool, files, oracle, rng)
    except PowerLossError:
        return


def _step(spool: Spool, files: CrashingFiles, oracle: SpoolOracle, rng: Random) -> Spool:
    oracle.clock.advance(MINUTE_NS)
    for _ in range(rng.randint(0, 3)):
        spool.append(oracle.create_batch(spool, rng.randint(100, 3_000)))
    oracle.commit(spool)
    for find in (spool.find_newest, spool.find_oldest):
        if rng.random() < 0.4 and (batch := find()) is not None:
            oracle.ack(spool, batch.id)
    if rng.random() < 0.1 and (batch := spool.find_oldest()) is not None:
        spool.refuse(batch.id, "422 no such target")
    if rng.random() < 0.2:
        oracle.deliver(spool)
    if rng.random() < 0.05:
        spool.rewind()
    if rng.random() < 0.05:
        spool.close()
        return oracle.open(files)
    return spool
