"""Recovery of a damaged spool at start: only damaged batches are lost, and their loss records are exact."""

from __future__ import annotations

import errno

import pytest

from leadline_agent.spool.index import BatchId
from leadline_agent.spool.loss_records import LossReason, LossRecord
from leadline_agent.spool.record_format import (
    HEADER_BYTES,
    HEADER_PAGE_BYTES,
    format_segment_name,
    parse_segment_number,
)
from leadline_agent.spool.spool import CommitFailure
from tests.chaos.crashing_files import CrashingFiles
from tests.chaos.spool_oracle import MINUTE_NS, SpoolOracle, iter_unacked

SIZE = 2_000
RECORD = HEADER_BYTES + SIZE


class StoppedSpool:
    """Closed spool with six batches in three segments; batch 1 is acknowledged."""

    def __init__(self) -> None:
        self.file_system, self.oracle = CrashingFiles(), SpoolOracle()
        spool = self.oracle.open(self.file_system)
        for _ in range(6):
            self.oracle.clock.advance(MINUTE_NS)
            spool.append(self.oracle.create_batch(spool, SIZE))
            self.oracle.commit(spool)
        self.epoch = spool.reserve_id().epoch
        spool.ack(BatchId(self.epoch, 1))
        spool.close()

    def content(self, number: int) -> bytearray:
        return self.file_system.content(format_segment_name(number))

    def recover(self) -> tuple[list[int], list[LossRecord]]:
        spool = self.oracle.open(self.file_system)
        return [batch.id.seq for batch in iter_unacked(spool)], spool.list_undelivered_losses()

    def minute_s(self, seq: int) -> int:
        return 1_700_000_040 + 60 * seq

    def build_loss(self, first: int, last: int | None, before: int | None, after: int | None) -> LossRecord:
        """Return the loss record of a range with times of its neighbours ``before`` and ``after``."""
        t_first_s = None if before is None else self.minute_s(before)
        t_last_s = None if after is None else self.minute_s(after)
        return LossRecord(self.epoch, first, last, t_first_s, t_last_s, None, LossReason.CORRUPT)


@pytest.fixture
def stopped() -> StoppedSpool:
    spool = StoppedSpool()
    assert [len(spool.content(number)) for number in (1, 2)] == [HEADER_PAGE_BYTES + 2 * RECORD] * 2
    return spool


def test_undamaged_spool_has_no_losses(stopped: StoppedSpool) -> None:
    """All batches except the acknowledged one are unacknowledged."""
    assert stopped.recover() == ([0, 2, 3, 4, 5], [])


def test_damaged_payload_gives_an_exact_loss(stopped: StoppedSpool) -> None:
    """The intact header contains the times and the number of windows."""
    stopped.content(2)[HEADER_PAGE_BYTES + RECORD + HEADER_BYTES + 5] ^= 0x10

    minute_s = stopped.minute_s(3)
    assert stopped.recover() == (
        [0, 2, 4, 5],
        [LossRecord(stopped.epoch, 3, 3, minute_s, minute_s, 2, LossReason.CORRUPT)],
    )


def test_damaged_header_gives_a_loss_bounded_by_its_neighbours(stopped: StoppedSpool) -> None:
    """Number and time are bounded by the neighbouring batches."""
    stopped.content(2)[HEADER_PAGE_BYTES + RECORD] ^= 0x10

    assert stopped.recover() == ([0, 2, 4, 5], [stopped.build_loss(3, 3, 2, 4)])


def test_a_damaged_acknowledged_batch_is_no_loss(stopped: StoppedSpool) -> None:
    """A damaged batch is not lost if the collector has it."""
    stopped.content(1)[HEADER_PAGE_BYTES + RECORD] ^= 0x10

    assert stopped.recover() == ([0, 2, 3, 4, 5], [])


@pytest.mark.parametrize("number", [2, 3])
def test_missing_segment_is_a_loss(stopped: StoppedSpool, number: int) -> None:
    """The manifest contains the numbers of a missing segment, even of the last one."""
    stopped.file_system.unlink(format_segment_name(number))

    seqs, losses = stopped.recover()

    assert seqs == ([0, 4, 5] if number == 2 else [0, 2, 3])
    assert losses == [stopped.build_loss(2, 3, 1, 4) if number == 2 else stopped.build_loss(4, 5, 3, None)]


def test_truncated_segment_is_a_loss(stopped: StoppedSpool) -> None:
    """The manifest shows that batches are missing; a torn record shows it too, but not how many."""
    content = stopped.content(3)
    del content[HEADER_PAGE_BYTES + RECORD + 10 :]
    assert stopped.recover() == ([0, 2, 3, 4], [stopped.build_loss(5, None, 4, None)])

    del content[HEADER_PAGE_BYTES + RECORD :]
    assert stopped.recover() == ([0, 2, 3, 4], [stopped.build_loss(5, 5, 4, None)])


def test_without_manifest_acknowledged_batches_are_sent_again(stopped: StoppedSpool) -> None:
    """Sending a batch twice is harmless; losing it is not."""
    stopped.file_system.content("ledger")[70] ^= 1

    assert stopped.recover() == ([0, 1, 2, 3, 4, 5], [])


def test_without_manifest_a_hole_between_segments_is_a_loss(stopped: StoppedSpool) -> None:
    """The numbers of two consecutive segments are contiguous."""
    stopped.file_system.unlink("ledger")
    stopped.content(1)[HEADER_PAGE_BYTES + RECORD] ^= 1

    assert stopped.recover() == ([0, 2, 3, 4, 5], [stopped.build_loss(1, 1, 0, 2)])


def test_header_page_shows_the_first_number_of_a_segment(stopped: StoppedSpool) -> None:
    """It is used if manifest and neighbour are missing and the first record is damaged."""
    stopped.file_system.unlink("ledger")
    stopped.file_system.unlink(format_segment_name(1))
    stopped.content(2)[HEADER_PAGE_BYTES] ^= 1

    assert stopped.recover() == ([3, 4, 5], [stopped.build_loss(2, 2, None, 3)])


def test_without_manifest_a_corrupt_end_is_an_open_ended_loss(stopped: StoppedSpool) -> None:
    """An unknown number of records followed the last intact one."""
    stopped.file_system.unlink("ledger")
    stopped.content(3)[HEADER_PAGE_BYTES + RECORD] ^= 1

    assert stopped.recover() == ([0, 1, 2, 3, 4], [stopped.build_loss(5, None, 4, None)])


def test_a_blank_end_is_no_loss(stopped: StoppedSpool) -> None:
    """An extent that was never written contained no accepted batch."""
    stopped.content(3).extend(bytes(5_000))

    assert stopped.recover() == ([0, 2, 3, 4, 5], [])


def test_loss_is_reported_once(stopped: StoppedSpool) -> None:
    """The next start finds the damage again but does not report it again."""
    stopped.content(2)[HEADER_PAGE_BYTES + RECORD] ^= 0x10
    spool = stopped.oracle.open(stopped.file_system)
    spool.mark_delivered(spool.list_undelivered_losses())
    spool.close()

    assert stopped.recover()[1] == []


def test_manifest_contains_the_losses_of_a_damaged_page() -> None:
    """Undelivered loss records are stored in the segment and in the manifest."""
    file_system, oracle = CrashingFiles(), SpoolOracle()
    spool = oracle.open(file_system)
    for _ in range(60):
        oracle.clock.advance(MINUTE_NS)
        spool.append(oracle.create_batch(spool, SIZE))
        oracle.commit(spool)
    losses = spool.list_undelivered_losses()
    spool.close()
    (evicted_name,) = [name for name in file_system.list_names() if file_system.get_size(name) == HEADER_PAGE_BYTES]
    file_system.content(evicted_name)[100] ^= 1

    assert losses
    assert oracle.open(file_system).list_undelivered_losses() == losses


def test_manifest_contains_a_loss_that_is_in_no_segment(stopped: StoppedSpool) -> None:
    """A loss survives a stop before its loss record could be written to a segment."""
    stopped.file_system.unlink(format_segment_name(3))
    spool = stopped.oracle.open(stopped.file_system)
    start = stopped.file_system.operations
    stopped.file_system.failures = {start + 1: errno.EIO, start + 2: errno.EIO}
    assert isinstance(spool.close(), CommitFailure)

    assert stopped.recover()[1] == [stopped.build_loss(4, 5, 3, None)]


def test_evicted_segment_is_truncated_at_start() -> None:
    """Bytes after the page of an evicted segment are ignored and removed."""
    file_system, oracle = CrashingFiles(), SpoolOracle()
    spool = oracle.open(file_system)
    for _ in range(40):
        oracle.clock.advance(MINUTE_NS)
        spool.append(oracle.create_batch(spool, SIZE))
        oracle.commit(spool)
    ids, losses = [batch.id for batch in iter_unacked(spool)], spool.list_undelivered_losses()
    spool.close()
    (evicted_name,) = [name for name in file_system.list_names() if file_system.get_size(name) == HEADER_PAGE_BYTES]
    file_system.content(evicted_name).extend(
        file_system.content(format_segment_name(find_newest_segment(file_system)))[HEADER_PAGE_BYTES:]
    )

    spool = oracle.open(file_system)

    assert ([batch.id for batch in iter_unacked(spool)], spool.list_undelivered_losses()) == (ids, losses)
    assert file_system.get_size(evicted_name) == HEADER_PAGE_BYTES


def find_newest_segment(file_system: CrashingFiles) -> int:
    """Return the number of the newest segment."""
    return max(number for name in file_system.list_names() if (number := parse_segment_number(name)) is not None)
