"""Migrations: upgrade, downgrade, drift, locking, and the check of the schema at start."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, func, insert, inspect, select, text
from sqlalchemy.engine import URL

from leadline.errors import ConfigError, UnavailableError
from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from leadline_collector.db.tables import mark_day, mark_hour, metadata, rollup_hour, rule, tally_day, window_stat
from leadline_collector.db.transactions import Store
from leadline_collector.journal import store as journal_store
from leadline_collector.rollup import window_codec
from leadline_verdict.series import COUNT_FIELDS, MISSING


@pytest.fixture(name="empty")
def _empty(empty_url: URL) -> Iterator[Database]:
    database = Database(empty_url)
    yield database
    database.close()


def tables(database: Database) -> set[str]:
    """Return the names of the tables without Alembic's own."""
    with database.read() as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_upgrade_creates_every_table(empty: Database) -> None:
    """An empty database gets the newest revision."""
    assert schema.get_current_revision(empty) is None

    schema.upgrade(empty)

    assert schema.get_current_revision(empty) == schema.get_head_revision()
    assert tables(empty) == set(metadata.tables)


def test_downgrade_removes_every_table(empty: Database) -> None:
    """Partitions are removed too, and the database can be upgraded again."""
    schema.upgrade(empty)
    Store(empty).ensure_partitions([0, 1_795_327_200])

    schema.downgrade(empty, "base")
    assert tables(empty) == set()

    schema.upgrade(empty)
    assert tables(empty) == set(metadata.tables)


def test_migrations_and_tables_agree(empty: Database) -> None:
    """The migrated schema equals ``tables``; partitions are not a difference."""
    schema.upgrade(empty)
    Store(empty).ensure_partitions([1_795_327_200])

    assert schema.find_drift(empty) == []


def test_drift_is_detected(empty: Database) -> None:
    """An extra column and a missing index are both reported."""
    schema.upgrade(empty)
    with empty.write() as connection:
        connection.exec_driver_sql("DROP INDEX ix_batch_src_id_t_last")
        connection.exec_driver_sql("ALTER TABLE site ADD COLUMN colour INTEGER")

    assert {difference[0] for difference in schema.find_drift(empty)} == {"add_index", "remove_column"}


def test_the_new_ledger_counts_stored_batches(empty: Database) -> None:
    """It starts with the batches of the journal, by agent and epoch."""
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


def test_a_downgrade_removes_signatures_and_keeps_batches(empty: Database) -> None:
    """After another upgrade all batches are there, without signatures."""
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
        batches = connection.execute(text("SELECT seq, signature, signing_key_id FROM batch ORDER BY seq")).all()
        key_count = connection.execute(text("SELECT count(*) FROM signing_key")).scalar()
    assert ([tuple(row) for row in batches], key_count) == ([(1, None, None), (2, None, None)], 0)
    assert schema.find_drift(empty) == []


def test_stored_windows_are_marked_for_compaction(empty: Database) -> None:
    """The upgrade marks every hour of every agent with windows; a downgrade keeps the windows."""
    schema.upgrade(empty)
    schema.downgrade(empty, "0003")
    keys = [(1, 2, 7_200), (1, 2, 7_260), (1, 3, 7_260), (1, 2, 10_860), (4, 2, 0)]
    with empty.write() as connection:
        if not empty.is_sqlite:
            connection.exec_driver_sql(
                "CREATE TABLE window_stat_p0 PARTITION OF window_stat FOR VALUES FROM (0) TO (9999999)"
            )
        columns = [column for column in window_stat.columns if not column.nullable]
        rows = [
            {column.name: 0 for column in columns} | dict(zip(("src_id", "dst_id", "t"), key, strict=True))
            for key in keys
        ]
        connection.execute(insert(window_stat), rows)

    schema.upgrade(empty)

    with empty.read() as connection:
        marks = connection.execute(select(mark_hour).order_by(mark_hour.c.src_id, mark_hour.c.t)).all()
    assert [tuple(mark) for mark in marks] == [(1, 7_200, 1, 7_200), (1, 10_800, 1, 10_800), (4, 0, 1, 0)]
    schema.downgrade(empty, "0003")
    with empty.read() as connection:
        assert connection.execute(select(func.count()).select_from(window_stat)).scalar_one() == len(keys)


def test_hours_without_state_strings_are_counted_again(empty: Database) -> None:
    """The upgrade to 0008 makes all profile revisions incomplete, so the rollup worker counts every hour again."""
    schema.upgrade(empty, "0007")
    with empty.write() as connection:
        statement = "INSERT INTO rule (id, profile, sha256, complete) VALUES (1, 'vsan-stretched', :sha256, (1 = 1))"
        connection.execute(text(statement), {"sha256": bytes(32)})

    schema.upgrade(empty)

    with empty.read() as connection:
        assert not connection.execute(text("SELECT complete FROM rule")).scalar_one()


def test_day_tallies_keep_their_counts(empty: Database) -> None:
    """Schema 0009 drops the episodes of a day and keeps the counts; a downgrade restores the shape of both tables."""
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
    assert [tuple(row) for row in rows] == [
        (1, 2, 3, 86_400, 1_000, 200, 40, 1_010, 190, 30, 0, 0, 0, 812, False, False, None)
    ]
    assert [tuple(row) for row in marked] == [(1, 259_200)]
    assert schema.find_drift(empty) == []

    schema.downgrade(empty, "0008")
    with empty.read() as connection:
        old_row = connection.execute(text("SELECT * FROM tally_day")).one()
        marked = connection.execute(select(mark_day).order_by(mark_day.c.t)).all()
    assert shapes(empty) == before
    assert list(old_row) == [1, 2, 3, 86_400, 1_000, 200, 40, 1_010, 190, 30, 812, 0, *[0] * 12]
    assert [tuple(row) for row in marked] == [(1, 86_400), (1, 259_200)]


def test_a_downgrade_packs_hours_without_latency_p95(empty: Database) -> None:
    """Collectors of schema 0009 read version 1: the other columns are unchanged, and profiles are counted again."""
    schema.upgrade(empty)
    block = window_codec.make_empty_hours(2)
    block[:, : len(COUNT_FIELDS), 7:9] = 60
    block[:, len(COUNT_FIELDS) :, 7:9] = np.arange(2 * 9 * 2).reshape(2, 9, 2)
    packed, latest = window_codec.pack_hours(block), window_codec.pack_latest_windows(block)
    with empty.write() as connection:
        connection.exec_driver_sql("INSERT INTO site (id, name) VALUES (1, 'fra')")
        for table in ("agent", "target"):
            connection.exec_driver_sql(f"INSERT INTO {table} (id, name, site_id) VALUES (1, 'fra1', 1)")
        connection.execute(insert(rule), {"id": 1, "profile": "p", "sha256": bytes(32), "complete": True})
        if not empty.is_sqlite:
            connection.exec_driver_sql(
                "CREATE TABLE rollup_hour_p0 PARTITION OF rollup_hour FOR VALUES FROM (0) TO (9999999)"
            )
        hour: dict[str, Any] = {column.name: 0 for column in rollup_hour.columns if not column.nullable}
        hour |= {"src_id": 1, "dst_id": 1, "p95_histogram": b"", "simulated": False}
        connection.execute(
            insert(rollup_hour),
            [hour | {"t": 3_600 * index, "packed": packed[index], "latest": latest[index]} for index in range(2)],
        )

    schema.downgrade(empty, "0009")

    with empty.read() as connection:
        rows = connection.execute(text("SELECT packed, latest FROM rollup_hour ORDER BY t")).all()
        assert not connection.execute(select(rule.c.complete)).scalar_one()
    block[:, -1] = MISSING
    assert [row[0][0] for row in rows] == [1, 1]
    assert np.array_equal(window_codec.unpack_hours([row[0] for row in rows]), block)
    assert [len(row[1]) for row in rows] == [48, 48]
    assert np.array_equal(window_codec.unpack_latest_windows([row[1] for row in rows])[1][:, :, 0], block[:, :, 8])


def shapes(database: Database) -> list[Any]:
    """Return columns and keys of the day tables, and on SQLite whether they have a rowid."""
    result: list[Any] = []
    with database.read() as connection:
        for name in ("rollup_day", "tally_day"):
            columns = inspect(connection).get_columns(name)
            result += [
                (column["name"], str(column["type"]), column["nullable"], column["default"]) for column in columns
            ]
            result.append(inspect(connection).get_pk_constraint(name))
        if database.is_sqlite:
            query = text("SELECT name, sql LIKE '%WITHOUT ROWID' FROM sqlite_master WHERE name LIKE '%_day' ORDER BY 1")
            result += [tuple(row) for row in connection.execute(query)]
    return result


def test_a_second_upgrade_does_nothing(empty: Database) -> None:
    """A database with the newest revision is unchanged."""
    schema.upgrade(empty)

    schema.upgrade(empty)

    assert schema.get_current_revision(empty) == schema.get_head_revision()


def test_migrations_take_turns(empty: Database) -> None:
    """Of four at once, one migrates, and the others wait and have nothing to do."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: schema.upgrade(empty), range(4)))

    assert tables(empty) == set(metadata.tables)


def test_a_failed_migration_leaves_nothing(empty: Database) -> None:
    """The last table already exists: the tables before it are rolled back."""
    with empty.write() as connection:
        connection.exec_driver_sql("CREATE TABLE window_stat (in_the_way INTEGER)")

    with pytest.raises(Exception, match="already exists"):
        schema.upgrade(empty)

    assert tables(empty) == {"window_stat"}


def test_sqlite_is_migrated_at_start_and_postgresql_is_not(empty: Database) -> None:
    """An embedded database has no operator; for PostgreSQL the error names the command."""
    if empty.is_sqlite:
        schema.ensure_schema(empty)
        assert schema.get_current_revision(empty) == schema.get_head_revision()
        return

    with pytest.raises(UnavailableError, match="leadline collector migrate"):
        schema.ensure_schema(empty)
    assert tables(empty) == set()


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
def test_a_second_process_may_not_use_the_file(empty: Database) -> None:
    """One process has the lock file; the second gets an error, and the lock after the first has closed."""
    with pytest.raises(UnavailableError, match="another collector uses"):
        Database(empty.url)

    empty.close()

    Database(empty.url).close()


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
def test_sqlite_is_durable_and_readers_cannot_write(empty: Database) -> None:
    """WAL, synchronous=FULL and foreign keys on the writer; a reader is refused by SQLite itself."""
    schema.upgrade(empty)

    with empty.write() as connection:
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS]
    assert values == ["wal", 2, 1]
    with pytest.raises(UnavailableError, match="readonly"), empty.read() as connection:
        connection.exec_driver_sql("DELETE FROM site")


def test_the_last_batch_of_a_boot_is_found_by_an_index(empty: Database) -> None:
    """The query reads one index entry, independent of the size of the journal."""
    schema.upgrade(empty)
    queries: list[Any] = []

    with empty.read() as connection:
        event.listen(connection, "before_cursor_execute", lambda *call: queries.append(call[2:4]))
        journal_store.load_last_batch_clock_of_boot(connection, 1, "a-boot")
        ((statement, values),) = queries
        if empty.is_sqlite:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        else:
            # PostgreSQL uses no index on an empty table unless sequential scans are disabled.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", values).all()

    assert "ix_batch_src_id_boot_id_t_last" in str(plan)


PRAGMAS = ("journal_mode", "synchronous", "foreign_keys")


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
def test_asynchronous_commit_is_refused(empty_url: URL) -> None:
    """Acknowledgements need durable commits."""
    asynchronous_url = empty_url.update_query_dict({"options": "-c synchronous_commit=off"})
    database = Database(asynchronous_url)

    with pytest.raises(UnavailableError, match="synchronous_commit"), database.read():
        pass
    database.close()


def test_an_unusable_database_path_is_named(tmp_path: Path) -> None:
    """The message contains the path and the reason."""
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(ConfigError, match=r"file/leadline\.sqlite"):
        Database(URL.create("sqlite", database=str(file / "leadline.sqlite")))
