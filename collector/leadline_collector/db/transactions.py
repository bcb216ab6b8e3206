"""The only SQL, with ``journal``, ``gap_records``, ``credentials``, ``signing_keys`` and ``audit``.

``Store.read()`` and ``Store.write()`` open a transaction and give out what can be done in it.

Rule 1: a ``Reader`` changes nothing, a ``Writer`` can do both; neither commits, the ``with`` does (``db``).
Rule 2: statements run on both databases; where they differ, the difference stands here and nowhere else.
Rule 3: every query goes over a key or an index, or has a LIMIT.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import psycopg
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
)

from leadline.model import WINDOW_S
from leadline_collector.auth import key_store
from leadline_collector.auth.key_store import Holder
from leadline_collector.db import audit_log, tables
from leadline_collector.db.audit_log import Act
from leadline_collector.db.engine import Database, StoreUnavailableError
from leadline_collector.db.tables import PARTITION_S, window_stat
from leadline_collector.rollup import dirty_hours, hour_reader
from leadline_collector.windows.rows import COLUMNS, BatchKey, WindowRow
from leadline_verdict.series import PathSeries

#: First key of the advisory locks that let one agent's batches take turns; the second is the agent's id.
AGENT_LOCK = 53235464
#: Advisory lock for changes of the mesh.
MESH_LOCK = 53235465
#: Advisory lock for new partitions.
PARTITION_LOCK = 53235466
#: Names and keys in one IN (…): SQLite allows 32,766 parameters in a statement.
IN_MAX = 8_192

#: (dst_id, t): which window of an agent.
Place: TypeAlias = tuple[int, int]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMesh:
    """A mesh file as it was applied."""

    version: int
    text: str
    sha256: bytes
    applied_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """An agent or a target as the database knows it; its site never changes."""

    id: int
    name: str
    site: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PathIds:
    """A path in the numbers of the database."""

    src_id: int
    dst_id: int
    #: The source is no agent: its windows came out of a file.
    imported: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Island:
    """Windows of a path from [start_s, end_s), none missing, all measured under one version of the mesh."""

    start_s: int
    end_s: int
    dst_id: int
    mesh_version: int


class Reader:
    """What can be asked."""

    def __init__(self, connection: Connection) -> None:
        #: For the SQL beside this module, and for nobody else.
        self.connection = self._connection = connection
        self._is_postgresql = connection.dialect.name == "postgresql"

    def mesh(self) -> StoredMesh | None:
        """The mesh in force; None before the first was applied."""
        rows = self._connection.execute(
            select(tables.mesh_version).order_by(tables.mesh_version.c.version.desc()).limit(1)
        )
        row = rows.one_or_none()
        if row is None:
            return None
        return StoredMesh(version=row.version, text=row.text, sha256=row.sha256, applied_at_s=row.applied_at)

    def mesh_version(self) -> int:
        """The version in force; 0 before the first."""
        return self._connection.execute(select(func.max(tables.mesh_version.c.version))).scalar_one() or 0

    def agent_ids(self, names: Collection[str]) -> dict[str, int]:
        """The ids of those names that are agents in any version of the mesh."""
        return self._ids(tables.agent.c.name, tables.agent.c.id, names)

    def target_ids(self, names: Collection[str]) -> dict[str, int]:
        """The ids of those names that are targets in any version of the mesh."""
        return self._ids(tables.target.c.name, tables.target.c.id, names)

    def _ids(self, name: Column[str], number: Column[int], names: Collection[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        # No name has a NUL, and PostgreSQL would not even take the question.
        wanted = [one for one in names if "\0" not in one]
        for start in range(0, len(wanted), IN_MAX):
            rows = self._connection.execute(select(name, number).where(name.in_(wanted[start : start + IN_MAX])))
            found.update((row[0], row[1]) for row in rows)
        return found

    def agents(self) -> list[Numbered]:
        """Every name that was an agent in any version of the mesh."""
        return self._numbered(tables.agent)

    def targets(self) -> list[Numbered]:
        """Every name that was a target in any version of the mesh."""
        return self._numbered(tables.target)

    def _numbered(self, table: Table) -> list[Numbered]:
        query = select(table.c.id, table.c.name, tables.site.c.name).join_from(table, tables.site)
        rows = self._connection.execute(query.order_by(table.c.id))
        return [Numbered(id=row[0], name=row[1], site=row[2]) for row in rows]

    def agent_of_key(self, sha256: bytes, now_s: int) -> Holder | None:
        """Who holds the live agent key with this digest."""
        return key_store.holder(self.connection, sha256, now_s)

    def is_admin_key(self, sha256: bytes) -> bool:
        """True if the administrator's key has this digest."""
        return key_store.is_admin_key(self.connection, sha256)

    def schema_version(self) -> str:
        """The revision the database is at (Alembic's table)."""
        version: str = self.connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        return version

    def stored_windows(self, src_id: int, places: Collection[Place]) -> dict[Place, BatchKey | None]:
        """Those of the places that have a row, with the batch that last had a say in it; None if it is simulated."""
        dst_ids, times = {dst_id for dst_id, _ in places}, {t for _, t in places}
        column = window_stat.c
        query = select(column.dst_id, column.t, column.epoch, column.seq).where(
            column.src_id == src_id, column.dst_id.in_(dst_ids), column.t.in_(times)
        )
        found = {(row[0], row[1]): _key(row[2], row[3]) for row in self._connection.execute(query)}
        return {place: found[place] for place in places if place in found}

    def path_islands(self, src_id: int, start_s: int, end_s: int) -> list[Island]:
        """The windows of an agent in [start_s, end_s) as runs without a hole, each of one target and mesh version."""
        dst_ids = select(tables.target.c.id)
        column = window_stat.c
        # Minutes in a row keep their distance to their own number (gaps and islands).
        run = column.t - WINDOW_S * func.row_number().over(
            partition_by=(column.dst_id, column.mesh_version), order_by=column.t
        )
        runs = (
            select(column.dst_id, column.mesh_version, column.t, run.label("run"))
            .where(column.src_id == src_id, column.dst_id.in_(dst_ids), column.t >= start_s, column.t < end_s)
            .subquery()
        )
        query = select(runs.c.dst_id, runs.c.mesh_version, func.min(runs.c.t), func.max(runs.c.t) + WINDOW_S)
        rows = self._connection.execute(query.group_by(runs.c.dst_id, runs.c.mesh_version, runs.c.run))
        return sorted(Island(dst_id=row[0], mesh_version=row[1], start_s=row[2], end_s=row[3]) for row in rows)

    def path_windows(
        self, path: PathIds, columns: Sequence[str], start_s: int, end_s: int, limit: int | None = None
    ) -> Sequence[tuple[Any, ...]]:
        """The named columns of a path's windows in [start_s, end_s), by time."""
        column = window_stat.c
        query = (
            select(*(column[name] for name in columns))
            .where(_of_path(path, start_s, end_s))
            .order_by(column.t)
            .limit(limit)
        )
        return _plain(self._connection.execute(query))

    def series(self, path: PathIds, start_s: int, end_s: int) -> PathSeries:
        """The windows of a path in [start_s, end_s), whole minutes: exact, also where ``window_stat`` is gone."""
        return hour_reader.series(self._connection, path.src_id, path.dst_id, start_s, end_s)


class Writer(Reader):
    """What can be done."""

    def __init__(self, connection: Connection, targets: _Targets) -> None:
        super().__init__(connection)
        self._targets = targets

    def take_turn(self, src_id: int) -> None:
        """Wait until no other transaction stores for this agent. SQLite has one writer anyway."""
        if self._is_postgresql:
            self._connection.execute(select(func.pg_advisory_xact_lock(AGENT_LOCK, src_id)))

    def take_mesh(self) -> None:
        """Wait until no other transaction changes the mesh."""
        if self._is_postgresql:
            self._connection.execute(select(func.pg_advisory_xact_lock(MESH_LOCK)))

    def targets_in_force(self) -> tuple[int, Mapping[str, int]]:
        """The version of the mesh in force, and the number of every name that was a target in any version."""
        return self._targets.of(self)

    def add_windows(self, src_id: int, rows: Sequence[WindowRow]) -> None:
        """Write rows of an agent's windows that have none, and mark their hours.

        Their partitions must be there (``Store.make_partitions``).
        """
        if not rows:
            return
        dirty_hours.mark(self._connection, src_id, _times(rows))
        if self._is_postgresql:
            self._copy_windows(rows)
        else:
            self._connection.exec_driver_sql(_INSERT_WINDOW, list(rows))

    def add_free_windows(self, src_id: int, key: BatchKey, rows: Sequence[WindowRow]) -> set[Place]:
        """Write the rows of a batch whose windows have none yet; the places of the others, which stay as they are.

        The hours of all of them are marked.
        """
        if not rows:
            return set()
        dirty_hours.mark(self._connection, src_id, _times(rows))
        if not self._is_postgresql:
            return self._insert_free_windows(src_id, key, rows)
        try:
            with self._connection.begin_nested():
                self._copy_windows(rows)
        except psycopg.errors.UniqueViolation:  # rare: an agent was restarted within the minute
            taken = self.stored_windows(src_id, [_place(row) for row in rows]).keys()
            self._copy_windows([row for row in rows if _place(row) not in taken])
            return set(taken)
        return set()

    def _insert_free_windows(self, src_id: int, key: BatchKey, rows: Sequence[WindowRow]) -> set[Place]:
        driver = self._connection.connection.driver_connection
        assert driver is not None
        if driver.executemany(f"{_INSERT_WINDOW} ON CONFLICT DO NOTHING", rows).rowcount == len(rows):
            return set()
        found = self.stored_windows(src_id, [_place(row) for row in rows])
        return {place for place, writer in found.items() if writer != key}

    def _copy_windows(self, rows: Iterable[WindowRow]) -> None:
        # Through the driver, in the transaction of the connection: SQLAlchemy has no COPY. One text for all rows:
        # the driver takes three times as long to write a row as % does.
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        with driver.cursor() as cursor, cursor.copy(_COPY_WINDOWS) as copy:
            copy.write("".join([_COPY_ROW % (*row[:_EPOCH], _bytea(row[_EPOCH]), row[_SEQ]) for row in rows]))

    def replace(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows, full and in the order of the columns, in place of those with the same key."""
        if not rows:
            return
        names = table.columns.keys()
        if not self._is_postgresql:
            places = ", ".join("?" * len(names))
            statement = f"INSERT OR REPLACE INTO {table.name} VALUES ({places})"  # noqa: S608
            self._connection.exec_driver_sql(statement, list(rows))
            return
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        keys = [(column.name, names.index(column.name), _TYPES[type(column.type)]) for column in table.primary_key]
        same = " AND ".join(f"old.{name} = new.{name}" for name, _, _ in keys)
        lists = ", ".join(f"%s::{kind}[]" for _, _, kind in keys)
        with driver.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table.name} old USING unnest({lists}) new ({', '.join(key[0] for key in keys)}) "  # noqa: S608
                f"WHERE {same}",
                [[row[place] for row in rows] for _, place, _ in keys],
            )
            with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types([_TYPES[type(column.type)] for column in table.columns])
                for row in rows:
                    copy.write_row(row)

    def remove_windows(self, src_id: int, windows: Collection[Place]) -> None:
        """Make room for rows that replace those of these (dst_id, t)."""
        column = window_stat.c
        statement = delete(window_stat).where(
            column.src_id == src_id, column.dst_id == bindparam("dst"), column.t == bindparam("time")
        )
        self._connection.execute(statement, [{"dst": dst_id, "time": t} for dst_id, t in windows])

    def add_mesh(self, mesh: StoredMesh) -> None:
        """Put a mesh file in force."""
        self._connection.execute(
            insert(tables.mesh_version).values(
                version=mesh.version, text=mesh.text, sha256=mesh.sha256, applied_at=mesh.applied_at_s
            )
        )

    def add_names(self, sites: Iterable[str], agents: Mapping[str, str], targets: Mapping[str, str]) -> None:
        """Give a number to every name that has none; ``agents`` and ``targets`` say the site of each."""
        self._add_new(tables.site, [{"name": name} for name in sites])
        site_ids = {row.name: row.id for row in self._connection.execute(select(tables.site))}
        for table, names in ((tables.agent, agents), (tables.target, targets)):
            self._add_new(table, [{"name": name, "site_id": site_ids[site]} for name, site in names.items()])

    def _add_new(self, table: Table, rows: list[dict[str, object]]) -> None:
        # Looked up first: on PostgreSQL a refused INSERT still uses up a number.
        known = set(self._connection.execute(select(table.c.name)).scalars())
        if new := [row for row in rows if row["name"] not in known]:
            self._connection.execute(insert(table), new)

    def record(self, act: Act) -> None:
        """Put into the audit what this transaction does."""
        audit_log.record(self.connection, act)

    def make_partitions(self, numbers: Iterable[int]) -> None:
        """Make the partitions of these numbers that are missing (PostgreSQL)."""
        for number in numbers:
            for table in tables.PARTITIONED:
                self._make_partition(table.name, number)

    def _make_partition(self, table: str, number: int) -> None:
        name, start_s = f"{table}_p{number}", number * PARTITION_S
        if self._connection.execute(select(func.to_regclass(name))).scalar() is None:
            # Attached, not created in place: ATTACH lets others read and write the table meanwhile.
            for statement in (
                f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)",
                f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({start_s}) TO ({start_s + PARTITION_S})",
            ):
                self._connection.execute(text(statement))

    def take_partitions(self) -> None:
        """Wait until no other transaction makes partitions."""
        self._connection.execute(select(func.pg_advisory_xact_lock(PARTITION_LOCK)))


_NAMES = ", ".join(COLUMNS)
_INSERT_WINDOW = f"INSERT INTO {window_stat.name} ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
#: Python writes None as "None"; nothing else in a row reads so.
_COPY_WINDOWS = f"COPY {window_stat.name} ({_NAMES}) FROM STDIN (NULL 'None')"
_COPY_ROW = "\t".join(["%s"] * len(COLUMNS)) + "\n"
_EPOCH, _SEQ = COLUMNS.index("epoch"), COLUMNS.index("seq")
assert (len(COLUMNS) - 2, len(COLUMNS) - 1) == (_EPOCH, _SEQ)  # as ``_copy_windows`` takes a row apart


#: PostgreSQL's words for the types of columns that ``Writer.replace`` writes.
_TYPES = {
    Integer: "int4",
    SmallInteger: "int2",
    BigInteger: "int8",
    Boolean: "bool",
    LargeBinary: "bytea",
    String: "varchar",
}


def _bytea(data: object) -> str | None:
    """Bytes as PostgreSQL reads them in a COPY, where a backslash has to be doubled."""
    return f"\\\\x{data.hex()}" if isinstance(data, bytes) else None


def _place(row: WindowRow) -> Place:
    dst_id, t = row[1], row[2]
    assert isinstance(dst_id, int)
    assert isinstance(t, int)
    return dst_id, t


def _times(rows: Sequence[WindowRow]) -> set[int]:
    return {row[2] for row in rows}  # type: ignore[misc]  # the third column is the time


def _key(epoch: bytes | None, seq: int | None) -> BatchKey | None:
    return None if epoch is None or seq is None else BatchKey(epoch=epoch, seq=seq)


def _plain(result: CursorResult[Any]) -> Sequence[tuple[Any, ...]]:
    """All rows as the driver's tuples: at a million rows SQLAlchemy's own take as long again."""
    rows: Sequence[tuple[Any, ...]] = result.cursor.fetchall()
    result.close()
    return rows


def _of_path(path: PathIds, start_s: int, end_s: int) -> ColumnElement[bool]:
    column = window_stat.c
    return and_(column.src_id == path.src_id, column.dst_id == path.dst_id, column.t >= start_s, column.t < end_s)


class _Targets:
    """The numbers of the targets, read anew when another mesh is in force, or a database that has another one."""

    def __init__(self) -> None:
        self._of: tuple[object, Mapping[str, int]] = (None, {})

    def of(self, reader: Reader) -> tuple[int, Mapping[str, int]]:
        """The version in force and the numbers, as ``reader`` sees them."""
        row = reader.connection.execute(_MESH_IN_FORCE).first()
        in_force = None if row is None else (row[0], row[1])
        known, numbers = self._of
        if known != in_force:
            rows = reader.connection.execute(select(tables.target.c.name, tables.target.c.id))
            numbers = {row[0]: row[1] for row in rows}
            self._of = (in_force, numbers)
        return (0 if in_force is None else in_force[0]), numbers


_MESH_IN_FORCE = (
    select(tables.mesh_version.c.version, tables.mesh_version.c.sha256)
    .order_by(tables.mesh_version.c.version.desc())
    .limit(1)
)


class Store:
    """The database as the rest of the collector sees it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: Partitions known to exist. A process that drops one makes its next insert fail once (``db``).
        self._partitions: set[int] = set()
        self._targets = _Targets()
        #: Turns that threads of this process have (``turn``).
        self._turns: set[tuple[int, int]] = set()
        self._guard = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A transaction that sees one moment."""
        with self._database.read() as connection:
            yield Reader(connection)

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """A transaction that is durable when the ``with`` ends; StoreUnavailableError if that is not certain."""
        try:
            with self._database.write() as connection:
                yield Writer(connection, self._targets)
        except StoreUnavailableError:
            self._partitions = set()
            raise

    def transact(self, work: Callable[[Writer], Result]) -> Result:
        """What ``work`` returns, once it is durable: for the many and small (``Database.transact``)."""
        try:
            return self._database.transact(lambda connection: work(Writer(connection, self._targets)))
        except StoreUnavailableError:
            self._partitions = set()
            raise

    @property
    def is_sqlite(self) -> bool:
        """True for the embedded database."""
        return self._database.is_sqlite

    def forget_partitions(self) -> None:
        """Look again for what is there: some were dropped."""
        self._partitions = set()

    @contextmanager
    def turn(self, lock: int, key: int) -> Iterator[bool]:
        """True if nobody else has this turn until the ``with`` ends. Waits for nobody."""
        with self._guard:
            is_ours = (lock, key) not in self._turns
            self._turns.add((lock, key))
        try:
            if self._database.is_sqlite or not is_ours:
                yield is_ours
                return
            # A transaction of its own, in which nothing else is done: it ends with the process, whatever happens.
            with self.write() as writer:
                yield writer.connection.execute(select(func.pg_try_advisory_xact_lock(lock, key))).scalar_one()
        finally:
            if is_ours:
                with self._guard:
                    self._turns.discard((lock, key))

    def make_partitions(self, times: Iterable[int]) -> None:
        """Make sure that windows of these times have a place; before the transaction that writes them.

        In a transaction of its own: an ingest that waited for the lock while holding rows could deadlock.
        """
        if self._database.is_sqlite:
            return
        missing = {t // PARTITION_S for t in times} - self._partitions
        if missing:
            with self.write() as writer:
                writer.take_partitions()
                writer.make_partitions(sorted(missing))
            self._partitions = self._partitions | missing
