"""The SQL of marks, beside ``store``: which hours and days may have rollups that are behind their windows.

Rule 1: whoever writes windows marks their hours in the same transaction, so nobody sees one without the other.
Rule 2: a mark goes only if its version is what it was when the windows were read; else the hour is done again.
Rule 3: what starts before ``since`` is in the rollup as it is in ``window_stat``; the rest is read from there.
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
    """An hour of an agent whose windows from ``since_s`` on may be other than its rollup says."""

    hour_s: int
    src_id: int
    version: int
    watermark_s: int


def mark_dirty(connection: Connection, src_id: int, times: Collection[int]) -> None:
    """Mark the hours of an agent in which windows that start at these times were written."""
    first: dict[int, int] = {}
    for t in sorted(times):
        first.setdefault(t - t % HOUR_S, t)
    if first:
        connection.execute(_MARK_HOUR, [{"src_id": src_id, "t": hour, "since": since} for hour, since in first.items()])


_MARK_HOUR = text(
    "INSERT INTO mark_hour (src_id, t, version, since) VALUES (:src_id, :t, 1, :since) "
    "ON CONFLICT (src_id, t) DO UPDATE SET version = mark_hour.version + 1, since = "
    "CASE WHEN excluded.since < mark_hour.since THEN excluded.since ELSE mark_hour.since END"
)


def load_dirty_hours(
    connection: Connection, start_s: int, end_s: int, src_ids: Iterable[int] | None = None, limit: int | None = None
) -> list[DirtyHour]:
    """The marks of hours that begin in [start_s, end_s), by time, at most ``limit``; of these agents, or of all."""
    query = select(_hour_columns.t, _hour_columns.src_id, _hour_columns.version, _hour_columns.since).where(
        _hour_columns.t >= start_s, _hour_columns.t < end_s
    )
    if src_ids is not None:
        query = query.where(_hour_columns.src_id.in_(src_ids))
    return _fetch_dirty_hours(connection, query.order_by(_hour_columns.t, _hour_columns.src_id).limit(limit))


def load_site_dirty_hours(connection: Connection, source_id: int, hours_s: Collection[int]) -> list[DirtyHour]:
    """The marks of these hours of the agents of a site."""
    src_ids = select(_agent_columns.id).where(_agent_columns.site_id == source_id)
    query = select(_hour_columns.t, _hour_columns.src_id, _hour_columns.version, _hour_columns.since)
    return sorted(
        _fetch_dirty_hours(connection, query.where(_hour_columns.src_id.in_(src_ids), _hour_columns.t.in_(hours_s)))
    )


def is_unchanged(connection: Connection, dirty_hours: Collection[DirtyHour]) -> bool:
    """True if none of the marks has changed; none can from here to the end of the transaction."""
    hours_s, src_ids = {one.hour_s for one in dirty_hours}, {one.src_id for one in dirty_hours}
    query = select(_hour_columns.t, _hour_columns.src_id, _hour_columns.version, _hour_columns.since)
    query = query.where(_hour_columns.t.in_(hours_s), _hour_columns.src_id.in_(src_ids)).order_by(
        _hour_columns.src_id, _hour_columns.t
    )
    # An ingest marks the hours of its agent in the same order. SQLite leaves the lock out: its writer is alone.
    return set(_fetch_dirty_hours(connection, query.with_for_update())) >= set(dirty_hours)


def _fetch_dirty_hours(connection: Connection, query: Select[Any]) -> list[DirtyHour]:
    return [
        DirtyHour(hour_s=row[0], src_id=row[1], version=row[2], watermark_s=row[3]) for row in connection.execute(query)
    ]


def clear_dirty_hours(connection: Connection, dirty_hours: Collection[DirtyHour]) -> None:
    """Take the marks away: their hours are compacted and over."""
    statement = delete(tables.mark_hour).where(
        _hour_columns.src_id == bindparam("src"), _hour_columns.t == bindparam("hour")
    )
    if dirty_hours:
        connection.execute(statement, [{"src": one.src_id, "hour": one.hour_s} for one in dirty_hours])


def advance_watermark(connection: Connection, dirty_hours: Collection[DirtyHour]) -> None:
    """Say that everything in these hours is in their rollups so far; they stay marked, because they are not over."""
    statement = update(tables.mark_hour).where(
        _hour_columns.src_id == bindparam("src"), _hour_columns.t == bindparam("hour")
    )
    rows = [{"src": one.src_id, "hour": one.hour_s, "until": one.hour_s + HOUR_S} for one in dirty_hours]
    if rows:
        connection.execute(statement.values(since=bindparam("until")), rows)


def mark_day_dirty(connection: Connection, source_id: int, day_s: int) -> None:
    """Say that an hour of the day was compacted after the day was."""
    connection.execute(_MARK_DAY, {"source_id": source_id, "t": day_s})


_MARK_DAY = text("INSERT INTO mark_day (source_id, t) VALUES (:source_id, :t) ON CONFLICT DO NOTHING")


def load_dirty_days(connection: Connection, start_s: int, end_s: int) -> list[tuple[int, int]]:
    """The (day, source site) that wait, by time, of days that begin in [start_s, end_s)."""
    query = (
        select(_day_columns.t, _day_columns.source_id)
        .where(_day_columns.t >= start_s, _day_columns.t < end_s)
        .order_by(_day_columns.t, _day_columns.source_id)
    )
    return [(row[0], row[1]) for row in connection.execute(query)]


def clear_dirty_day(connection: Connection, source_id: int, day_s: int) -> None:
    """The day is compacted."""
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
    """How long ago the oldest marked hour ended; 0 if none is over."""
    oldest_s = connection.execute(
        select(func.min(_hour_columns.t)).where(_hour_columns.t <= now_s - HOUR_S)
    ).scalar_one()
    return 0 if oldest_s is None else now_s - oldest_s - HOUR_S
