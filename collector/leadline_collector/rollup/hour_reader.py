"""Windows of many paths by hour, exact at any time.

A minute comes from the packed hours of ``rollup_hour``; if it is dirty (``windows.dirty_hours``), it comes from
``window_stat``. A dirty minute without a row there, because it expired, comes from the packed hour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select

from leadline.model import WINDOW_S
from leadline_collector.db.fetch_arrays import IntRows, fetch_int_rows
from leadline_collector.db.tables import rollup_hour, target, window_stat
from leadline_collector.rollup import window_codec
from leadline_collector.rollup.window_codec import MINUTES_PER_HOUR, WindowArray
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.dirty_hours import HOUR_S, DirtyHour
from leadline_verdict.series import COLUMNS, COUNT_FIELDS, MISSING, PathSeries

#: An hour of a path: (src_id, dst_id, start of the hour).
PathHourKey: TypeAlias = tuple[int, int, int]

_EXPECTED_INDEX = COLUMNS.index("expected")


@dataclass(frozen=True, slots=True, kw_only=True)
class HourBlock:
    """Hours of paths; hours without a window are left out."""

    keys: Sequence[PathHourKey]
    #: In the order of ``keys``.
    values: WindowArray
    #: Hours with at least one simulated window.
    simulated: NDArray[np.bool_]

    def get_column(self, name: str) -> NDArray[np.int32]:
        """Return one column of all hours: one row per hour."""
        column: NDArray[np.int32] = self.values[:, COLUMNS.index(name)]
        return column

    def select(self, indices: Sequence[int]) -> HourBlock:
        """Return the hours at these indices of ``keys``."""
        return HourBlock(
            keys=[self.keys[index] for index in indices],
            values=self.values[list(indices)],
            simulated=self.simulated[list(indices)],
        )


def load_hours(
    connection: Connection,
    src_ids: Collection[int],
    start_s: int,
    end_s: int,
    dst_ids: Collection[int] | None = None,
) -> HourBlock:
    """Load the hours that begin in [start_s, end_s) of the paths from these agents to these targets or to all.

    ``start_s`` and ``end_s`` are whole hours. Call it in one read transaction, so that marks and windows agree.
    """
    marks = dirty_hours.load_dirty_hours(connection, start_s, end_s, src_ids)
    packed = load_packed_hours(connection, src_ids, start_s, end_s, dst_ids)
    rows = [
        load_window_rows(connection, dirty_src_ids, dst_ids, first_s, last_s)
        for (first_s, last_s), dirty_src_ids in _join_dirty_intervals(marks).items()
    ]
    return overlay_windows(packed, np.concatenate(rows)) if rows else packed


def build_path_condition(
    column: Any, src_ids: Collection[int], dst_ids: Collection[int] | None, start_s: int, end_s: int
) -> ColumnElement[bool]:
    """Return the condition for rows of these paths with a time in [start_s, end_s)."""
    # The condition on dst_id is always there, so that the database seeks every path in the primary key.
    target_ids = select(target.c.id) if dst_ids is None else dst_ids
    return and_(column.src_id.in_(src_ids), column.dst_id.in_(target_ids), column.t >= start_s, column.t < end_s)


def load_packed_hours(
    connection: Connection,
    src_ids: Collection[int],
    start_s: int,
    end_s: int,
    dst_ids: Collection[int] | None = None,
) -> HourBlock:
    """Load hours as compacted, dirty or not; the parameters are those of ``load_hours``."""
    column = rollup_hour.c
    query = select(column.src_id, column.dst_id, column.t, column.simulated, column.packed)
    result = connection.execute(query.where(build_path_condition(column, src_ids, dst_ids, start_s, end_s)))
    rows = result.cursor.fetchall()
    result.close()
    return HourBlock(
        keys=[(row[0], row[1], row[2]) for row in rows],
        values=window_codec.unpack_hours([row[4] for row in rows]),
        simulated=np.array([row[3] for row in rows], bool),
    )


def _join_dirty_intervals(marks: Sequence[DirtyHour]) -> Mapping[tuple[int, int], list[int]]:
    """Return the agents by the interval to read from ``window_stat``; consecutive hours are joined."""
    intervals_by_agent: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for mark in sorted(marks):
        intervals, end_s = intervals_by_agent[mark.src_id], mark.hour_s + HOUR_S
        if intervals and intervals[-1][1] == mark.watermark_s:
            intervals[-1] = (intervals[-1][0], end_s)
        elif mark.watermark_s < end_s:
            intervals.append((mark.watermark_s, end_s))
    agents: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for src_id, intervals in intervals_by_agent.items():
        for interval in intervals:
            agents[interval].append(src_id)
    return agents


def load_window_rows(
    connection: Connection, src_ids: Collection[int], dst_ids: Collection[int] | None, start_s: int, end_s: int
) -> IntRows:
    """Load windows in [start_s, end_s): src_id, dst_id, t, 1 if simulated, then ``COLUMNS`` with MISSING for NULL."""
    column = window_stat.c
    query: Select[Any] = select(
        column.src_id,
        column.dst_id,
        column.t,
        case((column.epoch.is_(None), 1), else_=0),
        *(column[name] if name in COUNT_FIELDS else func.coalesce(column[name], MISSING) for name in COLUMNS),
    )
    return fetch_int_rows(connection, query.where(build_path_condition(column, src_ids, dst_ids, start_s, end_s)))


_KEY_COLUMNS = 4


def overlay_windows(base: HourBlock, rows: IntRows) -> HourBlock:
    """Return the hours with the minutes of these rows (``load_window_rows``) replaced."""
    if not len(rows):
        return base
    hour_s = rows[:, 2] - rows[:, 2] % HOUR_S
    # One integer for each hour of a path, because ``np.unique`` is much faster on one column. Ids are small and the
    # hours span some years, so 64 bits suffice.
    hours_max, dst_ids_max = int(hour_s.max() - hour_s.min()) // HOUR_S + 1, int(rows[:, 1].max()) + 1
    code = (rows[:, 0] * dst_ids_max + rows[:, 1]) * hours_max + (hour_s - hour_s.min()) // HOUR_S
    _, first_rows, row_groups = np.unique(code, return_index=True, return_inverse=True)
    index_by_key = {key: index for index, key in enumerate(base.keys)}
    row_keys: list[PathHourKey] = list(
        zip(*(column[first_rows].tolist() for column in (rows[:, 0], rows[:, 1], hour_s)), strict=True)
    )
    new_keys = [key for key in row_keys if key not in index_by_key]
    index_by_key.update((key, len(base.keys) + index) for index, key in enumerate(new_keys))
    block = np.concatenate([base.values, window_codec.make_empty_hours(len(new_keys))])
    hour_indices = np.array([index_by_key[key] for key in row_keys])[row_groups]
    block[hour_indices, :, (rows[:, 2] - hour_s) // WINDOW_S] = rows[:, _KEY_COLUMNS:]
    simulated = np.concatenate([base.simulated, np.zeros(len(new_keys), bool)])
    np.logical_or.at(simulated, hour_indices, rows[:, 3] == 1)
    return HourBlock(keys=[*base.keys, *new_keys], values=block, simulated=simulated)


def load_series(connection: Connection, src_id: int, dst_id: int, start_s: int, end_s: int) -> PathSeries:
    """Load the windows of one path in [start_s, end_s), whole minutes."""
    first_s = start_s - start_s % HOUR_S
    hours = load_hours(connection, [src_id], first_s, end_s, [dst_id])
    hour_count = -(-(end_s - first_s) // HOUR_S)
    dense = window_codec.make_empty_hours(hour_count)
    dense[[(key[2] - first_s) // HOUR_S for key in hours.keys]] = hours.values
    columns = np.moveaxis(dense, 1, 0).reshape(len(COLUMNS), hour_count * MINUTES_PER_HOUR)
    minutes = slice((start_s - first_s) // WINDOW_S, (end_s - first_s) // WINDOW_S)
    values = {name: np.ascontiguousarray(columns[index, minutes]) for index, name in enumerate(COLUMNS)}
    return PathSeries.from_columns(start_s, values, simulated=bool(hours.simulated.any()))


def flatten_hours(hours: HourBlock, minutes: slice = slice(MINUTES_PER_HOUR)) -> PathSeries:
    """Return these minutes of every hour as one series, for evaluations that look at each minute alone."""
    columns = np.moveaxis(hours.values[:, :, minutes], 1, 0).reshape(len(COLUMNS), -1)
    return PathSeries.from_columns(0, {name: columns[index] for index, name in enumerate(COLUMNS)})


def is_present(hours: HourBlock) -> NDArray[np.bool_]:
    """Return a mask of the minutes with a window: (hour, minute)."""
    return hours.values[:, _EXPECTED_INDEX] > 0
