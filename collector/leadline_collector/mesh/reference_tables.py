"""What only the mesh file, the catalogue and Python know, written down for those who read the database: floors of light
between sites, the limits of profiles, the agents in force. It is brought up to date in every round of the compactor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, TypeAlias

from sqlalchemy import Connection, Table, delete, insert, select

from leadline import evaluation, propagation
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline.model import Pair, Site
from leadline_collector.db.tables import mesh_agent, pair_floor, profile_limit
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import registry
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store

#: First key of the advisory lock: two that delete and insert the same rows at once would fail on each other.
REFERENCES_LOCK = 53235470

_ReferenceRow: TypeAlias = tuple[Any, ...]


def refresh_reference_tables(store: Store) -> None:
    """Write what has changed; a read of some thousand short rows if nothing has. One collector at a time."""
    with store.try_lock(REFERENCES_LOCK, 0) as is_ours:
        if is_ours:
            _refresh_changed_tables(store)


def _refresh_changed_tables(store: Store) -> None:
    with store.read() as reader:
        found = mesh_service.load_active_mesh(reader)
        known = registry.load_registry(reader.connection)
        agents = {agent.name: agent.id for agent in mesh_store.load_agents(reader.connection)}
        wanted = {profile_limit: _build_limit_rows()}
        if found is not None:
            wanted[pair_floor] = _build_floor_rows(found[1], known.site_ids)
            wanted[mesh_agent] = frozenset((agents[agent.name],) for agent in found[1].agents)
        behind = {table: rows for table, rows in wanted.items() if _load_rows(reader.connection, table) != rows}
    for table, rows in behind.items():
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
    """The rows of ``profile_limit``."""
    return frozenset(row for profile in load_catalogue().profiles for row in _iter_profile_rows(profile))


def _iter_profile_rows(profile_id: str) -> Iterator[_ReferenceRow]:
    profile = load_catalogue().get_profile(profile_id)
    for place, one in enumerate(evaluation.plan_evaluation(load_catalogue().get_required_limits(profile)).criteria):
        limit = load_catalogue().get_limit(one.limit_id)
        yield (
            profile_id,
            place,
            profile.title,
            one.limit_id,
            limit.vendor,
            limit.product,
            one.statistic.value,
            one.comparison.value,
            one.limit_us,
            one.peak_limit_us,
            one.is_rtt_limit,
            one.description,
            limit.source.url,
        )


def _build_floor_rows(mesh: Mesh, site_ids: Mapping[str, int]) -> frozenset[_ReferenceRow]:
    """The rows of ``pair_floor``: every pair the mesh probes."""
    return frozenset(
        (site_ids[source], site_ids[to], *rest) for source, to, *rest in _compute_floors(mesh.sites, tuple(mesh.pairs))
    )


@lru_cache(maxsize=2)
def _compute_floors(sites: tuple[Site, ...], pairs: tuple[Pair, ...]) -> tuple[_ReferenceRow, ...]:
    """Geodesics of 50 sites take a tenth of a second, and rounds come every minute."""
    named = {site.name: site for site in sites}
    return tuple(_build_floor_row(named[pair.source], named[pair.destination]) for pair in pairs)


def _build_floor_row(source: Site, destination: Site) -> _ReferenceRow:
    floors = propagation.compute_propagation_delay(source, destination)
    simulated = source.simulated or destination.simulated
    return (source.name, destination.name, floors.distance_km, floors.vacuum_ns, floors.glass_ns, simulated)
