"""A damaged spool at start: only what was hit is lost, and it is known exactly what."""

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
from tests.chaos.spool_oracle import MINUTE_NS, SpoolOracle, iter_waiting

SIZE = 2_000
RECORD = HEADER_BYTES + SIZE


class Stopped:
    """A spool of six batches in three segments, whose agent is stopped; batch 1 is acknowledged."""

    def __init__(self) -> None:
        self.files, self.oracle = CrashingFiles(), SpoolOracle()
        spool = self.oracle.open(self.files)
        for _ in range(6):
            self.oracle.clock.advance(MINUTE_NS)
            spool.append(self.oracle.create_batch(spool, SIZE))
            self.oracle.commit(spool)
        self.epoch = spool.reserve_id().epoch
        spool.ack(BatchId(self.epoch, 1))
        spool.close()

    def content(self, number: int) -> bytearray:
        return self.files.content(format_segment_name(number))

    def found(self) -> tuple[list[int], list[LossRecord]]:
        spool = self.oracle.open(self.files)
        return [one.id.seq for one in iter_waiting(spool)], spool.list_undelivered_losses()

    def minute_s(self, seq: int) -> int:
        return 1_700_000_040 + 60 * seq

    def lost(self, first: int, last: int | None, before: int | None, behind: int | None) -> LossRecord:
        """A loss of which only its neighbours are known."""
        t_first_s = None if before is None else self.minute_s(before)
        t_last_s = None if behind is None else self.minute_s(behind)
        return LossRecord(self.epoch, first, last, t_first_s, t_last_s, None, LossReason.CORRUPT)


@pytest.fixture
def stopped() -> Stopped:
    stopped = Stopped()
    assert [len(stopped.content(number)) for number in (1, 2)] == [HEADER_PAGE_BYTES + 2 * RECORD] * 2
    return stopped


def test_an_undamaged_spool_has_nothing_to_tell(stopped: Stopped) -> None:
    """Everything but the acknowledged one waits."""
    assert stopped.found() == ([0, 2, 3, 4, 5], [])


def test_a_damaged_body_is_told_exactly(stopped: Stopped) -> None:
    """Its header still says which minutes and how many windows it held."""
    stopped.content(2)[HEADER_PAGE_BYTES + RECORD + HEADER_BYTES + 5] ^= 0x10

    minute_s = stopped.minute_s(3)
    assert stopped.found() == (
        [0, 2, 4, 5],
        [LossRecord(stopped.epoch, 3, 3, minute_s, minute_s, 2, LossReason.CORRUPT)],
    )


def test_a_damaged_header_is_told_by_its_neighbours(stopped: Stopped) -> None:
    """The number is known from those around it, the time lies between theirs."""
    stopped.content(2)[HEADER_PAGE_BYTES + RECORD] ^= 0x10

    assert stopped.found() == ([0, 2, 4, 5], [stopped.lost(3, 3, 2, 4)])


def test_a_damaged_acknowledged_batch_is_no_loss(stopped: Stopped) -> None:
    """The collector has it."""
    stopped.content(1)[HEADER_PAGE_BYTES + RECORD] ^= 0x10

    assert stopped.found() == ([0, 2, 3, 4, 5], [])


@pytest.mark.parametrize("number", [2, 3])
def test_a_segment_that_is_gone_is_told(stopped: Stopped, number: int) -> None:
    """The ledger knows what it held, also when it was the last."""
    stopped.files.unlink(format_segment_name(number))

    seqs, tombstones = stopped.found()

    assert seqs == ([0, 4, 5] if number == 2 else [0, 2, 3])
    assert tombstones == [stopped.lost(2, 3, 1, 4) if number == 2 else stopped.lost(4, 5, 3, None)]


def test_a_cut_segment_is_told(stopped: Stopped) -> None:
    """The ledger knows that there was more; where a torn record is left, so does the segment, but not how much."""
    whole = stopped.content(3)
    del whole[HEADER_PAGE_BYTES + RECORD + 10 :]
    assert stopped.found() == ([0, 2, 3, 4], [stopped.lost(5, None, 4, None)])

    del whole[HEADER_PAGE_BYTES + RECORD :]
    assert stopped.found() == ([0, 2, 3, 4], [stopped.lost(5, 5, 4, None)])


def test_without_a_ledger_acknowledged_batches_wait_again(stopped: Stopped) -> None:
    """Sending twice harms nobody, losing would."""
    stopped.files.content("ledger")[70] ^= 1

    assert stopped.found() == ([0, 1, 2, 3, 4, 5], [])


def test_without_a_ledger_a_hole_between_two_segments_is_told(stopped: Stopped) -> None:
    """Two segments side by side leave no number out."""
    stopped.files.unlink("ledger")
    stopped.content(1)[HEADER_PAGE_BYTES + RECORD] ^= 1

    assert stopped.found() == ([0, 2, 3, 4, 5], [stopped.lost(1, 1, 0, 2)])


def test_without_a_ledger_and_a_neighbour_a_segment_says_with_which_number_it_began(stopped: Stopped) -> None:
    """Its first page does, also where the header of its first record is damaged."""
    stopped.files.unlink("ledger")
    stopped.files.unlink(format_segment_name(1))
    stopped.content(2)[HEADER_PAGE_BYTES] ^= 1

    assert stopped.found() == ([3, 4, 5], [stopped.lost(2, 2, None, 3)])


def test_without_a_ledger_a_ragged_end_is_told_as_open(stopped: Stopped) -> None:
    """Something stood behind the last record, and nobody knows how much."""
    stopped.files.unlink("ledger")
    stopped.content(3)[HEADER_PAGE_BYTES + RECORD] ^= 1

    assert stopped.found() == ([0, 1, 2, 3, 4], [stopped.lost(5, None, 4, None)])


def test_a_blank_end_is_no_loss(stopped: Stopped) -> None:
    """An extent that a crash left unwritten held nothing that was promised."""
    stopped.content(3).extend(bytes(5_000))

    assert stopped.found() == ([0, 2, 3, 4, 5], [])


def test_a_loss_is_told_once(stopped: Stopped) -> None:
    """The damage is still there at the next start, and the collector knows of it."""
    stopped.content(2)[HEADER_PAGE_BYTES + RECORD] ^= 0x10
    spool = stopped.oracle.open(stopped.files)
    spool.mark_delivered(spool.list_undelivered_losses())
    spool.close()

    assert stopped.found()[1] == []


def test_a_note_on_a_damaged_page_is_known_from_the_ledger() -> None:
    """Tombstones that wait stand in two places."""
    files, oracle = CrashingFiles(), SpoolOracle()
    spool = oracle.open(files)
    for _ in range(60):
        oracle.clock.advance(MINUTE_NS)
        spool.append(oracle.create_batch(spool, SIZE))
        oracle.commit(spool)
    notes = spool.list_undelivered_losses()
    spool.close()
    (tomb,) = [name for name in files.list_names() if files.get_size(name) == HEADER_PAGE_BYTES]
    files.content(tomb)[100] ^= 1

    assert notes
    assert oracle.open(files).list_undelivered_losses() == notes


def test_a_loss_that_no_segment_tells_of_is_in_the_ledger(stopped: Stopped) -> None:
    """An agent that finds a loss, and stops before it can write a tombstone, tells of it at the next start."""
    stopped.files.unlink(format_segment_name(3))
    spool = stopped.oracle.open(stopped.files)
    start = stopped.files.operations
    stopped.files.failures = {start + 1: errno.EIO, start + 2: errno.EIO}
    assert isinstance(spool.close(), CommitFailure)

    assert stopped.found()[1] == [stopped.lost(4, 5, 3, None)]


def test_what_a_crash_left_behind_a_note_is_cut_off_at_start() -> None:
    """A segment whose first page is a note holds nothing else, whatever stands behind the page."""
    files, oracle = CrashingFiles(), SpoolOracle()
    spool = oracle.open(files)
    for _ in range(40):
        oracle.clock.advance(MINUTE_NS)
        spool.append(oracle.create_batch(spool, SIZE))
        oracle.commit(spool)
    left, notes = [one.id for one in iter_waiting(spool)], spool.list_undelivered_losses()
    spool.close()
    (tomb,) = [name for name in files.list_names() if files.get_size(name) == HEADER_PAGE_BYTES]
    files.content(tomb).extend(files.content(format_segment_name(files_last(files)))[HEADER_PAGE_BYTES:])

    spool = oracle.open(files)

    assert ([one.id for one in iter_waiting(spool)], spool.list_undelivered_losses()) == (left, notes)
    assert files.get_size(tomb) == HEADER_PAGE_BYTES


def files_last(files: CrashingFiles) -> int:
    """The number of the newest segment."""
    return max(number for name in files.list_names() if (number := parse_segment_number(name)) is not None)
