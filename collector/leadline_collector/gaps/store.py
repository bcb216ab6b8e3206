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
from leadline_collector.journal.store import BATCH_CLOCK_QUERY, BatchClock, BatchKey, JournalEntry, read_batch_clock

#: Who says what is missing.
SOURCE_AGENT = "agent"
#: Rows of one question.
ROWS_MAX = 10_000


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
class ReportedGap:
    """A gap as somebody told it: [from_s, to_s), and the numbers of the batches given up, both included."""

    reason: GapReason
    from_s: int
    to_s: int
    windows: int | None
    first_seq: int | None
    last_seq: int | None
    epoch: bytes | None
    source: str = SOURCE_AGENT
    recorded_at_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedBatch:
    """Windows in quarantine, beside the batch they came in."""

    quarantine: Quarantine
    batch_clock: BatchClock


def add_gaps(connection: Connection, src_id: int, key: BatchKey, gaps: Sequence[ReportedGap]) -> None:
    """Keep what batch ``key`` tells; it is new (``add_batch``), so nothing of it is there."""
    if gaps:
        connection.execute(insert(tables.gap), [_build_gap_row(src_id, key, *item) for item in enumerate(gaps)])


def _build_gap_row(src_id: int, key: BatchKey, place: int, gap: ReportedGap) -> dict[str, object]:
    return {
        "src_id": src_id,
        "told_epoch": key.epoch,
        "told_seq": key.seq,
        "place": place,
        "source": gap.source,
        "noted_at": gap.recorded_at_s,
        "reason": gap.reason.value,
        "from_s": gap.from_s,
        "to_s": gap.to_s,
        "windows": gap.windows,
        "epoch": gap.epoch,
        "first_seq": gap.first_seq,
        "last_seq": gap.last_seq,
    }


def add_quarantine(connection: Connection, entry: JournalEntry, quarantine: Quarantine) -> None:
    """Keep what was not believed of a batch."""
    row = {
        "src_id": entry.src_id,
        "epoch": entry.key.epoch,
        "seq": entry.key.seq,
        "received_at": entry.received_at_s,
        "reason": quarantine.reason.value,
        "path": quarantine.path,
        "windows": quarantine.windows,
        "t_first": quarantine.t_first,
        "t_last": quarantine.t_last,
    }
    connection.execute(insert(tables.quarantine), row)


def load_reported_gaps(connection: Connection, src_id: int, start_s: int, end_s: int) -> list[ReportedGap]:
    """What was told of [start_s, end_s), in order of time, the first ``TOLD_MAX``."""
    column = tables.gap.c
    query = select(tables.gap).where(column.src_id == src_id, column.to_s > start_s, column.from_s < end_s)
    rows = connection.execute(query.order_by(column.from_s, column.told_seq, column.place).limit(ROWS_MAX))
    return [_to_reported_gap(row) for row in rows]


def load_gaps_for_seqs(
    connection: Connection, src_id: int, epoch: bytes, first_seq: int, last_seq: int
) -> list[ReportedGap]:
    """What was told of batches ``first`` to ``last`` of an epoch, both included; for those whose time is not known."""
    column = tables.gap.c
    query = select(tables.gap).where(
        column.src_id == src_id,
        column.epoch == epoch,
        column.first_seq <= last_seq,
        or_(column.last_seq.is_(None), column.last_seq >= first_seq),
    )
    return [_to_reported_gap(row) for row in connection.execute(query.limit(ROWS_MAX))]


def _to_reported_gap(row: Row[Any]) -> ReportedGap:
    return ReportedGap(
        reason=GapReason(row.reason),
        from_s=row.from_s,
        to_s=row.to_s,
        windows=row.windows,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        epoch=row.epoch,
        source=row.source,
        recorded_at_s=row.noted_at,
    )


def load_quarantined_batches(connection: Connection, src_id: int, start_s: int, end_s: int) -> list[QuarantinedBatch]:
    """What was received in [start_s, end_s) and is in quarantine, in order of receipt, the first ``TOLD_MAX``."""
    kept, batch = tables.quarantine.c, tables.batch.c
    same = and_(batch.src_id == kept.src_id, batch.epoch == kept.epoch, batch.seq == kept.seq)
    query = BATCH_CLOCK_QUERY.add_columns(
        kept.reason, kept.path, kept.windows, kept.t_first.label("kept_first"), kept.t_last.label("kept_last")
    ).join_from(tables.quarantine, tables.batch, same)
    query = query.where(kept.src_id == src_id, kept.received_at >= start_s, kept.received_at < end_s)
    rows = connection.execute(query.order_by(kept.received_at, kept.seq).limit(ROWS_MAX))
    return [QuarantinedBatch(quarantine=_to_quarantine(row), batch_clock=read_batch_clock(row)) for row in rows]


def load_quarantined_seqs(connection: Connection, src_id: int, epoch: bytes, first_seq: int, last_seq: int) -> set[int]:
    """Which of the batches ``first`` to ``last`` of an epoch have windows in quarantine."""
    kept = tables.quarantine.c
    query = select(kept.seq).where(kept.src_id == src_id, kept.epoch == epoch, kept.seq.between(first_seq, last_seq))
    return set(connection.execute(query.limit(ROWS_MAX)).scalars())


def _to_quarantine(row: Row[Any]) -> Quarantine:
    return Quarantine(
        reason=GapReason(row.reason), path=row.path, windows=row.windows, t_first=row.kept_first, t_last=row.kept_last
    )
