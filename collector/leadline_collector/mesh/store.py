"""SQL of the mesh: versions of the mesh file; ids and sites of agents and targets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Table, func, insert, select

from leadline_collector.db import tables

#: Advisory lock for changes of the mesh.
MESH_LOCK = 53235465
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
class NamedId:
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


def lock_mesh(connection: Connection) -> None:
    """Wait until no other transaction changes the mesh."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(MESH_LOCK)))


def load_stored_mesh(connection: Connection) -> StoredMesh | None:
    """The mesh in force; None before the first was applied."""
    rows = connection.execute(select(tables.mesh_version).order_by(tables.mesh_version.c.version.desc()).limit(1))
    row = rows.one_or_none()
    if row is None:
        return None
    return StoredMesh(version=row.version, text=row.text, sha256=row.sha256, applied_at_s=row.applied_at)


def load_mesh_version(connection: Connection) -> int:
    """The version in force; 0 before the first."""
    return connection.execute(select(func.max(tables.mesh_version.c.version))).scalar_one() or 0


def load_agent_ids(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """The ids of those names that are agents in any version of the mesh."""
    return _load_ids(connection, tables.agent.c.name, tables.agent.c.id, names)


def load_target_ids(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """The ids of those names that are targets in any version of the mesh."""
    return _load_ids(connection, tables.target.c.name, tables.target.c.id, names)


def _load_ids(connection: Connection, name: Column[str], number: Column[int], names: Collection[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    # No name has a NUL, and PostgreSQL would not even take the question.
    wanted = [one for one in names if "\0" not in one]
    for start in range(0, len(wanted), IN_MAX):
        rows = connection.execute(select(name, number).where(name.in_(wanted[start : start + IN_MAX])))
        found.update((row[0], row[1]) for row in rows)
    return found


def load_agents(connection: Connection) -> list[NamedId]:
    """Every name that was an agent in any version of the mesh."""
    return _load_named_ids(connection, tables.agent)


def load_targets(connection: Connection) -> list[NamedId]:
    """Every name that was a target in any version of the mesh."""
    return _load_named_ids(connection, tables.target)


def _load_named_ids(connection: Connection, table: Table) -> list[NamedId]:
    query = select(table.c.id, table.c.name, tables.site.c.name).join_from(table, tables.site)
    rows = connection.execute(query.order_by(table.c.id))
    return [NamedId(id=row[0], name=row[1], site=row[2]) for row in rows]


def insert_mesh(connection: Connection, mesh: StoredMesh) -> None:
    """Put a mesh file in force."""
    connection.execute(
        insert(tables.mesh_version).values(
            version=mesh.version, text=mesh.text, sha256=mesh.sha256, applied_at=mesh.applied_at_s
        )
    )


def register_names(
    connection: Connection, sites: Iterable[str], agents: Mapping[str, str], targets: Mapping[str, str]
) -> None:
    """Give a number to every name that has none; ``agents`` and ``targets`` say the site of each."""
    _insert_missing_names(connection, tables.site, [{"name": name} for name in sites])
    site_ids = {row.name: row.id for row in connection.execute(select(tables.site))}
    for table, names in ((tables.agent, agents), (tables.target, targets)):
        _insert_missing_names(
            connection, table, [{"name": name, "site_id": site_ids[site]} for name, site in names.items()]
        )


def _insert_missing_names(connection: Connection, table: Table, rows: list[dict[str, object]]) -> None:
    # Looked up first: on PostgreSQL a refused INSERT still uses up a number.
    known = set(connection.execute(select(table.c.name)).scalars())
    if new := [row for row in rows if row["name"] not in known]:
        connection.execute(insert(table), new)


class ActiveTargetCache:
    """Ids of all targets by name; loaded again after the active mesh changed, also by a restored database."""

    def __init__(self) -> None:
        self._of: tuple[object, Mapping[str, int]] = (None, {})

    def load(self, connection: Connection) -> tuple[int, Mapping[str, int]]:
        """Return the active mesh version (0 before the first) and the id of every target of any version."""
        row = connection.execute(_ACTIVE_MESH_QUERY).first()
        in_force = None if row is None else (row[0], row[1])
        known, numbers = self._of
        if known != in_force:
            rows = connection.execute(select(tables.target.c.name, tables.target.c.id))
            numbers = {row[0]: row[1] for row in rows}
            self._of = (in_force, numbers)
        return (0 if in_force is None else in_force[0]), numbers


_ACTIVE_MESH_QUERY = (
    select(tables.mesh_version.c.version, tables.mesh_version.c.sha256)
    .order_by(tables.mesh_version.c.version.desc())
    .limit(1)
)
