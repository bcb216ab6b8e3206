"""What Grafana's views join: limits, light and agents, as mesh and catalogue have them."""

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
    """Floors, agents and limits that are written down."""
    with store.read() as reader:
        found = [
            reader.connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (pair_floor, mesh_agent, profile_limit)
        ]
    return found[0], found[1], found[2]


def test_what_the_mesh_says_is_written_down(store: Store, clock: FakeClock) -> None:
    """Each pair and agent once, and the limits of the profiles."""
    mesh_service.apply_mesh(store, clock, MESH.encode())
    reference_tables.refresh_reference_tables(store)
    with store.read() as reader:
        found = mesh_service.load_active_mesh(reader)
    assert found is not None
    mesh = found[1]

    floors, agents, limits = counts(store)

    assert (floors, agents) == (len(mesh.pairs), len(mesh.agents))
    assert limits >= len(load_catalogue().profiles) // 2


def test_one_collector_at_a_time_writes_them(store: Store, clock: FakeClock) -> None:
    """Two that delete and insert the same rows at once would fail on each other: the second leaves it to the first."""
    mesh_service.apply_mesh(store, clock, MESH.encode())

    with store.try_lock(reference_tables.REFERENCES_LOCK, 0) as is_ours:
        assert is_ours
        reference_tables.refresh_reference_tables(store)
        assert counts(store) == (0, 0, 0)

    reference_tables.refresh_reference_tables(store)
    assert counts(store) != (0, 0, 0)
