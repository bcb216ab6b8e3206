"""Windows of many paths by hour, exact at every moment: from the rollups, and from ``window_stat`` where these may lag.

A minute is read from ``window_stat`` if it is marked (``marks``), and from the packed hours otherwise; where a marked
minute has no row there any more, because retention took it, what was packed of it still holds.
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
    """Hours of paths; those without a window are not here."""

    keys: Sequence[PathHourKey]
    #: In the order of ``keys``.
    values: WindowArray
    #: Some window of the hour came from no agent.
    simulated: NDArray[np.bool_]

    def get_column(self, name: str) -> NDArray[np.int32]:
        """One column of all hours: a row an hour."""
        column: NDArray[np.int32] = self.values[:, COLUMNS.index(name)]
        return column

    def select(self, indices: Sequence[int]) -> HourBlock:
        """Those hours, by their place in ``keys``."""
        return HourBlock(
            keys=[self.keys[number] for number in indices],
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
    """The hours that begin in [start_s, end_s), whole hours, of the paths from these agents to these targets or to all.

    In one transaction, so that marks and windows are of one moment.
    """
    found = dirty_hours.load_dirty_hours(connection, start_s, end_s, src_ids)
    packed = load_packed_hours(connection, src_ids, start_s, end_s, dst_ids)
    spans = _join_dirty_intervals(found)
    rows = [load_window_rows(connection, among, dst_ids, first, last) for (first, last), among in spans.items()]
    return overlay_windows(packed, np.concatenate(rows)) if rows else packed


def build_path_condition(
    column: Any, src_ids: Collection[int], dst_ids: Collection[int] | None, start_s: int, end_s: int
) -> ColumnElement[bool]:
    """The condition that rows of a table with these columns are of such paths, and in [start_s, end_s)."""
    # Said even where it excludes nothing: the key begins with both, and so each path's part of it is sought.
    to = select(target.c.id) if dst_ids is None else dst_ids
    return and_(column.src_id.in_(src_ids), column.dst_id.in_(to), column.t >= start_s, column.t < end_s)


def load_packed_hours(
    connection: Connection,
    src_ids: Collection[int],
    start_s: int,
    end_s: int,
    dst_ids: Collection[int] | None = None,
) -> HourBlock:
    """As ``hours``, with every hour as it was compacted, marked or not."""
    column = rollup_hour.c
    query = select(column.src_id, column.dst_id, column.t, column.simulated, column.packed)
    result = connection.execute(query.where(build_path_condition(column, src_ids, dst_ids, start_s, end_s)))
    found = result.cursor.fetchall()
    result.close()
    return HourBlock(
        keys=[(row[0], row[1], row[2]) for row in found],
        values=window_codec.unpack_hours([row[4] for row in found]),
        simulated=np.array([row[3] for row in found], bool),
    )


def _join_dirty_intervals(found: Sequence[DirtyHour]) -> Mapping[tuple[int, int], list[int]]:
    """From where to where windows have to be read themselves, and of which agents; neighbouring hours are joined."""
    of_agent: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for mark in sorted(found):
        spans, end_s = of_agent[mark.src_id], mark.hour_s + HOUR_S
        if spans and spans[-1][1] == mark.watermark_s:
            spans[-1] = (spans[-1][0], end_s)
        elif mark.watermark_s < end_s:
            spans.append((mark.watermark_s, end_s))
    agents: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for src_id, spans in of_agent.items():
        for span in spans:
            agents[span].append(src_id)
    return agents


def load_window_rows(
    connection: Connection, src_ids: Collection[int], dst_ids: Collection[int] | None, start_s: int, end_s: int
) -> IntRows:
    """Windows in [start_s, end_s): src_id, dst_id, t, whether it is simulated, then ``COLUMNS`` with NONE for NULL."""
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
    """The hours with these windows (``window_rows``) in place of what was there of the same minutes."""
    if not len(rows):
        return base
    hour_s = rows[:, 2] - rows[:, 2] % HOUR_S
    # One number for each hour of a path: numpy finds the different ones of a single column much faster. Small ids and
    # hours of some years leave room in 64 bits.
    hours_max, dst_ids_max = int(hour_s.max() - hour_s.min()) // HOUR_S + 1, int(rows[:, 1].max()) + 1
    code = (rows[:, 0] * dst_ids_max + rows[:, 1]) * hours_max + (hour_s - hour_s.min()) // HOUR_S
    _, firsts, places = np.unique(code, return_index=True, return_inverse=True)
    known = {key: number for number, key in enumerate(base.keys)}
    wanted: list[PathHourKey] = list(
        zip(*(column[firsts].tolist() for column in (rows[:, 0], rows[:, 1], hour_s)), strict=True)
    )
    fresh = [key for key in wanted if key not in known]
    known.update((key, len(base.keys) + number) for number, key in enumerate(fresh))
    block = np.concatenate([base.values, window_codec.make_empty_hours(len(fresh))])
    hour_of = np.array([known[key] for key in wanted])[places]
    block[hour_of, :, (rows[:, 2] - hour_s) // WINDOW_S] = rows[:, _KEY_COLUMNS:]
    simulated = np.concatenate([base.simulated, np.zeros(len(fresh), bool)])
    np.logical_or.at(simulated, hour_of, rows[:, 3] == 1)
    return HourBlock(keys=[*base.keys, *fresh], values=block, simulated=simulated)


def load_series(connection: Connection, src_id: int, dst_id: int, start_s: int, end_s: int) -> PathSeries:
    """The windows of one path in [start_s, end_s), whole minutes."""
    first_s = start_s - start_s % HOUR_S
    found = load_hours(connection, [src_id], first_s, end_s, [dst_id])
    total = -(-(end_s - first_s) // HOUR_S)
    dense = window_codec.make_empty_hours(total)
    dense[[(key[2] - first_s) // HOUR_S for key in found.keys]] = found.values
    columns = np.moveaxis(dense, 1, 0).reshape(len(COLUMNS), total * MINUTES_PER_HOUR)
    wanted = slice((start_s - first_s) // WINDOW_S, (end_s - first_s) // WINDOW_S)
    values = {name: np.ascontiguousarray(columns[number, wanted]) for number, name in enumerate(COLUMNS)}
    return PathSeries.from_columns(start_s, values, simulated=bool(found.simulated.any()))


def flatten_hours(hours: HourBlock, minutes: slice = slice(MINUTES_PER_HOUR)) -> PathSeries:
    """These minutes of every hour, hour after hour, as if they were one path: for whoever looks at each for itself."""
    columns = np.moveaxis(hours.values[:, :, minutes], 1, 0).reshape(len(COLUMNS), -1)
    return PathSeries.from_columns(0, {name: columns[number] for number, name in enumerate(COLUMNS)})


def is_present(hours: HourBlock) -> NDArray[np.bool_]:
    """Which minutes of which hours have a window."""
    return hours.values[:, _EXPECTED_INDEX] > 0
