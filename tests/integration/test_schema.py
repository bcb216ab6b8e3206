"""Migrations: up, down, no drift, one at a time, and what a collector does with a schema it does not like."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, insert, inspect, select, text
from sqlalchemy.engine import URL

from leadline.errors import ConfigError, UnavailableError
from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from leadline_collector.db.tables import mark_day, mark_hour, metadata, rollup_hour, tally_day, window_stat
from leadline_collector.db.transactions import Store
from leadline_collector.journal import store as journal_store


@pytest.fixture(name="empty")
def _empty(empty_url: URL) -> Iterator[Database]:
    database = Database(empty_url)
    yield database
    database.close()


def tables(database: Database) -> set[str]:
    """The tables that are there, without Alembic's own."""
    with database.read() as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_up_makes_every_table(empty: Database) -> None:
    """From nothing to the head."""
    assert schema.get_current_revision(empty) is None

    schema.upgrade(empty)

    assert schema.get_current_revision(empty) == schema.get_head_revision()
    assert tables(empty) == set(metadata.tables)


def test_down_removes_every_table(empty: Database) -> None:
    """From the head to nothing, partitions included, and up again."""
    schema.upgrade(empty)
    Store(empty).ensure_partitions([0, 1_795_327_200])

    schema.downgrade(empty, "base")
    assert tables(empty) == set()

    schema.upgrade(empty)
    assert tables(empty) == set(metadata.tables)


def test_migrations_and_tables_agree(empty: Database) -> None:
    """What the migrations make is what ``tables`` says; partitions are no difference."""
    schema.upgrade(empty)
    Store(empty).ensure_partitions([1_795_327_200])

    assert schema.find_drift(empty) == []


def test_drift_is_seen(empty: Database) -> None:
    """A column that no migration made and an index that is gone are both reported."""
    schema.upgrade(empty)
    with empty.write() as connection:
        connection.exec_driver_sql("DROP INDEX ix_batch_src_id_t_last")
        connection.exec_driver_sql("ALTER TABLE site ADD COLUMN colour INTEGER")

    assert {found[0] for found in schema.find_drift(empty)} == {"add_index", "remove_column"}


def test_what_is_stored_already_is_counted(empty: Database) -> None:
    """The ledger begins with the batches of the journal, by agent and epoch."""
    schema.upgrade(empty, "0001")
    with empty.write() as connection:
        connection.exec_driver_sql("INSERT INTO site (id, name) VALUES (1, 'fra')")
        connection.exec_driver_sql("INSERT INTO agent (id, name, site_id) VALUES (1, 'fra1', 1)")
        for epoch, seq in ((b"a" * 16, 3), (b"a" * 16, 7), (b"b" * 16, 1)):
            row = {"epoch": epoch, "seq": seq, "sha256": bytes(32)}
            connection.execute(
                text(
                    "INSERT INTO batch (src_id, epoch, seq, received_at, sha256, mesh_version, body) "
                    "VALUES (1, :epoch, :seq, 1, :sha256, 1, :sha256)"
                ),
                row,
            )

    schema.upgrade(empty)

    with empty.read() as connection:
        ledger = connection.execute(text("SELECT epoch, batches, seq_max FROM ledger ORDER BY epoch")).all()
    assert [(bytes(row[0]), row[1], row[2]) for row in ledger] == [(b"a" * 16, 2, 7), (b"b" * 16, 1, 1)]


def test_signatures_go_and_batches_stay(empty: Database) -> None:
    """Down from signatures and up again: batches of before and of since are there, unsigned then."""
    schema.upgrade(empty, "0003")
    rows = "(src_id, epoch, seq, received_at, sha256, mesh_version, body"
    values = {"epoch": b"a" * 16, "sha256": bytes(32), "signature": bytes(64)}
    with empty.write() as connection:
        connection.exec_driver_sql("INSERT INTO site (id, name) VALUES (1, 'fra')")
        connection.exec_driver_sql("INSERT INTO agent (id, name, site_id) VALUES (1, 'fra1', 1)")
        connection.execute(text(f"INSERT INTO batch {rows}) VALUES (1, :epoch, 1, 1, :sha256, 1, :sha256)"), values)

    schema.upgrade(empty)
    with empty.write() as connection:
        key = "INSERT INTO signing_key (id, agent_id, public, created_at) VALUES (1, 1, :sha256, 1)"
        batch = (
            f"INSERT INTO batch {rows}, signature, signing_key_id) "
            "VALUES (1, :epoch, 2, 1, :sha256, 1, :sha256, :signature, 1)"
        )
        for statement in (key, batch):
            connection.execute(text(statement), values)
    schema.downgrade(empty, "0003")
    schema.upgrade(empty)

    with empty.read() as connection:
        found = connection.execute(text("SELECT seq, signature, signing_key_id FROM batch ORDER BY seq")).all()
        keys = connection.execute(text("SELECT count(*) FROM signing_key")).scalar()
    assert ([tuple(row) for row in found], keys) == ([(1, None, None), (2, None, None)], 0)
    assert schema.find_drift(empty) == []


def test_windows_that_are_stored_already_wait_for_compaction(empty: Database) -> None:
    """Every hour of every agent with windows is marked; down again leaves the windows as they were."""
    schema.upgrade(empty)
    schema.downgrade(empty, "0003")
    places = [(1, 2, 7_200), (1, 2, 7_260), (1, 3, 7_260), (1, 2, 10_860), (4, 2, 0)]
    with empty.write() as connection:
        if not empty.is_sqlite:
            connection.exec_driver_sql(
                "CREATE TABLE window_stat_p0 PARTITION OF window_stat FOR VALUES FROM (0) TO (9999999)"
            )
        columns = [column for column in window_stat.columns if not column.nullable]
        rows = [
            {column.name: 0 for column in columns} | dict(zip(("src_id", "dst_id", "t"), place, strict=True))
            for place in places
        ]
        connection.execute(insert(window_stat), rows)

    schema.upgrade(empty)

    with empty.read() as connection:
        marks = connection.execute(select(mark_hour).order_by(mark_hour.c.src_id, mark_hour.c.t)).all()
    assert [tuple(mark) for mark in marks] == [(1, 7_200, 1, 7_200), (1, 10_800, 1, 10_800), (4, 0, 1, 0)]
    schema.downgrade(empty, "0003")
    with empty.read() as connection:
        assert connection.execute(select(func.count()).select_from(window_stat)).scalar_one() == len(places)


def test_hours_counted_without_their_states_are_counted_anew(empty: Database) -> None:
    """The rules of before are incomplete once the tallies keep the states of minutes, so the compactor counts again."""
    schema.upgrade(empty, "0007")
    with empty.write() as connection:
        statement = "INSERT INTO rule (id, profile, sha256, complete) VALUES (1, 'vsan-stretched', :sha256, (1 = 1))"
        connection.execute(text(statement), {"sha256": bytes(32)})

    schema.upgrade(empty)

    with empty.read() as connection:
        assert not connection.execute(text("SELECT complete FROM rule")).scalar_one()


def test_day_tallies_keep_their_counts(empty: Database) -> None:
    """Schema 0009 drops the episodes of a day and keeps the rest; down again both tables have their old shape."""
    schema.upgrade(empty, "0008")
    before = shapes(empty)
    with empty.write() as connection:
        connection.exec_driver_sql("INSERT INTO site (id, name) VALUES (1, 'fra')")
        connection.exec_driver_sql("INSERT INTO agent (id, name, site_id) VALUES (1, 'fra1', 1)")
        connection.exec_driver_sql(
            "INSERT INTO tally_day VALUES (1, 2, 3, 86400, 1000, 200, 40, 1010, 190, 30, 812, (1 = 0), "
            "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)"
        )
        if not empty.is_sqlite:
            connection.exec_driver_sql(
                "CREATE TABLE rollup_hour_p0 PARTITION OF rollup_hour FOR VALUES FROM (0) TO (9999999)"
            )
        hour = {column.name: 0 for column in rollup_hour.columns if not column.nullable} | {"src_id": 1}
        blobs = {"p95_histogram": b"", "packed": b"", "latest": b"", "simulated": False}
        connection.execute(insert(rollup_hour), [hour | blobs | {"t": t} for t in (86_400, 90_000, 259_200)])
        connection.exec_driver_sql("INSERT INTO mark_day (source_id, t) VALUES (1, 259200)")

    schema.upgrade(empty)
    with empty.read() as connection:
        rows = connection.execute(select(tally_day)).all()
        marked = connection.execute(select(mark_day)).all()
    assert [tuple(row) for row in rows] == [(1, 2, 3, 86_400, 1_000, 200, 40, 1_010, 190, 30, 812, False)]
    assert [tuple(row) for row in marked] == [(1, 259_200)]
    assert schema.find_drift(empty) == []

    schema.downgrade(empty, "0008")
    with empty.read() as connection:
        old_row = connection.execute(text("SELECT * FROM tally_day")).one()
        marked = connection.execute(select(mark_day).order_by(mark_day.c.t)).all()
    assert shapes(empty) == before
    assert list(old_row) == [1, 2, 3, 86_400, 1_000, 200, 40, 1_010, 190, 30, 812, 0, *[0] * 12]
    assert [tuple(row) for row in marked] == [(1, 86_400), (1, 259_200)]


def shapes(database: Database) -> list[Any]:
    """The columns and keys of the day tables, and in SQLite whether they have a rowid."""
    found: list[Any] = []
    with database.read() as connection:
        for name in ("rollup_day", "tally_day"):
            columns = inspect(connection).get_columns(name)
            found += [(one["name"], str(one["type"]), one["nullable"], one["default"]) for one in columns]
            found.append(inspect(connection).get_pk_constraint(name))
        if database.is_sqlite:
            query = text("SELECT name, sql LIKE '%WITHOUT ROWID' FROM sqlite_master WHERE name LIKE '%_day' ORDER BY 1")
            found += [tuple(row) for row in connection.execute(query)]
    return found


def test_up_twice_does_nothing(empty: Database) -> None:
    """A database at the head stays as it is."""
    schema.upgrade(empty)

    schema.upgrade(empty)

    assert schema.get_current_revision(empty) == schema.get_head_revision()


def test_migrations_take_turns(empty: Database) -> None:
    """Four at once: one migrates, the others wait and find it done."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: schema.upgrade(empty), range(4)))

    assert tables(empty) == set(metadata.tables)


def test_a_failed_migration_leaves_nothing(empty: Database) -> None:
    """The last table is in the way: the tables before it are rolled back with it."""
    with empty.write() as connection:
        connection.exec_driver_sql("CREATE TABLE window_stat (in_the_way INTEGER)")

    with pytest.raises(Exception, match="already exists"):
        schema.upgrade(empty)

    assert tables(empty) == {"window_stat"}


def test_sqlite_is_migrated_at_start_and_postgresql_is_not(empty: Database) -> None:
    """An embedded database has no operator; a served one has, and is told the command."""
    if empty.is_sqlite:
        schema.ensure_schema(empty)
        assert schema.get_current_revision(empty) == schema.get_head_revision()
        return

    with pytest.raises(UnavailableError, match="leadline collector migrate"):
        schema.ensure_schema(empty)
    assert tables(empty) == set()


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
def test_a_second_process_may_not_use_the_file(empty: Database) -> None:
    """The lock beside the file belongs to one; the next is told what to do, and gets it when the first has gone."""
    with pytest.raises(UnavailableError, match="another collector uses"):
        Database(empty.url)

    empty.close()

    Database(empty.url).close()


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
def test_sqlite_is_durable_and_readers_cannot_write(empty: Database) -> None:
    """WAL, synchronous=FULL and foreign keys on the writer; a reader is refused by SQLite itself."""
    schema.upgrade(empty)

    with empty.write() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS]
    assert found == ["wal", 2, 1]
    with pytest.raises(UnavailableError, match="readonly"), empty.read() as connection:
        connection.exec_driver_sql("DELETE FROM site")


def test_the_last_batch_of_a_boot_is_found_by_an_index(empty: Database) -> None:
    """Whatever an agent has delivered in years, one entry is read for it."""
    schema.upgrade(empty)
    asked: list[Any] = []

    with empty.read() as connection:
        event.listen(connection, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
        journal_store.load_last_batch_clock_of_boot(connection, 1, "a-boot")
        ((statement, values),) = asked
        if empty.is_sqlite:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        else:
            # An empty table is read whole whatever indexes it has, unless that is forbidden.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", values).all()

    assert "ix_batch_src_id_boot_id_t_last" in str(plan)


PRAGMAS = ("journal_mode", "synchronous", "foreign_keys")


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
def test_asynchronous_commit_is_refused(empty_url: URL) -> None:
    """A database that answers before it is durable cannot be acknowledged from."""
    careless = empty_url.update_query_dict({"options": "-c synchronous_commit=off"})
    database = Database(careless)

    with pytest.raises(UnavailableError, match="synchronous_commit"), database.read():
        pass
    database.close()


def test_a_database_in_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The message has the path and the reason."""
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(ConfigError, match=r"file/leadline\.sqlite"):
        Database(URL.create("sqlite", database=str(file / "leadline.sqlite")))
