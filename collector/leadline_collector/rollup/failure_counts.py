"""Failure counts of a path over a period.

Whole hours come from the rollups; dirty hours and parts of an hour come from ``window_stat``.
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
    """Return the number of probes in [start_s, end_s) by failure; expired rows of ``window_stat`` are not counted."""
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
    is_in_range = (column.src_id == path[0], column.dst_id == path[1], column.t >= first_s, column.t < last_s)
    return connection.execute(select(*sums).where(*is_in_range)).one()


def _split_by_table(connection: Connection, src_id: int, start_s: int, end_s: int) -> Iterator[tuple[Table, int, int]]:
    """Yield the parts of the period with the table to read; consecutive hours of the same table are joined."""
    marks = dirty_hours.load_dirty_hours(connection, start_s - start_s % HOUR_S, end_s, [src_id])
    dirty = {mark.hour_s for mark in marks}
    part_s = start_s
    while part_s < end_s:
        table, until_s = _select_table(part_s, end_s, dirty)
        while until_s < end_s and _select_table(until_s, end_s, dirty)[0] is table:
            until_s = _select_table(until_s, end_s, dirty)[1]
        yield table, part_s, until_s
        part_s = until_s


def _select_table(start_s: int, end_s: int, dirty: set[int]) -> tuple[Table, int]:
    """Return the table of the hour that contains ``start_s``, and the end of this part."""
    hour_s = start_s - start_s % HOUR_S
    is_whole = start_s == hour_s and hour_s + HOUR_S <= end_s and hour_s not in dirty
    return rollup_hour if is_whole else window_stat, min(hour_s + HOUR_S, end_s)
