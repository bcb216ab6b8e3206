"""The ledger: what became of the batches on disk, and which numbers ought to be there.

One small file, written anew and put in place of the old one. Losing it, or reading an old one, means that batches are
sent again (the collector knows them by their digest) and that damage is found by the segments alone.

Rule: a number leaves it only when it stands in a tombstone of it, or when nobody needs it any more.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec
from msgspec import Struct

from leadline_agent.spool.filesystem import Files
from leadline_agent.spool.index import SegmentIndex, State
from leadline_agent.spool.loss_records import Tombstone
from leadline_agent.spool.range_set import SeqSet
from leadline_agent.spool.record_format import PAYLOAD_BYTES_MAX, Frame, Kind, encode, record_at

LEDGER_NAME = "ledger"
_NEW_NAME = "ledger.new"
#: The ledger belongs to no epoch.
_NO_EPOCH = "0" * 32
#: A refusal in a collector's words, cut.
REASON_LENGTH_MAX = 200


class DeadLetter(Struct, frozen=True, array_like=True):
    """A batch that the collector refused for ever, when (epoch seconds, this host's wall clock), and in which words."""

    epoch: str
    seq: int
    at_s: int
    reason: str


class Row(Struct, frozen=True, array_like=True):
    """One segment: the numbers it holds, first to last, and which of them are acknowledged."""

    number: int
    epoch: str
    first_seq: int
    last_seq: int
    acked_at_s: int
    acked: list[tuple[int, int]]


class Ledger(Struct, frozen=True, kw_only=True):
    """Everything that is in the file."""

    rows: list[Row] = []
    dead: list[DeadLetter] = []
    #: Tombstones that the collector does not have yet: some are in no segment so far, and a segment may be damaged.
    undelivered: list[Tombstone] = []
    #: Tombstones that the collector has, as long as a segment of their epoch is on disk: damage is found at each start.
    delivered: list[Tombstone] = []

    def acked(self, epoch: str) -> SeqSet:
        """Acknowledged numbers of an epoch."""
        result = SeqSet()
        for row in self.rows:
            for first, last in row.acked if row.epoch == epoch else []:
                result.add(first, last)
        return result


def row_of(segment: SegmentIndex) -> Row:
    """The row of a segment. Dead letters and losses have tombstones, so they are no hole."""
    acked = list(segment.numbers(State.ACKED))
    return Row(segment.number, segment.epoch, segment.first_seq, segment.last_seq, segment.acked_at_s, acked)


def save(files: Files, ledger: Ledger) -> None:
    """Put it in place of the old one, durably; OSError leaves the old one or the new one."""
    data = encode(Frame(kind=Kind.LEDGER, epoch=_NO_EPOCH, payload=msgspec.json.encode(ledger)))
    with suppress(FileNotFoundError):
        files.unlink(_NEW_NAME)
    try:
        _write(files, data)
    except OSError:
        with suppress(OSError):
            files.unlink(_NEW_NAME)
        raise
    files.rename(_NEW_NAME, LEDGER_NAME)
    files.fsync_dir()


def _write(files: Files, data: bytes) -> None:
    handle = files.create(_NEW_NAME)
    try:
        files.write(handle, data)
        files.fdatasync(handle)
    finally:
        files.close(handle)


def load(files: Files) -> Ledger:
    """The ledger in the directory; an empty one when there is none that can be read."""
    try:
        data = files.read(LEDGER_NAME, 0, PAYLOAD_BYTES_MAX)
    except OSError:
        return Ledger()
    found = record_at(data, 0)
    if found is None or found[0].kind != Kind.LEDGER:
        return Ledger()
    try:
        return msgspec.json.decode(found[1], type=Ledger)
    except msgspec.DecodeError:
        return Ledger()
