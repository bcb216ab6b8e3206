"""Each page loads the active mesh once and reads everything in one transaction."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest
from sqlalchemy import Connection

from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import StoredMesh
from tests.integration.conftest import Client
from tests.integration.web.test_pages import LAST_S, PAIR, page_at
from tests.support.documents import build_batch, build_steady_window

#: A verdict needs one transaction for the mesh, one for the computation and one for the current states.
VERDICT_TRANSACTIONS = 3


@pytest.fixture(name="mesh_loads")
def _mesh_loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the version of every loaded mesh."""
    load, versions = mesh_store.load_stored_mesh, list[int]()

    def record(connection: Connection) -> StoredMesh | None:
        stored = load(connection)
        versions.append(stored.version if stored else 0)
        return stored

    monkeypatch.setattr(mesh_store, "load_stored_mesh", record)
    return versions


@pytest.fixture(name="transactions")
def _transactions(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Record every read transaction."""
    read, transactions = Store.read, list[None]()

    def record(store: Store) -> AbstractContextManager[ReadTransaction]:
        transactions.append(None)
        return read(store)

    monkeypatch.setattr(Store, "read", record)
    return transactions


@pytest.mark.parametrize(
    ("path", "transaction_count"),
    [
        ("/", 1),
        (PAIR, 1),
        (f"{PAIR}?from=-1h", 1),
        (f"{PAIR}/gaps", 1),
        ("/map", 1),
        ("/agents", 1),
        ("/agents/fra1", 1),
        ("/limits", 1),
        ("/verdicts", VERDICT_TRANSACTIONS),
    ],
)
def test_page_loads_the_mesh_once(
    client: Client, fra1: str, mesh_loads: list[int], transactions: list[None], path: str, transaction_count: int
) -> None:
    """A page that loads it twice could show two mesh versions."""
    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)
    mesh_loads.clear()
    transactions.clear()

    page_at(client, path)

    assert (mesh_loads, len(transactions)) == ([1], transaction_count)


@pytest.mark.parametrize("chart", ["round-trips", "distribution", "week"])
def test_chart_loads_the_mesh_once(
    client: Client, fra1: str, mesh_loads: list[int], transactions: list[None], chart: str
) -> None:
    """An image of a chart reads only what it draws."""
    client.post(build_batch(("ams1", build_steady_window(4_900, LAST_S))), fra1)
    mesh_loads.clear()
    transactions.clear()

    assert client.send("GET", f"{PAIR}/chart/{chart}.svg").status == 200

    assert (mesh_loads, len(transactions)) == ([1], 1)
