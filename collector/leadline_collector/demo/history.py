"""Simulated history of a collector to look at: begun once, carried on when asked for again, never beside real data.

Rule 1: a database in which an agent stored something and no simulated history stands is somebody's: it is refused.
Rule 2: whatever was cut off is made whole: a path goes on after its own last window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from leadline.clock import Clock
from leadline.errors import UnavailableError
from leadline.mesh.model import Mesh
from leadline.model import WINDOW_S
from leadline_collector.db import tables
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.demo.simulation import DAY_S, PathKey, simulate_windows
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryResult:
    """What was added: windows of paths from one moment to another, in epoch seconds."""

    window_count: int
    start_s: int
    end_s: int


def fill_history(
    store: Store,
    clock: Clock,
    mesh_text: str,
    *,
    days: int,
    ahead_s: int,
    seed: int,
    on_progress: Callable[[int], None],
) -> HistoryResult:
    """Simulate every path between simulated sites, from a midnight ``days`` ago until ``ahead_s`` from now.

    The mesh is put in force where none is; otherwise the one in force is simulated. UnavailableError where agents have
    stored something and nothing is simulated.
    """
    with store.read() as reader:
        after = _load_latest_windows(reader)
        if not after and _has_batches(reader):
            raise UnavailableError(
                "this database holds what agents measured: simulated history is for an empty one, or one that has some"
            )
        found = mesh_service.load_active_mesh(reader)
    if found is None:
        mesh_service.apply_mesh(store, clock, mesh_text.encode())
        with store.read() as reader:
            found = mesh_service.load_active_mesh(reader)
    assert found is not None
    version, mesh = found
    now_s = clock.wall_ns() // NS_PER_S // WINDOW_S * WINDOW_S
    start_s, end_s = _find_start(store, mesh, after, now_s, days), now_s + ahead_s // WINDOW_S * WINDOW_S
    total = simulate_windows(store, mesh, version, start_s, end_s, seed, on_progress, after) if start_s < end_s else 0
    return HistoryResult(window_count=total, start_s=start_s, end_s=max(start_s, end_s))


def _find_start(store: Store, mesh: Mesh, latest_by_path: Mapping[PathKey, int], now_s: int, days: int) -> int:
    """After what every path has; a whole history where one has nothing. From a midnight: verdicts take whole days."""
    simulated = {site.name for site in mesh.sites if site.simulated}
    routes = [route for route in mesh.iter_paths() if route.pair.source in simulated]
    with store.read() as reader:
        agents = mesh_store.load_agent_ids(reader.connection, {route.source for route in routes})
        targets = mesh_store.load_target_ids(reader.connection, {route.target.name for route in routes})
    latest = [latest_by_path.get((agents[route.source], targets[route.target.name])) for route in routes]
    known = [t for t in latest if t is not None]
    if len(known) < len(latest) or not known:
        return (now_s // DAY_S - days) * DAY_S
    return min(known) + WINDOW_S


def _load_latest_windows(reader: ReadTransaction) -> dict[PathKey, int]:
    """Start of the last simulated window of every path that has one."""
    window = tables.window_stat.c
    query = select(window.src_id, window.dst_id, func.max(window.t)).where(window.epoch.is_(None))
    rows = reader.connection.execute(query.group_by(window.src_id, window.dst_id))
    return {(row[0], row[1]): row[2] for row in rows}


def _has_batches(reader: ReadTransaction) -> bool:
    return reader.connection.execute(select(tables.batch.c.src_id).limit(1)).first() is not None
