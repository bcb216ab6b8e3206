"""The schema's version: which one the database has, which one this collector needs, and the way there.

Alembic is configured here in code; the versions are in ``leadline_migrations``. A migration is one transaction on both
databases, and on PostgreSQL one process at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

import leadline_migrations
from leadline.errors import UnavailableError
from leadline_collector.db.engine import Database, StoreUnavailableError, get_sqlstate
from leadline_collector.db.tables import PARTITIONED_TABLES, metadata

#: Any number that nobody else takes: "leadline" on a telephone keypad.
MIGRATION_LOCK = 53235463
#: A migration that cannot get a table within this time gives up instead of queueing every other request behind it.
LOCK_TIMEOUT = "10s"
#: lock_not_available (PostgreSQL, appendix A).
_LOCK_NOT_AVAILABLE = "55P03"


@cache
def get_head_revision() -> str:
    """The revision this collector is made for."""
    revision = ScriptDirectory.from_config(_build_config()).get_current_head()
    assert revision is not None
    return revision


@cache
def list_revisions() -> frozenset[str]:
    """Every revision this collector knows: those it can migrate from."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_build_config()).walk_revisions())


def get_current_revision(database: Database) -> str | None:
    """The revision the database has; None for an empty one."""
    with database.write() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the database to ``revision``; nothing happens if it is there."""
    with _explain_lock_timeout(), database.write() as connection:
        _lock_migrations(connection)
        command.upgrade(_build_config(connection), revision)


def downgrade(database: Database, revision: str) -> None:
    """Take the database back to ``revision``; ``base`` removes every table and all data."""
    with _explain_lock_timeout(), database.write() as connection:
        _lock_migrations(connection)
        command.downgrade(_build_config(connection), revision)


@contextmanager
def _explain_lock_timeout() -> Iterator[None]:
    """Say what to do where another transaction was in the way for too long."""
    try:
        yield
    except StoreUnavailableError as error:
        if get_sqlstate(error.__cause__) != _LOCK_NOT_AVAILABLE:
            raise
        raise UnavailableError(
            f"another transaction holds a table or another migration runs, for more than {LOCK_TIMEOUT}: nothing was "
            "changed; end it (pg_stat_activity names it) and run the migration again"
        ) from error


def find_drift(database: Database) -> list[Any]:
    """What the migrations made otherwise than ``tables`` says; empty if they agree."""
    with database.write() as connection:
        options = {"compare_type": True, "compare_server_default": True, "include_name": _is_managed}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def ensure_schema(database: Database) -> None:
    """Make sure of the schema at start: SQLite is migrated, PostgreSQL must have been; UnavailableError otherwise."""
    found = get_current_revision(database)
    if found == get_head_revision():
        return
    if database.is_sqlite:
        upgrade(database)
        return
    raise UnavailableError(
        f"the database has schema version {found or 'none'} and this collector needs {get_head_revision()}: "
        "run `leadline collector migrate` (or the collector that is as new as the database)"
    )


def _build_config(connection: Connection | None = None) -> Config:
    config = Config()
    scripts = Path(leadline_migrations.__file__).parent
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    return config


def _lock_migrations(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT set_config('lock_timeout', :timeout, true)"), {"timeout": LOCK_TIMEOUT})
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})


def _is_managed(name: str | None, kind: str, parents: Any) -> bool:
    """Partitions are made while the collector runs and are no drift."""
    return kind != "table" or not str(name).startswith(tuple(f"{table.name}_p" for table in PARTITIONED_TABLES))
