"""The first stored window of paths: since when a young pair is measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import TypeAlias

import numpy as np
from sqlalchemy import Connection, func, select

from leadline.model import WINDOW_S
from leadline_collector.db.tables import agent, rollup_hour, target, window_stat
from leadline_collector.rollup import hour_reader
from leadline_collector.windows.dirty_hours import HOUR_S

#: (src_id, dst_id).
PathKey: TypeAlias = tuple[int, int]


def find_first_windows(connection: Connection, paths: Collection[PathKey]) -> Mapping[PathKey, int]:
    """Return the start of the first stored window of each path; paths without a window are left out."""
    first_windows_s: dict[PathKey, int] = {}
    paths_by_hour: defaultdict[int, set[PathKey]] = defaultdict(set)
    for src_id, dst_id, hour_s, window_s in _load_first_times(connection, {src_id for src_id, _ in paths}):
        path = src_id, dst_id
        if path not in paths:
            continue
        if hour_s is not None and (window_s is None or hour_s + HOUR_S <= window_s):
            # ``window_stat`` has lost the first window by retention.
            paths_by_hour[hour_s].add(path)
        elif window_s is not None:
            first_windows_s[path] = window_s
    for hour_s, hour_paths in paths_by_hour.items():
        first_windows_s |= _find_in_hour(connection, hour_s, hour_paths)
    return first_windows_s


def _load_first_times(
    connection: Connection, src_ids: Collection[int]
) -> Collection[tuple[int, int, int | None, int | None]]:
    """Load each path's first packed hour and first row of ``window_stat``: two key lookups per path."""
    if not src_ids:
        return []
    first_times = [
        select(func.min(table.c.t)).where(table.c.src_id == agent.c.id, table.c.dst_id == target.c.id).scalar_subquery()
        for table in (rollup_hour, window_stat)
    ]
    query = (
        select(agent.c.id, target.c.id, *first_times)
        .select_from(agent.join(target, agent.c.site_id != target.c.site_id))
        .where(agent.c.id.in_(src_ids))
    )
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]


def _find_in_hour(connection: Connection, hour_s: int, paths: Collection[PathKey]) -> Mapping[PathKey, int]:
    """Return the start of the first window of this packed hour of each path."""
    hours = hour_reader.load_packed_hours(
        connection,
        {src_id for src_id, _ in paths},
        hour_s,
        hour_s + HOUR_S,
        {dst_id for _, dst_id in paths},
    )
    minutes: list[int] = np.argmax(hour_reader.is_present(hours), axis=1).tolist()
    return {
        (src_id, dst_id): hour_s + minute * WINDOW_S
        for (src_id, dst_id, _), minute in zip(hours.keys, minutes, strict=True)
        if (src_id, dst_id) in paths
    }
