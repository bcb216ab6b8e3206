"""Lookup of user-supplied names in the active mesh."""

from __future__ import annotations

from leadline.errors import ConfigError
from leadline.mesh.model import Endpoint, Mesh


def find_target(mesh: Mesh, name: str, address: str | None) -> str:
    """Return the target with a name, or the target of a site; ``address`` selects one of several at the site."""
    endpoints = (*mesh.agents, *mesh.hosts)
    if any(endpoint.name == name for endpoint in endpoints):
        return name
    site_endpoints = [endpoint for endpoint in endpoints if endpoint.site == name]
    if not site_endpoints:
        known_names = ", ".join(
            sorted({*(endpoint.name for endpoint in endpoints), *(endpoint.site for endpoint in endpoints)})
        )
        raise ConfigError("--dst", f"the active mesh has no site, agent or host {name!r}; it has {known_names}")
    return _select_endpoint(site_endpoints, name, address).name


def _select_endpoint(endpoints: list[Endpoint], site: str, address: str | None) -> Endpoint:
    matches = [endpoint for endpoint in endpoints if endpoint.address == address]
    if len(endpoints) == 1 or matches:
        return (matches or endpoints)[0]
    names = ", ".join(f"{endpoint.name} ({endpoint.address})" for endpoint in endpoints)
    raise ConfigError(
        "--dst", f"site {site!r} has several targets, and the file has no matching address: pass one of {names}"
    )
