"""SQL of dirty hours and days: those with rollups that may be older than their windows.

Rule 1: the transaction that writes windows marks their hours, so both become visible together.
Rule 2: a mark is removed only if its version is unchanged since the windows were read; otherwise the hour is compacted
again.
Rule 3: windows before the watermark (column ``since``) are the same in the rollup and in ``window_stat``; later ones
are read from ``window_stat``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, func, select, text, update

from leadline_collector.db import tables

HOUR_S = 3_600
DAY_S = 86_400

_hour_columns, _day_columns, _agent_columns = tables.mark_hour.c, tables.mark_day.c, tables.agent.c


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class DirtyHour:
    """An hour of an agent with a rollup that may differ from its windows from ``watermark_s`` on."""

    hour_s: int
    src_id: int
    version: int
    watermark_s: int


def mark_dirty(connection: Connection, src_id: int, times: Collection[int]) -> None:
    """Mark the hours of an agent that contain written windows; ``times`` are the starts of the windows."""
    watermarks: dict[int, int] = {}
    for t in sorted(times):
        watermarks.setdefault(t - t % HOUR_S, t)
    if watermarks:
        rows = [{"src_id": src_id, "t": hour_s, "since": since_s} for hour_s, since_s in watermarks.items()]
        connection.execute(_MARK_HOUR, rows)


_MARK_HOUR = text(
    "INSERT INTO mark_hour (src_id, t, version, since) VALUES (:src_id, :t, 1, :since) "
    "ON CONFLICT (src_id, t) DO UPDATE SET version = mark_hour.version + 1, since = "
    "CASE WHEN excluded.since < mark_hour.since THEN excluded.since ELSE mark_hour.since END"
)


def load_dirty_hours(
    connection: Connection, start_s: int, end_s: int, src_ids: Iterable[int] | None = None, limit: int | None = None
) -> list[DirtyHour]:
    """Return up to ``limit`` dirty hours that begin in [start_s, end_s), by time; of some agents or of all."""
    query = select(_hour_columns.t, _hour_columns.src_id, _hour_columns.version, _hour_columns.since).where(
        _hour_columns.t >= start_s, _hour_columns.t < end_s
    )
    if src_ids is not None:
        query = query.where(_hour_columns.src_id.in_(src_ids))
    return _fetch_dirty_hours(connection, query.order_by(_hour_columns.t, _hour_columns.src_id).limit(limit))


def load_site_dirty_hours(connection: Connection, source_id: int, hours_s: Collection[int]) -> list[DirtyHour]:
    """Return the dirty hours among ``hours_s`` of the agents of a site."""
    src_ids = select(_agent_columns.id).where(_agent_columns.site_id == source_id)
    query = select(_hour_columns.t, _hour_columns.src_id, _hour_columns.version, _hour_columns.since)
    return sorted(
        _fetch_dirty_hours(connection, query.where(_hour_columns.src_id.in_(src_ids), _hour_columns.t.in_(hours_s)))
    )


def is_unchanged(connection: Connection, dirty_hours: Collection[DirtyHour]) -> bool:
    """Return True if all these marks are unchanged, and lock them until the end of the transaction."""
    hours_s, src_ids = {mark.hour_s for mark in dirty_hours}, {mark.src_id for mark in dirty_hours}
    query = select(_hour_columns.t, _hour_columns.src_id, _hour_columns.version, _hour_columns.since)
    query = query.where(_hour_columns.t.in_(hours_s), _hour_columns.src_id.in_(src_ids)).order_by(
        _hour_columns.src_id, _hour_columns.t
    )
    # An ingest marks the hours of its agent in the same order. SQLite ignores FOR UPDATE: it has a single writer.
    return set(_fetch_dirty_hours(connection, query.with_for_update())) >= set(dirty_hours)


def _fetch_dirty_hours(connection: Connection, query: Select[Any]) -> list[DirtyHour]:
    return [
        DirtyHour(hour_s=row[0], src_id=row[1], version=row[2], watermark_s=row[3]) for row in connection.execute(query)
    ]


def clear_dirty_hours(connection: Connection, dirty_hours: Collection[DirtyHour]) -> None:
    """Remove the marks of hours that are complete and compacted."""
    statement = delete(tables.mark_hour).where(
        _hour_columns.src_id == bindparam("src"), _hour_columns.t == bindparam("hour")
    )
    if dirty_hours:
        connection.execute(statement, [{"src": mark.src_id, "hour": mark.hour_s} for mark in dirty_hours])


def advance_watermark(connection: Connection, dirty_hours: Collection[DirtyHour]) -> None:
    """Set the watermark of compacted hours that are not over to their end; they stay marked."""
    statement = update(tables.mark_hour).where(
        _hour_columns.src_id == bindparam("src"), _hour_columns.t == bindparam("hour")
    )
    rows = [{"src": mark.src_id, "hour": mark.hour_s, "until": mark.hour_s + HOUR_S} for mark in dirty_hours]
    if rows:
        connection.execute(statement.values(since=bindparam("until")), rows)


def mark_day_dirty(connection: Connection, source_id: int, day_s: int) -> None:
    """Mark a day with an hour that was compacted after the day."""
    connection.execute(_MARK_DAY, {"source_id": source_id, "t": day_s})


_MARK_DAY = text("INSERT INTO mark_day (source_id, t) VALUES (:source_id, :t) ON CONFLICT DO NOTHING")


def load_dirty_days(connection: Connection, start_s: int, end_s: int) -> list[tuple[int, int]]:
    """Return the dirty days that begin in [start_s, end_s) as (day, source site), by time."""
    query = (
        select(_day_columns.t, _day_columns.source_id)
        .where(_day_columns.t >= start_s, _day_columns.t < end_s)
        .order_by(_day_columns.t, _day_columns.source_id)
    )
    return [(row[0], row[1]) for row in connection.execute(query)]


def clear_dirty_day(connection: Connection, source_id: int, day_s: int) -> None:
    """Remove the mark of a compacted day."""
    connection.execute(delete(tables.mark_day).where(_day_columns.source_id == source_id, _day_columns.t == day_s))


def mark_all_dirty(connection: Connection) -> None:
    """Mark every hour that has windows."""
    connection.execute(
        text(
            "INSERT INTO mark_hour (src_id, t, version, since) "
            "SELECT src_id, t - t % 3600, 1, t - t % 3600 FROM window_stat GROUP BY src_id, t - t % 3600 "
            "ON CONFLICT (src_id, t) DO UPDATE SET version = mark_hour.version + 1, since = excluded.since"
        )
    )


def load_lag_s(connection: Connection, now_s: int) -> int:
    """Return the seconds since the oldest dirty hour ended; 0 if no dirty hour is over."""
    oldest_s = connection.execute(
        select(func.min(_hour_columns.t)).where(_hour_columns.t <= now_s - HOUR_S)
    ).scalar_one()
    return 0 if oldest_s is None else now_s - oldest_s - HOUR_S
