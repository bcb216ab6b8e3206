"""A full or read-only database: no acknowledgements, not ready, and recovery without a restart."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import URL

from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.ingest.write_health import FAILURE_TTL_NS
from tests.chaos.cluster import SmallDisk
from tests.integration.conftest import Client
from tests.integration.test_ingest import batches, noisy, rows
from tests.integration.test_serve import environment, serving
from tests.support import postgres
from tests.support.clock import FakeClock
from tests.support.documents import NOW_S, build_batch, build_steady_window, encode_body


def query_only(database: Database, value: str) -> None:
    """Make SQLite refuse every write, as on a read-only file."""
    connection = database._write_engine.raw_connection()
    connection.cursor().execute(f"PRAGMA query_only = {value}")
    connection.close()


@contextmanager
def read_only(database: Database) -> Iterator[None]:
    """Make the database read-only, like a standby or a lost mount."""
    if database.is_sqlite:
        query_only(database, "ON")
        yield
        query_only(database, "OFF")
        return
    with psycopg.connect(postgres.build_conninfo(database.url), autocommit=True) as operator:
        operator.execute(READ_ONLY.format(database.url.database, "on"))
        database._write_engine.dispose()
        yield
        operator.execute("SET default_transaction_read_only = off")
        operator.execute(READ_ONLY.format(database.url.database, "off"))


READ_ONLY = "ALTER DATABASE {} SET default_transaction_read_only = {}"


def test_a_read_only_database_is_no_acknowledgement(
    client: Client, store: Store, database: Database, fra1: str
) -> None:
    """503 with Retry-After; when the database is writable again, a retry stores the batch once, without a restart."""
    sent = encode_body(build_batch(("ams1", build_steady_window(4_900))))
    with read_only(database):
        refused = client.post_bytes(sent, fra1)

    again = client.post_bytes(sent, fra1)

    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert (again.status, again.json()["duplicate"]) == (200, False)
    assert (len(rows(store)), batches(store)) == (1, 1)


def test_a_collector_that_cannot_store_is_not_ready(client: Client, database: Database, fra1: str) -> None:
    """/readyz has the reason after a failed write; it is ready again after a successful one."""
    client.post(build_batch(("ams1", build_steady_window(4_900)), seq=1), fra1)
    with read_only(database):
        client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60)), seq=2), fra1)
        unready = client.send("GET", "/readyz")
        alive = client.send("GET", "/healthz")
    client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60)), seq=2), fra1)

    assert (unready.status, unready.headers["Retry-After"], alive.status) == (503, "5", 200)
    assert "last batch was not stored" in unready.json()["detail"]
    assert client.send("GET", "/readyz").status == 200


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_collector_is_tried_again_after_half_a_minute(
    client: Client, database: Database, fra1: str, clock: FakeClock
) -> None:
    """After half a minute it is ready, so that a load balancer sends batches again."""
    client.post(build_batch(seq=1), fra1)
    with read_only(database):
        client.post(build_batch(seq=2), fra1)

    clock.advance(FAILURE_TTL_NS - 1)
    assert client.send("GET", "/readyz").status == 503
    clock.advance(1)
    assert client.send("GET", "/readyz").status == 200


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_invalid_batch_does_not_affect_readiness(client: Client, fra1: str) -> None:
    """A 422 is not a failed write."""
    assert client.post(build_batch(("lon1", build_steady_window(4_900))), fra1).status == 422
    assert client.send("GET", "/readyz").status == 200


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mount a file system of two megabytes."""
    disk = SmallDisk(tmp_path / "small", 2_048)
    disk.mount()
    yield disk
    disk.unmount()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_no_acknowledgement(disk: SmallDisk, sqlite_template: Path, tmp_path: Path) -> None:
    """A collector with a full file system: 503, not ready; with free space it stores again without a restart."""
    shutil.copy(sqlite_template, disk.path / "leadline.sqlite")
    url, data_dir = URL.create("sqlite", database=str(disk.path / "leadline.sqlite")), tmp_path / "data"
    with serving(environment(url, data_dir)) as (process, address):
        client = Client(url=address, admin_key=(data_dir / "admin.key").read_text().strip())
        client.apply()
        key = client.key("fra1", "fra")
        sent = [encode_body(build_batch(("ams1", noisy(NOW_S + 60 * seq)), seq=seq)) for seq in range(20)]
        first = client.post_bytes(sent[0], key).status
        disk.fill()
        during = [client.post_bytes(data, key).status for data in sent]
        ready = client.send("GET", "/readyz").status
        disk.free()
        after = {client.post_bytes(data, key).status for data in sent}
        ready_again = client.send("GET", "/readyz").status
        client.pool.clear()
        process.terminate()
        process.wait(20)
    database = Database(url)
    stored = batches(Store(database))
    database.close()

    assert (first, during[-1], ready) == (200, 503, 503)
    assert (after, ready_again, stored) == ({200}, 200, 20)
