"""Backup and restore of a SQLite database. For PostgreSQL the errors name the command to use.

Rule 1: a backup uses its own read-only connection, which never checkpoints, and copies one snapshot. The collector
keeps storing while a backup runs (``db.engine``, rule 2).
Rule 2: a backup is written under a temporary name and renamed after fsync.
Rule 3: a restore takes the lock of a running collector, and keeps the replaced database.

Agents send the batches of the time after the backup again: an acknowledgement counts the batches of an epoch, and an
agent with more acknowledged batches sends those it still keeps.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy.engine import URL

from leadline.errors import ConfigError, UnavailableError
from leadline_collector.db import schema
from leadline_collector.db.engine import lock_database


def create_backup(url: URL, destination: Path) -> int:
    """Copy the database to a new file, also while a collector uses it; return the size in bytes."""
    source = _require_sqlite_file(url, "pg_dump --format=custom --file={file} {url}", destination)
    if destination.exists():
        raise ConfigError("FILE", f"{destination} already exists: choose another name")
    _copy_database(source, destination)
    return destination.stat().st_size


def restore_backup(url: URL, source: Path, now_s: int) -> Path | None:
    """Replace the database with a backup; return the new path of the replaced database, None if there was none."""
    database = _require_sqlite_file(url, "pg_restore --clean --if-exists --dbname={url} {file}", source)
    descriptor = lock_database(database)
    try:
        copy = database.with_name(f"{database.name}.restoring")
        copy.unlink(missing_ok=True)
        _copy_database(source, copy)
        replaced = _rename_replaced(database, now_s)
        copy.rename(database)
        _fsync(database.parent)
    finally:
        os.close(descriptor)
    return replaced


def _require_sqlite_file(url: URL, command_template: str, file: Path) -> Path:
    """Return the file of a SQLite database; for PostgreSQL raise UnavailableError with the command to run instead."""
    if url.get_backend_name() == "sqlite":
        return Path(str(url.database))
    # ``URL.set`` cannot remove a password.
    without_password = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    address = without_password.render_as_string()
    command = command_template.format(file=shlex.quote(str(file)), url=shlex.quote(address))
    raise UnavailableError(
        f"this works for SQLite only; for PostgreSQL, with the password in ~/.pgpass or $PGPASSWORD, run: {command}"
    )


def _copy_database(source: Path, destination: Path) -> None:
    """Copy one snapshot of ``source`` to ``destination``, check it, and make it durable."""
    part = destination.with_name(f"{destination.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with _open_read_only(source) as reader, closing(sqlite3.connect(part)) as writer:
            _check_schema_version(reader, source)
            reader.backup(writer)
            # A copy in WAL mode would need -wal and -shm files next to it.
            writer.execute("PRAGMA journal_mode=DELETE")
            if writer.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise UnavailableError(f"{source} is damaged: its copy fails SQLite's quick_check")
        _fsync(part)
        part.rename(destination)
        _fsync(destination.parent)
    except (OSError, sqlite3.Error) as error:
        raise UnavailableError(f"cannot copy {source} to {destination}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _open_read_only(source: Path) -> Iterator[sqlite3.Connection]:
    """Open a connection that cannot write; raise UnavailableError if the file does not exist."""
    if not source.is_file():
        raise UnavailableError(f"there is no database {source}")
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def _check_schema_version(reader: sqlite3.Connection, source: Path) -> None:
    """Raise UnavailableError unless the source is a database of this or an older collector."""
    try:
        (version,) = reader.execute("SELECT version_num FROM alembic_version").fetchone()
    except (sqlite3.DatabaseError, TypeError) as error:
        raise UnavailableError(f"{source} is not a database of a collector: {error}") from error
    if version not in schema.list_revisions():
        raise UnavailableError(f"{source} has schema version {version}, which is newer than this collector")


def _rename_replaced(database: Path, now_s: int) -> Path | None:
    """Rename a database together with its write-ahead log; SQLite must never apply that log to another file."""
    replaced = database.with_name(f"{database.name}.replaced-{now_s}")
    for ending in ("", "-wal", "-shm"):
        file = database.with_name(database.name + ending)
        if file.exists():
            file.rename(replaced.with_name(replaced.name + ending))
    return replaced if replaced.exists() else None


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
