"""The SQL of what is missing, beside ``store``: gaps as they were told, and windows in quarantine.

Every function works in the transaction of the connection it is given and neither commits nor rolls back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, or_, select

from leadline.wire.batch import GapReason
from leadline_collector.db import tables
from leadline_collector.journal.store import SEALS, BatchKey, JournalEntry, Seal, seal

#: Who says what is missing.
SOURCE_AGENT = "agent"
#: Rows of one question.
TOLD_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Windows of a batch that are not believed."""

    reason: GapReason
    #: Place of the first of them in the batch.
    path: str
    windows: int
    #: Earliest and latest start, as the agent's clock had it.
    t_first: int
    t_last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldGap:
    """A gap as somebody told it: [from_s, to_s), and the numbers of the batches given up, both included."""

    reason: GapReason
    from_s: int
    to_s: int
    windows: int | None
    first_seq: int | None
    last_seq: int | None
    epoch: bytes | None
    source: str = SOURCE_AGENT
    noted_at_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Windows in quarantine, beside the batch they came in."""

    quarantine: Quarantine
    seal: Seal


def add_gaps(connection: Connection, src_id: int, key: BatchKey, gaps: Sequence[ToldGap]) -> None:
    """Keep what batch ``key`` tells; it is new (``add_batch``), so nothing of it is there."""
    if gaps:
        connection.execute(insert(tables.gap), [_gap_row(src_id, key, *item) for item in enumerate(gaps)])


def _gap_row(src_id: int, key: BatchKey, place: int, gap: ToldGap) -> dict[str, object]:
    return {
        "src_id": src_id,
        "told_epoch": key.epoch,
        "told_seq": key.seq,
        "place": place,
        "source": gap.source,
        "noted_at": gap.noted_at_s,
        "reason": gap.reason.value,
        "from_s": gap.from_s,
        "to_s": gap.to_s,
        "windows": gap.windows,
        "epoch": gap.epoch,
        "first_seq": gap.first_seq,
        "last_seq": gap.last_seq,
    }


def add_quarantine(connection: Connection, entry: JournalEntry, found: Quarantine) -> None:
    """Keep what was not believed of a batch."""
    row = {
        "src_id": entry.src_id,
        "epoch": entry.key.epoch,
        "seq": entry.key.seq,
        "received_at": entry.received_at_s,
        "reason": found.reason.value,
        "path": found.path,
        "windows": found.windows,
        "t_first": found.t_first,
        "t_last": found.t_last,
    }
    connection.execute(insert(tables.quarantine), row)


def told_gaps(connection: Connection, src_id: int, start_s: int, end_s: int) -> list[ToldGap]:
    """What was told of [start_s, end_s), in order of time, the first ``TOLD_MAX``."""
    column = tables.gap.c
    query = select(tables.gap).where(column.src_id == src_id, column.to_s > start_s, column.from_s < end_s)
    rows = connection.execute(query.order_by(column.from_s, column.told_seq, column.place).limit(TOLD_MAX))
    return [_told(row) for row in rows]


def told_of_numbers(connection: Connection, src_id: int, epoch: bytes, first: int, last: int) -> list[ToldGap]:
    """What was told of batches ``first`` to ``last`` of an epoch, both included; for those whose time is not known."""
    column = tables.gap.c
    query = select(tables.gap).where(
        column.src_id == src_id,
        column.epoch == epoch,
        column.first_seq <= last,
        or_(column.last_seq.is_(None), column.last_seq >= first),
    )
    return [_told(row) for row in connection.execute(query.limit(TOLD_MAX))]


def _told(row: Row[Any]) -> ToldGap:
    return ToldGap(
        reason=GapReason(row.reason),
        from_s=row.from_s,
        to_s=row.to_s,
        windows=row.windows,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        epoch=row.epoch,
        source=row.source,
        noted_at_s=row.noted_at,
    )


def quarantined(connection: Connection, src_id: int, start_s: int, end_s: int) -> list[Quarantined]:
    """What was received in [start_s, end_s) and is in quarantine, in order of receipt, the first ``TOLD_MAX``."""
    kept, batch = tables.quarantine.c, tables.batch.c
    same = and_(batch.src_id == kept.src_id, batch.epoch == kept.epoch, batch.seq == kept.seq)
    query = SEALS.add_columns(
        kept.reason, kept.path, kept.windows, kept.t_first.label("kept_first"), kept.t_last.label("kept_last")
    ).join_from(tables.quarantine, tables.batch, same)
    query = query.where(kept.src_id == src_id, kept.received_at >= start_s, kept.received_at < end_s)
    rows = connection.execute(query.order_by(kept.received_at, kept.seq).limit(TOLD_MAX))
    return [Quarantined(quarantine=_quarantine(row), seal=seal(row)) for row in rows]


def numbers_in_quarantine(connection: Connection, src_id: int, epoch: bytes, first: int, last: int) -> set[int]:
    """Which of the batches ``first`` to ``last`` of an epoch have windows in quarantine."""
    kept = tables.quarantine.c
    query = select(kept.seq).where(kept.src_id == src_id, kept.epoch == epoch, kept.seq.between(first, last))
    return set(connection.execute(query.limit(TOLD_MAX)).scalars())


def _quarantine(row: Row[Any]) -> Quarantine:
    return Quarantine(
        reason=GapReason(row.reason), path=row.path, windows=row.windows, t_first=row.kept_first, t_last=row.kept_last
    )
