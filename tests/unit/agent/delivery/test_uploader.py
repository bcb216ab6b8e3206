"""Building and uploading batches on a real spool with a simulated collector: the effect of every response."""

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
    """Simulated collector: responds as configured and records the received batches."""

    url = "http://collector.test"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.received: list[wire.Batch] = []
        self.respond: Callable[[wire.Batch], BatchResponse] = self.store_batch
        self.stored: set[tuple[str, int]] = set()

    def shorten_timeouts(self) -> None:
        """Do nothing; responses have no delay."""

    def send_batch(self, body: bytes) -> BatchResponse:
        self.clock.advance(1_000_000)
        try:
            batch = unpack_batch(body)
        except WireError as error:
            return BatchResponse(kind=ResponseKind.REFUSED, reason=f"422 {error}", status=422, is_problem=True)
        self.received.append(batch)
        return self.respond(batch)

    def store_batch(self, batch: wire.Batch) -> BatchResponse:
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


def respond_with(kind: ResponseKind, status: int) -> Callable[[wire.Batch], BatchResponse]:
    return lambda _: BatchResponse(kind=kind, reason=f"{status} simulated", status=status, is_problem=True)


class AgentHarness:
    """Spool, batch builder and uploader of an agent in a directory, with a simulated clock."""

    def __init__(
        self,
        directory: Path,
        clock: FakeClock | None = None,
        epoch: int = 0,
        file_system: DirectoryFileSystem | None = None,
        quota: SpoolQuota | None = None,
        collector: Collector | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.collector = collector or Collector(self.clock)
        epochs = iter(range(epoch, epoch + 100))
        self.spool = Spool(
            file_system=file_system or DirectoryFileSystem(directory),
            clock=self.clock,
            make_epoch=lambda: f"{next(epochs):032x}",
            quota=quota or SpoolQuota(),
        )
        self.batch_builder = BatchBuilder("fra-a1", self.spool, self.clock)
        self.uploader = Uploader(
            clients=[self.collector],  # type: ignore[list-item]  # the port, not the class
            spool=self.spool,
            batch_builder=self.batch_builder,
            clock=self.clock,
            rng=make_rng(1),
        )

    def spool_minute(self, minute: int, targets: int = 2) -> None:
        """Spool one minute of some targets durably."""
        start_s = START_S + 60 * minute
        series = [
            wire.to_target_window(f"t{number}", "192.0.2.1", build_window(start_s, 1_000, {0: 5_000 + minute}, []))
            for number in range(targets)
        ]
        self.batch_builder.build(WindowsMessage(3, series))
        assert isinstance(self.spool.commit(), CommitSuccess)

    def run(self, seconds: int = 1_000) -> None:
        """Upload due batches for some seconds, or until none is left."""
        end_ns = self.clock.monotonic_ns() + seconds * 10**9
        while self.clock.monotonic_ns() < end_ns:
            due_ns = self.uploader.upload_next()
            if due_ns is None:
                return
            self.clock.sleep_until(min(due_ns, end_ns))


@pytest.fixture(name="harness")
def _harness(tmp_path: Path) -> Iterator[AgentHarness]:
    harness = AgentHarness(tmp_path)
    yield harness
    harness.spool.close()


def test_packing_is_deterministic(harness: AgentHarness) -> None:
    """A retry is byte-identical, because the gzip header contains no timestamp."""
    harness.spool_minute(0)
    harness.run()

    assert pack_batch(harness.collector.received[0]) == pack_batch(
        unpack_batch(pack_batch(harness.collector.received[0]))
    )
    assert harness.collector.received[0].series[0].rtt_us[0] == 5_000


def test_batch_contains_clock_readings(harness: AgentHarness) -> None:
    """A batch has three clocks, the boot id, the NTP state and, after the first response, the collector offset."""
    harness.spool_minute(0)
    harness.run()
    harness.spool_minute(1)
    harness.run()
    first, second = harness.collector.received

    assert (first.v, first.agent, first.mesh_version, first.seq, second.seq) == (2, "fra-a1", 3, 0, 1)
    assert first.boottime_us is not None
    assert first.boot_id
    assert (first.clock_offset_us, first.clock_offset_error_us) == (None, None)
    assert second.clock_offset_us is not None
    assert abs(second.clock_offset_us) <= (second.clock_offset_error_us or 0)


def test_an_acknowledged_batch_leaves_the_queue_and_stays_on_disk(harness: AgentHarness) -> None:
    """An acknowledged batch stays on disk for a rewind after a restored backup."""
    harness.spool_minute(0)
    harness.run()

    assert (harness.spool.get_usage().unacked, harness.spool.get_usage().acked) == (0, 1)
    assert harness.uploader.mesh_version == 7


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ResponseKind.UNAVAILABLE, 503),
        (ResponseKind.NOT_A_COLLECTOR, 200),
        (ResponseKind.DENIED, 401),
        (ResponseKind.VERSION_MISMATCH, 426),
    ],
)
def test_batch_stays_without_an_acknowledgement(harness: AgentHarness, kind: ResponseKind, status: int) -> None:
    """The batch stays after any number of failures, and the collector finally receives the same bytes."""
    harness.collector.respond = respond_with(kind, status)
    harness.spool_minute(0)
    harness.run(3_600)
    assert harness.spool.get_usage().unacked == 1
    assert harness.uploader.last_error == f"{status} simulated"

    harness.collector.respond = harness.collector.store_batch
    harness.run(3_600)

    assert harness.spool.get_usage().unacked == 0
    assert len({pack_batch(batch) for batch in harness.collector.received}) == 1


def test_refused_batch_becomes_a_dead_letter_and_a_gap(harness: AgentHarness) -> None:
    """The following batches report the gap until one of them is acknowledged."""
    harness.collector.respond = respond_with(ResponseKind.REFUSED, 422)
    harness.spool_minute(0)
    harness.run()
    assert (harness.spool.get_usage().unacked, harness.spool.get_usage().dead) == (0, 1)

    harness.spool.commit()
    harness.collector.respond = respond_with(ResponseKind.UNAVAILABLE, 503)
    harness.spool_minute(1)
    harness.run(10)
    harness.collector.respond = harness.collector.store_batch
    harness.spool_minute(2)
    harness.run()
    harness.spool_minute(3)
    harness.run()

    gaps_by_seq = {
        batch.seq: [(gap.reason, gap.first_seq) for gap in batch.gaps] for batch in harness.collector.received[1:]
    }
    assert gaps_by_seq == {1: [(wire.GapReason.REFUSED, 0)], 2: [(wire.GapReason.REFUSED, 0)], 3: []}


def test_too_large_batch_arrives_in_parts(harness: AgentHarness) -> None:
    """A batch is split into halves under new numbers until they are accepted; every window arrives once."""

    def accept_small_batches(batch: wire.Batch) -> BatchResponse:
        return (
            harness.collector.store_batch(batch)
            if len(batch.series) <= 2
            else respond_with(ResponseKind.TOO_LARGE, 413)(batch)
        )

    harness.collector.respond = accept_small_batches
    harness.spool_minute(0, targets=5)
    harness.run()

    stored = [batch for batch in harness.collector.received if (batch.epoch, batch.seq) in harness.collector.stored]
    assert sorted(window.target for batch in stored for window in batch.series) == ["t0", "t1", "t2", "t3", "t4"]
    assert harness.spool.get_usage().unacked == 0


def test_cloned_identity_continues_in_a_new_epoch(harness: AgentHarness) -> None:
    """Another agent has used the id with other bytes: the windows arrive under a new id."""
    responses = iter([respond_with(ResponseKind.CONFLICT, 409)])
    harness.collector.respond = lambda batch: next(responses, harness.collector.store_batch)(batch)
    harness.spool_minute(0)
    harness.run()

    first, second = harness.collector.received
    assert (first.epoch, second.epoch) == (f"{0:032x}", f"{1:032x}")
    assert first.series == second.series
    assert second.sealed_at_us == first.sealed_at_us


def test_a_restored_backup_is_refilled(harness: AgentHarness) -> None:
    """The store has fewer batches than it acknowledged: the agent sends all batches in the spool again."""
    for minute in range(5):
        harness.spool_minute(minute)
        harness.run()
    harness.collector.stored = {name for name in harness.collector.stored if name[1] < 2}

    harness.spool_minute(5)
    harness.run()

    assert {seq for _, seq in harness.collector.stored} == {0, 1, 2, 3, 4, 5}


def test_batches_on_disk_are_sent_after_a_restart(harness: AgentHarness, tmp_path: Path) -> None:
    """Batches are sent from disk, newest first, each under one id."""
    harness.collector.respond = respond_with(ResponseKind.UNAVAILABLE, 503)
    for minute in range(3):
        harness.spool_minute(minute)
    harness.spool.close()
    restarted = AgentHarness(tmp_path, harness.clock, epoch=50)
    restarted.spool_minute(3)
    restarted.run()

    assert [(batch.epoch[-2:], batch.seq) for batch in restarted.collector.received] == [
        ("32", 0),
        ("00", 0),
        ("00", 1),
        ("00", 2),
    ]
    restarted.spool.close()


@pytest.mark.parametrize(("lost", "sent"), [(False, 2), (True, 8)])
def test_a_backup_restored_while_the_agent_was_down_is_refilled(
    harness: AgentHarness, tmp_path: Path, lost: bool, sent: int
) -> None:
    """After a start, the last acknowledged batch is sent again; if the collector lost it, all others follow."""
    for minute in range(5):
        harness.spool_minute(minute)
        harness.run()
    harness.spool.close()
    restarted = AgentHarness(tmp_path, harness.clock, epoch=50)
    restarted.collector.stored = set() if lost else harness.collector.stored
    restarted.spool_minute(5)
    restarted.run()

    assert len(restarted.collector.received) == sent
    assert {(epoch[-2:], seq) for epoch, seq in restarted.collector.stored} == {
        ("32", 0),
        *(("00", seq) for seq in range(5)),
    }
    restarted.spool.close()


def test_a_kill_before_the_refill_is_durable_does_not_hide_the_loss(tmp_path: Path) -> None:
    """Re-verification restores the newest lost batch; after a kill, the batch count still shows the loss."""
    file_system = DirectoryFileSystem(tmp_path)
    harness = AgentHarness(tmp_path, file_system=file_system)
    for minute in range(5):
        harness.spool_minute(minute)
        harness.run()
    harness.spool.close()
    harness.collector.stored = set()
    restarted = AgentHarness(tmp_path, harness.clock, 50, file_system, collector=harness.collector)
    while not harness.collector.stored:
        restarted.uploader.upload_next()
        harness.clock.advance(1_000_000_000)
    file_system.release_lock()
    last = AgentHarness(tmp_path, harness.clock, 80, file_system, collector=harness.collector)
    last.run()

    assert {seq for _, seq in harness.collector.stored} == set(range(5))
    last.spool.close()


def test_batch_count_shows_older_losses_of_a_restored_store(harness: AgentHarness, tmp_path: Path) -> None:
    """The backup contains the newest batch but not the backlog that was stored later, so the count is too low."""
    harness.collector.respond = respond_with(ResponseKind.UNAVAILABLE, 503)
    for minute in range(5):
        harness.spool_minute(minute)
    harness.run(10)
    harness.collector.respond = harness.collector.store_batch
    harness.run()
    harness.spool.close()
    restarted = AgentHarness(tmp_path, harness.clock, epoch=50)
    restarted.collector.stored = {name for name in harness.collector.stored if name[1] == 4}
    restarted.run()

    assert {seq for _, seq in restarted.collector.stored} == set(range(5))
    restarted.spool.close()


def test_every_epoch_is_verified_after_a_start(tmp_path: Path) -> None:
    """Only the batches of the first of three processes are lost."""
    first = AgentHarness(tmp_path)
    first.spool_minute(0)
    first.run()
    first.spool.close()
    second = AgentHarness(tmp_path, first.clock, epoch=50, collector=first.collector)
    second.spool_minute(1)
    second.run()
    second.spool.close()
    first.collector.stored = {name for name in first.collector.stored if name[0] != f"{0:032x}"}
    third = AgentHarness(tmp_path, first.clock, epoch=80, collector=first.collector)
    third.run()

    assert (f"{0:032x}", 0) in first.collector.stored
    third.spool.close()


def test_loss_is_reported_as_a_half_open_gap(harness: AgentHarness) -> None:
    """The gap on the wire has half-open times and the epoch of the lost batch."""
    harness.collector.respond = respond_with(ResponseKind.REFUSED, 422)
    harness.spool_minute(4)
    harness.run()
    (loss,) = harness.spool.list_undelivered_losses()
    harness.collector.respond = harness.collector.store_batch
    harness.spool_minute(5)
    harness.run()
    (gap,) = harness.collector.received[-1].gaps

    assert loss.reason is LossReason.REFUSED
    assert (gap.from_s, gap.to_s, gap.windows, gap.epoch) == (START_S + 240, START_S + 300, 2, f"{0:032x}")


def test_batch_ids_are_consecutive(harness: AgentHarness) -> None:
    """Numbers increase by one."""
    ids = [harness.spool.reserve_id() for _ in range(3)]

    assert ids == [BatchId(f"{0:032x}", seq) for seq in range(3)]


class UnreadableFileSystem(DirectoryFileSystem):
    """File system with read errors on some segments."""

    unreadable_names: frozenset[str] = frozenset()

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        if name in self.unreadable_names:
            raise OSError(errno.EIO, "Input/output error")
        return super().read_at(name, offset, size)


@pytest.mark.parametrize("bad_first", [True, False])
def test_unreadable_batches_are_skipped_and_sent_later(
    tmp_path: Path, bad_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Other batches are sent, the error is logged once, the usage counts the batches, and none is marked as lost."""
    file_system = UnreadableFileSystem(tmp_path)
    AgentHarness(tmp_path, file_system=file_system).spool.close()
    harness = AgentHarness(tmp_path, epoch=10, file_system=file_system)
    for minute in range(3):
        harness.spool_minute(minute)
    harness.spool.close()
    restarted = AgentHarness(tmp_path, harness.clock, epoch=50, file_system=file_system)
    for minute in range(3, 6):
        restarted.spool_minute(minute)
    (first, second) = sorted(path.name for path in tmp_path.glob("*.seg"))
    file_system.unreadable_names = frozenset({first if bad_first else second})

    with caplog.at_level(logging.WARNING):
        restarted.run(600)
    stored = {window.start_s for batch in restarted.collector.received for window in batch.series}
    usage = restarted.spool.get_usage()
    assert stored == {START_S + 60 * minute for minute in (range(3, 6) if bad_first else range(3))}
    assert (usage.unreadable, usage.unacked, usage.loss_records) == (3, 3, 0)
    assert [record.message for record in caplog.records] == [
        "cannot read some batches: they stay in the spool and are retried"
    ]

    file_system.unreadable_names = frozenset()
    restarted.run(600)
    assert {window.start_s for batch in restarted.collector.received for window in batch.series} == {
        START_S + 60 * minute for minute in range(6)
    }
    assert (restarted.spool.get_usage().unreadable, restarted.spool.get_usage().unacked) == (0, 0)
    restarted.spool.close()


def test_single_unreadable_batch_is_retried(tmp_path: Path) -> None:
    """``upload_next`` returns the time of the retry, so that the loop sleeps until then."""
    file_system = UnreadableFileSystem(tmp_path)
    harness = AgentHarness(tmp_path, file_system=file_system)
    harness.spool_minute(0)
    file_system.unreadable_names = frozenset({"0000000001.seg"})
    harness.uploader.skip_delays()

    assert harness.uploader.upload_next() == harness.clock.monotonic_ns()
    assert harness.uploader.upload_next() == harness.clock.monotonic_ns() + UNREADABLE_RETRY_NS
    assert harness.collector.received == []
    harness.spool.close()


class FastClock500(FakeClock):
    """Clocks of a host without NTP that run 500 ppm fast."""

    @property
    def true_us(self) -> int:
        """Time of the collector in microseconds."""
        return (FakeClock().wall_ns() + self.monotonic_ns() * 1_000_000 // 1_000_500) // 1_000


def test_clock_drift_is_measured_at_each_upload(tmp_path: Path) -> None:
    """At 500 ppm (43 s a day), each batch has the true offset of the previous upload within its error."""
    clock = FastClock500()
    harness = AgentHarness(tmp_path, clock)
    true_offsets_us: list[int] = []

    def store_with_true_time(batch: wire.Batch) -> BatchResponse:
        response = harness.collector.store_batch(batch)
        assert response.ack is not None
        true_offsets_us.append(clock.wall_ns() // 1_000 - clock.true_us)
        ack = msgspec.structs.replace(response.ack, received_at_us=clock.true_us)
        clock.advance(3_000_000)  # The response takes longer than the request.
        return dataclasses.replace(response, ack=ack)

    harness.collector.respond = store_with_true_time
    for minute in range(0, 1_440, 60):
        harness.spool_minute(minute)
        harness.run()
        clock.advance(3_600 * 10**9)

    offsets = [(batch.clock_offset_us, batch.clock_offset_error_us) for batch in harness.collector.received[1:]]
    assert len(offsets) == 23
    for (offset_us, error_us), true_us in zip(offsets, true_offsets_us, strict=False):
        assert offset_us is not None
        assert error_us is not None
        assert abs(offset_us - true_us) <= error_us <= 2_100
    assert offsets[-1][0] == pytest.approx(22 * 3_600 * 500, rel=0.01)
    harness.spool.close()


@pytest.mark.parametrize("step_s", [-37, 3_600, -1_699_999_000])
def test_clock_readings_show_a_wall_clock_step(harness: AgentHarness, step_s: int) -> None:
    """The step changes the difference of wall and monotonic clock, and of wall clock and time since boot."""
    harness.spool_minute(0)
    harness.run()
    harness.clock.step(step_s * 10**9)
    harness.spool_minute(1)
    harness.run()
    first, second = harness.collector.received

    assert (second.sealed_at_us - second.monotonic_us) - (first.sealed_at_us - first.monotonic_us) == step_s * 10**6
    assert first.boottime_us is not None
    assert second.boottime_us is not None
    assert (second.sealed_at_us - second.boottime_us) - (first.sealed_at_us - first.boottime_us) == step_s * 10**6
    assert second.boot_id == first.boot_id


def test_wall_clock_past_2100_affects_only_its_own_minutes(harness: AgentHarness) -> None:
    """The collector refuses windows of 2150; a later batch reports the refusal in a valid gap."""
    century_s = 120 * 365 * 86_400
    harness.clock.step(century_s * 10**9)
    harness.spool_minute(century_s // 60)
    harness.run()
    harness.clock.step(-century_s * 10**9)
    harness.spool_minute(1)
    harness.run()
    (only,) = harness.collector.received

    assert [(gap.reason, gap.windows, gap.to_s) for gap in only.gaps] == [(wire.GapReason.REFUSED, 2, wire.TIME_S_MAX)]
    assert wire.decode_batch(codec.encode(only)) == only


def test_clone_is_kept_for_the_status(harness: AgentHarness) -> None:
    """The time of the clone report stays in the status until the next start."""
    responses = iter([respond_with(ResponseKind.CONFLICT, 409)])
    harness.collector.respond = lambda batch: next(responses, harness.collector.store_batch)(batch)
    harness.spool_minute(0)
    assert harness.uploader.cloned_at_s is None
    harness.run()

    assert harness.uploader.cloned_at_s is not None
