"""A SQLite database as one file that can be put away and put back. PostgreSQL has its own tools; they are named.

Rule 1: a backup reads. It has a connection of its own that can neither write nor checkpoint, and sees one moment: the
collector goes on storing while it runs (``db``, rule 2).
Rule 2: a backup that has its name is whole and on the disk; a half one has another name.
Rule 3: a restore needs the lock the collector holds while it runs, and keeps what it replaces.

What agents delivered after the backup comes again by itself: an acknowledgement counts the batches of an epoch, and an
agent that had more acknowledged sends again what it still keeps.
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
    """Copy the database to a new file, also while a collector uses it; the size in bytes."""
    source = _require_sqlite_file(url, "pg_dump --format=custom --file={file} {url}", destination)
    if destination.exists():
        raise ConfigError("FILE", f"{destination} is already there: name another")
    _copy_database(source, destination)
    return destination.stat().st_size


def restore_backup(url: URL, source: Path, now_s: int) -> Path | None:
    """Put a backup in the place of the database; where the replaced one is now, None if there was none."""
    database = _require_sqlite_file(url, "pg_restore --clean --if-exists --dbname={url} {file}", source)
    descriptor = lock_database(database)
    try:
        fresh = database.with_name(f"{database.name}.restoring")
        fresh.unlink(missing_ok=True)
        _copy_database(source, fresh)
        replaced = _rename_replaced(database, now_s)
        fresh.rename(database)
        _fsync(database.parent)
    finally:
        os.close(descriptor)
    return replaced


def _require_sqlite_file(url: URL, command_template: str, file: Path) -> Path:
    """The file of a SQLite database; of PostgreSQL the command that does it instead."""
    if url.get_backend_name() == "sqlite":
        return Path(str(url.database))
    # ``URL.set`` cannot take a password away.
    bare = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    address = bare.render_as_string()
    command = command_template.format(file=shlex.quote(str(file)), url=shlex.quote(address))
    raise UnavailableError(
        f"PostgreSQL has its own tools for this; with the password in ~/.pgpass or $PGPASSWORD: {command}"
    )


def _copy_database(source: Path, destination: Path) -> None:
    """One moment of ``source`` under the name ``to``, checked and durable."""
    part = destination.with_name(f"{destination.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with _open_read_only(source) as reader, closing(sqlite3.connect(part)) as writer:
            _check_schema_version(reader, source)
            reader.backup(writer)
            # One file: without this, whoever opens it next needs a -wal and a -shm beside it.
            writer.execute("PRAGMA journal_mode=DELETE")
            if writer.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise UnavailableError(f"{source} is damaged: its copy does not pass SQLite's check")
        _fsync(part)
        part.rename(destination)
        _fsync(destination.parent)
    except (OSError, sqlite3.Error) as error:
        raise UnavailableError(f"cannot copy {source} to {destination}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _open_read_only(source: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write."""
    if not source.is_file():
        raise UnavailableError(f"there is no database {source}")
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def _check_schema_version(reader: sqlite3.Connection, source: Path) -> None:
    """The source must be a database of a collector that is not newer than this one."""
    try:
        (version,) = reader.execute("SELECT version_num FROM alembic_version").fetchone()
    except (sqlite3.DatabaseError, TypeError) as error:
        raise UnavailableError(f"{source} is no database of a collector: {error}") from error
    if version not in schema.list_revisions():
        raise UnavailableError(
            f"{source} has schema version {version}, which this collector does not know: it is newer"
        )


def _rename_replaced(database: Path, now_s: int) -> Path | None:
    """Move a database out of the way with the log that belongs to it: no other file may ever meet that log."""
    aside = database.with_name(f"{database.name}.replaced-{now_s}")
    for ending in ("", "-wal", "-shm"):
        file = database.with_name(database.name + ending)
        if file.exists():
            file.rename(aside.with_name(aside.name + ending))
    return aside if aside.exists() else None


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
