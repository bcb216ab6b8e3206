"""Simulated history for a demo collector: created once, continued on the next call, never mixed with measurements.

Rule 1: a database with batches of agents and without simulated history is refused.
Rule 2: an interrupted run is completed: each path continues after its own last window.
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
    """Number of added windows, and their time range in epoch seconds."""

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

    Apply ``mesh_text`` if there is no active mesh; otherwise simulate the active one. Raise UnavailableError if agents
    have stored batches and there is no simulated history.
    """
    with store.read() as reader:
        latest_by_path = _load_latest_windows(reader)
        if not latest_by_path and _has_batches(reader):
            raise UnavailableError(
                "this database contains measurements of agents: "
                "simulated history needs an empty database or one that already has simulated history"
            )
        active_mesh = mesh_service.load_active_mesh(reader)
    if active_mesh is None:
        mesh_service.apply_mesh(store, clock, mesh_text.encode())
        with store.read() as reader:
            active_mesh = mesh_service.load_active_mesh(reader)
    assert active_mesh is not None
    version, mesh = active_mesh
    now_s = clock.wall_ns() // NS_PER_S // WINDOW_S * WINDOW_S
    start_s, end_s = _find_start(store, mesh, latest_by_path, now_s, days), now_s + ahead_s // WINDOW_S * WINDOW_S
    total = 0
    if start_s < end_s:
        total = simulate_windows(store, mesh, version, start_s, end_s, seed, on_progress, latest_by_path)
    return HistoryResult(window_count=total, start_s=start_s, end_s=max(start_s, end_s))


def _find_start(store: Store, mesh: Mesh, latest_by_path: Mapping[PathKey, int], now_s: int, days: int) -> int:
    """Return the start after the windows that all paths have, or midnight ``days`` ago if a path has none.

    It starts at a midnight because verdicts need whole days.
    """
    simulated_sites = {site.name for site in mesh.sites if site.simulated}
    paths = [path for path in mesh.iter_paths() if path.pair.source in simulated_sites]
    with store.read() as reader:
        agents = mesh_store.load_agent_ids(reader.connection, {path.source for path in paths})
        targets = mesh_store.load_target_ids(reader.connection, {path.target.name for path in paths})
    latest = [latest_by_path.get((agents[path.source], targets[path.target.name])) for path in paths]
    latest_times = [t for t in latest if t is not None]
    if len(latest_times) < len(latest) or not latest_times:
        return (now_s // DAY_S - days) * DAY_S
    return min(latest_times) + WINDOW_S


def _load_latest_windows(reader: ReadTransaction) -> dict[PathKey, int]:
    """Return the start of the last simulated window of every path with one."""
    window = tables.window_stat.c
    query = select(window.src_id, window.dst_id, func.max(window.t)).where(window.epoch.is_(None))
    rows = reader.connection.execute(query.group_by(window.src_id, window.dst_id))
    return {(row[0], row[1]): row[2] for row in rows}


def _has_batches(reader: ReadTransaction) -> bool:
    return reader.connection.execute(select(tables.batch.c.src_id).limit(1)).first() is not None
