"""kill -9 in the middle of a migration: the database is what it was before, and the next run completes it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL

from leadline.errors import UnavailableError
from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from tests.integration.test_serve import environment, run, serving
from tests.support import postgres

#: ``leadline collector …`` in a process that stands still, and says so, before a statement that contains argv[1].
STANDS_STILL = """
import sys
from sqlalchemy import Engine, event
from leadline_cli.__main__ import main
words = sys.argv.pop(1)

def stand_still():
    print("in the middle", flush=True)
    sys.stdin.read()

@event.listens_for(Engine, "before_cursor_execute")
def before_statement(connection, cursor, statement, *rest):
    if words in statement:
        stand_still()

@event.listens_for(Engine, "commit")
def before_commit(connection):
    if words == "COMMIT" and connection.info.get("migrating"):
        stand_still()

@event.listens_for(Engine, "after_cursor_execute")
def after_statement(connection, cursor, statement, *rest):
    if "alembic_version SET" in statement:
        connection.info["migrating"] = True

sys.exit(main())
"""
#: From the first change of the first version that is applied to the last moment before the commit.
MOMENTS = (
    "ADD COLUMN sealed_at_us",
    "INSERT INTO ledger",
    "CREATE TABLE quarantine",
    "ADD COLUMN revoked_at",
    "audit_no",
    "CREATE INDEX ix_batch_src_id_boot_id",
    "DROP TABLE rollup_day",
    "COMMIT",
)
BATCHES = 40


def killed_at(moment: str, env: dict[str, str], command: Sequence[str]) -> None:
    """Run a command of the collector and kill -9 it when it is there."""
    with subprocess.Popen(
        [sys.executable, "-c", STANDS_STILL, moment, "collector", *command],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the middle\n", moment
        process.kill()


@pytest.fixture(name="old_url")
def _old_url(empty_url: URL) -> URL:
    """A database of the first version, with a journal."""
    database = Database(empty_url)
    schema.upgrade(database, "0001")
    with database.write() as connection:
        connection.execute(text("INSERT INTO site (id, name) VALUES (1, 'fra')"))
        connection.execute(text("INSERT INTO agent (id, name, site_id) VALUES (1, 'fra1', 1)"))
        connection.execute(ADD_BATCH, [{"seq": seq, "bytes": bytes([seq]) * 32} for seq in range(BATCHES)])
    database.close()
    return empty_url


ADD_BATCH = text(
    "INSERT INTO batch (src_id, epoch, seq, received_at, sha256, mesh_version, body) "
    "VALUES (1, :bytes, :seq, 1, :bytes, 1, :bytes)"
)


def found(url: URL) -> tuple[str | None, int, int | None]:
    """The version of the schema, and how many batches journal and ledger have; None where there is no ledger."""
    database = Database(url)
    try:
        version = schema.get_current_revision(database)
        with database.read() as connection:
            journal = connection.execute(text("SELECT count(*) FROM batch")).scalar_one()
            if version == "0001":
                return version, journal, None
            return version, journal, connection.execute(text("SELECT sum(batches) FROM ledger")).scalar_one()
    finally:
        database.close()


def test_a_migration_that_is_killed_leaves_what_was_there(old_url: URL, tmp_path: Path) -> None:
    """Killed at each of eight moments in turn, nothing has changed; the next run goes to the head, with all data."""
    env = environment(old_url, tmp_path / "data")
    for moment in MOMENTS:
        killed_at(moment, env, ["migrate"])
        assert found(old_url) == ("0001", BATCHES, None), moment

    again = run(env, "migrate")

    assert (again.returncode, again.stdout) == (0, f"schema 0001 -> {schema.get_head_revision()}\n")
    assert found(old_url) == (schema.get_head_revision(), BATCHES, BATCHES)


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
def test_a_collector_killed_in_its_migration_starts_again(old_url: URL, tmp_path: Path) -> None:
    """SQLite is migrated at the start: killed in it, the next start completes it and serves."""
    env = environment(old_url, tmp_path / "data")
    killed_at("INSERT INTO ledger", env, ["serve", "--port", "0"])

    with serving(env):
        pass

    assert found(old_url) == (schema.get_head_revision(), BATCHES, BATCHES)


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
def test_a_migration_that_waits_for_a_table_gives_up(old_url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's transaction holds a table: it says what to do, changes nothing, and goes through afterwards."""
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", "300ms")
    database = Database(old_url)
    with psycopg.connect(postgres.build_conninfo(old_url)) as other:
        other.execute("LOCK TABLE enrol_token IN ACCESS SHARE MODE")
        with pytest.raises(UnavailableError, match=r"pg_stat_activity .* run the migration again"):
            schema.upgrade(database)
        other.rollback()
    assert found(old_url) == ("0001", BATCHES, None)

    schema.upgrade(database)

    database.close()
    assert found(old_url) == (schema.get_head_revision(), BATCHES, BATCHES)
