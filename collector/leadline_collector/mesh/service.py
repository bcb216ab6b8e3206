"""The mesh as the collector keeps it: versions, who is who, and the plan of each agent."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from functools import lru_cache

from leadline.clock import Clock
from leadline.errors import ConfigError
from leadline.mesh.model import Endpoint, Mesh
from leadline.mesh.parser import parse_mesh
from leadline.wire import control
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import AuditAction, AuditEvent
from leadline_collector.db.transactions import ReadTransaction, Store, WriteTransaction
from leadline_collector.errors import MalformedError, NotFoundError
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import NamedId, StoredMesh

NS_PER_S = 1_000_000_000


def load_active_mesh(reader: ReadTransaction) -> tuple[int, Mesh] | None:
    """Version and meaning of the mesh in force; None before the first was applied."""
    stored = mesh_store.load_stored_mesh(reader.connection)
    return (stored.version, _parse(stored.text)) if stored else None


#: Every request needs the mesh, and one of 500 sites takes seconds; a few versions are in use around a change.
_parse_cached = lru_cache(maxsize=4)(parse_mesh)
_parse_lock = threading.Lock()


def _parse(text: str) -> Mesh:
    """Parsed once: those who come meanwhile wait for it, and do not all parse it side by side."""
    with _parse_lock:
        return _parse_cached(text)


def load_active_mesh_file(store: Store) -> StoredMesh:
    """The mesh file in force; 404 before the first."""
    with store.read() as reader:
        stored = mesh_store.load_stored_mesh(reader.connection)
    if stored is None:
        raise NotFoundError("no mesh is in force yet: run `leadline mesh apply FILE`")
    return stored


def apply_mesh(store: Store, clock: Clock, body: bytes) -> control.MeshResponse:
    """Put a mesh file in force as a new version, unless it is the one in force to the byte."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"the mesh file is not UTF-8: {error}") from error
    mesh = _parse(text)
    sha256 = hashlib.sha256(body).digest()
    with store.write() as writer:
        mesh_store.lock_mesh(writer.connection)
        stored = mesh_store.load_stored_mesh(writer.connection)
        changed = stored is None or stored.sha256 != sha256
        version = (stored.version if stored else 0) + changed
        if changed:
            _register_names(writer, mesh)
            now_s = clock.wall_ns() // NS_PER_S
            mesh_store.insert_mesh(
                writer.connection, StoredMesh(version=version, text=text, sha256=sha256, applied_at_s=now_s)
            )
            detail = {"sha256": sha256.hex()}
            audit_log.add_event(
                writer.connection,
                AuditEvent(
                    at_s=now_s,
                    actor=audit_log.ACTOR_ADMIN,
                    action=AuditAction.MESH_APPLIED,
                    subject=f"version {version}",
                    detail=detail,
                ),
            )
    counts = {"sites": len(mesh.sites), "agents": len(mesh.agents), "pairs": len(mesh.pairs)}
    return control.MeshResponse(version=version, changed=changed, **counts)


def _register_names(writer: WriteTransaction, mesh: Mesh) -> None:
    agents = {agent.name: agent.site for agent in mesh.agents}
    targets = agents | {host.name: host.site for host in mesh.hosts}
    _check_site_moves(
        {target.name: target.site for target in mesh_store.load_targets(writer.connection)}, (*mesh.agents, *mesh.hosts)
    )
    mesh_store.register_names(writer.connection, [site.name for site in mesh.sites], agents, targets)


def _check_site_moves(site_by_target: Mapping[str, str], endpoints: tuple[Endpoint, ...]) -> None:
    """A name belongs to one site for ever: what was measured under it must not change its pair."""
    for endpoint in endpoints:
        before = site_by_target.get(endpoint.name, endpoint.site)
        if before != endpoint.site:
            raise ConfigError(
                endpoint.name,
                f"was at site {before!r} in an earlier mesh and is at {endpoint.site!r} now: "
                "give it another name, so that what was measured before stays with its site",
            )


def load_agent_plan(store: Store, agent: NamedId) -> control.Plan:
    """What an agent has to measure: nothing while no mesh names it."""
    with store.read() as reader:
        found = load_active_mesh(reader)
    if found is None:
        return control.Plan(mesh_version=0, agent=agent.name, site=agent.site)
    version, mesh = found
    try:
        return mesh.build_plan(agent.name, version)
    except KeyError:
        return control.Plan(mesh_version=version, agent=agent.name, site=agent.site)
