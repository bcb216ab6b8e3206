"""SQL of the journal (batches as received) and of the ledger that counts them.

Rule 1: functions use the transaction of their connection and neither commit nor roll back.
Rule 2: the statements of a POST are constants, so SQLAlchemy compiles each once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, select, text, tuple_

from leadline_collector.db import tables

#: Bodies fetched at once, up to a megabyte each.
BODY_FETCH_SIZE = 8
#: Batches without windows in one gap: an agent without targets may send one a minute.
EMPTY_BATCHES_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchKey:
    """Key of a batch within its agent."""

    epoch: bytes
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockAnchors:
    """Clocks of the agent when it sealed a batch (``wire.batch.Batch``).

    None for values that the agent did not report, and for all values of rows older than migration 0002.
    """

    sealed_at_us: int | None
    monotonic_us: int | None
    boottime_us: int | None = None
    boot_id: str | None = None
    ntp_synchronised: bool | None = None
    ntp_offset_us: int | None = None
    ntp_max_error_us: int | None = None
    ntp_estimated_error_us: int | None = None
    clock_offset_us: int | None = None
    clock_offset_error_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSignature:
    """Signature of a body by its agent (``leadline.wire.signing.build_batch_message``)."""

    #: ``id`` in table ``signing_key``.
    key_id: int
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """A batch as received."""

    src_id: int
    key: BatchKey
    received_at_s: int
    sha256: bytes
    mesh_version: int
    #: Start of the earliest and the latest window for ``window_stat``; None without windows.
    t_first: int | None
    t_last: int | None
    body: bytes
    anchors: ClockAnchors
    #: None if the agent does not sign.
    signature: BatchSignature | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchClock:
    """Times of a batch for gap detection; None for values that an agent of wire version 1 did not report."""

    key: BatchKey
    received_at_s: int
    mesh_version: int
    t_first: int | None
    t_last: int | None
    sealed_at_us: int | None
    boottime_us: int | None
    boot_id: str | None
    ntp_synchronised: bool | None
    clock_offset_us: int | None


def add_batch(connection: Connection, entry: JournalEntry) -> int | None:
    """Add a batch to journal and ledger; return the number of batches of its epoch, None if it was stored already."""
    anchors, signature = entry.anchors, entry.signature
    row = {
        "src_id": entry.src_id,
        "epoch": entry.key.epoch,
        "seq": entry.key.seq,
        "received_at": entry.received_at_s,
        "sha256": entry.sha256,
        "mesh_version": entry.mesh_version,
        "t_first": entry.t_first,
        "t_last": entry.t_last,
        "body": entry.body,
        **{name: getattr(anchors, name) for name in _ANCHOR_COLUMNS},
        "signature": signature.signature if signature else None,
        "signing_key_id": signature.key_id if signature else None,
    }
    # RETURNING instead of a row count: psycopg reports -1 for INSERT … ON CONFLICT.
    if connection.execute(_ADD_BATCH, row).first() is None:
        return None
    return int(connection.execute(_INCREMENT_LEDGER, row).scalar_one())


_ANCHOR_COLUMNS = tuple(ClockAnchors.__dataclass_fields__)
_BATCH_COLUMNS = tables.batch.columns.keys()
_ADD_BATCH = text(
    f"INSERT INTO batch ({', '.join(_BATCH_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _BATCH_COLUMNS)}) "  # noqa: S608
    "ON CONFLICT DO NOTHING RETURNING seq"
)
_INCREMENT_LEDGER = text(
    "INSERT INTO ledger (src_id, epoch, batches, seq_max) VALUES (:src_id, :epoch, 1, :seq) "
    "ON CONFLICT (src_id, epoch) DO UPDATE SET batches = ledger.batches + 1, seq_max = "
    "CASE WHEN excluded.seq_max > ledger.seq_max THEN excluded.seq_max ELSE ledger.seq_max END RETURNING batches"
)


def load_batch_digest(connection: Connection, src_id: int, key: BatchKey) -> tuple[bytes, int]:
    """Return the digest of a stored batch and the number of batches of its epoch."""
    batch, ledger = tables.batch.c, tables.ledger.c
    digest: bytes = connection.execute(select(batch.sha256).where(_match_batch(src_id, key))).scalar_one()
    count = select(ledger.batches).where(ledger.src_id == src_id, ledger.epoch == key.epoch)
    return digest, connection.execute(count).scalar_one()


def _match_batch(src_id: int, key: BatchKey) -> ColumnElement[bool]:
    batch = tables.batch.c
    return and_(batch.src_id == src_id, batch.epoch == key.epoch, batch.seq == key.seq)


def read_bodies(connection: Connection, src_id: int, t: int) -> Iterator[tuple[BatchKey, int, bytes]]:
    """Yield key, second of receipt and body of an agent's batches that may contain windows of minute ``t``.

    Batches with an emptied body are left out.
    """
    batch = tables.batch.c
    overlap = (batch.src_id == src_id, batch.t_last >= t, batch.t_first <= t, tables.HAS_BODY_CONDITION)
    query = select(batch.epoch, batch.seq, batch.received_at, batch.body).where(*overlap).order_by(batch.t_last)
    with connection.execute(query.execution_options(yield_per=BODY_FETCH_SIZE)) as rows:
        yield from ((BatchKey(epoch=row[0], seq=row[1]), row[2], row[3]) for row in rows)


def count_batches(connection: Connection, src_id: int | None) -> int:
    """Return the number of batches in the journal, of one agent or of all."""
    query = select(func.count()).select_from(tables.batch)
    if src_id is not None:
        query = query.where(tables.batch.c.src_id == src_id)
    return connection.execute(query).scalar_one()


def read_entries(
    connection: Connection, src_id: int | None, after: tuple[int, BatchKey] | None, limit: int
) -> Iterator[JournalEntry]:
    """Yield up to ``limit`` entries in the order of the primary key, those after agent and key ``after``."""
    batch = tables.batch.c
    position = tuple_(batch.src_id, batch.epoch, batch.seq)
    query = select(tables.batch).order_by(batch.src_id, batch.epoch, batch.seq).limit(limit)
    if src_id is not None:
        query = query.where(batch.src_id == src_id)
    if after is not None:
        query = query.where(position > tuple_(after[0], after[1].epoch, after[1].seq))
    with connection.execute(query.execution_options(yield_per=BODY_FETCH_SIZE)) as rows:
        yield from (_build_entry(row) for row in rows)


def _build_entry(row: Row[Any]) -> JournalEntry:
    is_signed = row.signature is not None and row.signing_key_id is not None
    return JournalEntry(
        src_id=row.src_id,
        key=BatchKey(epoch=row.epoch, seq=row.seq),
        received_at_s=row.received_at,
        sha256=row.sha256,
        mesh_version=row.mesh_version,
        t_first=row.t_first,
        t_last=row.t_last,
        body=row.body,
        anchors=ClockAnchors(**{name: getattr(row, name) for name in _ANCHOR_COLUMNS}),
        signature=BatchSignature(key_id=row.signing_key_id, signature=row.signature) if is_signed else None,
    )


def read_bodies_between(connection: Connection, src_id: int, start_s: int, end_s: int) -> Iterator[tuple[int, bytes]]:
    """Yield second of receipt and body of an agent's batches that may contain windows in [start_s, end_s).

    The body is empty if retention removed it.
    """
    batch = tables.batch.c
    query = select(batch.received_at, batch.body).where(
        batch.src_id == src_id, batch.t_last >= start_s, batch.t_first < end_s
    )
    with connection.execute(query.execution_options(yield_per=BODY_FETCH_SIZE)) as rows:
        yield from ((row[0], row[1]) for row in rows)


def has_bodies_between(connection: Connection, src_id: int, start_s: int, end_s: int) -> bool:
    """Return True if a body of an agent may contain windows in [start_s, end_s)."""
    batch = tables.batch.c
    overlap = (batch.src_id == src_id, batch.t_last >= start_s, batch.t_first < end_s, tables.HAS_BODY_CONDITION)
    return connection.execute(select(batch.seq).where(*overlap).limit(1)).first() is not None


def load_first_window_start(connection: Connection, src_id: int) -> int | None:
    """Return the first window of an agent's earliest batch, also of one without body; None before the first batch."""
    batch = tables.batch.c
    query = select(batch.t_first).where(batch.src_id == src_id, batch.t_last.is_not(None))
    return connection.execute(query.order_by(batch.t_last).limit(1)).scalar_one_or_none()


def load_batch_clock_before(connection: Connection, src_id: int, t: int) -> BatchClock | None:
    """Return the last batch with all windows before ``t``."""
    batch = tables.batch.c
    query = BATCH_CLOCK_QUERY.where(batch.src_id == src_id, batch.t_last < t)
    return _load_first_batch_clock(connection, query.order_by(batch.t_last.desc(), batch.seq.desc()))


def load_batch_clock_after(connection: Connection, src_id: int, t: int) -> BatchClock | None:
    """Return the first batch with a window at or after ``t``."""
    batch = tables.batch.c
    query = BATCH_CLOCK_QUERY.where(batch.src_id == src_id, batch.t_last >= t)
    return _load_first_batch_clock(connection, query.order_by(batch.t_last, batch.seq))


def load_empty_seqs(connection: Connection, src_id: int, epoch: bytes, first_seq: int, last_seq: int) -> set[int]:
    """Return the sequence numbers in [first_seq, last_seq] of stored batches without a plausible window."""
    batch = tables.batch.c
    query = select(batch.seq).where(
        batch.src_id == src_id, batch.epoch == epoch, batch.seq.between(first_seq, last_seq), batch.t_last.is_(None)
    )
    return set(connection.execute(query.limit(EMPTY_BATCHES_MAX)).scalars())


def load_last_batch_clock_of_boot(connection: Connection, src_id: int, boot_id: str) -> BatchClock | None:
    """Return the last batch with plausible windows that was sealed in this boot."""
    batch = tables.batch.c
    query = BATCH_CLOCK_QUERY.where(batch.src_id == src_id, batch.t_last.is_not(None), batch.boot_id == boot_id)
    return _load_first_batch_clock(connection, query.order_by(batch.t_last.desc()))


#: Query of the columns of a ``BatchClock``.
BATCH_CLOCK_QUERY = select(
    *(
        tables.batch.c[name]
        for name in (
            "epoch", "seq", "received_at", "mesh_version", "t_first", "t_last", "sealed_at_us", "boottime_us",
            "boot_id", "ntp_synchronised", "clock_offset_us",
        )
    )
)  # fmt: skip


def _load_first_batch_clock(connection: Connection, query: Select[Any]) -> BatchClock | None:
    row = connection.execute(query.limit(1)).first()
    return None if row is None else read_batch_clock(row)


def read_batch_clock(row: Row[Any]) -> BatchClock:
    """Build a BatchClock from a row of ``BATCH_CLOCK_QUERY``."""
    return BatchClock(
        key=BatchKey(epoch=row.epoch, seq=row.seq),
        received_at_s=row.received_at,
        mesh_version=row.mesh_version,
        t_first=row.t_first,
        t_last=row.t_last,
        sealed_at_us=row.sealed_at_us,
        boottime_us=row.boottime_us,
        boot_id=row.boot_id,
        ntp_synchronised=row.ntp_synchronised,
        clock_offset_us=row.clock_offset_us,
    )
