"""Reference tables for Grafana's views: limits, propagation delays and agents."""

from __future__ import annotations

from sqlalchemy import func, select

from leadline.limits.catalogue import load_catalogue
from leadline_collector.db.tables import mesh_agent, pair_floor, profile_limit
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import reference_tables
from leadline_collector.mesh import service as mesh_service
from tests.support.clock import FakeClock
from tests.support.documents import MESH


def counts(store: Store) -> tuple[int, int, int]:
    """Return the number of pairs, agents and limits in the tables."""
    with store.read() as reader:
        pairs, agents, limits = (
            reader.connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (pair_floor, mesh_agent, profile_limit)
        )
    return pairs, agents, limits


def test_the_tables_contain_the_active_mesh(store: Store, clock: FakeClock) -> None:
    """They have each pair and agent once, and the limits of the profiles."""
    mesh_service.apply_mesh(store, clock, MESH.encode())
    reference_tables.refresh_reference_tables(store)
    with store.read() as reader:
        active_mesh = mesh_service.load_active_mesh(reader)
    assert active_mesh is not None
    mesh = active_mesh[1]

    pairs, agents, limits = counts(store)

    assert (pairs, agents) == (len(mesh.pairs), len(mesh.agents))
    assert limits >= len(load_catalogue().profiles) // 2


def test_a_changed_site_changes_its_pairs(store: Store, clock: FakeClock) -> None:
    """The cache of propagation delays has no value of the old coordinates."""
    mesh_service.apply_mesh(store, clock, MESH.encode())
    reference_tables.refresh_reference_tables(store)
    before = read_distances(store)

    mesh_service.apply_mesh(store, clock, MESH.replace("latitude = 5", "latitude = 4").encode())
    reference_tables.refresh_reference_tables(store)

    assert not before & read_distances(store)


def read_distances(store: Store) -> set[float]:
    with store.read() as reader:
        return set(reader.connection.execute(select(pair_floor.c.distance_km)).scalars())


def test_one_collector_at_a_time_writes_the_tables(store: Store, clock: FakeClock) -> None:
    """Two collectors that replace the same rows at once would conflict: the second one skips it."""
    mesh_service.apply_mesh(store, clock, MESH.encode())

    with store.try_lock(reference_tables.REFERENCES_LOCK, 0) as is_ours:
        assert is_ours
        reference_tables.refresh_reference_tables(store)
        assert counts(store) == (0, 0, 0)

    reference_tables.refresh_reference_tables(store)
    assert counts(store) != (0, 0, 0)
