"""Public interface of the spool: queues, states, limits and disk errors."""

from __future__ import annotations

import errno
from dataclasses import replace
from threading import Event, Thread

import pytest

from leadline.wire.batch import BODY_BYTES_MAX
from leadline_agent.spool.index import BatchId, PackedBatch
from leadline_agent.spool.loss_records import LossReason, LossRecord
from leadline_agent.spool.quota import SpoolQuota
from leadline_agent.spool.spool import CommitFailure, CommitSuccess, Spool
from tests.chaos.crashing_files import CrashingFiles
from tests.chaos.spool_oracle import MINUTE_NS, SMALL_QUOTA, SpoolOracle, iter_unacked

HOUR_NS = 60 * MINUTE_NS


class SpoolHarness:
    """Spool on a simulated disk, with helpers for tests."""

    def __init__(self, quota: SpoolQuota = SMALL_QUOTA) -> None:
        self.file_system: CrashingFiles = CrashingFiles()
        self.oracle, self.quota = SpoolOracle(), quota
        self.spool = self.oracle.open(self.file_system, quota)

    def append(self, count: int = 1, size: int = 1_000) -> list[BatchId]:
        """Append batches, one a minute, without a commit."""
        return [self._append(size).id for _ in range(count)]

    def _append(self, size: int) -> PackedBatch:
        self.oracle.clock.advance(MINUTE_NS)
        batch = self.oracle.create_batch(self.spool, size)
        self.spool.append(batch)
        return batch

    def append_and_commit(self, count: int = 1, size: int = 1_000) -> list[BatchId]:
        """Append batches and commit each of them."""
        ids = []
        for _ in range(count):
            ids += self.append(size=size)
            assert self.oracle.commit(self.spool) == CommitSuccess(accepted_ids=(ids[-1],))
        return ids

    def restart(self) -> Spool:
        """Close the spool and open it again."""
        self.spool.close()
        self.spool = self.oracle.open(self.file_system, self.quota)
        return self.spool

    def list_unacked(self) -> list[BatchId]:
        return [batch.id for batch in iter_unacked(self.spool)]

    def list_losses(self) -> list[tuple[int, int | None, LossReason]]:
        return [(loss.first_seq, loss.last_seq, loss.reason) for loss in self.spool.list_undelivered_losses()]


@pytest.fixture
def harness() -> SpoolHarness:
    return SpoolHarness()


def test_committed_batches_survive_a_restart(harness: SpoolHarness) -> None:
    """Bodies and order are unchanged."""
    ids = harness.append_and_commit(20)

    harness.restart()

    assert harness.list_unacked() == ids
    assert [harness.spool.read_body(batch_id) for batch_id in ids] == [
        harness.oracle.bodies[batch_id] for batch_id in ids
    ]


def test_newest_and_oldest_batch_are_found(harness: SpoolHarness) -> None:
    """The search covers memory and disk and skips the given ids."""
    first, second, third = harness.append_and_commit(3)
    (fourth,) = harness.append()

    newest, oldest = harness.spool.find_newest(), harness.spool.find_oldest()

    assert (newest and newest.id, oldest and oldest.id) == (fourth, first)
    newest, oldest = harness.spool.find_newest({fourth, third}), harness.spool.find_oldest({first})
    assert (newest and newest.id, oldest and oldest.id) == (second, second)
    assert harness.spool.find_oldest({first, second, third, fourth}) is None


def test_acknowledged_batch_stays_on_disk(harness: SpoolHarness) -> None:
    """An acknowledged batch stays on disk for a rewind, also after a restart."""
    first, second = harness.append_and_commit(2)

    assert harness.spool.ack(first)
    assert not harness.spool.ack(first)

    harness.restart()
    assert (harness.list_unacked(), harness.spool.read_body(first)) == ([second], harness.oracle.bodies[first])


def test_acknowledged_batches_expire() -> None:
    """They stay until the retention has passed; then whole segments are removed."""
    harness = SpoolHarness(replace(SMALL_QUOTA, acked_retention_s=7_200))
    ids = harness.append_and_commit(20)
    for batch_id in ids:
        harness.spool.ack(batch_id)
    harness.oracle.clock.advance(2 * HOUR_NS)

    harness.spool.commit()
    assert harness.spool.get_usage().acked == 20

    harness.oracle.clock.advance(1_000_000_000)
    harness.spool.commit()
    assert harness.spool.get_usage().acked == 5
    assert harness.list_losses() == []


def test_rewind_makes_acknowledged_batches_unacknowledged(harness: SpoolHarness) -> None:
    """A rewind starts at a number, in one epoch or in all; the next commit makes it durable."""
    ids = harness.append_and_commit(4)
    for batch_id in ids:
        harness.spool.ack(batch_id)
    harness.spool.commit()

    assert harness.spool.rewind(since_seq=2, epoch="f" * 32) == 0
    assert harness.spool.rewind(since_seq=2, epoch=ids[0].epoch) == 2
    assert harness.list_unacked() == ids[2:]

    harness.spool.commit()
    harness.spool = harness.oracle.open(harness.file_system.after_kill())
    assert harness.list_unacked() == ids[2:]
    assert harness.spool.rewind() == 2


def test_refused_batch_is_a_dead_letter_with_a_loss_record(harness: SpoolHarness) -> None:
    """The dead letter has a body and a truncated reason, and survives a restart."""
    first, second = harness.append_and_commit(2)

    assert harness.spool.refuse(first, "422 unknown target " + "x" * 500)

    harness.restart()
    (letter,) = harness.spool.list_dead_letters()
    assert (letter.seq, letter.reason[:19], len(letter.reason)) == (first.seq, "422 unknown target ", 200)
    assert harness.spool.read_body(first) == harness.oracle.bodies[first]
    assert (harness.list_unacked(), harness.list_losses()) == ([second], [(0, 0, LossReason.REFUSED)])


def test_dead_letters_are_bounded(harness: SpoolHarness) -> None:
    """The oldest dead letters are evicted; their loss records are durable already."""
    for _ in range(80):
        harness.spool.refuse(harness.append_and_commit()[0], "400")
        harness.spool.mark_delivered(harness.spool.list_undelivered_losses())
        harness.spool.commit()

    seqs = [letter.seq for letter in harness.spool.list_dead_letters()]

    assert seqs[-1] == 79
    assert 5 < len(seqs) < 20
    assert harness.spool.get_usage().dead == len(seqs)


def test_eviction_order_is_acknowledged_dead_oldest(harness: SpoolHarness) -> None:
    """Overflow evicts the least important segments first."""
    ids = harness.append_and_commit(30)
    for batch_id in ids[15:25]:
        harness.spool.ack(batch_id)
    for batch_id in ids[5:15]:
        harness.spool.refuse(batch_id, "400")
    harness.spool.mark_delivered(harness.spool.list_undelivered_losses())

    states: list[str] = []
    while not harness.list_losses():
        harness.append_and_commit()
        usage = harness.spool.get_usage()
        state = "acked" if usage.acked == 10 else "dead" if usage.dead == 10 else "unacked"
        states += [] if states and states[-1] == state else [state]

    assert states == ["acked", "dead", "unacked"]
    assert harness.list_losses()[0] == (0, 4, LossReason.OVERFLOW)


def test_overflow_is_reported_until_it_is_delivered(harness: SpoolHarness) -> None:
    """A run of batches gives one loss record with its times and windows; delivery removes it permanently."""
    ids = harness.append_and_commit(90)
    harness.restart()

    (loss,) = harness.spool.list_undelivered_losses()

    lost_seqs = [batch_id.seq for batch_id in ids if batch_id not in harness.list_unacked()]
    assert loss == LossRecord(
        epoch=ids[0].epoch,
        first_seq=0,
        last_seq=lost_seqs[-1],
        t_first_s=1_700_000_040,
        t_last_s=1_700_000_040 + 60 * lost_seqs[-1],
        windows=2 * len(lost_seqs),
        reason=LossReason.OVERFLOW,
    )
    harness.spool.mark_delivered([loss])
    harness.restart()
    assert harness.list_losses() == []


def test_losses_of_evicted_segments_share_a_page(harness: SpoolHarness) -> None:
    """An outage of months does not fill the quota with loss records."""
    harness.append_and_commit(400)

    assert len(harness.spool.list_undelivered_losses()) == 1
    assert sum(harness.file_system.get_size(name) == 4_096 for name in harness.file_system.list_names()) == 1


def test_full_disk_evicts_the_oldest_segment(harness: SpoolHarness) -> None:
    """The newest batch is accepted although no byte is free."""
    harness.append_and_commit(30)
    harness.file_system.capacity = harness.file_system.used_bytes

    (newest,) = harness.append_and_commit()

    assert harness.spool.read_body(newest) == harness.oracle.bodies[newest]
    assert harness.list_losses()[0][2] is LossReason.OVERFLOW
    assert harness.oracle.find_broken_promises(harness.spool) == []


def test_spool_stops_growing_below_the_free_space_limit() -> None:
    """Acknowledged segments are evicted at once; unacknowledged ones are only replaced by newer ones."""
    harness = SpoolHarness(replace(SMALL_QUOTA, free_bytes_min=20_000))
    ids = harness.append_and_commit(30)
    for batch_id in ids[:10]:
        harness.spool.ack(batch_id)
    harness.file_system.capacity = harness.file_system.used_bytes + 19_000
    before = harness.spool.get_usage()

    harness.append_and_commit(12)

    after = harness.spool.get_usage()
    assert before.bytes >= after.bytes
    assert 15 < after.unacked < 32
    harness.file_system.capacity = None
    harness.append_and_commit(10)
    assert harness.spool.get_usage().bytes > before.bytes - 15_000


def test_failed_sync_is_retried_in_a_new_segment(harness: SpoolHarness) -> None:
    """The same commit succeeds with a new segment and descriptor; a batch with two copies counts once."""
    (before,) = harness.append_and_commit()
    ids = harness.append(2)
    # Two writes, then the sync.
    harness.file_system.failures[harness.file_system.operations + 3] = errno.EIO

    result = harness.oracle.commit(harness.spool)

    assert result == CommitSuccess(accepted_ids=tuple(ids))
    assert sorted(name for name in harness.file_system.list_names() if name.endswith("seg")) == [
        "0000000001.seg",
        "0000000002.seg",
    ]
    harness.spool = harness.oracle.open(harness.file_system.after_kill())
    assert harness.list_unacked() == [before, *ids]
    assert harness.spool.get_usage().unacked == 3


class UnwritableFile(CrashingFiles):
    """Disk on which one file cannot be opened for writing."""

    unwritable_name = "0000000001.seg"

    def open_existing(self, name: str) -> int:
        if name == self.unwritable_name:
            raise OSError(errno.EIO, "simulated")
        return super().open_existing(name)


def test_segment_with_io_error_stays_and_another_is_evicted() -> None:
    """The segment is evicted after the disk has recovered."""
    harness = SpoolHarness()
    harness.file_system = disk = UnwritableFile()
    harness.spool = harness.oracle.open(disk)
    harness.append_and_commit(60)
    assert [batch.id.seq for batch in iter_unacked(harness.spool)][:6] == [0, 1, 2, 3, 4, 35]

    disk.unwritable_name = ""
    harness.restart()
    harness.append_and_commit(60)
    assert harness.list_losses()[0][:1] == (0,)


def test_quota_is_enforced_after_a_read_only_period(harness: SpoolHarness) -> None:
    """Segments that could not be evicted are evicted once the disk is writable."""
    harness.append_and_commit(34)
    harness.file_system.read_only = True
    harness.append(6)
    assert isinstance(harness.spool.commit(), CommitFailure)
    harness.file_system.read_only = False

    harness.append(10)
    assert isinstance(harness.spool.commit(), CommitSuccess)

    assert harness.spool.get_usage().bytes <= SMALL_QUOTA.bytes_max


def test_read_only_disk_is_a_commit_failure(harness: SpoolHarness) -> None:
    """Batches stay in memory, can be uploaded from there, and become durable once the disk is writable."""
    harness.file_system.read_only = True
    ids = harness.append(3)

    assert harness.spool.commit() == CommitFailure(reason="Read-only file system", pending=3)
    assert harness.list_unacked() == ids
    assert harness.spool.read_body(ids[0]) == harness.oracle.bodies[ids[0]]
    assert harness.spool.get_usage().degraded == "Read-only file system"

    harness.file_system.read_only = False
    assert harness.spool.commit() == CommitSuccess(accepted_ids=tuple(ids))
    assert harness.spool.get_usage().degraded is None


def test_memory_is_bounded_while_the_disk_does_not_work(harness: SpoolHarness) -> None:
    """Beyond the limit the oldest batch is dropped, and its loss record becomes durable later."""
    harness.file_system.read_only = True
    harness.append(12, size=1_024)
    harness.spool.commit()
    assert harness.spool.get_usage().pending == 12

    dropped = harness.spool.append(harness.oracle.create_batch(harness.spool, 1))

    assert dropped == 2
    harness.file_system.read_only = False
    harness.spool.commit()
    assert (len(harness.list_unacked()), harness.list_losses()) == (12, [(0, 0, LossReason.OVERFLOW)])


class HangingDisk(CrashingFiles):
    """Disk with a sync that blocks until ``resume`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.syncing, self.resume = Event(), Event()

    def fdatasync(self, handle: int) -> None:
        self.syncing.set()
        assert self.resume.wait(30)
        super().fdatasync(handle)


def test_only_the_commit_waits_for_a_hanging_disk() -> None:
    """All other methods work while a sync hangs; batches appended during it belong to the next commit."""
    harness = SpoolHarness()
    harness.file_system = disk = HangingDisk()
    harness.spool = harness.oracle.open(disk)
    (first,) = harness.append()
    results: list[CommitSuccess | CommitFailure] = []
    committer = Thread(target=lambda: results.append(harness.spool.commit()))
    committer.start()
    assert disk.syncing.wait(30)

    (second,) = harness.append()
    assert harness.list_unacked() == [first, second]
    assert harness.spool.ack(first)
    assert harness.spool.append(harness.oracle.create_batch(harness.spool, 11_000)) == 2

    disk.resume.set()
    committer.join(30)
    assert results == [CommitSuccess(accepted_ids=(first,))]
    assert harness.list_losses() == [(1, 1, LossReason.OVERFLOW)]
    assert harness.spool.get_usage().acked == 1


def test_removed_spool_is_recreated(harness: SpoolHarness) -> None:
    """Unacknowledged batches are reported as lost; new batches are not written to the removed files."""
    old = harness.append_and_commit(3)
    harness.spool.ack(old[1])
    harness.file_system.remove_directory()

    (new,) = harness.append_and_commit()

    assert harness.list_losses() == [(0, 0, LossReason.CORRUPT), (2, 2, LossReason.CORRUPT)]
    harness.restart()
    assert (harness.list_unacked(), harness.list_losses()) == (
        [new],
        [(0, 0, LossReason.CORRUPT), (2, 2, LossReason.CORRUPT)],
    )


def test_removed_segment_receives_no_more_records(harness: SpoolHarness) -> None:
    """The next batch starts a new segment, because the removed file is not reachable by name."""
    harness.append_and_commit()
    harness.file_system.unlink("0000000001.seg")

    (new,) = harness.append_and_commit()

    harness.restart()
    assert (harness.list_unacked(), harness.list_losses()) == ([new], [(0, 0, LossReason.CORRUPT)])


def test_damage_found_while_reading_is_a_loss(harness: SpoolHarness) -> None:
    """A damaged batch has no body, is not unacknowledged, and has a loss record."""
    first, second = harness.append_and_commit(2)
    harness.file_system.content("0000000001.seg")[4_096 + 56 + 10] ^= 1

    assert harness.spool.read_body(first) is None

    assert (harness.list_unacked(), harness.list_losses()) == ([second], [(0, 0, LossReason.CORRUPT)])


def test_every_start_has_a_new_epoch(harness: SpoolHarness) -> None:
    """No id is used twice, even after a loss; a start without batches writes nothing."""
    (before,) = harness.append()
    harness.spool = harness.oracle.open(harness.file_system.after_kill())
    (after,) = harness.append()

    assert (before.seq, after.seq) == (0, 0)
    assert before.epoch != after.epoch
    assert SpoolHarness().file_system.list_names() == []


def test_used_epoch_is_drawn_again() -> None:
    """A cloned virtual machine may repeat its random numbers."""
    harness = SpoolHarness()
    (batch_id,) = harness.append_and_commit()
    harness.spool.close()
    epochs = iter([batch_id.epoch, batch_id.epoch, "e" * 32])

    spool = Spool(
        file_system=harness.file_system, clock=harness.oracle.clock, make_epoch=lambda: next(epochs), quota=SMALL_QUOTA
    )

    assert spool.reserve_id() == BatchId("e" * 32, 0)


def test_epoch_can_be_renewed(harness: SpoolHarness) -> None:
    """Numbers start at 0 again; batches of both epochs are unacknowledged."""
    old = harness.append_and_commit(2)
    harness.spool.renew_epoch()

    new = harness.append_and_commit(2)

    assert [name.seq for name in new] == [0, 1]
    harness.restart()
    assert harness.list_unacked() == old + new


def test_usage_contains_counts_and_days_left() -> None:
    """Age and days left follow from the window times and the rate of the last day."""
    harness = SpoolHarness(SpoolQuota(bytes_max=10_000_000, segment_bytes=100_000, memory_bytes_max=1_000_000))
    ids = harness.append_and_commit(120, size=5_000)
    harness.spool.ack(ids[0])
    harness.append()

    usage = harness.spool.get_usage()

    assert (usage.pending, usage.unacked, usage.acked, usage.dead) == (1, 120, 1, 0)
    assert usage.oldest_unacked_s is not None
    assert 119 * 60 <= usage.oldest_unacked_s <= 120 * 60
    assert usage.days_left == pytest.approx((10_000_000 - usage.bytes) / (usage.bytes / (119 * 60)) / 86_400)


def test_without_a_rate_days_left_are_unknown(harness: SpoolHarness) -> None:
    """A rate needs at least ten minutes of batches."""
    harness.append_and_commit(10)
    assert harness.spool.get_usage().days_left is None

    harness.append_and_commit()
    assert harness.spool.get_usage().days_left is not None


@pytest.mark.parametrize(("size", "fits"), [(0, False), (1, True), (BODY_BYTES_MAX, True), (BODY_BYTES_MAX + 1, False)])
def test_body_size_is_limited(size: int, fits: bool) -> None:
    """A body that the collector does not accept is refused at once."""
    try:
        PackedBatch(id=BatchId("0" * 32, 0), body=b"x" * size, windows=1, t_first_s=0, t_last_s=0)
    except ValueError:
        assert not fits
    else:
        assert fits


@pytest.mark.parametrize(
    "changes",
    [
        {"segment_bytes": 8_191},
        {"bytes_max": 4 * (10 << 10) - 1},
        {"memory_bytes_max": 40 << 10},
        {"acked_retention_s": -1},
    ],
)
def test_invalid_quota_is_refused(changes: dict[str, int]) -> None:
    """A quota needs four segments, segments with room for a record, and less memory than disk."""
    with pytest.raises(ValueError):
        replace(SMALL_QUOTA, **changes)


def test_backlog_contains_unacknowledged_batches(harness: SpoolHarness) -> None:
    """The backlog contains unacknowledged batches and the size of their segments, without acknowledged ones."""
    ids = harness.append_and_commit(20)
    before = harness.spool.get_backlog()
    for batch_id in ids:
        harness.spool.ack(batch_id)
    (newest,) = harness.append()

    after = harness.spool.get_backlog()

    assert (before.batches, after.batches) == (20, 1)
    assert 0 < before.bytes <= harness.spool.get_usage().bytes
    assert after.bytes <= before.bytes
    assert after.bytes_max == harness.quota.bytes_max
    assert newest in harness.list_unacked()
