"""SQL of reported gaps and of windows in quarantine.

Every function works in the transaction of its connection and neither commits nor rolls back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, or_, select

from leadline.wire.batch import GapReason
from leadline_collector.db import tables
from leadline_collector.journal.store import BATCH_CLOCK_QUERY, BatchClock, BatchKey, JournalEntry, read_batch_clock

#: Source of a gap that the agent reported.
SOURCE_AGENT = "agent"
#: Rows per query.
ROWS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """The windows of a batch without a plausible time."""

    reason: GapReason
    #: JSON path of the first of them in the batch.
    path: str
    windows: int
    #: Earliest and latest start by the agent's clock.
    t_first: int
    t_last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedGap:
    """A reported gap: [from_s, to_s), and the first and last number of the discarded batches, inclusive."""

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
    """Windows in quarantine, with the clocks of their batch."""

    quarantine: Quarantine
    batch_clock: BatchClock


def add_gaps(connection: Connection, src_id: int, key: BatchKey, gaps: Sequence[ReportedGap]) -> None:
    """Insert the gaps that batch ``key`` reports; it is a new batch (``add_batch``), so it has no rows yet."""
    if gaps:
        connection.execute(
            insert(tables.gap), [_build_gap_row(src_id, key, place, gap) for place, gap in enumerate(gaps)]
        )


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
    """Insert the quarantine of a batch."""
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
    """Return the first ``ROWS_MAX`` reported gaps that overlap [start_s, end_s), in order of time."""
    column = tables.gap.c
    query = select(tables.gap).where(column.src_id == src_id, column.to_s > start_s, column.from_s < end_s)
    rows = connection.execute(query.order_by(column.from_s, column.told_seq, column.place).limit(ROWS_MAX))
    return [_to_reported_gap(row) for row in rows]


def load_gaps_for_seqs(
    connection: Connection, src_id: int, epoch: bytes, first_seq: int, last_seq: int
) -> list[ReportedGap]:
    """Return the reported gaps of batches ``first_seq`` to ``last_seq`` of an epoch, with or without times."""
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
    """Return the first ``ROWS_MAX`` quarantined batches received in [start_s, end_s), in order of receipt."""
    quarantine, batch = tables.quarantine.c, tables.batch.c
    same_batch = and_(batch.src_id == quarantine.src_id, batch.epoch == quarantine.epoch, batch.seq == quarantine.seq)
    query = BATCH_CLOCK_QUERY.add_columns(
        quarantine.reason,
        quarantine.path,
        quarantine.windows,
        quarantine.t_first.label("kept_first"),
        quarantine.t_last.label("kept_last"),
    ).join_from(tables.quarantine, tables.batch, same_batch)
    query = query.where(quarantine.src_id == src_id, quarantine.received_at >= start_s, quarantine.received_at < end_s)
    rows = connection.execute(query.order_by(quarantine.received_at, quarantine.seq).limit(ROWS_MAX))
    return [QuarantinedBatch(quarantine=_to_quarantine(row), batch_clock=read_batch_clock(row)) for row in rows]


def load_quarantined_seqs(connection: Connection, src_id: int, epoch: bytes, first_seq: int, last_seq: int) -> set[int]:
    """Return the batches ``first_seq`` to ``last_seq`` of an epoch that have windows in quarantine."""
    quarantine = tables.quarantine.c
    query = select(quarantine.seq).where(
        quarantine.src_id == src_id, quarantine.epoch == epoch, quarantine.seq.between(first_seq, last_seq)
    )
    return set(connection.execute(query.limit(ROWS_MAX)).scalars())


def _to_quarantine(row: Row[Any]) -> Quarantine:
    return Quarantine(
        reason=GapReason(row.reason), path=row.path, windows=row.windows, t_first=row.kept_first, t_last=row.kept_last
    )
