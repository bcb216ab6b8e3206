"""Reading a spool at start: what is there, what ought to be there, and the tombstones for the difference.

Reading changes nothing, so reading again finds the same. What is found is synced before it counts: after a kill -9 it
may be in the page cache only, and a tombstone that is not durable must not excuse the removal of what it names.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from leadline_agent.spool.filesystem import Files
from leadline_agent.spool.index import BatchId, SegmentIndex, Shelf, Spooled, State
from leadline_agent.spool.loss_records import Loss, Tombstone, covers, read_tombstones
from leadline_agent.spool.manifest import DeadLetter, Ledger, load
from leadline_agent.spool.range_set import SeqSet
from leadline_agent.spool.record_format import (
    HEADER_BYTES,
    Damage,
    Found,
    Header,
    Kind,
    payload_at,
    record_at,
    scan,
    segment_name,
    segment_number,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A spool as it was found."""

    shelf: Shelf
    #: Losses that no tombstone on disk tells of yet.
    lost: list[Tombstone]
    dead: dict[BatchId, DeadLetter]
    delivered: set[Tombstone]
    next_number: int


@dataclass(slots=True)
class _Read:
    """One segment after reading: its index, and what is known of records that are damaged."""

    index: SegmentIndex
    #: Every number whose header can be read, in whatever state its body is.
    known: SeqSet = field(default_factory=SeqSet)
    broken: list[Header] = field(default_factory=list)
    #: Something that is no record and not blank stands behind the last header.
    ragged_end: bool = False


def recover(files: Files) -> Recovered:
    """Read the ledger and every segment. OSError when the directory itself cannot be read."""
    ledger = load(files)
    numbers = sorted(number for name in files.names() if (number := segment_number(name)) is not None)
    found: dict[str, SeqSet] = defaultdict(SeqSet)
    # Newest first: of two copies the later one was accepted, the earlier may never have left the page cache.
    reads = [_read_segment(files, number, found) for number in reversed(numbers)][::-1]
    _mark(reads, ledger)
    lost = list(_losses(reads, ledger, found))
    if lost:
        log.error("spool damaged", extra={"lost": [(one.epoch, one.first_seq, one.last_seq) for one in lost]})
    known = {read.index.number: read.index for read in reads}
    return Recovered(
        shelf=Shelf(known.values()),
        lost=lost,
        dead={BatchId(letter.epoch, letter.seq): letter for letter in ledger.dead},
        delivered=set(ledger.delivered),
        next_number=max([*numbers, *(row.number for row in ledger.rows)], default=0) + 1,
    )


def _read_segment(files: Files, number: int, found: dict[str, SeqSet]) -> _Read:
    """Index one segment; one that cannot be read is kept as it is and holds nothing until the next start."""
    name = segment_name(number)
    _sync(files, name)
    try:
        return _indexed(number, files.read(name, 0, files.size(name)), found)
    except OSError as error:
        log.error("segment cannot be read", extra={"segment": name, "reason": error.strerror})
        read = _Read(SegmentIndex(number, "", 0))
        read.index.unreadable = True
        return read


def _sync(files: Files, name: str) -> None:
    """Make durable what is found; where that fails it is used all the same, as the best there is."""
    try:
        handle = files.modify(name)
        try:
            files.fdatasync(handle)
        finally:
            files.close(handle)
    except OSError as error:
        log.warning("segment not synced", extra={"segment": name, "reason": error.strerror})


def _indexed(number: int, data: bytes, found: dict[str, SeqSet]) -> _Read:
    opening = record_at(data, 0)
    if opening is not None and opening[0].kind == Kind.TOMBSTONES:
        return _tombstones_only(number, data, opening)
    items = list(scan(data))
    batches = [item.header for item in items if isinstance(item, Found) and item.header.kind == Kind.BATCH]
    first = opening[0] if opening is not None else next(iter(batches), None)
    read = _Read(SegmentIndex(number, first.epoch if first else "", first.seq if first else 0))
    read.index.size = len(data)
    for item in items:
        if isinstance(item, Damage):
            read.ragged_end = not item.blank
        elif item.header.kind == Kind.BATCH and item.header.epoch == read.index.epoch:
            # A body that the file ends in: what was written behind it is gone, however much that was.
            read.ragged_end = item.offset + HEADER_BYTES + item.header.payload_bytes > len(data)
            _index_batch(read, item, found[item.header.epoch])
        elif item.header.kind == Kind.TOMBSTONES and item.intact:
            payload = payload_at(data, item.offset, item.header)
            read.index.tombstones += read_tombstones(payload or b"")
    return read


def _tombstones_only(number: int, data: bytes, opening: tuple[Header, bytes]) -> _Read:
    index = SegmentIndex(number, opening[0].epoch, 0)
    index.entombed = True
    index.size = len(data)
    index.tombstones = read_tombstones(opening[1])
    return _Read(index)


def _index_batch(read: _Read, item: Found, found: SeqSet) -> None:
    """Take a batch in; a copy known from a later segment, after a write that was tried again, is passed over."""
    header = item.header
    read.known.add(header.seq, header.seq)
    if not item.intact:
        read.broken.append(header)
    elif header.seq not in found:
        found.add(header.seq, header.seq)
        read.index.add(_spooled(header), item.offset)


def _spooled(header: Header) -> Spooled:
    return Spooled(
        id=BatchId(header.epoch, header.seq),
        size=header.payload_bytes,
        windows=header.windows,
        t_first_s=header.t_first_s,
        t_last_s=header.t_last_s,
    )


def _mark(reads: list[_Read], ledger: Ledger) -> None:
    """Give every batch the state the ledger has for it."""
    acked_at_s = {row.number: row.acked_at_s for row in ledger.rows}
    acked = {epoch: ledger.acked(epoch) for epoch in {read.index.epoch for read in reads}}
    dead = {BatchId(letter.epoch, letter.seq) for letter in ledger.dead}
    for index in (read.index for read in reads):
        index.acked_at_s = acked_at_s.get(index.number, 0)
        for row, seq in index.rows():
            if seq in acked[index.epoch]:
                index.set_state(row, State.ACKED)
            if dead and BatchId(index.epoch, seq) in dead:
                index.set_state(row, State.DEAD)


def _losses(reads: list[_Read], ledger: Ledger, found: dict[str, SeqSet]) -> Iterator[Tombstone]:
    """A tombstone for everything that ought to be there, is not, and is not accounted for."""
    told = [*ledger.delivered, *(one for read in reads for one in read.index.tombstones)]
    for one in ledger.undelivered:
        if not any(covers(other, one) for other in told):
            told.append(one)
            yield one
    for epoch, claimed in sorted(_claims(reads, ledger).items()):
        mine = [read for read in reads if read.index.epoch == epoch]
        mine_told = [one for one in told if one.epoch == epoch]
        accounted = _accounted(found[epoch], ledger.acked(epoch), mine_told, claimed.last)
        for first, last in claimed.without(accounted):
            yield _loss(epoch, mine, first, last)
        if mine and mine[-1].ragged_end and all(one.last_seq is not None for one in mine_told):
            yield _open_ended(epoch, mine, claimed.last + 1)


def _accounted(found: SeqSet, acked: SeqSet, told: Iterable[Tombstone], last: int) -> SeqSet:
    """The numbers nobody needs to ask about. An open end reaches as far as any claim."""
    result = SeqSet()
    for ranges in (found, acked):
        for one_first, one_last in ranges:
            result.add(one_first, one_last)
    for one in told:
        result.add(one.first_seq, last if one.last_seq is None else one.last_seq)
    return result


def _claims(reads: list[_Read], ledger: Ledger) -> dict[str, SeqSet]:
    """The numbers that must have been on disk, by epoch: what the ledger says, and what segments say by themselves."""
    claims: dict[str, SeqSet] = defaultdict(SeqSet)
    for row in ledger.rows:
        claims[row.epoch].add(row.first_seq, row.last_seq)
    before: _Read | None = None
    for read in reads:
        if read.known:
            first = min(read.index.first_seq, read.known.first)
            if before is not None and _side_by_side(before, read):
                first = min(first, before.known.last + 1)
            claims[read.index.epoch].add(first, read.known.last)
        before = read
    return claims


def _side_by_side(before: _Read, read: _Read) -> bool:
    """Whether no number can lie between two segments but one that was lost."""
    same_epoch = before.index.epoch == read.index.epoch
    return same_epoch and before.index.number == read.index.number - 1 and bool(before.known)


def _loss(epoch: str, mine: list[_Read], first: int, last: int) -> Tombstone:
    """The tombstone of a range: exact where all headers can be read, else bounded by what lies around it."""
    headers = {header.seq: header for read in mine for header in read.broken if first <= header.seq <= last}
    if len(headers) == last - first + 1:
        t_first_s: int | None = min(header.t_first_s for header in headers.values())
        t_last_s: int | None = max(header.t_last_s for header in headers.values())
        windows: int | None = sum(header.windows for header in headers.values())
    else:
        t_first_s, t_last_s, windows = _time_before(mine, first), _time_behind(mine, last), None
    return Tombstone(epoch, first, last, t_first_s, t_last_s, windows, Loss.CORRUPT)


def _open_ended(epoch: str, mine: list[_Read], first: int) -> Tombstone:
    return Tombstone(epoch, first, None, _time_before(mine, first), None, None, Loss.CORRUPT)


def _time_before(mine: list[_Read], seq: int) -> int | None:
    """The last minute known before a number."""
    times = (read.index.time_before_s(seq) for read in reversed(mine))
    return next((at_s for at_s in times if at_s is not None), None)


def _time_behind(mine: list[_Read], seq: int) -> int | None:
    """The first minute known behind a number."""
    times = (read.index.time_behind_s(seq) for read in mine)
    return next((at_s for at_s in times if at_s is not None), None)
