"""The only SQL. ``Store.read()`` and ``Store.write()`` open a transaction and give out what can be done in it.

Rule 1: a ``Reader`` changes nothing, a ``Writer`` can do both; neither commits, the ``with`` does (``db``).
Rule 2: statements run on both databases; where they differ, the difference stands here and nowhere else.
Rule 3: every query goes over a key or an index, or has a LIMIT.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from leadline_collector import tables
from leadline_collector.db import Database, StoreUnavailableError
from leadline_collector.tables import PARTITION_S, window_stat
from leadline_collector.windows import COLUMNS, BatchKey, WindowRow

#: First key of the advisory locks that let one agent's batches take turns; the second is the agent's id.
AGENT_LOCK = 53235464
#: Advisory lock for changes of the mesh.
MESH_LOCK = 53235465
#: Advisory lock for new partitions.
PARTITION_LOCK = 53235466
#: Two, so that a key can be changed without a moment in which none works.
LIVE_KEYS_MAX = 2
#: Bodies read ahead: of at most a megabyte each.
BODIES_AT_ONCE = 8
#: Names and keys in one IN (…): SQLite allows 32,766 parameters in a statement.
IN_MAX = 8_192


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
class JournalEntry:
    """A batch as it was received."""

    src_id: int
    key: BatchKey
    received_at_s: int
    sha256: bytes
    mesh_version: int
    #: Start of the earliest and the latest window in it; None without windows.
    t_first: int | None
    t_last: int | None
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PathIds:
    """A path in the numbers of the database."""

    src_id: int
    dst_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSummary:
    """What the windows of a path in a period have in common."""

    path: PathIds
    #: One at least.
    windows: int
    #: None if no window has a reply.
    min_us: int | None
    #: Start of the latest window.
    latest_t: int
    #: True if any window came from no agent.
    simulated: bool


class Reader:
    """What can be asked."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
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
        wanted = list(names)
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

    def agent_of_key(self, sha256: bytes) -> Numbered | None:
        """The agent whose live key has this digest."""
        found = self._connection.execute(
            select(tables.agent.c.id, tables.agent.c.name, tables.site.c.name)
            .select_from(tables.agent_key)
            .join(tables.agent)
            .join(tables.site)
            .where(tables.agent_key.c.sha256 == sha256, tables.agent_key.c.revoked_at.is_(None))
        ).one_or_none()
        return Numbered(id=found[0], name=found[1], site=found[2]) if found else None

    def is_admin_key(self, sha256: bytes) -> bool:
        """True if the administrator's key has this digest."""
        query = select(tables.admin_key.c.sha256).where(tables.admin_key.c.sha256 == sha256)
        return self._connection.execute(query).first() is not None

    def has_admin_key(self) -> bool:
        """True once an administrator's key was made."""
        return self._connection.execute(select(tables.admin_key.c.sha256).limit(1)).first() is not None

    def batch_sha256(self, src_id: int, key: BatchKey) -> bytes | None:
        """The digest of the batch of this name; None if there is none."""
        query = select(tables.batch.c.sha256).where(_is_batch(src_id, key))
        return self._connection.execute(query).scalar_one_or_none()

    def bodies(self, src_id: int, t_first: int, t_last: int) -> Iterator[tuple[BatchKey, bytes]]:
        """The batches of an agent that may hold windows of ``t_first`` to ``t_last``, both included."""
        batch = tables.batch.c
        overlap = (batch.src_id == src_id, batch.t_last >= t_first, batch.t_first <= t_last)
        query = select(batch.epoch, batch.seq, batch.body).where(*overlap).order_by(batch.t_last)
        with self._connection.execute(query.execution_options(yield_per=BODIES_AT_ONCE)) as rows:
            yield from ((BatchKey(epoch=row[0], seq=row[1]), row[2]) for row in rows)

    def stored_windows(self, src_id: int, windows: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
        """Those of the (dst_id, t) that have a row."""
        dst_ids, times = {dst_id for dst_id, _ in windows}, {t for _, t in windows}
        column = window_stat.c
        query = select(column.dst_id, column.t).where(
            column.src_id == src_id, column.dst_id.in_(dst_ids), column.t.in_(times)
        )
        return {(row[0], row[1]) for row in self._connection.execute(query)} & set(windows)

    def path_summary(self, path: PathIds, start_s: int, end_s: int) -> PathSummary | None:
        """What a path's windows in [start_s, end_s) have in common; None if there are none."""
        column = window_stat.c
        totals = (func.count(), func.min(column.min_us), func.max(column.t), func.count(column.epoch))
        row = self._connection.execute(select(*totals).where(_of_path(path, start_s, end_s))).one()
        if not row[0]:
            return None
        return PathSummary(path=path, windows=row[0], min_us=row[1], latest_t=row[2], simulated=row[3] < row[0])

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

    def path_counts(self, path: PathIds, columns: Sequence[str], start_s: int, end_s: int) -> Sequence[tuple[Any, ...]]:
        """How often each combination of the named columns occurs in [start_s, end_s): the columns, then the count."""
        chosen = [window_stat.c[name] for name in columns]
        query = select(*chosen, func.count()).where(_of_path(path, start_s, end_s)).group_by(*chosen)
        return _plain(self._connection.execute(query))


class Writer(Reader):
    """What can be done."""

    def take_turn(self, src_id: int) -> None:
        """Wait until no other transaction stores for this agent. SQLite has one writer anyway."""
        if self._is_postgresql:
            self._connection.execute(select(func.pg_advisory_xact_lock(AGENT_LOCK, src_id)))

    def take_mesh(self) -> None:
        """Wait until no other transaction changes the mesh."""
        if self._is_postgresql:
            self._connection.execute(select(func.pg_advisory_xact_lock(MESH_LOCK)))

    def add_batch(self, entry: JournalEntry) -> bool:
        """Write the journal; False, and nothing done, if the agent's batch of this name is there already."""
        # RETURNING instead of a row count: psycopg reports -1 for INSERT … ON CONFLICT.
        statement = self._insert_new(tables.batch).values(
            src_id=entry.src_id,
            epoch=entry.key.epoch,
            seq=entry.key.seq,
            received_at=entry.received_at_s,
            sha256=entry.sha256,
            mesh_version=entry.mesh_version,
            t_first=entry.t_first,
            t_last=entry.t_last,
            body=entry.body,
        )
        return self._connection.execute(statement.returning(tables.batch.c.seq)).first() is not None

    def add_windows(self, rows: Sequence[WindowRow]) -> None:
        """Write rows of windows that have none; their partitions must be there (``Store.make_partitions``)."""
        if not rows:
            return
        if self._is_postgresql:
            self._copy_windows(rows)
        else:
            self._connection.exec_driver_sql(_INSERT_WINDOW, list(rows))

    def _copy_windows(self, rows: Iterable[WindowRow]) -> None:
        # Through the driver, in the transaction of the connection: SQLAlchemy has no COPY.
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        with driver.cursor() as cursor, cursor.copy(_COPY_WINDOWS) as copy:
            for row in rows:
                copy.write_row(row)

    def remove_windows(self, src_id: int, windows: Collection[tuple[int, int]]) -> None:
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

    def _insert_new(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        if self._is_postgresql:
            return postgresql.insert(table).on_conflict_do_nothing()
        return sqlite.insert(table).on_conflict_do_nothing()

    def add_token(self, sha256: bytes, site: str, now_s: int, expires_at_s: int) -> bool:
        """Remember an enrolment token; False if no mesh ever had that site."""
        site_id = self._connection.execute(select(tables.site.c.id).where(tables.site.c.name == site)).scalar()
        if site_id is None:
            return False
        row = {"sha256": sha256, "site_id": site_id, "created_at": now_s, "expires_at": expires_at_s}
        self._connection.execute(insert(tables.enrol_token).values(row))
        return True

    def use_token(self, sha256: bytes, now_s: int) -> str | None:
        """Use a token up and return its site; None if it is unknown, used or expired."""
        token = tables.enrol_token.c
        used = self._connection.execute(
            update(tables.enrol_token)
            .where(token.sha256 == sha256, token.used_at.is_(None), token.expires_at > now_s)
            .values(used_at=now_s)
            .returning(token.site_id)
        ).scalar()
        if used is None:
            return None
        site: str = self._connection.execute(select(tables.site.c.name).where(tables.site.c.id == used)).scalar_one()
        return site

    def add_agent_key(self, sha256: bytes, agent: str, now_s: int) -> None:
        """Give an agent a key; of its live keys only the newest ``LIVE_KEYS_MAX`` stay."""
        agent_id = self.agent_ids([agent])[agent]
        key = tables.agent_key.c
        live = select(key.sha256).where(key.agent_id == agent_id, key.revoked_at.is_(None))
        older = self._connection.execute(live.order_by(key.created_at.desc())).scalars().all()[LIVE_KEYS_MAX - 1 :]
        self._connection.execute(update(tables.agent_key).where(key.sha256.in_(older)).values(revoked_at=now_s))
        self._connection.execute(insert(tables.agent_key).values(sha256=sha256, agent_id=agent_id, created_at=now_s))

    def set_admin_key(self, sha256: bytes, now_s: int) -> None:
        """Make this the administrator's only key."""
        self._connection.execute(delete(tables.admin_key).where(tables.admin_key.c.sha256 != sha256))
        self._connection.execute(self._insert_new(tables.admin_key).values(sha256=sha256, created_at=now_s))

    def make_partitions(self, numbers: Iterable[int]) -> None:
        """Make the partitions of these numbers that are missing (PostgreSQL)."""
        for number in numbers:
            name = f"{window_stat.name}_p{number}"
            start_s = number * PARTITION_S
            # Attached, not created in place: ATTACH lets others read and write the table meanwhile.
            if self._connection.execute(select(func.to_regclass(name))).scalar() is None:
                for statement in (
                    f"CREATE TABLE {name} (LIKE {window_stat.name} INCLUDING ALL)",
                    f"ALTER TABLE {window_stat.name} ATTACH PARTITION {name} "
                    f"FOR VALUES FROM ({start_s}) TO ({start_s + PARTITION_S})",
                ):
                    self._connection.execute(text(statement))

    def take_partitions(self) -> None:
        """Wait until no other transaction makes partitions."""
        self._connection.execute(select(func.pg_advisory_xact_lock(PARTITION_LOCK)))


_NAMES = ", ".join(COLUMNS)
_INSERT_WINDOW = f"INSERT INTO {window_stat.name} ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_COPY_WINDOWS = f"COPY {window_stat.name} ({_NAMES}) FROM STDIN"


def _plain(result: CursorResult[Any]) -> Sequence[tuple[Any, ...]]:
    """All rows as the driver's tuples: at a million rows SQLAlchemy's own take as long again."""
    rows: Sequence[tuple[Any, ...]] = result.cursor.fetchall()
    result.close()
    return rows


def _of_path(path: PathIds, start_s: int, end_s: int) -> ColumnElement[bool]:
    column = window_stat.c
    return and_(column.src_id == path.src_id, column.dst_id == path.dst_id, column.t >= start_s, column.t < end_s)


def _is_batch(src_id: int, key: BatchKey) -> ColumnElement[bool]:
    batch = tables.batch.c
    return and_(batch.src_id == src_id, batch.epoch == key.epoch, batch.seq == key.seq)


class Store:
    """The database as the rest of the collector sees it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: Partitions known to exist. A process that drops one makes its next insert fail once (``db``).
        self._partitions: set[int] = set()

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
                yield Writer(connection)
        except StoreUnavailableError:
            self._partitions = set()
            raise

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
