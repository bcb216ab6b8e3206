"""SQL of the mesh: versions of the mesh file, ids and sites of agents and targets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Table, func, insert, select

from leadline_collector.db import tables

#: Advisory lock for changes of the mesh.
MESH_LOCK = 53235465
#: Names in one IN (…): SQLite allows 32,766 parameters in a statement.
IN_VALUES_MAX = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMesh:
    """An applied mesh file."""

    version: int
    text: str
    sha256: bytes
    applied_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedId:
    """An agent or a target with its id and site; the site never changes."""

    id: int
    name: str
    site: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PathIds:
    """Database ids of a path."""

    src_id: int
    dst_id: int
    #: The source is an imported file, not an agent.
    imported: bool = False


def lock_mesh(connection: Connection) -> None:
    """Wait until no other transaction changes the mesh."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(MESH_LOCK)))


def load_stored_mesh(connection: Connection) -> StoredMesh | None:
    """Return the active mesh file; None before the first."""
    rows = connection.execute(select(tables.mesh_version).order_by(tables.mesh_version.c.version.desc()).limit(1))
    row = rows.one_or_none()
    if row is None:
        return None
    return StoredMesh(version=row.version, text=row.text, sha256=row.sha256, applied_at_s=row.applied_at)


def load_mesh_version(connection: Connection) -> int:
    """Return the active version; 0 before the first."""
    return connection.execute(select(func.max(tables.mesh_version.c.version))).scalar_one() or 0


def load_agent_ids(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """Return the ids of the names that are agents in any version of the mesh."""
    return _load_ids(connection, tables.agent.c.name, tables.agent.c.id, names)


def load_target_ids(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """Return the ids of the names that are targets in any version of the mesh."""
    return _load_ids(connection, tables.target.c.name, tables.target.c.id, names)


def _load_ids(connection: Connection, name: Column[str], number: Column[int], names: Collection[str]) -> dict[str, int]:
    ids: dict[str, int] = {}
    # PostgreSQL refuses a NUL in a parameter; no registered name has one.
    valid_names = [text for text in names if "\0" not in text]
    for start in range(0, len(valid_names), IN_VALUES_MAX):
        rows = connection.execute(select(name, number).where(name.in_(valid_names[start : start + IN_VALUES_MAX])))
        ids.update((row[0], row[1]) for row in rows)
    return ids


def load_agents(connection: Connection) -> list[NamedId]:
    """Return every agent of any version of the mesh."""
    return _load_named_ids(connection, tables.agent)


def load_targets(connection: Connection) -> list[NamedId]:
    """Return every target of any version of the mesh."""
    return _load_named_ids(connection, tables.target)


def _load_named_ids(connection: Connection, table: Table) -> list[NamedId]:
    query = select(table.c.id, table.c.name, tables.site.c.name).join_from(table, tables.site)
    rows = connection.execute(query.order_by(table.c.id))
    return [NamedId(id=row[0], name=row[1], site=row[2]) for row in rows]


def insert_mesh(connection: Connection, mesh: StoredMesh) -> None:
    """Add a mesh file; the highest version is active."""
    connection.execute(
        insert(tables.mesh_version).values(
            version=mesh.version, text=mesh.text, sha256=mesh.sha256, applied_at=mesh.applied_at_s
        )
    )


def register_names(
    connection: Connection, sites: Iterable[str], agents: Mapping[str, str], targets: Mapping[str, str]
) -> None:
    """Assign an id to every new name; ``agents`` and ``targets`` map names to sites."""
    _insert_missing_names(connection, tables.site, [{"name": name} for name in sites])
    site_ids = {row.name: row.id for row in connection.execute(select(tables.site))}
    for table, names in ((tables.agent, agents), (tables.target, targets)):
        _insert_missing_names(
            connection, table, [{"name": name, "site_id": site_ids[site]} for name, site in names.items()]
        )


def _insert_missing_names(connection: Connection, table: Table, rows: list[dict[str, object]]) -> None:
    # Select first: on PostgreSQL a conflicting INSERT still consumes an id.
    present_names = set(connection.execute(select(table.c.name)).scalars())
    if new_rows := [row for row in rows if row["name"] not in present_names]:
        connection.execute(insert(table), new_rows)


class ActiveTargetCache:
    """Cache of target ids by name, reloaded after a change of the active mesh, also by a restored database."""

    def __init__(self) -> None:
        #: The active mesh (version, digest) of the cached ids, and the ids.
        self._entry: tuple[object, Mapping[str, int]] = (None, {})

    def load(self, connection: Connection) -> tuple[int, Mapping[str, int]]:
        """Return the active mesh version (0 before the first) and the id of every target of any version."""
        row = connection.execute(_ACTIVE_MESH_QUERY).first()
        active_mesh = None if row is None else (row[0], row[1])
        cached_mesh, target_ids = self._entry
        if cached_mesh != active_mesh:
            rows = connection.execute(select(tables.target.c.name, tables.target.c.id))
            target_ids = {row[0]: row[1] for row in rows}
            self._entry = (active_mesh, target_ids)
        return (0 if active_mesh is None else active_mesh[0]), target_ids


_ACTIVE_MESH_QUERY = (
    select(tables.mesh_version.c.version, tables.mesh_version.c.sha256)
    .order_by(tables.mesh_version.c.version.desc())
    .limit(1)
)
