"""Engines and transactions on SQLite and PostgreSQL: the only module that begins, commits and rolls back.

Rule 1: a transaction is one ``with`` block: it commits at the end and rolls back on any exception.
Rule 2: SQLite has one writer connection in one process (a lock file enforces it); readers use read-only connections
and never checkpoint. Two connections that wrote and checkpointed at once corrupted a file on SQLite 3.40.
``transact`` is for many small transactions. On SQLite they share commits (``db.group_commit``), on PostgreSQL they run
concurrently; both limit the number that waits.
Rule 3: every new connection is checked for durable commits, because an acknowledgement promises them.
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

#: The web server has about as many threads; more connections would idle.
READERS_MAX = 16
#: Concurrent writing transactions on PostgreSQL.
WRITERS_MAX = 8
#: Transactions that run or wait for a connection; further ones fail with StoreBusyError.
TRANSACTIONS_MAX = 64
#: A request that waits longer for a connection fails with StoreBusyError.
POOL_TIMEOUT_S = 10
#: How long SQLite waits for a lock of another program (a backup, the sqlite3 shell).
BUSY_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 5
#: The rows of many paths are spread over the file; a batch should not read their pages again.
SQLITE_CACHE_KIB = 64 << 10

Result = TypeVar("Result")


class Database:
    """One database with a pool of readers and a pool of writers; create and close it once per process."""

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
        """Open a read-only transaction on one snapshot of the database."""
        with _translate_errors(), self._read_engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that is durable after the ``with`` block and rolled back if the block raises."""
        with _translate_errors(), self._write_engine.begin() as connection:
            yield connection

    def transact(self, work: Callable[[Connection], Result]) -> Result:
        """Run ``work`` in a transaction and return its result after the commit.

        The transaction may be shared, so ``work`` must not block. Raise StoreBusyError if too many transactions wait,
        StoreUnavailableError if the outcome of the commit is unknown.
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
        """Finish queued transactions, then close all connections; readers first, so the writer checkpoints the file."""
        if self._group_commit is not None:
            self._group_commit.close()
        self._read_engine.dispose()
        self._write_engine.dispose()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


@contextmanager
def open_read_only(url: URL) -> Iterator[Callable[[], AbstractContextManager[Connection]]]:
    """Yield a function that opens read-only transactions, each on one snapshot.

    It takes no lock and works while a collector uses the database. Raise UnavailableError if a SQLite file does not
    exist.
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
    """Raise StoreUnavailableError for failures of the database; errors in a statement are bugs and pass unchanged."""
    try:
        yield
    except PoolTimeoutError as error:
        raise StoreBusyError("the database is busy; try again in a few seconds") from error
    except (IntegrityError, psycopg.IntegrityError) as error:
        if get_sqlstate(error) not in _RETRYABLE_STATES:
            raise
        raise StoreBusyError("another request changed the same rows at the same time; send it again") from error
    except (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailableError(f"the database failed: {_get_first_line(error)}") from error
    except (InternalError, psycopg.InternalError) as error:
        if get_sqlstate(error) != _READ_ONLY_STATE:
            raise
        raise StoreUnavailableError(f"the database is read-only: {_get_first_line(error)}") from error


#: unique_violation: two writers used the same key; a retry finds the row of the other.
#: check_violation: another process dropped a partition; a retry creates it again. (PostgreSQL, appendix A.)
_RETRYABLE_STATES = frozenset({"23505", "23514"})
#: read_only_sql_transaction: a standby, or a server that was made read-only before its disk was full.
_READ_ONLY_STATE = "25006"


def get_sqlstate(error: BaseException | None) -> str | None:
    """Return PostgreSQL's SQLSTATE of a driver error, plain or wrapped by SQLAlchemy; None for other errors."""
    return getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None)


def _get_first_line(error: DBAPIError | psycopg.Error) -> str:
    return str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]


def lock_database(database: Path) -> int:
    """Lock the ``.lock`` file of a SQLite database and return its descriptor; closing it releases the lock.

    Raise UnavailableError if another process has the lock, ConfigError if the file cannot be created.
    """
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
            f"another collector uses {database}: stop it, or use another data directory; "
            "several collectors on one database need PostgreSQL"
        ) from error
    return descriptor


def _create_sqlite_writer(url: URL) -> Engine:
    engine = _create_sqlite_engine(url, pool_size=1)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: object) -> None:
        connection.isolation_level = None  # ``begin`` below starts transactions, not the driver
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
    # SQLite opens read-only by a file: URI; ``as_uri`` escapes '?' and '%' in the path.
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
                f"PostgreSQL has synchronous_commit={level}: an acknowledged commit could be lost. "
                "Set it to 'on' for this role or database"
            )

    @event.listens_for(engine, "handle_error")
    def invalidate_read_only(context: ExceptionContext) -> None:
        # A session stays read-only; only a new connection reaches the current primary.
        if get_sqlstate(context.original_exception) == _READ_ONLY_STATE:
            context.is_disconnect = True

    return engine
