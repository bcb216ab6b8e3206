"""Who knows, outside of the spool, what the spool promised; and a life of a spool to try it on.

The oracle's one question, asked of any disk: is every accepted batch there as it was appended, or in a tombstone, or
in the hands of the collector?
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

#: Segments of a few batches, and a budget of a few segments: everything happens within a hundred batches.
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
    """Everything that was ever promised and told, over all lives of one spool."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.bodies: dict[BatchId, bytes] = {}
        self.accepted: set[BatchId] = set()
        #: In the hands of the collector.
        self.acked: set[BatchId] = set()
        self.reported_losses: list[LossRecord] = []
        #: Somebody damaged the disk: only then is damage an explanation. A crash alone must cost nothing accepted.
        self.is_damaged = False
        self._epochs = count(1)

    def open(self, files: FileSystem, limits: SpoolQuota = SMALL_QUOTA) -> Spool:
        """A new life of the spool."""
        return Spool(file_system=files, clock=self.clock, make_epoch=self._next_epoch, quota=limits)

    def _next_epoch(self) -> str:
        """Each sorts before the earlier ones: epochs are random, so their order says nothing about time."""
        return f"{(1 << 127) - next(self._epochs):032x}"

    def create_batch(self, spool: Spool, size: int) -> PackedBatch:
        """A new batch whose bytes follow from its name."""
        name = spool.reserve_id()
        assert name not in self.bodies, f"{name} was given out twice"
        self.bodies[name] = Random(f"{name.epoch}/{name.seq}").randbytes(size)
        minute_s = self.clock.wall_ns() // MINUTE_NS * 60
        return PackedBatch(id=name, body=self.bodies[name], windows=2, t_first_s=minute_s, t_last_s=minute_s)

    def commit(self, spool: Spool) -> CommitSuccess | CommitFailure:
        """Commit, and write down what was promised."""
        result = spool.commit()
        if isinstance(result, CommitSuccess):
            self.accepted.update(result.accepted_ids)
        return result

    def ack(self, spool: Spool, batch: BatchId) -> None:
        """The collector stores it; then the agent learns of it."""
        self.acked.add(batch)
        spool.ack(batch)

    def deliver(self, spool: Spool) -> None:
        """The collector takes the tombstones; then the agent learns of it."""
        tombstones = spool.list_undelivered_losses()
        self.reported_losses += tombstones
        spool.mark_delivered(tombstones)

    def find_broken_promises(self, spool: Spool) -> list[str]:
        """What is neither there nor explained, and what is there and was never appended."""
        told = [
            one
            for one in (*self.reported_losses, *spool.list_undelivered_losses())
            if self.is_damaged or one.reason is not LossReason.CORRUPT
        ]
        return [
            *(
                f"{name} is lost without a word"
                for name in sorted(self.accepted - self.acked)
                if spool.read_body(name) != self.bodies[name] and not any(has_batch(one, name) for one in told)
            ),
            *(
                f"{one.id} has other bytes"
                for one in iter_unacked(spool)
                if spool.read_body(one.id) not in {None, self.bodies.get(one.id)}
            ),
        ]


def has_batch(tombstone: LossRecord, batch: BatchId) -> bool:
    """Whether a tombstone names a batch."""
    last = batch.seq if tombstone.last_seq is None else tombstone.last_seq
    return tombstone.epoch == batch.epoch and tombstone.first_seq <= batch.seq <= last


def iter_unacked(spool: Spool) -> Iterator[SpooledBatch]:
    """Every batch that waits, oldest first, as the backfill lane would send them."""
    seen: set[BatchId] = set()
    while (one := spool.find_oldest(seen)) is not None:
        seen.add(one.id)
        yield one


def simulate_spool_life(files: CrashingFiles, oracle: SpoolOracle, rng: Random, *, steps: int) -> None:
    """A life of a spool with everything in it; ends early when the power goes or the disk is in use no more."""
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
    for lane in (spool.find_newest, spool.find_oldest):
        if rng.random() < 0.4 and (found := lane()) is not None:
            oracle.ack(spool, found.id)
    if rng.random() < 0.1 and (found := spool.find_oldest()) is not None:
        spool.refuse(found.id, "422 no such target")
    if rng.random() < 0.2:
        oracle.deliver(spool)
    if rng.random() < 0.05:
        spool.rewind()
    if rng.random() < 0.05:
        spool.close()
        return oracle.open(files)
    return spool
