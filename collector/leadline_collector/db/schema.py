"""Schema versions and migrations with Alembic.

Alembic is configured in code; the versions are in ``leadline_migrations``. A migration is one transaction on both
databases; on PostgreSQL a lock allows one process at a time.
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

#: Advisory lock of migrations; any number that nothing else uses.
MIGRATION_LOCK = 53235463
#: A migration that cannot lock a table in this time fails; all other requests would queue behind it.
LOCK_TIMEOUT = "10s"
#: lock_not_available (PostgreSQL, appendix A).
_LOCK_NOT_AVAILABLE = "55P03"


@cache
def get_head_revision() -> str:
    """Return the newest revision, which this collector needs."""
    revision = ScriptDirectory.from_config(_build_config()).get_current_head()
    assert revision is not None
    return revision


@cache
def list_revisions() -> frozenset[str]:
    """Return all revisions that this collector can migrate from."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_build_config()).walk_revisions())


def get_current_revision(database: Database) -> str | None:
    """Return the revision of the database; None if it is empty."""
    with database.write() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database, revision: str = "head") -> None:
    """Migrate the database to ``revision``; do nothing if it already has it."""
    with _explain_lock_timeout(), database.write() as connection:
        _lock_migrations(connection)
        command.upgrade(_build_config(connection), revision)


def downgrade(database: Database, revision: str) -> None:
    """Migrate the database back to ``revision``; ``base`` removes every table and all data."""
    with _explain_lock_timeout(), database.write() as connection:
        _lock_migrations(connection)
        command.downgrade(_build_config(connection), revision)


@contextmanager
def _explain_lock_timeout() -> Iterator[None]:
    """Turn a lock timeout into an UnavailableError that names the remedy."""
    try:
        yield
    except StoreUnavailableError as error:
        if get_sqlstate(error.__cause__) != _LOCK_NOT_AVAILABLE:
            raise
        raise UnavailableError(
            f"another transaction or migration has locked a table for more than {LOCK_TIMEOUT}: nothing was changed; "
            "end it (pg_stat_activity lists it) and run the migration again"
        ) from error


def find_drift(database: Database) -> list[Any]:
    """Return the differences between the migrated schema and ``tables``; empty if they agree."""
    with database.write() as connection:
        options = {"compare_type": True, "compare_server_default": True, "include_name": _is_managed}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def ensure_schema(database: Database) -> None:
    """Migrate SQLite at start if needed; raise UnavailableError if a PostgreSQL schema is not current."""
    revision = get_current_revision(database)
    if revision == get_head_revision():
        return
    if database.is_sqlite:
        upgrade(database)
        return
    raise UnavailableError(
        f"the database has schema version {revision or 'none'} and this collector needs {get_head_revision()}: "
        "run `leadline collector migrate` (or upgrade the collector if the database is newer)"
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
    """Return False for partitions: the collector creates them at run time, so they are no drift."""
    return kind != "table" or not str(name).startswith(tuple(f"{table.name}_p" for table in PARTITIONED_TABLES))
