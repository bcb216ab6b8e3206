"""The spool: a bounded, self-repairing queue on disk that keeps batches until two days after their acknowledgement.

Rule 1: a batch is *accepted* when ``commit`` returns its id. It is then durable: it reaches the collector, or a loss
        record reports it. A batch may be uploaded before it is accepted: its bytes never change, and its number is
        never reused, because every start draws a new epoch.
Rule 2: only ``commit``, ``close`` and ``read_body`` access the disk. All other methods never wait for it.
Rule 3: an unacknowledged batch is removed only once its loss record is durable. Acknowledged batches need none.
Rule 4: disk errors are not raised. The log shows their begin and end, and ``commit`` returns a ``CommitFailure``.

record_format.py defines the bytes, filesystem.py the file operations; docs/spool.md describes format and guarantees.
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
from leadline_agent.spool.spool_state import BatchToVerify, SpoolState
from leadline_agent.spool.usage import SpoolUsage, estimate_days_left, sum_unacked_bytes
from leadline_agent.spool.write_buffer import PendingRecord

log = logging.getLogger(__name__)

#: The manifest is small, but a write costs three syncs. A crash repeats the uploads of at most this interval.
MANIFEST_INTERVAL_NS = 60_000_000_000
#: A commit evicts at most this many segments; the next commit continues.
COMMIT_ATTEMPTS_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSuccess:
    """All appended batches are durable; ``accepted_ids`` are those that this commit made durable."""

    accepted_ids: tuple[BatchId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFailure:
    """The write failed: ``pending`` batches are in memory only, and the next commit retries."""

    reason: str
    pending: int


class Spool:
    """Spool of one agent. Thread-safe; used by one process at a time."""

    def __init__(
        self, *, file_system: FileSystem, clock: Clock, make_epoch: Callable[[], str], quota: SpoolQuota
    ) -> None:
        """Lock the directory, recover its content and start a new epoch from ``make_epoch`` (32 random hex digits).

        Raise UnavailableError if another process uses the spool, or if the directory cannot be used.
        """
        self._file_system, self._clock, self._make_epoch, self._quota = file_system, clock, make_epoch, quota
        recovered = _open_spool(file_system)
        self._state = SpoolState(recovered, quota.memory_bytes_max)
        self._condition = self._state.condition
        self._writer = SegmentWriter(
            file_system, next_segment_number=recovered.next_segment_number, segment_bytes=quota.segment_bytes
        )
        self._evictor = Evictor(file_system=file_system, state=self._state, writer=self._writer, quota=quota)
        self._evictor.truncate_evicted_segments()
        #: Serialises disk access. Never acquire it while owning ``_condition``.
        self._disk_lock = threading.Lock()
        self._manifest_due_ns = 0
        self._degraded_reason: str | None = None
        self._read_errors = ReadErrors()
        self._next_id = BatchId(self._make_unused_epoch(), 0)

    @property
    def epoch(self) -> str:
        """Epoch of the next batch."""
        with self._condition:
            return self._next_id.epoch

    def reserve_id(self) -> BatchId:
        """Return the id of the next batch. No id is used twice, not even by a later process."""
        with self._condition:
            batch_id = self._next_id
            self._next_id = BatchId(batch_id.epoch, batch_id.seq + 1)
            return batch_id

    def renew_epoch(self) -> None:
        """Start a new epoch at number 0, after a 409: another agent with a copy of this state uses the current one."""
        with self._condition:
            self._next_id = BatchId(self._make_unused_epoch(), 0)

    def _make_unused_epoch(self) -> str:
        used_epochs = {segment.epoch for segment in self._state.index}
        while (epoch := self._make_epoch()) in used_epochs:
            log.error("the random source returned a used epoch", extra={"epoch": epoch})
        return epoch

    def append(self, batch: PackedBatch) -> int:
        """Add a batch in memory; return how many windows were dropped for it: 0 while the disk works."""
        with self._condition:
            dropped = self._state.write_buffer.add(batch)
            self._condition.notify_all()
        windows = sum(batch.windows for batch in dropped)
        if dropped:
            log.error("memory full, oldest batches dropped", extra={"batches": len(dropped), "windows": windows})
        return windows

    def commit(self) -> CommitSuccess | CommitFailure:
        """Write all appended batches durably with one sync, and clean up. May wait for the disk."""
        with self._disk_lock:
            result = self._commit_with_retries()
            if isinstance(result, CommitSuccess):
                self._clean_up()
            return result

    def close(self) -> CommitSuccess | CommitFailure:
        """Commit, write the manifest and release the directory. Batches that are not durable then are lost."""
        with self._disk_lock:
            result = self._commit_with_retries()
            self._evictor.save_manifest()
            with suppress(OSError):
                self._writer.close()
            self._file_system.release_lock()
            return result

    def _commit_with_retries(self) -> CommitSuccess | CommitFailure:
        last_error: OSError | None = None
        for _ in range(COMMIT_ATTEMPTS_MAX):
            try:
                return self._flush_buffer()
            except UnavailableError as error:
                return self._report_failure(error)
            except OSError as error:
                # One retry in a new segment after any error; one retry for each evicted segment on a full disk.
                can_retry = self._evict_for_retry(error) if error.errno in DISK_FULL_ERRNOS else last_error is None
                if not can_retry:
                    return self._report_failure(error)
                last_error = error
        assert last_error is not None
        return self._report_failure(last_error)

    def _flush_buffer(self) -> CommitSuccess:
        if self._file_system.acquire_lock():
            self._mark_missing_segments()
        with self._condition:
            records = self._state.write_buffer.begin_flush(self._next_id)
        try:
            if records:
                self._evictor.free_space(self._estimate_size(records))
            locations = self._writer.write([record.record for record in records])
        except OSError:
            with self._condition:
                self._state.write_buffer.end_flush()
            raise
        with self._condition:
            accepted_ids = self._state.accept_records(records, locations, self._now_s())
        return self._report_success(accepted_ids)

    def _estimate_size(self, records: Iterable[PendingRecord]) -> int:
        """Return an upper bound of the disk space of the records.

        Two consecutive segments together contain more than one full segment.
        """
        size = sum(HEADER_BYTES + len(record.record.payload) for record in records)
        return size + HEADER_PAGE_BYTES * (1 + 2 * (size // (self._quota.segment_bytes - HEADER_PAGE_BYTES)))

    def _mark_missing_segments(self) -> None:
        """Mark the segments as missing that are not in the recreated directory."""
        names = set(self._file_system.list_names())
        self._writer.close()
        with self._condition:
            for segment in self._state.index:
                if format_segment_name(segment.number) not in names:
                    self._state.mark_segment_missing(segment)

    def _evict_for_retry(self, disk_full: OSError) -> bool:
        """Evict a segment; return False if no segment can be evicted, or if the eviction fails."""
        try:
            return self._evictor.evict_on_full_disk()
        except OSError as error:
            log.error("cannot free space in the spool", extra={"reason": error.strerror, "after": disk_full.strerror})
            return False

    def _report_success(self, accepted_ids: tuple[BatchId, ...]) -> CommitSuccess:
        if self._degraded_reason is not None:
            log.warning("the spool works again", extra={"batches": len(accepted_ids), "was": self._degraded_reason})
            self._degraded_reason = None
        return CommitSuccess(accepted_ids=accepted_ids)

    def _report_failure(self, error: OSError | UnavailableError) -> CommitFailure:
        # Without the file name, which differs in each attempt: the same reason is logged once.
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        pending = len(self._state.write_buffer)
        if reason != self._degraded_reason:
            log.error("the spool does not work: batches are in memory only", extra={"reason": reason})
            self._degraded_reason = reason
        return CommitFailure(reason=reason, pending=pending)

    def _clean_up(self) -> None:
        """Remove expired segments and write the manifest; the next commit retries after an error."""
        try:
            self._evictor.remove_expired(self._now_s())
        except OSError as error:
            log.warning("cannot clean up the spool", extra={"reason": error.strerror})
        now_ns = self._clock.monotonic_ns()
        if self._state.is_dirty and now_ns >= self._manifest_due_ns and self._evictor.save_manifest():
            self._manifest_due_ns = now_ns + MANIFEST_INTERVAL_NS

    def find_newest(self, skipped_ids: Container[BatchId] = ()) -> SpooledBatch | None:
        """Return the newest unacknowledged batch (live queue), except ``skipped_ids``; None without one."""
        with self._condition:
            return self._state.find_newest(skipped_ids)

    def find_oldest(self, skipped_ids: Container[BatchId] = ()) -> SpooledBatch | None:
        """Return the oldest unacknowledged batch (backfill queue), except ``skipped_ids``; None without one."""
        with self._condition:
            return self._state.find_oldest(skipped_ids)

    def list_batches_to_verify(self) -> list[BatchToVerify]:
        """Return the batches to re-verify after a start: the newest acknowledged one of each epoch, newest first."""
        with self._condition:
            return self._state.list_batches_to_verify()

    def read_body(self, batch_id: BatchId) -> bytes | None:
        """Return the appended bytes; None if the batch was dropped, is damaged, or currently fails to read.

        A dropped or damaged batch has a loss record. A batch that fails to read stays unacknowledged.
        """
        with self._condition:
            if (packed_batch := self._state.write_buffer.find_packed(batch_id)) is not None:
                return packed_batch.body
            position = self._state.index.find_batch(batch_id)
        return None if position is None else self._read_record(*position)

    def _read_record(self, segment: SegmentIndex, row: int) -> bytes | None:
        batch = segment.get_batch(row)
        try:
            data = self._file_system.read_at(
                format_segment_name(segment.number), segment.get_offset(row), HEADER_BYTES + batch.size
            )
        except FileNotFoundError:
            data = b""
        except OSError as error:
            # The error may be temporary: the batch is not marked as lost.
            with self._condition:
                self._read_errors.add(batch.id, error)
            return None
        with self._condition:
            self._read_errors.discard(batch.id)
        record = parse_record(data, 0)
        if record is not None and (record[0].epoch, record[0].seq) == batch.id:
            return record[1]
        with self._condition:
            self._state.mark_lost(segment, row)
        return None

    def wait(self, timeout_s: float) -> None:
        """Wait until a batch is appended or rewound, ``wake`` is called, or ``timeout_s`` has passed."""
        with self._condition:
            self._condition.wait(timeout_s)

    def wake(self) -> None:
        """Make ``wait`` return."""
        with self._condition:
            self._condition.notify_all()

    def ack(self, batch_id: BatchId) -> bool:
        """Mark a batch as acknowledged; return False if it was not unacknowledged."""
        with self._condition:
            return self._state.ack(batch_id, self._now_s())

    def refuse(self, batch_id: BatchId, reason: str) -> bool:
        """Turn a permanently refused batch into a dead letter; return False if it was not unacknowledged."""
        with self._condition:
            return self._state.refuse(batch_id, self._now_s(), reason)

    def rewind(self, since_seq: int = 0, epoch: str | None = None) -> int:
        """Mark acknowledged batches from ``since_seq`` on as unacknowledged; return their number.

        ``epoch`` selects one epoch; None selects all. The next commit makes the change durable. After an earlier crash,
        the rewind must be repeated.
        """
        with self._condition:
            batches = self._state.rewind(since_seq, epoch)
            self._manifest_due_ns = 0
            self._condition.notify_all()
        log.warning("spool rewound", extra={"since_seq": since_seq, "epoch": epoch, "batches": batches})
        return batches

    def list_undelivered_losses(self) -> list[LossRecord]:
        """Return the losses that the collector does not have yet. The range of a non-durable one may still grow."""
        with self._condition:
            return self._state.list_undelivered_losses()

    def mark_delivered(self, loss_records: Iterable[LossRecord]) -> None:
        """Mark losses as known to the collector."""
        with self._condition:
            self._state.mark_delivered(loss_records)

    def list_dead_letters(self) -> list[DeadLetter]:
        """Return the refused batches that are still in the spool; ``read_body`` returns their bytes."""
        with self._condition:
            return list(self._state.dead_letters.values())

    def get_usage(self) -> SpoolUsage:
        """Return the current usage of the spool."""
        with self._condition:
            state, oldest = self._state, self._state.find_oldest(())
            available_bytes = self._quota.bytes_max - sum_unacked_bytes(state.index)
            return SpoolUsage(
                bytes=state.index.size,
                bytes_max=self._quota.bytes_max,
                pending=len(state.write_buffer),
                unacked=state.count(BatchState.UNACKED),
                acked=state.count(BatchState.ACKED),
                dead=state.count(BatchState.DEAD),
                loss_records=len(state.list_undelivered_losses()),
                unreadable=self._read_errors.count(state.is_unacked),
                oldest_unacked_s=None if oldest is None else self._now_s() - oldest.t_first_s,
                days_left=estimate_days_left(state.index, available_bytes),
                degraded=self._degraded_reason,
            )

    def get_backlog(self) -> SpoolBacklog:
        """Return the unacknowledged batches; cheap enough for every upload."""
        with self._condition:
            return SpoolBacklog(
                batches=self._state.count(BatchState.UNACKED),
                bytes=sum_unacked_bytes(self._state.index),
                bytes_max=self._quota.bytes_max,
            )

    def _now_s(self) -> int:
        return self._clock.wall_ns() // 1_000_000_000


def _open_spool(file_system: FileSystem) -> RecoveredSpool:
    try:
        file_system.acquire_lock()
        return recover_spool(file_system)
    except OSError as error:
        raise UnavailableError(
            f"cannot use the spool: {error}; it needs a directory that this user can write to, on a file system "
            "that is not read-only"
        ) from error
