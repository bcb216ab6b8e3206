"""Reference tables for Grafana: propagation delays between sites, limits of profiles, active agents.

Their content comes from the mesh file and the catalogue. The rollup worker refreshes them in every round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias

from sqlalchemy import Connection, Table, delete, insert, select

from leadline import evaluation
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline_collector.db.tables import mesh_agent, pair_floor, profile_limit
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import registry
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.propagation import get_propagation_delay
from leadline_verdict.limit_rules import find_reservations
from leadline_verdict.requirements import NO_OVERRIDES, build_requirements

#: First key of the advisory lock: two processes that replace the same rows at once would conflict.
REFERENCES_LOCK = 53235470

_ReferenceRow: TypeAlias = tuple[Any, ...]


def refresh_reference_tables(store: Store) -> None:
    """Rewrite the tables that changed; do nothing while another collector does it."""
    with store.try_lock(REFERENCES_LOCK, 0) as is_ours:
        if is_ours:
            _refresh_changed_tables(store)


def _refresh_changed_tables(store: Store) -> None:
    with store.read() as reader:
        active_mesh = mesh_service.load_active_mesh(reader)
        site_ids = registry.load_registry(reader.connection).site_ids
        agent_ids = {agent.name: agent.id for agent in mesh_store.load_agents(reader.connection)}
        current_rows = {profile_limit: _build_limit_rows()}
        if active_mesh is not None:
            _, mesh = active_mesh
            current_rows[pair_floor] = _build_floor_rows(mesh, site_ids)
            current_rows[mesh_agent] = frozenset((agent_ids[agent.name],) for agent in mesh.agents)
        changed_tables = {
            table: rows for table, rows in current_rows.items() if _load_rows(reader.connection, table) != rows
        }
    for table, rows in changed_tables.items():
        with store.write() as writer:
            writer.connection.execute(delete(table))
            names = table.columns.keys()
            writer.connection.execute(
                insert(table), [dict(zip(names, row, strict=True)) for row in sorted(rows, key=repr)]
            )


def _load_rows(connection: Connection, table: Table) -> frozenset[_ReferenceRow]:
    return frozenset(tuple(row) for row in connection.execute(select(table)))


@cache
def _build_limit_rows() -> frozenset[_ReferenceRow]:
    """Return the rows of ``profile_limit``; the catalogue is constant within a process."""
    return frozenset(row for profile in load_catalogue().profiles for row in _iter_profile_rows(profile))


def _iter_profile_rows(profile_id: str) -> Iterator[_ReferenceRow]:
    profile = load_catalogue().get_profile(profile_id)
    plan = evaluation.plan_evaluation(load_catalogue().get_required_limits(profile))
    reservations = find_reservations(build_requirements(load_catalogue(), profile, NO_OVERRIDES))
    for place, criterion in enumerate(plan.criteria):
        limit = load_catalogue().get_limit(criterion.limit_id)
        yield (
            profile_id,
            place,
            profile.title,
            criterion.limit_id,
            limit.vendor,
            limit.product,
            criterion.statistic.value,
            criterion.comparison.value,
            criterion.limit_us,
            criterion.peak_limit_us,
            criterion.is_rtt_limit,
            criterion.description,
            limit.source.url,
            reservations.get(criterion.limit_id),
        )


def _build_floor_rows(mesh: Mesh, site_ids: Mapping[str, int]) -> frozenset[_ReferenceRow]:
    """Return the rows of ``pair_floor``: one for every probed pair."""
    sites = {site.name: site for site in mesh.sites}
    rows: set[_ReferenceRow] = set()
    for pair in mesh.pairs:
        source, destination = sites[pair.source], sites[pair.destination]
        delay = get_propagation_delay(source, destination)
        simulated = source.simulated or destination.simulated
        ids = site_ids[source.name], site_ids[destination.name]
        rows.add((*ids, delay.distance_km, delay.vacuum_ns, delay.glass_ns, simulated))
    return frozenset(rows)
