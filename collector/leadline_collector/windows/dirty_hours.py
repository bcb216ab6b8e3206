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

_mark, _day, _agent = tables.mark_hour.c, tables.mark_day.c, tables.agent.c


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Mark:
    """An hour of an agent whose windows from ``since_s`` on may be other than its rollup says."""

    hour_s: int
    src_id: int
    version: int
    since_s: int


def mark(connection: Connection, src_id: int, times: Collection[int]) -> None:
    """Mark the hours of an agent in which windows that start at these times were written."""
    first: dict[int, int] = {}
    for t in sorted(times):
        first.setdefault(t - t % HOUR_S, t)
    if first:
        connection.execute(_MARK, [{"src_id": src_id, "t": hour, "since": since} for hour, since in first.items()])


_MARK = text(
    "INSERT INTO mark_hour (src_id, t, version, since) VALUES (:src_id, :t, 1, :since) "
    "ON CONFLICT (src_id, t) DO UPDATE SET version = mark_hour.version + 1, since = "
    "CASE WHEN excluded.since < mark_hour.since THEN excluded.since ELSE mark_hour.since END"
)


def of_hours(
    connection: Connection, start_s: int, end_s: int, src_ids: Iterable[int] | None = None, limit: int | None = None
) -> list[Mark]:
    """The marks of hours that begin in [start_s, end_s), by time, at most ``limit``; of these agents, or of all."""
    query = select(_mark.t, _mark.src_id, _mark.version, _mark.since).where(_mark.t >= start_s, _mark.t < end_s)
    if src_ids is not None:
        query = query.where(_mark.src_id.in_(src_ids))
    return _marks(connection, query.order_by(_mark.t, _mark.src_id).limit(limit))


def of_site(connection: Connection, source_id: int, hours_s: Collection[int]) -> list[Mark]:
    """The marks of these hours of the agents of a site."""
    src_ids = select(_agent.id).where(_agent.site_id == source_id)
    query = select(_mark.t, _mark.src_id, _mark.version, _mark.since)
    return sorted(_marks(connection, query.where(_mark.src_id.in_(src_ids), _mark.t.in_(hours_s))))


def still(connection: Connection, marks: Collection[Mark]) -> bool:
    """True if none of the marks has changed; none can from here to the end of the transaction."""
    hours_s, src_ids = {one.hour_s for one in marks}, {one.src_id for one in marks}
    query = select(_mark.t, _mark.src_id, _mark.version, _mark.since)
    query = query.where(_mark.t.in_(hours_s), _mark.src_id.in_(src_ids)).order_by(_mark.src_id, _mark.t)
    # An ingest marks the hours of its agent in the same order. SQLite leaves the lock out: its writer is alone.
    return set(_marks(connection, query.with_for_update())) >= set(marks)


def _marks(connection: Connection, query: Select[Any]) -> list[Mark]:
    return [Mark(hour_s=row[0], src_id=row[1], version=row[2], since_s=row[3]) for row in connection.execute(query)]


def remove(connection: Connection, marks: Collection[Mark]) -> None:
    """Take the marks away: their hours are compacted and over."""
    statement = delete(tables.mark_hour).where(_mark.src_id == bindparam("src"), _mark.t == bindparam("hour"))
    if marks:
        connection.execute(statement, [{"src": one.src_id, "hour": one.hour_s} for one in marks])


def advance(connection: Connection, marks: Collection[Mark]) -> None:
    """Say that everything in these hours is in their rollups so far; they stay marked, because they are not over."""
    statement = update(tables.mark_hour).where(_mark.src_id == bindparam("src"), _mark.t == bindparam("hour"))
    rows = [{"src": one.src_id, "hour": one.hour_s, "until": one.hour_s + HOUR_S} for one in marks]
    if rows:
        connection.execute(statement.values(since=bindparam("until")), rows)


def mark_day(connection: Connection, source_id: int, day_s: int) -> None:
    """Say that an hour of the day was compacted after the day was."""
    connection.execute(_MARK_DAY, {"source_id": source_id, "t": day_s})


_MARK_DAY = text("INSERT INTO mark_day (source_id, t) VALUES (:source_id, :t) ON CONFLICT DO NOTHING")


def of_days(connection: Connection, start_s: int, end_s: int) -> list[tuple[int, int]]:
    """The (day, source site) that wait, by time, of days that begin in [start_s, end_s)."""
    query = select(_day.t, _day.source_id).where(_day.t >= start_s, _day.t < end_s).order_by(_day.t, _day.source_id)
    return [(row[0], row[1]) for row in connection.execute(query)]


def remove_day(connection: Connection, source_id: int, day_s: int) -> None:
    """The day is compacted."""
    connection.execute(delete(tables.mark_day).where(_day.source_id == source_id, _day.t == day_s))


def mark_all(connection: Connection) -> None:
    """Mark every hour that has windows."""
    connection.execute(
        text(
            "INSERT INTO mark_hour (src_id, t, version, since) "
            "SELECT src_id, t - t % 3600, 1, t - t % 3600 FROM window_stat GROUP BY src_id, t - t % 3600 "
            "ON CONFLICT (src_id, t) DO UPDATE SET version = mark_hour.version + 1, since = excluded.since"
        )
    )


def lag_s(connection: Connection, now_s: int) -> int:
    """How long ago the oldest marked hour ended; 0 if none is over."""
    oldest_s = connection.execute(select(func.min(_mark.t)).where(_mark.t <= now_s - HOUR_S)).scalar_one()
    return 0 if oldest_s is None else now_s - oldest_s - HOUR_S
