"""Engines and transactions on SQLite and PostgreSQL: the only place that begins, commits and rolls back.

Rule 1: every transaction is one ``with``: commit at its end, rollback on any exception.
Rule 2: SQLite has one writer connection in one process (a lock file sees to it); readers are read-only connections and
never checkpoint. Two connections that write and checkpoint at once corrupted a file on SQLite 3.40.
``transact`` is the way of the many small transactions: on SQLite they share commits (``commits``), on PostgreSQL they
run side by side; on both they are bounded.
Rule 3: durability is asserted when a connection is made, because an acknowledgement promises it.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import ExceptionContext, IsolationLevel
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from leadline.errors import ConfigError, UnavailableError
from leadline_collector.db.group_commit import GroupCommit, StoreBusyError, StoreUnavailableError

__all__ = ["Database", "StoreBusyError", "StoreUnavailableError", "get_sqlstate"]

#: Threads of the web server read at once; more connections than threads would idle.
READERS_MAX = 16
#: Concurrent writing transactions on PostgreSQL.
WRITERS_MAX = 8
#: Transactions that may wait for one of those connections, or run; the next is told to come again.
TRANSACTIONS_MAX = 64
#: A request that waits longer for a connection is better told to come back.
POOL_TIMEOUT_S = 10
#: How long SQLite waits for a lock another program holds (a backup, the sqlite3 shell).
BUSY_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 5
#: The minutes of many paths lie far apart in the file; their pages should not be read again for every batch.
SQLITE_CACHE_KIB = 64 << 10

Result = TypeVar("Result")


class Database:
    """One database with its two pools. Make it once, ``close`` it once."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._lock_fd = lock_database(Path(url.database or "")) if self.is_sqlite else None
        self._write_engine = (
            _create_sqlite_writer(url)
            if self.is_sqlite
            else _create_postgresql_engine(url, WRITERS_MAX, "READ COMMITTED")
        )
        self._read_engine = (
            _create_sqlite_readers(url)
            if self.is_sqlite
            else _create_postgresql_engine(url, READERS_MAX, "REPEATABLE READ")
        )
        self._group_commit = GroupCommit(self.write) if self.is_sqlite else None
        self._transaction_slots = threading.BoundedSemaphore(TRANSACTIONS_MAX)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment of the database and changes nothing."""
        with _translate_errors(), self._read_engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is durable when the ``with`` ends, and leaves nothing when it raises."""
        with _translate_errors(), self._write_engine.begin() as connection:
            yield connection

    def transact(self, work: Callable[[Connection], Result]) -> Result:
        """What ``work`` returns, once it is durable; it runs in a transaction that may be shared, so it must not wait.

        StoreUnavailableError if too many are waiting, or if nobody knows whether it was done.
        """
        if self._group_commit is not None:
            with _translate_errors():
                return self._group_commit.run(work)
        if not self._transaction_slots.acquire(blocking=False):
            raise StoreBusyError("too many transactions are waiting; try again in a few seconds")
        try:
            with self.write() as connection:
                return work(connection)
        finally:
            self._transaction_slots.release()

    def close(self) -> None:
        """Do what is waiting, then close every connection; readers first, so that the writer checkpoints the file."""
        if self._group_commit is not None:
            self._group_commit.close()
        self._read_engine.dispose()
        self._write_engine.dispose()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


@contextmanager
def open_read_only(url: URL) -> Iterator[Callable[[], AbstractContextManager[Connection]]]:
    """What opens transactions that see one moment each and change nothing, also beside a collector that uses the
    database: no lock is taken. UnavailableError for a SQLite file that is not there.
    """
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite and not Path(url.database or "").is_file():
        raise UnavailableError(f"there is no database {url.database}")
    engine = _create_sqlite_readers(url) if is_sqlite else _create_postgresql_engine(url, 1, "REPEATABLE READ")

    @contextmanager
    def read() -> Iterator[Connection]:
        with _translate_errors(), engine.begin() as connection:
            yield connection

    try:
        yield read
    finally:
        engine.dispose()


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Failures of the database as StoreUnavailableError; what is wrong with a statement stays a bug and passes."""
    try:
        yield
    except PoolTimeoutError as error:
        raise StoreBusyError("the database is busy; try again in a few seconds") from error
    except (IntegrityError, psycopg.IntegrityError) as error:
        if get_sqlstate(error) not in _RETRYABLE_STATES:
            raise
        raise StoreBusyError("another request changed the same rows at the same time; send it again") from error
    except (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailableError(f"the database refused: {_get_first_line(error)}") from error
    except (InternalError, psycopg.InternalError) as error:
        if get_sqlstate(error) != _READ_ONLY_STATE:
            raise
        raise StoreUnavailableError(f"the database may only be read: {_get_first_line(error)}") from error


#: unique_violation: two writers met on one key, and whoever sends again finds the row of the other.
#: check_violation: a partition was dropped under us; it is made anew. (PostgreSQL, appendix A.)
_RETRYABLE_STATES = frozenset({"23505", "23514"})
#: read_only_sql_transaction: a standby, or a server whose keeper stopped writing before its disk was full.
_READ_ONLY_STATE = "25006"


def get_sqlstate(error: BaseException | None) -> str | None:
    """The code PostgreSQL gave an error of the driver, as it is or as SQLAlchemy wraps it; None for any other."""
    return getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None)


def _get_first_line(error: DBAPIError | psycopg.Error) -> str:
    return str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]


def lock_database(database: Path) -> int:
    """Take the lock file beside a SQLite database; held until the process ends or ``close``."""
    path = Path(f"{database}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError("database", f"cannot use {database}: {error.strerror} ({error.filename})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UnavailableError(
            f"another collector uses {database}: stop it, or give this one another data directory; "
            "several collectors need PostgreSQL"
        ) from error
    return descriptor


def _create_sqlite_writer(url: URL) -> Engine:
    engine = _create_sqlite_engine(url, pool_size=1)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        journal = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA cache_size=-{SQLITE_CACHE_KIB}")
        if journal != "wal" or connection.execute("PRAGMA synchronous").fetchone()[0] != 2:
            raise UnavailableError(f"{url.database}: SQLite cannot make commits durable on this file system")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _create_sqlite_readers(url: URL) -> Engine:
    # A file: URI is how SQLite is told to open read-only; '?' and '%' in a path must not end it.
    uri = Path(url.database or "").absolute().as_uri()
    engine = _create_sqlite_engine(url.set(database=f"{uri}?mode=ro", query={"uri": "true"}), pool_size=READERS_MAX)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _create_sqlite_engine(url: URL, pool_size: int) -> Engine:
    return sqlalchemy.create_engine(
        url,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1_000},
    )


def _create_postgresql_engine(url: URL, pool_size: int, isolation: IsolationLevel) -> Engine:
    engine = sqlalchemy.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        isolation_level=isolation,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "leadline"},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: object) -> None:
        (level,) = connection.execute("SHOW synchronous_commit").fetchone()
        connection.rollback()
        if level not in {"on", "remote_apply"}:
            raise UnavailableError(
                f"PostgreSQL has synchronous_commit={level}: a commit could be lost after its acknowledgement. "
                "Set it to 'on' for this role or database"
            )

    @event.listens_for(engine, "handle_error")
    def invalidate_read_only(context: ExceptionContext) -> None:
        # A session keeps what it began with: only a new one, on whatever server is the primary by then, can write.
        if get_sqlstate(context.original_exception) == _READ_ONLY_STATE:
            context.is_disconnect = True

    return engine
