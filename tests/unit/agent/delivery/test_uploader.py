"""Sealing and sending: what becomes of a batch for every answer, on a real spool and with a collector on paper."""

from __future__ import annotations

import dataclasses
import errno
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from leadline.clock import make_rng
from leadline.errors import WireError
from leadline.model import build_window
from leadline.wire import batch as wire
from leadline.wire import codec
from leadline_agent.delivery.batch_builder import BatchBuilder, pack_batch, unpack_batch
from leadline_agent.delivery.responses import BatchResponse, ResponseKind
from leadline_agent.delivery.uploader import UNREADABLE_RETRY_NS, Uploader
from leadline_agent.probe.ipc import WindowsMessage
from leadline_agent.spool.filesystem import DirectoryFileSystem
from leadline_agent.spool.index import BatchId
from leadline_agent.spool.loss_records import LossReason
from leadline_agent.spool.quota import SpoolQuota
from leadline_agent.spool.spool import CommitSuccess, Spool
from tests.support.clock import FakeClock

START_S = 1_700_000_040


class Collector:
    """Answers as it is told, and remembers what it got."""

    url = "http://collector.test"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.got: list[wire.Batch] = []
        self.answer: Callable[[wire.Batch], BatchResponse] = self.stores
        self.stored: set[tuple[str, int]] = set()

    def shorten_timeouts(self) -> None:
        """It never lets anybody wait."""

    def send_batch(self, body: bytes) -> BatchResponse:
        self.clock.advance(1_000_000)
        try:
            batch = unpack_batch(body)
        except WireError as error:
            return BatchResponse(kind=ResponseKind.REFUSED, reason=f"422 {error}", status=422, is_problem=True)
        self.got.append(batch)
        return self.answer(batch)

    def stores(self, batch: wire.Batch) -> BatchResponse:
        duplicate = (batch.epoch, batch.seq) in self.stored
        self.stored.add((batch.epoch, batch.seq))
        count = sum(epoch == batch.epoch for epoch, _ in self.stored)
        ack = wire.Ack(
            digest="0" * 64,
            duplicate=duplicate,
            mesh_version=7,
            batches=count,
            received_at_us=self.clock.wall_ns() // 1_000,
        )
        return BatchResponse(kind=ResponseKind.STORED, reason="stored", status=200, ack=ack)


def says(kind: ResponseKind, status: int) -> Callable[[wire.Batch], BatchResponse]:
    return lambda _: BatchResponse(kind=kind, reason=f"{status} said", status=status, is_problem=True)


class Bench:
    """An agent's spool, sealer and sender in a directory, with a clock that jumps."""

    def __init__(
        self,
        directory: Path,
        clock: FakeClock | None = None,
        epoch: int = 0,
        files: DirectoryFileSystem | None = None,
        limits: SpoolQuota | None = None,
        collector: Collector | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.collector = collector or Collector(self.clock)
        epochs = iter(range(epoch, epoch + 100))
        self.spool = Spool(
            file_system=files or DirectoryFileSystem(directory),
            clock=self.clock,
            make_epoch=lambda: f"{next(epochs):032x}",
            quota=limits or SpoolQuota(),
        )
        self.sealer = BatchBuilder("fra-a1", self.spool, self.clock)
        self.sender = Uploader(
            clients=[self.collector],  # type: ignore[list-item]  # the port, not the class
            spool=self.spool,
            batch_builder=self.sealer,
            clock=self.clock,
            rng=make_rng(1),
        )

    def seal(self, minute: int, targets: int = 2) -> None:
        """Spool a minute of some targets, durably."""
        start_s = START_S + 60 * minute
        series = [
            wire.to_target_window(f"t{number}", "192.0.2.1", build_window(start_s, 1_000, {0: 5_000 + minute}, []))
            for number in range(targets)
        ]
        self.sealer.build(WindowsMessage(3, series))
        assert isinstance(self.spool.commit(), CommitSuccess)

    def run(self, seconds: int = 1_000) -> None:
        """Send what is due for so long."""
        end_ns = self.clock.monotonic_ns() + seconds * 10**9
        while self.clock.monotonic_ns() < end_ns:
            due_ns = self.sender.upload_next()
            if due_ns is None:
                return
            self.clock.sleep_until(min(due_ns, end_ns))


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.spool.close()


def test_a_packed_batch_is_the_same_bytes_again(bench: Bench) -> None:
    """A retry is byte-identical: gzip carries no time of packing."""
    bench.seal(0)
    bench.run()

    assert pack_batch(bench.collector.got[0]) == pack_batch(unpack_batch(pack_batch(bench.collector.got[0])))
    assert bench.collector.got[0].series[0].rtt_us[0] == 5_000


def test_a_batch_carries_its_anchors(bench: Bench) -> None:
    """Three clocks, the boot, the kernel's word on NTP, and after the first answer the offset to the collector."""
    bench.seal(0)
    bench.run()
    bench.seal(1)
    bench.run()
    first, second = bench.collector.got

    assert (first.v, first.agent, first.mesh_version, first.seq, second.seq) == (2, "fra-a1", 3, 0, 1)
    assert first.boottime_us is not None
    assert first.boot_id
    assert (first.clock_offset_us, first.clock_offset_error_us) == (None, None)
    assert second.clock_offset_us is not None
    assert abs(second.clock_offset_us) <= (second.clock_offset_error_us or 0)


def test_an_acknowledged_batch_leaves_the_queue_and_stays_on_disk(bench: Bench) -> None:
    """For the rewind after a restored backup."""
    bench.seal(0)
    bench.run()

    assert (bench.spool.get_usage().unacked, bench.spool.get_usage().acked) == (0, 1)
    assert bench.sender.mesh_version == 7


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ResponseKind.UNAVAILABLE, 503),
        (ResponseKind.NOT_A_COLLECTOR, 200),
        (ResponseKind.DENIED, 401),
        (ResponseKind.VERSION_MISMATCH, 426),
    ],
)
def test_what_is_not_an_acknowledgement_keeps_the_batch(bench: Bench, kind: ResponseKind, status: int) -> None:
    """However often; and when the collector is well again it gets the very same batch."""
    bench.collector.answer = says(kind, status)
    bench.seal(0)
    bench.run(3_600)
    assert bench.spool.get_usage().unacked == 1
    assert bench.sender.last_error == f"{status} said"

    bench.collector.answer = bench.collector.stores
    bench.run(3_600)

    assert bench.spool.get_usage().unacked == 0
    assert len({pack_batch(batch) for batch in bench.collector.got}) == 1


def test_what_is_refused_for_ever_becomes_a_dead_letter_and_a_gap(bench: Bench) -> None:
    """The next batch tells of it, until one that does is acknowledged."""
    bench.collector.answer = says(ResponseKind.REFUSED, 422)
    bench.seal(0)
    bench.run()
    assert (bench.spool.get_usage().unacked, bench.spool.get_usage().dead) == (0, 1)

    bench.spool.commit()
    bench.collector.answer = says(ResponseKind.UNAVAILABLE, 503)
    bench.seal(1)
    bench.run(10)
    bench.collector.answer = bench.collector.stores
    bench.seal(2)
    bench.run()
    bench.seal(3)
    bench.run()

    told = {batch.seq: [(gap.reason, gap.first_seq) for gap in batch.gaps] for batch in bench.collector.got[1:]}
    assert told == {1: [(wire.GapReason.REFUSED, 0)], 2: [(wire.GapReason.REFUSED, 0)], 3: []}


def test_a_batch_that_is_too_large_is_split(bench: Bench) -> None:
    """Into halves, under new numbers, until they pass; every window arrives once."""

    def small(batch: wire.Batch) -> BatchResponse:
        return bench.collector.stores(batch) if len(batch.series) <= 2 else says(ResponseKind.TOO_LARGE, 413)(batch)

    bench.collector.answer = small
    bench.seal(0, targets=5)
    bench.run()

    stored = [batch for batch in bench.collector.got if (batch.epoch, batch.seq) in bench.collector.stored]
    assert sorted(one.target for batch in stored for one in batch.series) == ["t0", "t1", "t2", "t3", "t4"]
    assert bench.spool.get_usage().unacked == 0


def test_a_cloned_identity_goes_on_in_a_new_epoch(bench: Bench) -> None:
    """The name is taken by other bytes: the windows arrive under another."""
    answers = iter([says(ResponseKind.CONFLICT, 409)])
    bench.collector.answer = lambda batch: next(answers, bench.collector.stores)(batch)
    bench.seal(0)
    bench.run()

    first, second = bench.collector.got
    assert (first.epoch, second.epoch) == (f"{0:032x}", f"{1:032x}")
    assert first.series == second.series
    assert second.sealed_at_us == first.sealed_at_us


def test_a_restored_backup_is_refilled(bench: Bench) -> None:
    """The store has fewer batches than it acknowledged: the agent sends again what it keeps."""
    for minute in range(5):
        bench.seal(minute)
        bench.run()
    bench.collector.stored = {name for name in bench.collector.stored if name[1] < 2}

    bench.seal(5)
    bench.run()

    assert {seq for _, seq in bench.collector.stored} == {0, 1, 2, 3, 4, 5}


def test_after_a_restart_what_was_kept_is_sent(bench: Bench, tmp_path: Path) -> None:
    """From disk, newest first, and nothing twice under two names."""
    bench.collector.answer = says(ResponseKind.UNAVAILABLE, 503)
    for minute in range(3):
        bench.seal(minute)
    bench.spool.close()
    again = Bench(tmp_path, bench.clock, epoch=50)
    again.seal(3)
    again.run()

    assert [(batch.epoch[-2:], batch.seq) for batch in again.collector.got] == [
        ("32", 0),
        ("00", 0),
        ("00", 1),
        ("00", 2),
    ]
    again.spool.close()


@pytest.mark.parametrize(("lost", "sent"), [(False, 2), (True, 8)])
def test_a_backup_restored_while_the_agent_was_down_is_refilled(
    bench: Bench, tmp_path: Path, lost: bool, sent: int
) -> None:
    """After a start the last acknowledged batch is sent once more; if it is news to the collector, so is the rest."""
    for minute in range(5):
        bench.seal(minute)
        bench.run()
    bench.spool.close()
    again = Bench(tmp_path, bench.clock, epoch=50)
    again.collector.stored = set() if lost else bench.collector.stored
    again.seal(5)
    again.run()

    assert len(again.collector.got) == sent
    assert {(epoch[-2:], seq) for epoch, seq in again.collector.stored} == {
        ("32", 0),
        *(("00", seq) for seq in range(5)),
    }
    again.spool.close()


def test_a_kill_before_the_refill_is_durable_does_not_hide_the_loss(tmp_path: Path) -> None:
    """The question itself puts the newest lost batch back; the number of its epoch still tells the next start."""
    files = DirectoryFileSystem(tmp_path)
    bench = Bench(tmp_path, files=files)
    for minute in range(5):
        bench.seal(minute)
        bench.run()
    bench.spool.close()
    bench.collector.stored = set()
    again = Bench(tmp_path, bench.clock, 50, files, collector=bench.collector)
    while not bench.collector.stored:
        again.sender.upload_next()
        bench.clock.advance(1_000_000_000)
    files.release_lock()
    last = Bench(tmp_path, bench.clock, 80, files, collector=bench.collector)
    last.run()

    assert {seq for _, seq in bench.collector.stored} == set(range(5))
    last.spool.close()


def test_older_batches_that_a_restored_store_lost_are_noticed_by_their_number(bench: Bench, tmp_path: Path) -> None:
    """The newest was stored before the copy was taken, the backlog after it: of its epoch too few are there."""
    bench.collector.answer = says(ResponseKind.UNAVAILABLE, 503)
    for minute in range(5):
        bench.seal(minute)
    bench.run(10)
    bench.collector.answer = bench.collector.stores
    bench.run()
    bench.spool.close()
    again = Bench(tmp_path, bench.clock, epoch=50)
    again.collector.stored = {name for name in bench.collector.stored if name[1] == 4}
    again.run()

    assert {seq for _, seq in again.collector.stored} == set(range(5))
    again.spool.close()


def test_every_epoch_is_asked_about(tmp_path: Path) -> None:
    """Only the batches of the first of three lives are lost."""
    first = Bench(tmp_path)
    first.seal(0)
    first.run()
    first.spool.close()
    second = Bench(tmp_path, first.clock, epoch=50, collector=first.collector)
    second.seal(1)
    second.run()
    second.spool.close()
    first.collector.stored = {name for name in first.collector.stored if name[0] != f"{0:032x}"}
    third = Bench(tmp_path, first.clock, epoch=80, collector=first.collector)
    third.run()

    assert (f"{0:032x}", 0) in first.collector.stored
    third.spool.close()


def test_a_loss_of_unknown_time_is_told_from_the_beginning(bench: Bench) -> None:
    """Half open, in the words of the wire."""
    bench.collector.answer = says(ResponseKind.REFUSED, 422)
    bench.seal(4)
    bench.run()
    (stone,) = bench.spool.list_undelivered_losses()
    bench.collector.answer = bench.collector.stores
    bench.seal(5)
    bench.run()
    (gap,) = bench.collector.got[-1].gaps

    assert stone.reason is LossReason.REFUSED
    assert (gap.from_s, gap.to_s, gap.windows, gap.epoch) == (START_S + 240, START_S + 300, 2, f"{0:032x}")


def test_a_batch_name_is_never_given_twice(bench: Bench) -> None:
    """Numbers go up by one."""
    names = [bench.spool.reserve_id() for _ in range(3)]

    assert names == [BatchId(f"{0:032x}", seq) for seq in range(3)]


class BadSpot(DirectoryFileSystem):
    """A disk that does not read some segments."""

    bad: frozenset[str] = frozenset()

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        if name in self.bad:
            raise OSError(errno.EIO, "Input/output error")
        return super().read_at(name, offset, size)


@pytest.mark.parametrize("bad_first", [True, False])
def test_what_the_disk_does_not_read_is_passed_over_and_sent_when_it_does(
    tmp_path: Path, bad_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """At either end of the lanes: the others go meanwhile, it is said once and shown, and nothing is written off."""
    files = BadSpot(tmp_path)
    Bench(tmp_path, files=files).spool.close()
    bench = Bench(tmp_path, epoch=10, files=files)
    for minute in range(3):
        bench.seal(minute)
    bench.spool.close()
    again = Bench(tmp_path, bench.clock, epoch=50, files=files)
    for minute in range(3, 6):
        again.seal(minute)
    (first, second) = sorted(path.name for path in tmp_path.glob("*.seg"))
    files.bad = frozenset({first if bad_first else second})

    with caplog.at_level(logging.WARNING):
        again.run(600)
    stored = {one.start_s for batch in again.collector.got for one in batch.series}
    usage = again.spool.get_usage()
    assert stored == {START_S + 60 * minute for minute in (range(3, 6) if bad_first else range(3))}
    assert (usage.unreadable, usage.unacked, usage.loss_records) == (3, 3, 0)
    assert [record.message for record in caplog.records] == [
        "cannot read some batches: they stay in the spool and are retried"
    ]

    files.bad = frozenset()
    again.run(600)
    assert {one.start_s for batch in again.collector.got for one in batch.series} == {
        START_S + 60 * minute for minute in range(6)
    }
    assert (again.spool.get_usage().unreadable, again.spool.get_usage().unacked) == (0, 0)
    again.spool.close()


def test_an_unreadable_batch_that_stands_alone_is_tried_again(tmp_path: Path) -> None:
    """The loop is told when, and does not spin until then."""
    files = BadSpot(tmp_path)
    bench = Bench(tmp_path, files=files)
    bench.seal(0)
    files.bad = frozenset({"0000000001.seg"})
    bench.sender.skip_delays()

    assert bench.sender.upload_next() == bench.clock.monotonic_ns()
    assert bench.sender.upload_next() == bench.clock.monotonic_ns() + UNREADABLE_RETRY_NS
    assert bench.collector.got == []
    bench.spool.close()


class FastClock500(FakeClock):
    """A host whose crystal runs 500 ppm fast, on both of its clocks, and that nobody disciplines."""

    @property
    def true_us(self) -> int:
        """The time of the collector."""
        return (FakeClock().wall_ns() + self.monotonic_ns() * 1_000_000 // 1_000_500) // 1_000


def test_the_drift_of_the_clock_is_measured_at_each_post_and_carried_by_the_next(tmp_path: Path) -> None:
    """500 ppm, 43 s in a day: what a batch carries is the truth at the post before it, within its error."""
    clock = FastClock500()
    bench = Bench(tmp_path, clock)
    true_offsets_us: list[int] = []

    def stores(batch: wire.Batch) -> BatchResponse:
        answer = bench.collector.stores(batch)
        assert answer.ack is not None
        true_offsets_us.append(clock.wall_ns() // 1_000 - clock.true_us)
        ack = msgspec.structs.replace(answer.ack, received_at_us=clock.true_us)
        clock.advance(3_000_000)  # The way back takes longer than the way there.
        return dataclasses.replace(answer, ack=ack)

    bench.collector.answer = stores
    for minute in range(0, 1_440, 60):
        bench.seal(minute)
        bench.run()
        clock.advance(3_600 * 10**9)

    carried = [(batch.clock_offset_us, batch.clock_offset_error_us) for batch in bench.collector.got[1:]]
    assert len(carried) == 23
    for (offset_us, error_us), true_us in zip(carried, true_offsets_us, strict=False):
        assert offset_us is not None
        assert error_us is not None
        assert abs(offset_us - true_us) <= error_us <= 2_100
    assert carried[-1][0] == pytest.approx(22 * 3_600 * 500, rel=0.01)
    bench.spool.close()


@pytest.mark.parametrize("step_s", [-37, 3_600, -1_699_999_000])
def test_a_step_of_the_wall_clock_is_told_by_the_anchors(bench: Bench, step_s: int) -> None:
    """Wall minus monotonic differs by the step from one batch to the next, and so does wall minus time since boot."""
    bench.seal(0)
    bench.run()
    bench.clock.step(step_s * 10**9)
    bench.seal(1)
    bench.run()
    first, second = bench.collector.got

    assert (second.sealed_at_us - second.monotonic_us) - (first.sealed_at_us - first.monotonic_us) == step_s * 10**6
    assert first.boottime_us is not None
    assert second.boottime_us is not None
    assert (second.sealed_at_us - second.boottime_us) - (first.sealed_at_us - first.boottime_us) == step_s * 10**6
    assert second.boot_id == first.boot_id


def test_a_wall_clock_of_another_century_costs_its_own_minutes_only(bench: Bench) -> None:
    """No collector takes a window of 2150; that it was refused is told in a gap that one does take."""
    century_s = 120 * 365 * 86_400
    bench.clock.step(century_s * 10**9)
    bench.seal(century_s // 60)
    bench.run()
    bench.clock.step(-century_s * 10**9)
    bench.seal(1)
    bench.run()
    (only,) = bench.collector.got

    assert [(gap.reason, gap.windows, gap.to_s) for gap in only.gaps] == [(wire.GapReason.REFUSED, 2, wire.TIME_S_MAX)]
    assert wire.decode_batch(codec.encode(only)) == only


def test_a_clone_is_remembered_for_the_status(bench: Bench) -> None:
    """Until the next start; a log line scrolls away."""
    answers = iter([says(ResponseKind.CONFLICT, 409)])
    bench.collector.answer = lambda batch: next(answers, bench.collector.stores)(batch)
    bench.seal(0)
    assert bench.sender.cloned_at_s is None
    bench.run()

    assert bench.sender.cloned_at_s is not None
