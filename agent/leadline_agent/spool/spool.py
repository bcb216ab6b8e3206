"""The spool: batches from sealing to acknowledgement and two days beyond, on disk, bounded, self-healing.

Rule 1: a batch is *accepted* when a ``commit`` says so, and then it is durable: it will be in the store, or in a
        tombstone. What is not accepted yet may be sent all the same: its bytes cannot change, nor can its number be
        given out again, because every start draws a new epoch.
Rule 2: only ``commit``, ``close`` and ``body`` touch the disk. ``append``, the lanes and the marks never wait for it.
Rule 3: nothing is removed before the note of it is durable. What is acknowledged needs no note.
Rule 4: no trouble of the disk is raised. It is logged when it begins and ends, and ``commit`` returns it as a value.

Bytes are segment.py's, files are files.py's; docs/spool.md has the format and the guarantees.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from dataclasses import dataclass

from leadline.clock import Clock
from leadline.errors import UnavailableError
from leadline.wire.headers import SpoolBacklog
from leadline_agent.spool import usage
from leadline_agent.spool.eviction import DISK_FULL_ERRNOS, Evictor
from leadline_agent.spool.filesystem import FileSystem
from leadline_agent.spool.index import BatchId, BatchState, PackedBatch, SegmentIndex, SpooledBatch
from leadline_agent.spool.loss_records import LossRecord
from leadline_agent.spool.manifest import DeadLetter
from leadline_agent.spool.quota import SpoolQuota
from leadline_agent.spool.read_errors import ReadErrors
from leadline_agent.spool.record_format import HEADER_BYTES, HEADER_PAGE_BYTES, format_segment_name, parse_record
from leadline_agent.spool.recovery import RecoveredSpool, recover_spool
from leadline_agent.spool.segment_writer import SegmentWriter
from leadline_agent.spool.spool_state import ReconcileProbe, SpoolState
from leadline_agent.spool.write_buffer import PendingRecord

log = logging.getLogger(__name__)

#: The ledger is small, but it costs three syncs. A minute of marks lost is a minute of batches sent twice.
MANIFEST_INTERVAL_NS = 60_000_000_000
#: A commit gives up at most this many segments for room; then it is for the next one.
COMMIT_ATTEMPTS_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSuccess:
    """Everything appended before is durable; ``accepted`` are the batches that were not until now."""

    accepted_ids: tuple[BatchId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFailure:
    """The disk did not take it: ``pending`` batches are in memory, nothing is promised, the next commit tries again."""

    reason: str
    pending: int


class Spool:
    """One agent's spool. Safe for several threads; one process at a time."""

    def __init__(
        self, *, file_system: FileSystem, clock: Clock, make_epoch: Callable[[], str], quota: SpoolQuota
    ) -> None:
        """Lock the directory, read what is there, begin a new epoch of ``make_epoch`` (32 random hex digits).

        UnavailableError when another process has the spool or the directory cannot be used.
        """
        self._file_system, self._clock, self._make_epoch, self._quota = file_system, clock, make_epoch, quota
        found = _open_spool(file_system)
        self._state = SpoolState(found, quota.memory_bytes_max)
        self._condition = self._state.condition
        self._writer = SegmentWriter(
            file_system, next_segment_number=found.next_segment_number, segment_bytes=quota.segment_bytes
        )
        self._evictor = Evictor(file_system=file_system, state=self._state, writer=self._writer, quota=quota)
        self._evictor.truncate_evicted_segments()
        #: Held while waiting for the disk; never taken by who already holds ``_changed``.
        self._disk_lock = threading.Lock()
        self._manifest_due_ns = 0
        self._degraded_reason: str | None = None
        self._read_errors = ReadErrors()
        self._next_id = BatchId(self._make_unused_epoch(), 0)

    @property
    def epoch(self) -> str:
        """The epoch that batches are numbered in now."""
        with self._condition:
            return self._next_id.epoch

    def reserve_id(self) -> BatchId:
        """The name of the next batch; never given out again, by this process or a later one."""
        with self._condition:
            reserved = self._next_id
            self._next_id = BatchId(reserved.epoch, reserved.seq + 1)
            return reserved

    def renew_epoch(self) -> None:
        """Number from 0 in a new epoch: a collector answered 409, so another holder of our state uses this one."""
        with self._condition:
            self._next_id = BatchId(self._make_unused_epoch(), 0)

    def _make_unused_epoch(self) -> str:
        used = {segment.epoch for segment in self._state.index}
        while (epoch := self._make_epoch()) in used:
            log.error("the random source repeats itself", extra={"epoch": epoch})
        return epoch

    def append(self, batch: PackedBatch) -> int:
        """Take a batch in, in memory. The number of windows given up for it there: 0 while the disk works."""
        with self._condition:
            dropped = self._state.write_buffer.add(batch)
            self._condition.notify_all()
        windows = sum(one.windows for one in dropped)
        if dropped:
            log.error("memory full, oldest batches dropped", extra={"batches": len(dropped), "windows": windows})
        return windows

    def commit(self) -> CommitSuccess | CommitFailure:
        """Make everything appended durable, in one go, and tidy up. May wait for the disk."""
        with self._disk_lock:
            result = self._commit_with_retries()
            if isinstance(result, CommitSuccess):
                self._clean_up()
            return result

    def close(self) -> CommitSuccess | CommitFailure:
        """Commit, write the ledger, let the directory go. What is not durable then is lost."""
        with self._disk_lock:
            result = self._commit_with_retries()
            self._evictor.save_manifest()
            with suppress(OSError):
                self._writer.close()
            self._file_system.release_lock()
            return result

    def _commit_with_retries(self) -> CommitSuccess | CommitFailure:
        error: OSError | UnavailableError | None = None
        for _ in range(COMMIT_ATTEMPTS_MAX):
            try:
                return self._flush_buffer()
            except UnavailableError as held:
                return self._report_failure(held)
            except OSError as failed:
                # A second try in a new segment for whatever it was; for a full disk one for each segment given up.
                if not (self._evict_for_retry(failed) if failed.errno in DISK_FULL_ERRNOS else error is None):
                    return self._report_failure(failed)
                error = failed
        assert error is not None
        return self._report_failure(error)

    def _flush_buffer(self) -> CommitSuccess:
        if self._file_system.acquire_lock():
            self._mark_missing_segments()
        with self._condition:
            records = self._state.write_buffer.begin_flush(self._next_id)
        try:
            if records:
                self._evictor.free_space(self._estimate_size(records))
            places = self._writer.write([record.record for record in records])
        except OSError:
            with self._condition:
                self._state.write_buffer.end_flush()
            raise
        with self._condition:
            accepted = self._state.accept_records(records, places, self._now_s())
        return self._report_success(accepted)

    def _estimate_size(self, records: Iterable[PendingRecord]) -> int:
        """What they take on disk at most. Of two segments side by side, one alone would be too small for both."""
        size = sum(HEADER_BYTES + len(record.record.payload) for record in records)
        return size + HEADER_PAGE_BYTES * (1 + 2 * (size // (self._quota.segment_bytes - HEADER_PAGE_BYTES)))

    def _mark_missing_segments(self) -> None:
        """The directory was removed and made anew: what lay in it is lost."""
        names = set(self._file_system.list_names())
        self._writer.close()
        with self._condition:
            for segment in self._state.index:
                if format_segment_name(segment.number) not in names:
                    self._state.mark_segment_missing(segment)

    def _evict_for_retry(self, full: OSError) -> bool:
        """Give up a segment; False when there is none, or when even that fails."""
        try:
            return self._evictor.evict_on_full_disk()
        except OSError as error:
            log.error("no room to be had", extra={"reason": error.strerror, "after": full.strerror})
            return False

    def _report_success(self, accepted: tuple[BatchId, ...]) -> CommitSuccess:
        if self._degraded_reason is not None:
            log.warning("the spool works again", extra={"batches": len(accepted), "was": self._degraded_reason})
            self._degraded_reason = None
        return CommitSuccess(accepted_ids=accepted)

    def _report_failure(self, error: OSError | UnavailableError) -> CommitFailure:
        # Without the name of the file, which differs each time.
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        waiting = len(self._state.write_buffer)
        if reason != self._degraded_reason:
            log.error("the spool does not work: batches are in memory only", extra={"reason": reason})
            self._degraded_reason = reason
        return CommitFailure(reason=reason, pending=waiting)

    def _clean_up(self) -> None:
        """Remove what is not needed any more, and write the ledger; trouble with that is for the next commit."""
        try:
            self._evictor.remove_expired(self._now_s())
        except OSError as error:
            log.warning("spool not tidied", extra={"reason": error.strerror})
        now_ns = self._clock.monotonic_ns()
        if self._state.is_dirty and now_ns >= self._manifest_due_ns and self._evictor.save_manifest():
            self._manifest_due_ns = now_ns + MANIFEST_INTERVAL_NS

    def find_newest(self, skipped_ids: Container[BatchId] = ()) -> SpooledBatch | None:
        """The live lane: the newest batch that waits, but for those already on their way; None when none waits."""
        with self._condition:
            return self._state.find_newest(skipped_ids)

    def find_oldest(self, skipped_ids: Container[BatchId] = ()) -> SpooledBatch | None:
        """The backfill lane: the oldest batch that waits, but for those already on their way; None when none waits."""
        with self._condition:
            return self._state.find_oldest(skipped_ids)

    def list_reconcile_probes(self) -> list[ReconcileProbe]:
        """What to ask the collector about after a start: of each epoch its newest acknowledged batch, newest first."""
        with self._condition:
            return self._state.list_reconcile_probes()

    def read_body(self, batch_id: BatchId) -> bytes | None:
        """The bytes as they were appended. None when it was dropped or is damaged, which a tombstone tells; or when the
        disk cannot read it for the moment, and then it waits on.
        """
        with self._condition:
            if (waiting := self._state.write_buffer.find_packed(batch_id)) is not None:
                return waiting.body
            found = self._state.index.find_batch(batch_id)
        return None if found is None else self._read_record(*found)

    def _read_record(self, segment: SegmentIndex, row: int) -> bytes | None:
        one = segment.get_batch(row)
        try:
            data = self._file_system.read_at(
                format_segment_name(segment.number), segment.get_offset(row), HEADER_BYTES + one.size
            )
        except FileNotFoundError:
            data = b""
        except OSError as error:
            # It may be readable tomorrow: nothing is written off.
            with self._condition:
                self._read_errors.add(one.id, error)
            return None
        with self._condition:
            self._read_errors.discard(one.id)
        record = parse_record(data, 0)
        if record is not None and (record[0].epoch, record[0].seq) == one.id:
            return record[1]
        with self._condition:
            self._state.mark_lost(segment, row)
        return None

    def wait(self, timeout_s: float) -> None:
        """Return when something was appended or rewound, or after ``timeout_s``."""
        with self._condition:
            self._condition.wait(timeout_s)

    def wake(self) -> None:
        """Let ``wait`` return."""
        with self._condition:
            self._condition.notify_all()

    def ack(self, batch_id: BatchId) -> bool:
        """The collector has it; False when it did not wait (any more)."""
        with self._condition:
            return self._state.ack(batch_id, self._now_s())

    def refuse(self, batch_id: BatchId, reason: str) -> bool:
        """The collector will never take it: a dead letter with its tombstone; False when it did not wait."""
        with self._condition:
            return self._state.refuse(batch_id, self._now_s(), reason)

    def rewind(self, since_seq: int = 0, epoch: str | None = None) -> int:
        """Let acknowledged batches from ``since_seq`` on wait again, of one epoch or of all; how many.

        The next commit makes it durable. A crash before that means that the collector has to ask again.
        """
        with self._condition:
            again = self._state.rewind(since_seq, epoch)
            self._manifest_due_ns = 0
            self._condition.notify_all()
        log.warning("spool rewound", extra={"since_seq": since_seq, "epoch": epoch, "batches": again})
        return again

    def list_undelivered_losses(self) -> list[LossRecord]:
        """Losses that the collector does not know yet. One that is not durable yet may grow at its end."""
        with self._condition:
            return self._state.list_undelivered_losses()

    def mark_delivered(self, loss_records: Iterable[LossRecord]) -> None:
        """The collector knows them."""
        with self._condition:
            self._state.mark_delivered(loss_records)

    def list_dead_letters(self) -> list[DeadLetter]:
        """Refused batches whose bytes are still here; ``body`` reads them."""
        with self._condition:
            return list(self._state.dead_letters.values())

    def get_usage(self) -> usage.SpoolUsage:
        """How full it is."""
        with self._condition:
            contents, oldest = self._state, self._state.find_oldest(())
            room_bytes = self._quota.bytes_max - usage.sum_unacked_bytes(contents.index)
            return usage.SpoolUsage(
                bytes=contents.index.size,
                bytes_max=self._quota.bytes_max,
                pending=len(contents.write_buffer),
                unacked=contents.count(BatchState.UNACKED),
                acked=contents.count(BatchState.ACKED),
                dead=contents.count(BatchState.DEAD),
                loss_records=len(contents.list_undelivered_losses()),
                unreadable=self._read_errors.count(contents.is_unacked),
                oldest_unacked_s=None if oldest is None else self._now_s() - oldest.t_first_s,
                days_left=usage.estimate_days_left(contents.index, room_bytes),
                degraded=self._degraded_reason,
            )

    def get_backlog(self) -> SpoolBacklog:
        """What waits for its acknowledgement: cheap enough to be asked with every batch."""
        with self._condition:
            return SpoolBacklog(
                batches=self._state.count(BatchState.UNACKED),
                bytes=usage.sum_unacked_bytes(self._state.index),
                bytes_max=self._quota.bytes_max,
            )

    def _now_s(self) -> int:
        return self._clock.wall_ns() // 1_000_000_000


def _open_spool(files: FileSystem) -> RecoveredSpool:
    try:
        files.acquire_lock()
        return recover_spool(files)
    except OSError as error:
        raise UnavailableError(
            f"the spool cannot be used: {error}; it needs a directory this user may write, on a file system that is "
            "not read-only"
        ) from error
