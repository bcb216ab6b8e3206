"""The spool as its user sees it: lanes, marks, limits, and a disk that fails."""

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
from tests.chaos.spool_oracle import MINUTE_NS, SMALL_LIMITS, SpoolOracle, iter_waiting

HOUR_NS = 60 * MINUTE_NS


class Bench:
    """A spool on a simulated disk, and what a test does with it."""

    def __init__(self, limits: SpoolQuota = SMALL_LIMITS) -> None:
        self.files: CrashingFiles = CrashingFiles()
        self.oracle, self.limits = SpoolOracle(), limits
        self.spool = self.oracle.open(self.files, limits)

    def append(self, count: int = 1, size: int = 1_000) -> list[BatchId]:
        """Batches, one a minute, not committed."""
        return [self._append(size).id for _ in range(count)]

    def _append(self, size: int) -> PackedBatch:
        self.oracle.clock.advance(MINUTE_NS)
        batch = self.oracle.create_batch(self.spool, size)
        self.spool.append(batch)
        return batch

    def keep(self, count: int = 1, size: int = 1_000) -> list[BatchId]:
        """Batches, each committed."""
        names = []
        for _ in range(count):
            names += self.append(size=size)
            assert self.oracle.commit(self.spool) == CommitSuccess(accepted_ids=(names[-1],))
        return names

    def restart(self) -> Spool:
        """Stop the agent in order and start it again."""
        self.spool.close()
        self.spool = self.oracle.open(self.files, self.limits)
        return self.spool

    def waiting(self) -> list[BatchId]:
        return [one.id for one in iter_waiting(self.spool)]

    def losses(self) -> list[tuple[int, int | None, LossReason]]:
        return [(one.first_seq, one.last_seq, one.reason) for one in self.spool.list_undelivered_losses()]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_was_committed_is_there_after_a_restart(bench: Bench) -> None:
    """Byte for byte, in order."""
    names = bench.keep(20)

    bench.restart()

    assert bench.waiting() == names
    assert [bench.spool.read_body(name) for name in names] == [bench.oracle.bodies[name] for name in names]


def test_the_live_lane_takes_the_newest_and_the_backfill_lane_the_oldest(bench: Bench) -> None:
    """Also across memory and disk, and passing over what is on its way already."""
    first, second, third = bench.keep(3)
    (fourth,) = bench.append()

    newest, oldest = bench.spool.find_newest(), bench.spool.find_oldest()

    assert (newest and newest.id, oldest and oldest.id) == (fourth, first)
    newest, oldest = bench.spool.find_newest({fourth, third}), bench.spool.find_oldest({first})
    assert (newest and newest.id, oldest and oldest.id) == (second, second)
    assert bench.spool.find_oldest({first, second, third, fourth}) is None


def test_an_acknowledged_batch_waits_no_more_and_stays(bench: Bench) -> None:
    """It is kept for a rewind, also over a restart."""
    first, second = bench.keep(2)

    assert bench.spool.ack(first)
    assert not bench.spool.ack(first)

    bench.restart()
    assert (bench.waiting(), bench.spool.read_body(first)) == ([second], bench.oracle.bodies[first])


def test_acknowledged_batches_go_two_days_later() -> None:
    """Within the time they stay, one second past it they go, and only whole segments do."""
    bench = Bench(replace(SMALL_LIMITS, acked_retention_s=7_200))
    names = bench.keep(20)
    for name in names:
        bench.spool.ack(name)
    bench.oracle.clock.advance(2 * HOUR_NS)

    bench.spool.commit()
    assert bench.spool.get_usage().acked == 20

    bench.oracle.clock.advance(1_000_000_000)
    bench.spool.commit()
    assert bench.spool.get_usage().acked == 5
    assert bench.losses() == []


def test_a_rewind_lets_acknowledged_batches_wait_again(bench: Bench) -> None:
    """From a number on, of one epoch or of all; the next commit makes it durable."""
    names = bench.keep(4)
    for name in names:
        bench.spool.ack(name)
    bench.spool.commit()

    assert bench.spool.rewind(since_seq=2, epoch="f" * 32) == 0
    assert bench.spool.rewind(since_seq=2, epoch=names[0].epoch) == 2
    assert bench.waiting() == names[2:]

    bench.spool.commit()
    bench.spool = bench.oracle.open(bench.files.after_kill())
    assert bench.waiting() == names[2:]
    assert bench.spool.rewind() == 2


def test_a_refused_batch_is_a_dead_letter_with_a_tombstone(bench: Bench) -> None:
    """It waits no more, can be looked at, and its reason is kept, cut to length; also over a restart."""
    first, second = bench.keep(2)

    assert bench.spool.refuse(first, "422 unknown target " + "x" * 500)

    bench.restart()
    (letter,) = bench.spool.list_dead_letters()
    assert (letter.seq, letter.reason[:19], len(letter.reason)) == (first.seq, "422 unknown target ", 200)
    assert bench.spool.read_body(first) == bench.oracle.bodies[first]
    assert (bench.waiting(), bench.losses()) == ([second], [(0, 0, LossReason.REFUSED)])


def test_dead_letters_are_bounded(bench: Bench) -> None:
    """The oldest go; the tombstones were written long before."""
    for _ in range(80):
        bench.spool.refuse(bench.keep()[0], "400")
        bench.spool.mark_delivered(bench.spool.list_undelivered_losses())
        bench.spool.commit()

    held = [letter.seq for letter in bench.spool.list_dead_letters()]

    assert held[-1] == 79
    assert 5 < len(held) < 20
    assert bench.spool.get_usage().dead == len(held)


def test_the_acknowledged_tail_goes_first_then_dead_letters_then_the_oldest(bench: Bench) -> None:
    """Overflow takes what matters least."""
    names = bench.keep(30)
    for name in names[15:25]:
        bench.spool.ack(name)
    for name in names[5:15]:
        bench.spool.refuse(name, "400")
    bench.spool.mark_delivered(bench.spool.list_undelivered_losses())

    seen: list[str] = []
    while not bench.losses():
        bench.keep()
        usage = bench.spool.get_usage()
        state = "acked" if usage.acked == 10 else "dead" if usage.dead == 10 else "unacked"
        seen += [] if seen and seen[-1] == state else [state]

    assert seen == ["acked", "dead", "unacked"]
    assert bench.losses()[0] == (0, 4, LossReason.OVERFLOW)


def test_what_overflow_drops_is_told_until_the_collector_knows(bench: Bench) -> None:
    """One note for a run, with its time and its windows; delivering it ends it, also over a restart."""
    names = bench.keep(90)
    bench.restart()

    (note,) = bench.spool.list_undelivered_losses()

    gone = [name.seq for name in names if name not in bench.waiting()]
    assert note == LossRecord(
        epoch=names[0].epoch,
        first_seq=0,
        last_seq=gone[-1],
        t_first_s=1_700_000_040,
        t_last_s=1_700_000_040 + 60 * gone[-1],
        windows=2 * len(gone),
        reason=LossReason.OVERFLOW,
    )
    bench.spool.mark_delivered([note])
    bench.restart()
    assert bench.losses() == []


def test_notes_of_dropped_segments_share_a_page(bench: Bench) -> None:
    """An outage of months does not fill the budget with notes."""
    bench.keep(400)

    assert len(bench.spool.list_undelivered_losses()) == 1
    assert sum(bench.files.get_size(name) == 4_096 for name in bench.files.list_names()) == 1


def test_on_a_full_disk_the_oldest_segment_makes_room(bench: Bench) -> None:
    """Not one byte is free, and the newest is accepted all the same."""
    bench.keep(30)
    bench.files.capacity = bench.files.used_bytes

    (newest,) = bench.keep()

    assert bench.spool.read_body(newest) == bench.oracle.bodies[newest]
    assert bench.losses()[0][2] is LossReason.OVERFLOW
    assert bench.oracle.find_broken_promises(bench.spool) == []


def test_below_the_free_space_of_the_host_the_spool_stops_growing() -> None:
    """What is acknowledged goes at once; what waits is not sacrificed for others, but replaced piece by piece."""
    bench = Bench(replace(SMALL_LIMITS, free_bytes_min=20_000))
    names = bench.keep(30)
    for name in names[:10]:
        bench.spool.ack(name)
    bench.files.capacity = bench.files.used_bytes + 19_000
    before = bench.spool.get_usage()

    bench.keep(12)

    after = bench.spool.get_usage()
    assert before.bytes >= after.bytes
    assert 15 < after.unacked < 32
    bench.files.capacity = None
    bench.keep(10)
    assert bench.spool.get_usage().bytes > before.bytes - 15_000


def test_a_failed_sync_promises_nothing_and_is_tried_again_in_a_new_segment(bench: Bench) -> None:
    """The descriptor is not used again; the same commit succeeds with the next segment, and copies count once."""
    (before,) = bench.keep()
    names = bench.append(2)
    # Two writes, then the sync.
    bench.files.failures[bench.files.operations + 3] = errno.EIO

    result = bench.oracle.commit(bench.spool)

    assert result == CommitSuccess(accepted_ids=tuple(names))
    assert sorted(name for name in bench.files.list_names() if name.endswith("seg")) == [
        "0000000001.seg",
        "0000000002.seg",
    ]
    bench.spool = bench.oracle.open(bench.files.after_kill())
    assert bench.waiting() == [before, *names]
    assert bench.spool.get_usage().unacked == 3


class BadSpot(CrashingFiles):
    """A disk on which one file cannot be opened for writing."""

    bad = "0000000001.seg"

    def open_existing(self, name: str) -> int:
        if name == self.bad:
            raise OSError(errno.EIO, "bad spot")
        return super().open_existing(name)


def test_a_segment_on_a_bad_spot_stays_and_another_one_goes() -> None:
    """When the disk has recovered it is its turn."""
    bench = Bench()
    bench.files = disk = BadSpot()
    bench.spool = bench.oracle.open(disk)
    bench.keep(60)
    assert [one.id.seq for one in iter_waiting(bench.spool)][:6] == [0, 1, 2, 3, 4, 35]

    disk.bad = ""
    bench.restart()
    bench.keep(60)
    assert bench.losses()[0][:1] == (0,)


def test_a_disk_that_was_read_only_for_a_while_is_kept_to_the_budget_afterwards(bench: Bench) -> None:
    """What could not be given up then can be given up now."""
    bench.keep(34)
    bench.files.read_only = True
    bench.append(6)
    assert isinstance(bench.spool.commit(), CommitFailure)
    bench.files.read_only = False

    bench.append(10)
    assert isinstance(bench.spool.commit(), CommitSuccess)

    assert bench.spool.get_usage().bytes <= SMALL_LIMITS.bytes_max


def test_a_read_only_disk_is_told_as_a_value_and_batches_wait_in_memory(bench: Bench) -> None:
    """They can be sent from there; when the disk is back they become durable."""
    bench.files.read_only = True
    names = bench.append(3)

    assert bench.spool.commit() == CommitFailure(reason="Read-only file system", pending=3)
    assert bench.waiting() == names
    assert bench.spool.read_body(names[0]) == bench.oracle.bodies[names[0]]
    assert bench.spool.get_usage().degraded == "Read-only file system"

    bench.files.read_only = False
    assert bench.spool.commit() == CommitSuccess(accepted_ids=tuple(names))
    assert bench.spool.get_usage().degraded is None


def test_memory_is_bounded_while_the_disk_does_not_work(bench: Bench) -> None:
    """At the limit all stay; one past it the oldest goes, counted and with a tombstone that outlives the trouble."""
    bench.files.read_only = True
    bench.append(12, size=1_024)
    bench.spool.commit()
    assert bench.spool.get_usage().pending == 12

    dropped = bench.spool.append(bench.oracle.create_batch(bench.spool, 1))

    assert dropped == 2
    bench.files.read_only = False
    bench.spool.commit()
    assert (len(bench.waiting()), bench.losses()) == (12, [(0, 0, LossReason.OVERFLOW)])


class HangingDisk(CrashingFiles):
    """A disk whose sync does not return until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.syncing, self.let_go = Event(), Event()

    def fdatasync(self, handle: int) -> None:
        self.syncing.set()
        assert self.let_go.wait(30)
        super().fdatasync(handle)


def test_nobody_but_the_committer_waits_for_a_hanging_disk() -> None:
    """Appending, the lanes and the marks go on while a sync hangs; what comes meanwhile is for the next commit."""
    bench = Bench()
    bench.files = disk = HangingDisk()
    bench.spool = bench.oracle.open(disk)
    (first,) = bench.append()
    results: list[CommitSuccess | CommitFailure] = []
    committer = Thread(target=lambda: results.append(bench.spool.commit()))
    committer.start()
    assert disk.syncing.wait(30)

    (second,) = bench.append()
    assert bench.waiting() == [first, second]
    assert bench.spool.ack(first)
    assert bench.spool.append(bench.oracle.create_batch(bench.spool, 11_000)) == 2

    disk.let_go.set()
    committer.join(30)
    assert results == [CommitSuccess(accepted_ids=(first,))]
    assert bench.losses() == [(1, 1, LossReason.OVERFLOW)]
    assert bench.spool.get_usage().acked == 1


def test_a_spool_that_is_removed_is_made_anew(bench: Bench) -> None:
    """What lay there and waited is told as lost; open descriptors do not swallow what comes after."""
    old = bench.keep(3)
    bench.spool.ack(old[1])
    bench.files.remove_directory()

    (new,) = bench.keep()

    assert bench.losses() == [(0, 0, LossReason.CORRUPT), (2, 2, LossReason.CORRUPT)]
    bench.restart()
    assert (bench.waiting(), bench.losses()) == ([new], [(0, 0, LossReason.CORRUPT), (2, 2, LossReason.CORRUPT)])


def test_a_segment_that_is_removed_takes_nothing_more(bench: Bench) -> None:
    """Its descriptor would take bytes for ever and no name would lead to them: the next batch begins a new segment."""
    bench.keep()
    bench.files.unlink("0000000001.seg")

    (new,) = bench.keep()

    bench.restart()
    assert (bench.waiting(), bench.losses()) == ([new], [(0, 0, LossReason.CORRUPT)])


def test_damage_found_while_reading_is_told(bench: Bench) -> None:
    """The batch has no body any more, does not wait any more, and has a tombstone."""
    first, second = bench.keep(2)
    bench.files.content("0000000001.seg")[4_096 + 56 + 10] ^= 1

    assert bench.spool.read_body(first) is None

    assert (bench.waiting(), bench.losses()) == ([second], [(0, 0, LossReason.CORRUPT)])


def test_every_start_is_an_epoch_of_its_own(bench: Bench) -> None:
    """No number can be given out twice, whatever was lost; and none is spent on a start that measures nothing."""
    (before,) = bench.append()
    bench.spool = bench.oracle.open(bench.files.after_kill())
    (after,) = bench.append()

    assert (before.seq, after.seq) == (0, 0)
    assert before.epoch != after.epoch
    assert Bench().files.list_names() == []


def test_a_random_source_that_repeats_itself_gives_no_epoch_twice() -> None:
    """A cloned virtual machine may draw what it drew before."""
    bench = Bench()
    (used,) = bench.keep()
    bench.spool.close()
    drawn = iter([used.epoch, used.epoch, "e" * 32])

    spool = Spool(file_system=bench.files, clock=bench.oracle.clock, make_epoch=lambda: next(drawn), quota=SMALL_LIMITS)

    assert spool.reserve_id() == BatchId("e" * 32, 0)


def test_a_new_epoch_can_be_asked_for(bench: Bench) -> None:
    """Numbers begin again; batches of both epochs wait side by side."""
    old = bench.keep(2)
    bench.spool.renew_epoch()

    new = bench.keep(2)

    assert [name.seq for name in new] == [0, 1]
    bench.restart()
    assert bench.waiting() == old + new


def test_usage_counts_and_looks_ahead() -> None:
    """Age and days left come from the times of the windows and the rate of the last day."""
    bench = Bench(SpoolQuota(bytes_max=10_000_000, segment_bytes=100_000, memory_bytes_max=1_000_000))
    names = bench.keep(120, size=5_000)
    bench.spool.ack(names[0])
    bench.append()

    usage = bench.spool.get_usage()

    assert (usage.pending, usage.unacked, usage.acked, usage.dead) == (1, 120, 1, 0)
    assert usage.oldest_unacked_s is not None
    assert 119 * 60 <= usage.oldest_unacked_s <= 120 * 60
    assert usage.days_left == pytest.approx((10_000_000 - usage.bytes) / (usage.bytes / (119 * 60)) / 86_400)


def test_without_a_rate_days_left_are_unknown(bench: Bench) -> None:
    """Ten minutes of batches are the least that says something."""
    bench.keep(10)
    assert bench.spool.get_usage().days_left is None

    bench.keep()
    assert bench.spool.get_usage().days_left is not None


@pytest.mark.parametrize(("size", "fits"), [(0, False), (1, True), (BODY_BYTES_MAX, True), (BODY_BYTES_MAX + 1, False)])
def test_a_body_is_what_a_collector_takes(size: int, fits: bool) -> None:
    """Anything else could never be sent."""
    try:
        PackedBatch(id=BatchId("0" * 32, 0), body=b"x" * size, windows=1, t_first_s=0, t_last_s=0)
    except ValueError:
        assert not fits
    else:
        assert fits


@pytest.mark.parametrize(
    "wrong",
    [
        {"segment_bytes": 8_191},
        {"bytes_max": 4 * (10 << 10) - 1},
        {"memory_bytes_max": 40 << 10},
        {"acked_retention_s": -1},
    ],
)
def test_limits_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    """Fewer than four segments, a segment without room for a record, more memory than disk."""
    with pytest.raises(ValueError):
        replace(SMALL_LIMITS, **wrong)


def test_the_backlog_is_what_waits(bench: Bench) -> None:
    """Batches and their segments; what is acknowledged is not among them, although it is still there."""
    names = bench.keep(20)
    waiting_before = bench.spool.get_backlog()
    for name in names:
        bench.spool.ack(name)
    (last,) = bench.append()

    now = bench.spool.get_backlog()

    assert (waiting_before.batches, now.batches) == (20, 1)
    assert 0 < waiting_before.bytes <= bench.spool.get_usage().bytes
    assert now.bytes <= waiting_before.bytes
    assert now.bytes_max == bench.limits.bytes_max
    assert last in bench.waiting()
