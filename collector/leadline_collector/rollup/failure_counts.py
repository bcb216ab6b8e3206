"""Why probes of a path have no round trip, added up over a period: from the rollups, and from ``window_stat`` where
these may lag or the period cuts an hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Table, func, select

from leadline.model import Failure
from leadline_collector.db.tables import FAILURE_COLUMNS, rollup_hour, window_stat
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.dirty_hours import HOUR_S


def load_failure_counts(
    connection: Connection, src_id: int, dst_id: int, start_s: int, end_s: int
) -> Mapping[Failure, int]:
    """How many probes of [start_s, end_s) ended in each failure; what ``window_stat`` no longer has is not counted."""
    totals = dict.fromkeys(Failure, 0)
    for table, first_s, last_s in _split_by_table(connection, src_id, start_s, end_s):
        for failure, count in zip(
            Failure, _load_sums(connection, table, (src_id, dst_id), first_s, last_s), strict=True
        ):
            totals[failure] += count or 0
    return totals


def _load_sums(connection: Connection, table: Table, path: tuple[int, int], first_s: int, last_s: int) -> Any:
    column = table.c
    sums = [func.sum(column[FAILURE_COLUMNS[failure]]) for failure in Failure]
    of_path = (column.src_id == path[0], column.dst_id == path[1], column.t >= first_s, column.t < last_s)
    return connection.execute(select(*sums).where(*of_path)).one()


def _split_by_table(connection: Connection, src_id: int, start_s: int, end_s: int) -> Iterator[tuple[Table, int, int]]:
    """Which table has which part: neighbouring hours of the same one are asked for together."""
    lagging = {
        mark.hour_s for mark in dirty_hours.load_dirty_hours(connection, start_s - start_s % HOUR_S, end_s, [src_id])
    }
    at_s = start_s
    while at_s < end_s:
        table, until_s = _select_table(at_s, end_s, lagging)
        while until_s < end_s and _select_table(until_s, end_s, lagging)[0] is table:
            until_s = _select_table(until_s, end_s, lagging)[1]
        yield table, at_s, until_s
        at_s = until_s


def _select_table(at_s: int, end_s: int, lagging: set[int]) -> tuple[Table, int]:
    hour_s = at_s - at_s % HOUR_S
    is_whole = at_s == hour_s and hour_s + HOUR_S <= end_s and hour_s not in lagging
    return rollup_hour if is_whole else window_stat, min(hour_s + HOUR_S, end_s)
