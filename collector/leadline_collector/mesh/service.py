"""Mesh versions, registration of names, and the plan of each agent."""

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
    """Return version and content of the active mesh; None before the first."""
    stored = mesh_store.load_stored_mesh(reader.connection)
    return (stored.version, _parse(stored.text)) if stored else None


#: Every request needs the mesh, and parsing one of 500 sites takes seconds. Around a change a few versions are in use.
_parse_cached = lru_cache(maxsize=4)(parse_mesh)
_parse_lock = threading.Lock()


def _parse(text: str) -> Mesh:
    """Parse a mesh file once; concurrent callers wait for the result instead of parsing it too."""
    with _parse_lock:
        return _parse_cached(text)


def load_active_mesh_file(store: Store) -> StoredMesh:
    """Return the active mesh file; raise NotFoundError before the first."""
    with store.read() as reader:
        stored = mesh_store.load_stored_mesh(reader.connection)
    if stored is None:
        raise NotFoundError("there is no active mesh yet: run `leadline mesh apply FILE`")
    return stored


def apply_mesh(store: Store, clock: Clock, body: bytes) -> control.MeshResponse:
    """Make a mesh file the active version, unless it is byte for byte the active one.

    Raise MalformedError for text that is not UTF-8, ConfigError for a wrong mesh file or a name that changed its site.
    """
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
    """Raise ConfigError if a name changed its site: its earlier measurements would move to another pair."""
    for endpoint in endpoints:
        old_site = site_by_target.get(endpoint.name, endpoint.site)
        if old_site != endpoint.site:
            raise ConfigError(
                endpoint.name,
                f"was at site {old_site!r} in an earlier mesh and is at {endpoint.site!r} now: "
                "give it another name, so that its earlier measurements stay with their site",
            )


def load_agent_plan(store: Store, agent: NamedId) -> control.Plan:
    """Return the plan of an agent; it has no targets unless the active mesh contains the agent."""
    with store.read() as reader:
        active_mesh = load_active_mesh(reader)
    if active_mesh is None:
        return control.Plan(mesh_version=0, agent=agent.name, site=agent.site)
    version, mesh = active_mesh
    try:
        return mesh.build_plan(agent.name, version)
    except KeyError:
        return control.Plan(mesh_version=version, agent=agent.name, site=agent.site)
