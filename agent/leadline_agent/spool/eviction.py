"""Making room: which segments go, in which order, and how.

Order: what is acknowledged, then dead letters, then the oldest that waits; whole segments.
Rule: a segment that holds anything the collector does not know becomes its own tombstone before its bytes go. One that
      does not is removed, and if that is undone by a power loss, its batches are sent again, which harms nobody.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Collection

from leadline_agent.spool import manifest
from leadline_agent.spool.filesystem import Files
from leadline_agent.spool.index import Rank, SegmentIndex, State
from leadline_agent.spool.loss_records import Tombstone
from leadline_agent.spool.quota import SpoolLimits
from leadline_agent.spool.record_format import BLOCK_BYTES, segment_name
from leadline_agent.spool.segment_writer import SegmentWriter, entomb
from leadline_agent.spool.spool_state import Contents

log = logging.getLogger(__name__)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


#: A spool of this size is never cut for the sake of others: they would not notice, and we would lose everything.
SEGMENTS_MIN = 2


class Room:
    """Gives segments up. The caller holds the spool's disk lock; ``contents.changed`` is taken here, for moments."""

    def __init__(self, *, files: Files, contents: Contents, writer: SegmentWriter, limits: SpoolLimits) -> None:
        self._files, self._contents, self._writer, self._limits = files, contents, writer, limits
        #: While the disk is nearly full: the size at which the spool stopped to grow.
        self._size_cap: int | None = None

    def make(self, needed_bytes: int) -> None:
        """Give up segments until ``needed_bytes`` fit the budget and the disk, as far as that goes."""
        bytes_max = min(self._limits.bytes_max, self._cap(needed_bytes))
        while self._contents.shelf.size + needed_bytes > bytes_max and self.give_up_next():
            pass

    def _cap(self, needed_bytes: int) -> int:
        """The size the free space allows. What nobody waits for goes at once; what waits stays, but grows no more."""
        while self._files.free_bytes() - needed_bytes < self._limits.free_bytes_min:
            victim = next(iter(self._victims()), None)
            if victim is None or victim.rank is Rank.UNACKED or not self._give_up(victim):
                if self._size_cap is None:
                    self._size_cap = max(self._contents.shelf.size, SEGMENTS_MIN * self._limits.segment_bytes)
                return self._size_cap
        self._size_cap = None
        return self._limits.bytes_max

    def give_up_on_full_disk(self) -> bool:
        """The disk has no room: give up a segment, if need be before its note is durable; False when there is none."""
        condemned = self._contents.shelf.condemned()
        if condemned is None:
            return self.give_up_next()
        # The ledger carries the note as well, and may find the room that a segment does not.
        self.save_ledger(without=[condemned])
        return self._remove(condemned)

    def give_up_next(self) -> bool:
        """Give up the segment that matters least; False when there is none to be had."""
        victims = self._victims()
        if not victims and self._writer.active is not None and len(self._writer.active):
            self._writer.close()
            victims = self._victims()
        if not any(self._give_up(victim) for victim in victims):
            self._contents.shelf.unstick()
            return False
        return True

    def _victims(self) -> list[SegmentIndex]:
        return self._contents.shelf.victims(self._writer.active)

    def expire(self, now_s: int) -> None:
        """Remove what has served its time, and dead letters beyond their limit."""
        with self._contents.changed:
            if self._contents.pending.tombstones:
                return
            done = [segment for segment in self._contents.shelf if self._is_done(segment, now_s)]
        if done:
            self.save_ledger(without=done)
            for segment in done:
                self._remove(segment)
        dead = [segment for segment in self._victims() if segment.rank is Rank.DEAD]
        while sum(segment.size for segment in dead) > self._limits.dead_bytes_max:
            self._give_up(dead.pop(0))

    def _is_done(self, segment: SegmentIndex, now_s: int) -> bool:
        if segment.condemned:
            return True
        if segment is self._writer.active or segment.unreadable or self._contents.undelivered(segment):
            return False
        kept = segment.count(State.ACKED) and now_s - segment.acked_at_s <= self._limits.keep_acked_s
        return segment.rank is Rank.ACKED and not kept

    def save_ledger(self, without: Collection[SegmentIndex] = ()) -> bool:
        """Write the ledger; False when it cannot be written now, which costs only repetition."""
        with self._contents.changed:
            written = self._contents.ledger(without)
            self._contents.marked = False
        try:
            manifest.save(self._files, written)
        except OSError as error:
            log.warning("ledger not written", extra={"reason": error.strerror})
            self._contents.marked = True
            return False
        return True

    def finish(self) -> None:
        """Cut off what a crash left behind a tombstone."""
        for segment in self._contents.shelf:
            if segment.entombed and segment.size > BLOCK_BYTES:
                try:
                    self._entomb(segment, segment.tombstones, exact=True)
                except OSError as error:
                    log.warning("segment not cut", extra={"segment": segment.number, "reason": error.strerror})

    def _give_up(self, segment: SegmentIndex) -> bool:
        """Let a segment go; False when the disk or the length of its note does not let it."""
        with self._contents.changed:
            losses = list(segment.losses())
            taken = tuple(self._contents.pending.tombstones)
            note = [*losses, *self._contents.undelivered(segment), *taken]
        self.save_ledger(without=[segment])
        if not note:
            return self._remove(segment)
        try:
            gone = self._bury(segment, note)
        except OSError as error:
            gone, taken = self._cannot_bury(segment, note, error), ()
        if not gone:
            return False
        with self._contents.changed:
            self._contents.pending.settle_tombstones(taken)
        if losses:
            windows = sum(one.windows or 0 for one in losses)
            extra = {"segment": segment.number, "batches": len(losses), "windows": windows}
            log.error("spool full, oldest batches dropped", extra=extra)
        return True

    def _bury(self, segment: SegmentIndex, note: list[Tombstone]) -> bool:
        """Make the segment its own tombstone, and take that of its neighbour in, if both fit one page."""
        before = self._contents.shelf.entombed_before(segment)
        if before is not None and self._entomb(segment, [*self._contents.undelivered(before), *note], exact=True):
            self._remove(before)
            return True
        return self._entomb(segment, note, exact=False)

    def _entomb(self, segment: SegmentIndex, note: list[Tombstone], *, exact: bool) -> bool:
        segment.entombed = True
        try:
            written = entomb(self._files, segment, note, exact=exact)
        except OSError:
            segment.entombed = False
            raise
        with self._contents.changed:
            segment.entombed = written is not None
            if written is not None:
                self._contents.bury(segment, written)
        return written is not None

    def _cannot_bury(self, segment: SegmentIndex, note: list[Tombstone], error: OSError) -> bool:
        """A file system that copies on write needs room even to write over a page, and has none when it is full.

        Then the note goes into the next segment, and this one goes when that is durable. Only where even that has no
        room it goes first (``give_up_on_full_disk``): the one moment in which a power loss could take both. A segment
        on a bad spot of the disk stays, and another one goes. Any other error is for the commit.
        """
        log.error("segment cannot be given up", extra={"segment": segment.number, "reason": error.strerror})
        if error.errno == errno.EIO:
            segment.stuck = True
            return False
        if error.errno not in FULL:
            raise error
        with self._contents.changed:
            self._contents.pending.bury(note)
            segment.condemned = True
        return True

    def _remove(self, segment: SegmentIndex) -> bool:
        try:
            self._files.unlink(segment_name(segment.number))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.error("segment cannot be removed", extra={"segment": segment.number, "reason": error.strerror})
            return False
        with self._contents.changed:
            self._contents.forget(segment)
        return True
