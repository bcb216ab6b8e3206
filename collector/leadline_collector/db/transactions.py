"""Transactions on the database: ``Store.read()`` and ``Store.write()`` open one and end it.

Rule 1: a ``Reader`` changes nothing, a ``Writer`` can do both; neither commits, the ``with`` block does (``engine``).
Rule 2: SQL of a package is in its ``store.py``; every query uses a key or an index, or has a LIMIT.
Rule 3: statements run on both databases; a difference is handled next to the statement.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

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

#: First key of the advisory locks that let one agent's batches take turns; the second is the agent's id.
AGENT_LOCK = 53235464
#: Advisory lock for changes of the mesh.
MESH_LOCK = 53235465
#: Advisory lock for new partitions.
PARTITION_LOCK = 53235466
#: Names and keys in one IN (…): SQLite allows 32,766 parameters in a statement.
IN_VALUES_MAX = 8_192

#: (dst_id, t): which window of an agent.
WindowKey: TypeAlias = tuple[int, int]
Result = TypeVar("Result")


class ReadTransaction:
    """What can be asked."""

    def __init__(self, connection: Connection) -> None:
        #: For the SQL beside this module, and for nobody else.
        self.connection = self._connection = connection
        self._is_postgresql = connection.dialect.name == "postgresql"

    def load_schema_version(self) -> str:
        """The revision the database is at (Alembic's table)."""
        version: str = self.connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        return version


class WriteTransaction(ReadTransaction):
    """What can be done."""

    def replace_rows(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows, full and in the order of the columns, in place of those with the same key."""
        if not rows:
            return
        names = table.columns.keys()
        if not self._is_postgresql:
            places = ", ".join("?" * len(names))
            statement = f"INSERT OR REPLACE INTO {table.name} VALUES ({places})"
            self._connection.exec_driver_sql(statement, list(rows))
            return
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        keys = [(column.name, names.index(column.name), _PG_TYPES[type(column.type)]) for column in table.primary_key]
        same = " AND ".join(f"old.{name} = new.{name}" for name, _, _ in keys)
        lists = ", ".join(f"%s::{kind}[]" for _, _, kind in keys)
        with driver.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table.name} old USING unnest({lists}) new ({', '.join(key[0] for key in keys)}) "
                f"WHERE {same}",
                [[row[place] for row in rows] for _, place, _ in keys],
            )
            with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types([_PG_TYPES[type(column.type)] for column in table.columns])
                for row in rows:
                    copy.write_row(row)

    def create_partitions(self, numbers: Iterable[int]) -> None:
        """Make the partitions of these numbers that are missing (PostgreSQL)."""
        for number in numbers:
            for table in tables.PARTITIONED_TABLES:
                self._create_partition(table.name, number)

    def _create_partition(self, table: str, number: int) -> None:
        name, start_s = f"{table}_p{number}", number * PARTITION_S
        if self._connection.execute(select(func.to_regclass(name))).scalar() is None:
            # Attached, not created in place: ATTACH lets others read and write the table meanwhile.
            for statement in (
                f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)",
                f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({start_s}) TO ({start_s + PARTITION_S})",
            ):
                self._connection.execute(text(statement))

    def lock_partitions(self) -> None:
        """Wait until no other transaction makes partitions."""
        self._connection.execute(select(func.pg_advisory_xact_lock(PARTITION_LOCK)))


#: PostgreSQL's words for the types of columns that ``Writer.replace`` writes.
_PG_TYPES = {
    Integer: "int4",
    SmallInteger: "int2",
    BigInteger: "int8",
    Boolean: "bool",
    LargeBinary: "bytea",
    String: "varchar",
}


class Store:
    """The database as the rest of the collector sees it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: Partitions known to exist. A process that drops one makes its next insert fail once (``db``).
        self._partitions: set[int] = set()
        #: Turns that threads of this process have (``turn``).
        self._locks_in_process: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[ReadTransaction]:
        """A transaction that sees one moment."""
        with self._database.read() as connection:
            yield ReadTransaction(connection)

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """A transaction that is durable when the ``with`` ends; StoreUnavailableError if that is not certain."""
        try:
            with self._database.write() as connection:
                yield WriteTransaction(connection)
        except StoreUnavailableError:
            self._partitions = set()
            raise

    def transact(self, work: Callable[[WriteTransaction], Result]) -> Result:
        """What ``work`` returns, once it is durable: for the many and small (``Database.transact``)."""
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
        """Look again for what is there: some were dropped."""
        self._partitions = set()

    @contextmanager
    def try_lock(self, lock: int, key: int) -> Iterator[bool]:
        """True if nobody else has this turn until the ``with`` ends. Waits for nobody."""
        with self._lock:
            is_ours = (lock, key) not in self._locks_in_process
            self._locks_in_process.add((lock, key))
        try:
            if self._database.is_sqlite or not is_ours:
                yield is_ours
                return
            # A transaction of its own, in which nothing else is done: it ends with the process, whatever happens.
            with self.write() as writer:
                yield writer.connection.execute(select(func.pg_try_advisory_xact_lock(lock, key))).scalar_one()
        finally:
            if is_ours:
                with self._lock:
                    self._locks_in_process.discard((lock, key))

    def ensure_partitions(self, times: Iterable[int]) -> None:
        """Make sure that windows of these times have a place; before the transaction that writes them.

        In a transaction of its own: an ingest that waited for the lock while holding rows could deadlock.
        """
        if self._database.is_sqlite:
            return
        missing = {t // PARTITION_S for t in times} - self._partitions
        if missing:
            with self.write() as writer:
                writer.lock_partitions()
                writer.create_partitions(sorted(missing))
            self._partitions = self._partitions | missing
