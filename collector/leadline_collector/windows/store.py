"""SQL of window statistics: rows of ``window_stat``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg
from sqlalchemy import ColumnElement, Connection, CursorResult, and_, bindparam, delete, func, select

from leadline.model import WINDOW_S
from leadline_collector.db import tables
from leadline_collector.db.tables import window_stat
from leadline_collector.journal.store import BatchKey
from leadline_collector.mesh.store import PathIds
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.rows import WINDOW_COLUMNS, WindowRow

#: First key of the advisory lock that serialises the batches of an agent; the second is the agent's id.
AGENT_LOCK = 53235464

#: Key of a window within its agent: (dst_id, t).
WindowKey: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Island:
    """Unbroken run of windows of a path in [start_s, end_s), all of one mesh version."""

    start_s: int
    end_s: int
    dst_id: int
    mesh_version: int


def lock_agent(connection: Connection, src_id: int) -> None:
    """Wait until no other transaction stores for this agent; SQLite needs no lock, because it has one writer."""
    if _is_postgresql(connection):
        connection.execute(select(func.pg_advisory_xact_lock(AGENT_LOCK, src_id)))


def load_window_batches(
    connection: Connection, src_id: int, keys: Collection[WindowKey]
) -> dict[WindowKey, BatchKey | None]:
    """Return the last batch of each of these windows that is stored; None for a simulated window."""
    dst_ids, times = {dst_id for dst_id, _ in keys}, {t for _, t in keys}
    column = window_stat.c
    query = select(column.dst_id, column.t, column.epoch, column.seq).where(
        column.src_id == src_id, column.dst_id.in_(dst_ids), column.t.in_(times)
    )
    batches = {(row[0], row[1]): _to_batch_key(row[2], row[3]) for row in connection.execute(query)}
    return {key: batches[key] for key in keys if key in batches}


def load_islands(connection: Connection, src_id: int, start_s: int, end_s: int) -> list[Island]:
    """Return the windows of an agent in [start_s, end_s) as unbroken runs of one target and mesh version."""
    dst_ids = select(tables.target.c.id)
    column = window_stat.c
    # Start minus row number is constant within an unbroken run (gaps and islands).
    run = column.t - WINDOW_S * func.row_number().over(
        partition_by=(column.dst_id, column.mesh_version), order_by=column.t
    )
    runs = (
        select(column.dst_id, column.mesh_version, column.t, run.label("run"))
        .where(column.src_id == src_id, column.dst_id.in_(dst_ids), column.t >= start_s, column.t < end_s)
        .subquery()
    )
    query = select(runs.c.dst_id, runs.c.mesh_version, func.min(runs.c.t), func.max(runs.c.t) + WINDOW_S)
    rows = connection.execute(query.group_by(runs.c.dst_id, runs.c.mesh_version, runs.c.run))
    return sorted(Island(dst_id=row[0], mesh_version=row[1], start_s=row[2], end_s=row[3]) for row in rows)


def load_path_windows(
    connection: Connection, path: PathIds, columns: Sequence[str], start_s: int, end_s: int, limit: int | None = None
) -> Sequence[tuple[Any, ...]]:
    """Return these columns of a path's windows in [start_s, end_s), by time."""
    column = window_stat.c
    query = (
        select(*(column[name] for name in columns))
        .where(_build_path_condition(path, start_s, end_s))
        .order_by(column.t)
        .limit(limit)
    )
    return _fetch_tuples(connection.execute(query))


def add_windows(connection: Connection, src_id: int, rows: Sequence[WindowRow]) -> None:
    """Insert new windows of an agent and mark their hours dirty.

    The partitions must exist (``Store.ensure_partitions``).
    """
    if not rows:
        return
    dirty_hours.mark_dirty(connection, src_id, _get_start_times(rows))
    if _is_postgresql(connection):
        _copy_windows(connection, rows)
    else:
        connection.exec_driver_sql(_INSERT_WINDOW_SQL, list(rows))


def add_missing_windows(
    connection: Connection, src_id: int, key: BatchKey, rows: Sequence[WindowRow]
) -> set[WindowKey]:
    """Insert the windows of a batch that are not stored yet; return the keys of the others, which stay unchanged.

    All their hours are marked dirty.
    """
    if not rows:
        return set()
    dirty_hours.mark_dirty(connection, src_id, _get_start_times(rows))
    if not _is_postgresql(connection):
        return _insert_missing_windows(connection, src_id, key, rows)
    try:
        with connection.begin_nested():
            _copy_windows(connection, rows)
    except psycopg.errors.UniqueViolation:  # rare: an agent was restarted within the minute
        stored_keys = load_window_batches(connection, src_id, [_get_window_key(row) for row in rows]).keys()
        _copy_windows(connection, [row for row in rows if _get_window_key(row) not in stored_keys])
        return set(stored_keys)
    return set()


def _insert_missing_windows(
    connection: Connection, src_id: int, key: BatchKey, rows: Sequence[WindowRow]
) -> set[WindowKey]:
    driver = connection.connection.driver_connection
    assert driver is not None
    if driver.executemany(f"{_INSERT_WINDOW_SQL} ON CONFLICT DO NOTHING", rows).rowcount == len(rows):
        return set()
    batches = load_window_batches(connection, src_id, [_get_window_key(row) for row in rows])
    return {window for window, batch in batches.items() if batch != key}


def _copy_windows(connection: Connection, rows: Iterable[WindowRow]) -> None:
    # SQLAlchemy has no COPY, so this uses the driver within the connection's transaction. One text for all rows: the
    # driver's ``write_row`` takes three times as long as % formatting.
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with driver.cursor() as cursor, cursor.copy(_COPY_WINDOWS_SQL) as copy:
        copy.write(
            "".join(
                [
                    _COPY_ROW_FORMAT % (*row[:_EPOCH_INDEX], _format_bytea(row[_EPOCH_INDEX]), row[_SEQ_INDEX])
                    for row in rows
                ]
            )
        )


def delete_windows(connection: Connection, src_id: int, windows: Collection[WindowKey]) -> None:
    """Delete these windows of an agent; the caller inserts their replacements."""
    column = window_stat.c
    statement = delete(window_stat).where(
        column.src_id == src_id, column.dst_id == bindparam("dst"), column.t == bindparam("time")
    )
    connection.execute(statement, [{"dst": dst_id, "time": t} for dst_id, t in windows])


_COLUMN_NAMES = ", ".join(WINDOW_COLUMNS)
_INSERT_WINDOW_SQL = f"INSERT INTO {window_stat.name} ({_COLUMN_NAMES}) VALUES ({', '.join('?' * len(WINDOW_COLUMNS))})"  # noqa: S608
#: % formats None as "None"; no other value of a row has this text.
_COPY_WINDOWS_SQL = f"COPY {window_stat.name} ({_COLUMN_NAMES}) FROM STDIN (NULL 'None')"
_COPY_ROW_FORMAT = "\t".join(["%s"] * len(WINDOW_COLUMNS)) + "\n"
_EPOCH_INDEX, _SEQ_INDEX = WINDOW_COLUMNS.index("epoch"), WINDOW_COLUMNS.index("seq")
assert (len(WINDOW_COLUMNS) - 2, len(WINDOW_COLUMNS) - 1) == (
    _EPOCH_INDEX,
    _SEQ_INDEX,
)  # ``_copy_windows`` relies on this


def _format_bytea(data: object) -> str | None:
    """Format bytes for COPY in text format, which needs a double backslash."""
    return f"\\\\x{data.hex()}" if isinstance(data, bytes) else None


def _get_window_key(row: WindowRow) -> WindowKey:
    dst_id, t = row[1], row[2]
    assert isinstance(dst_id, int)
    assert isinstance(t, int)
    return dst_id, t


def _get_start_times(rows: Sequence[WindowRow]) -> set[int]:
    return {row[2] for row in rows}  # type: ignore[misc]  # the third column is the time


def _to_batch_key(epoch: bytes | None, seq: int | None) -> BatchKey | None:
    return None if epoch is None or seq is None else BatchKey(epoch=epoch, seq=seq)


def _fetch_tuples(result: CursorResult[Any]) -> Sequence[tuple[Any, ...]]:
    """Return all rows as tuples of the driver; SQLAlchemy's rows would double the time of a million rows."""
    rows: Sequence[tuple[Any, ...]] = result.cursor.fetchall()
    result.close()
    return rows


def _build_path_condition(path: PathIds, start_s: int, end_s: int) -> ColumnElement[bool]:
    column = window_stat.c
    return and_(column.src_id == path.src_id, column.dst_id == path.dst_id, column.t >= start_s, column.t < end_s)


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"
