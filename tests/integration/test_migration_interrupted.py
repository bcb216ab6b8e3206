"""kill -9 during a migration: the database is unchanged, and the next run completes the migration."""

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

#: ``leadline collector …`` in a process that prints a line and blocks before a statement that contains argv[1].
BLOCKING_COMMAND = """
import sys
from sqlalchemy import Engine, event
from leadline_cli.__main__ import main
text = sys.argv.pop(1)

def block():
    print("in the middle", flush=True)
    sys.stdin.read()

@event.listens_for(Engine, "before_cursor_execute")
def before_statement(connection, cursor, statement, *rest):
    if text in statement:
        block()

@event.listens_for(Engine, "commit")
def before_commit(connection):
    if text == "COMMIT" and connection.info.get("migrating"):
        block()

@event.listens_for(Engine, "after_cursor_execute")
def after_statement(connection, cursor, statement, *rest):
    if "alembic_version SET" in statement:
        connection.info["migrating"] = True

sys.exit(main())
"""
#: Statements from the first change of the first applied version to the commit.
STATEMENTS = (
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


def kill_before(statement: str, env: dict[str, str], command: Sequence[str]) -> None:
    """Run a command of the collector and kill it before this statement."""
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKING_COMMAND, statement, "collector", *command],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the middle\n", statement
        process.kill()


@pytest.fixture(name="old_url")
def _old_url(empty_url: URL) -> URL:
    """Return a database of the first version with a journal."""
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


def read_state(url: URL) -> tuple[str | None, int, int | None]:
    """Return the schema version and the number of batches in journal and ledger; None without a ledger."""
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
    """A kill before each of eight statements changes nothing; the next run completes the migration with all data."""
    env = environment(old_url, tmp_path / "data")
    for statement in STATEMENTS:
        kill_before(statement, env, ["migrate"])
        assert read_state(old_url) == ("0001", BATCHES, None), statement

    result = run(env, "migrate")

    assert (result.returncode, result.stdout) == (0, f"schema 0001 -> {schema.get_head_revision()}\n")
    assert read_state(old_url) == (schema.get_head_revision(), BATCHES, BATCHES)


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
def test_a_collector_killed_in_its_migration_starts_again(old_url: URL, tmp_path: Path) -> None:
    """SQLite is migrated at start; after a kill the next start completes the migration and serves."""
    env = environment(old_url, tmp_path / "data")
    kill_before("INSERT INTO ledger", env, ["serve", "--port", "0"])

    with serving(env):
        pass

    assert read_state(old_url) == (schema.get_head_revision(), BATCHES, BATCHES)


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
def test_a_migration_that_waits_for_a_table_gives_up(old_url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another transaction locks a table: the error names the remedy, nothing is changed, and a later run succeeds."""
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", "300ms")
    database = Database(old_url)
    with psycopg.connect(postgres.build_conninfo(old_url)) as other:
        other.execute("LOCK TABLE enrol_token IN ACCESS SHARE MODE")
        with pytest.raises(UnavailableError, match=r"pg_stat_activity .* run the migration again"):
            schema.upgrade(database)
        other.rollback()
    assert read_state(old_url) == ("0001", BATCHES, None)

    schema.upgrade(database)

    database.close()
    assert read_state(old_url) == (schema.get_head_revision(), BATCHES, BATCHES)
