"""Transactions: ``Store.read()`` and ``Store.write()`` open and end one.

Rule 1: a ReadTransaction only reads, a WriteTransaction reads and writes; the ``with`` block commits (``db.engine``).
Rule 2: SQL of a package is in its ``store.py``; every query uses a key or an index, or has a LIMIT.
Rule 3: statements run on both databases; a difference is handled next to the statement.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    func,
    select,
    text,
)

from leadline_collector.db import tables
from leadline_collector.db.engine import Database, StoreUnavailableError
from leadline_collector.db.tables import PARTITION_S

#: Advisory lock for new partitions.
PARTITION_LOCK = 53235466

Result = TypeVar("Result")


class ReadTransaction:
    """Read-only access within one transaction."""

    def __init__(self, connection: Connection) -> None:
        #: For the modules that contain SQL.
        self.connection = self._connection = connection
        self._is_postgresql = connection.dialect.name == "postgresql"

    def load_schema_version(self) -> str:
        """Return the revision of the database (Alembic's table)."""
        version: str = self.connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        return version


class WriteTransaction(ReadTransaction):
    """Read and write access within one transaction."""

    def replace_rows(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows and replace those with the same key; values are in the order of the table's columns."""
        if not rows:
            return
        names = table.columns.keys()
        if not self._is_postgresql:
            places = ", ".join("?" * len(names))
            statement = f"INSERT OR REPLACE INTO {table.name} ({', '.join(names)}) VALUES ({places})"  # noqa: S608  # names of our own tables
            self._connection.exec_driver_sql(statement, list(rows))
            return
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        keys = [(column.name, names.index(column.name), _PG_TYPES[type(column.type)]) for column in table.primary_key]
        same = " AND ".join(f"old.{name} = new.{name}" for name, _, _ in keys)
        lists = ", ".join(f"%s::{kind}[]" for _, _, kind in keys)
        with driver.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table.name} old USING unnest({lists}) new ({', '.join(key[0] for key in keys)}) "  # noqa: S608
                f"WHERE {same}",
                [[row[place] for row in rows] for _, place, _ in keys],
            )
            with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types([_PG_TYPES[type(column.type)] for column in table.columns])
                for row in rows:
                    copy.write_row(row)

    def create_partitions(self, numbers: Iterable[int]) -> None:
        """Create the missing partitions of these numbers (PostgreSQL)."""
        for number in numbers:
            for table in tables.PARTITIONED_TABLES:
                self._create_partition(table.name, number)

    def _create_partition(self, table: str, number: int) -> None:
        name, start_s = f"{table}_p{number}", number * PARTITION_S
        if self._connection.execute(select(func.to_regclass(name))).scalar() is None:
            # ATTACH does not block reads and writes of the table; CREATE … PARTITION OF does.
            for statement in (
                f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)",
                f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({start_s}) TO ({start_s + PARTITION_S})",
            ):
                self._connection.execute(text(statement))

    def lock_partitions(self) -> None:
        """Wait until no other transaction creates partitions."""
        self._connection.execute(select(func.pg_advisory_xact_lock(PARTITION_LOCK)))


#: PostgreSQL's names of the column types that ``replace_rows`` writes.
_PG_TYPES = {
    Integer: "int4",
    SmallInteger: "int2",
    BigInteger: "int8",
    Boolean: "bool",
    LargeBinary: "bytea",
    String: "varchar",
}


class Store:
    """Access to the database for the rest of the collector."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: Partitions known to exist. If another process drops one, the next insert fails once (``db.engine``).
        self._partitions: set[int] = set()
        #: Locks that threads of this process have taken (``try_lock``).
        self._locks_in_process: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[ReadTransaction]:
        """Open a read-only transaction on one snapshot."""
        with self._database.read() as connection:
            yield ReadTransaction(connection)

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """Open a transaction; raise StoreUnavailableError if it may not be durable at the end of the ``with`` block."""
        try:
            with self._database.write() as connection:
                yield WriteTransaction(connection)
        except StoreUnavailableError:
            self._partitions = set()
            raise

    def transact(self, work: Callable[[WriteTransaction], Result]) -> Result:
        """Run ``work`` as one of many small transactions and return its durable result (``Database.transact``)."""
        try:
            return self._database.transact(lambda connection: work(WriteTransaction(connection)))
        except StoreUnavailableError:
            self._partitions = set()
            raise

    @property
    def is_sqlite(self) -> bool:
        """True for the embedded database."""
        return self._database.is_sqlite

    def clear_partition_cache(self) -> None:
        """Forget the known partitions, after some were dropped."""
        self._partitions = set()

    @contextmanager
    def try_lock(self, lock: int, key: int) -> Iterator[bool]:
        """Yield True if this call has the lock until the end of the ``with`` block, else False; never wait."""
        with self._lock:
            is_ours = (lock, key) not in self._locks_in_process
            self._locks_in_process.add((lock, key))
        try:
            if self._database.is_sqlite or not is_ours:
                yield is_ours
                return
            # A separate transaction: PostgreSQL releases its lock even if this process dies.
            with self.write() as writer:
                yield writer.connection.execute(select(func.pg_try_advisory_xact_lock(lock, key))).scalar_one()
        finally:
            if is_ours:
                with self._lock:
                    self._locks_in_process.discard((lock, key))

    def ensure_partitions(self, times: Iterable[int]) -> None:
        """Create missing partitions for these times; call it before the transaction that writes the windows.

        It uses a separate transaction: an ingest that waits for this lock with rows locked could deadlock.
        """
        if self._database.is_sqlite:
            return
        missing = {t // PARTITION_S for t in times} - self._partitions
        if missing:
            with self.write() as writer:
                writer.lock_partitions()
                writer.create_partitions(sorted(missing))
            self._partitions = self._partitions | missing
