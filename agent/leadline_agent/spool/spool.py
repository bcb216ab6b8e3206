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
from leadline.wire.headers import Backlog
from leadline_agent.spool import usage
from leadline_agent.spool.eviction import FULL, Room
from leadline_agent.spool.filesystem import Files
from leadline_agent.spool.index import BatchId, PackedBatch, SegmentIndex, Spooled, State
from leadline_agent.spool.loss_records import Tombstone
from leadline_agent.spool.manifest import DeadLetter
from leadline_agent.spool.quota import SpoolLimits
from leadline_agent.spool.read_errors import Unreadable
from leadline_agent.spool.record_format import BLOCK_BYTES, HEADER_BYTES, record_at, segment_name
from leadline_agent.spool.recovery import Recovered, recover
from leadline_agent.spool.segment_writer import SegmentWriter
from leadline_agent.spool.spool_state import Contents, Doubt
from leadline_agent.spool.write_buffer import Record

log = logging.getLogger(__name__)

#: The ledger is small, but it costs three syncs. A minute of marks lost is a minute of batches sent twice.
LEDGER_EVERY_NS = 60_000_000_000
#: A commit gives up at most this many segments for room; then it is for the next one.
ATTEMPTS_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """Everything appended before is durable; ``accepted`` are the batches that were not until now."""

    accepted: tuple[BatchId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDurable:
    """The disk did not take it: ``pending`` batches are in memory, nothing is promised, the next commit tries again."""

    reason: str
    pending: int


class Spool:
    """One agent's spool. Safe for several threads; one process at a time."""

    def __init__(self, *, files: Files, clock: Clock, make_epoch: Callable[[], str], limits: SpoolLimits) -> None:
        """Lock the directory, read what is there, begin a new epoch of ``make_epoch`` (32 random hex digits).

        UnavailableError when another process has the spool or the directory cannot be used.
        """
        self._files, self._clock, self._make_epoch, self._limits = files, clock, make_epoch, limits
        found = _opened(files)
        self._contents = Contents(found, limits.memory_bytes_max)
        self._changed = self._contents.changed
        self._writer = SegmentWriter(files, next_number=found.next_number, segment_bytes=limits.segment_bytes)
        self._room = Room(files=files, contents=self._contents, writer=self._writer, limits=limits)
        self._room.finish()
        #: Held while waiting for the disk; never taken by who already holds ``_changed``.
        self._disk = threading.Lock()
        self._ledger_due_ns = 0
        self._degraded: str | None = None
        self._unreadable = Unreadable()
        self._next_id = BatchId(self._fresh_epoch(), 0)

    @property
    def epoch(self) -> str:
        """The epoch that batches are numbered in now."""
        with self._changed:
            return self._next_id.epoch

    def reserve(self) -> BatchId:
        """The name of the next batch; never given out again, by this process or a later one."""
        with self._changed:
            reserved = self._next_id
            self._next_id = BatchId(reserved.epoch, reserved.seq + 1)
            return reserved

    def renew_epoch(self) -> None:
        """Number from 0 in a new epoch: a collector answered 409, so another holder of our state uses this one."""
        with self._changed:
            self._next_id = BatchId(self._fresh_epoch(), 0)

    def _fresh_epoch(self) -> str:
        used = {segment.epoch for segment in self._contents.shelf}
        while (epoch := self._make_epoch()) in used:
            log.error("the random source repeats itself", extra={"epoch": epoch})
        return epoch

    def append(self, batch: PackedBatch) -> int:
        """Take a batch in, in memory. The number of windows given up for it there: 0 while the disk works."""
        with self._changed:
            dropped = self._contents.pending.add(batch)
            self._changed.notify_all()
        windows = sum(one.windows for one in dropped)
        if dropped:
            log.error("memory full, oldest batches dropped", extra={"batches": len(dropped), "windows": windows})
        return windows

    def commit(self) -> Committed | NotDurable:
        """Make everything appended durable, in one go, and tidy up. May wait for the disk."""
        with self._disk:
            result = self._commit()
            if isinstance(result, Committed):
                self._tidy()
            return result

    def close(self) -> Committed | NotDurable:
        """Commit, write the ledger, let the directory go. What is not durable then is lost."""
        with self._disk:
            result = self._commit()
            self._room.save_ledger()
            with suppress(OSError):
                self._writer.close()
            self._files.release()
            return result

    def _commit(self) -> Committed | NotDurable:
        error: OSError | UnavailableError | None = None
        for _ in range(ATTEMPTS_MAX):
            try:
                return self._write()
            except UnavailableError as held:
                return self._unwell(held)
            except OSError as failed:
                # A second try in a new segment for whatever it was; for a full disk one for each segment given up.
                if not (self._may_help(failed) if failed.errno in FULL else error is None):
                    return self._unwell(failed)
                error = failed
        assert error is not None
        return self._unwell(error)

    def _write(self) -> Committed:
        if self._files.acquire():
            self._look_for_missing()
        with self._changed:
            records = self._contents.pending.begin(self._next_id)
        try:
            if records:
                self._room.make(self._size(records))
            places = self._writer.write([record.frame for record in records])
        except OSError:
            with self._changed:
                self._contents.pending.failed()
            raise
        with self._changed:
            accepted = self._contents.accept(records, places, self._now_s())
        return self._well(accepted)

    def _size(self, records: Iterable[Record]) -> int:
        """What they take on disk at most. Of two segments side by side, one alone would be too small for both."""
        size = sum(HEADER_BYTES + len(record.frame.payload) for record in records)
        return size + BLOCK_BYTES * (1 + 2 * (size // (self._limits.segment_bytes - BLOCK_BYTES)))

    def _look_for_missing(self) -> None:
        """The directory was removed and made anew: what lay in it is lost."""
        names = set(self._files.names())
        self._writer.close()
        with self._changed:
            for segment in self._contents.shelf:
                if segment_name(segment.number) not in names:
                    self._contents.missing(segment)

    def _may_help(self, full: OSError) -> bool:
        """Give up a segment; False when there is none, or when even that fails."""
        try:
            return self._room.give_up_on_full_disk()
        except OSError as error:
            log.error("no room to be had", extra={"reason": error.strerror, "after": full.strerror})
            return False

    def _well(self, accepted: tuple[BatchId, ...]) -> Committed:
        if self._degraded is not None:
            log.warning("the spool works again", extra={"batches": len(accepted), "was": self._degraded})
            self._degraded = None
        return Committed(accepted=accepted)

    def _unwell(self, error: OSError | UnavailableError) -> NotDurable:
        # Without the name of the file, which differs each time.
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        waiting = len(self._contents.pending)
        if reason != self._degraded:
            log.error("the spool does not work: batches are in memory only", extra={"reason": reason})
            self._degraded = reason
        return NotDurable(reason=reason, pending=waiting)

    def _tidy(self) -> None:
        """Remove what is not needed any more, and write the ledger; trouble with that is for the next commit."""
        try:
            self._room.expire(self._now_s())
        except OSError as error:
            log.warning("spool not tidied", extra={"reason": error.strerror})
        now_ns = self._clock.monotonic_ns()
        if self._contents.marked and now_ns >= self._ledger_due_ns and self._room.save_ledger():
            self._ledger_due_ns = now_ns + LEDGER_EVERY_NS

    def newest(self, passing_over: Container[BatchId] = ()) -> Spooled | None:
        """The live lane: the newest batch that waits, but for those already on their way; None when none waits."""
        with self._changed:
            return self._contents.newest(passing_over)

    def oldest(self, passing_over: Container[BatchId] = ()) -> Spooled | None:
        """The backfill lane: the oldest batch that waits, but for those already on their way; None when none waits."""
        with self._changed:
            return self._contents.oldest(passing_over)

    def doubts(self) -> list[Doubt]:
        """What to ask the collector about after a start: of each epoch its newest acknowledged batch, newest first."""
        with self._changed:
            return self._contents.doubts()

    def body(self, batch: BatchId) -> bytes | None:
        """The bytes as they were appended. None when it was dropped or is damaged, which a tombstone tells; or when the
        disk cannot read it for the moment, and then it waits on.
        """
        with self._changed:
            if (waiting := self._contents.pending.find(batch)) is not None:
                return waiting.body
            found = self._contents.shelf.find(batch)
        return None if found is None else self._read(*found)

    def _read(self, segment: SegmentIndex, row: int) -> bytes | None:
        one = segment.batch(row)
        try:
            data = self._files.read(segment_name(segment.number), segment.offset(row), HEADER_BYTES + one.size)
        except FileNotFoundError:
            data = b""
        except OSError as error:
            # It may be readable tomorrow: nothing is written off.
            with self._changed:
                self._unreadable.add(one.id, error)
            return None
        with self._changed:
            self._unreadable.discard(one.id)
        record = record_at(data, 0)
        if record is not None and (record[0].epoch, record[0].seq) == one.id:
            return record[1]
        with self._changed:
            self._contents.write_off(segment, row)
        return None

    def wait(self, timeout_s: float) -> None:
        """Return when something was appended or rewound, or after ``timeout_s``."""
        with self._changed:
            self._changed.wait(timeout_s)

    def wake(self) -> None:
        """Let ``wait`` return."""
        with self._changed:
            self._changed.notify_all()

    def ack(self, batch: BatchId) -> bool:
        """The collector has it; False when it did not wait (any more)."""
        with self._changed:
            return self._contents.ack(batch, self._now_s())

    def refuse(self, batch: BatchId, reason: str) -> bool:
        """The collector will never take it: a dead letter with its tombstone; False when it did not wait."""
        with self._changed:
            return self._contents.refuse(batch, self._now_s(), reason)

    def rewind(self, since_seq: int = 0, epoch: str | None = None) -> int:
        """Let acknowledged batches from ``since_seq`` on wait again, of one epoch or of all; how many.

        The next commit makes it durable. A crash before that means that the collector has to ask again.
        """
        with self._changed:
            again = self._contents.rewind(since_seq, epoch)
            self._ledger_due_ns = 0
            self._changed.notify_all()
        log.warning("spool rewound", extra={"since_seq": since_seq, "epoch": epoch, "batches": again})
        return again

    def tombstones(self) -> list[Tombstone]:
        """Losses that the collector does not know yet. One that is not durable yet may grow at its end."""
        with self._changed:
            return self._contents.tombstones()

    def delivered(self, tombstones: Iterable[Tombstone]) -> None:
        """The collector knows them."""
        with self._changed:
            self._contents.deliver(tombstones)

    def dead_letters(self) -> list[DeadLetter]:
        """Refused batches whose bytes are still here; ``body`` reads them."""
        with self._changed:
            return list(self._contents.dead.values())

    def usage(self) -> usage.Usage:
        """How full it is."""
        with self._changed:
            contents, oldest = self._contents, self._contents.oldest(())
            room_bytes = self._limits.bytes_max - usage.needed_bytes(contents.shelf)
            return usage.Usage(
                bytes=contents.shelf.size,
                bytes_max=self._limits.bytes_max,
                pending=len(contents.pending),
                unacked=contents.count(State.UNACKED),
                acked=contents.count(State.ACKED),
                dead=contents.count(State.DEAD),
                tombstones=len(contents.tombstones()),
                unreadable=self._unreadable.count(contents.waits),
                oldest_unacked_s=None if oldest is None else self._now_s() - oldest.t_first_s,
                days_left=usage.days_left(contents.shelf, room_bytes),
                degraded=self._degraded,
            )

    def backlog(self) -> Backlog:
        """What waits for its acknowledgement: cheap enough to be asked with every batch."""
        with self._changed:
            return Backlog(
                batches=self._contents.count(State.UNACKED),
                bytes=usage.needed_bytes(self._contents.shelf),
                bytes_max=self._limits.bytes_max,
            )

    def _now_s(self) -> int:
        return self._clock.wall_ns() // 1_000_000_000


def _opened(files: Files) -> Recovered:
    try:
        files.acquire()
        return recover(files)
    except OSError as error:
        raise UnavailableError(
            f"the spool cannot be used: {error}; it needs a directory this user may write, on a file system that is "
            "not read-only"
        ) from error
