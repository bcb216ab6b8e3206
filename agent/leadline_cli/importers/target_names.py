"""What the user's names mean in the mesh in force."""

from __future__ import annotations

from leadline.errors import ConfigError
from leadline.mesh.model import Endpoint, Mesh


def find_target(mesh: Mesh, name: str, address: str | None) -> str:
    """The target of that name, or the one of the site of that name; ``address`` decides where the site has several."""
    endpoints = (*mesh.agents, *mesh.hosts)
    if any(one.name == name for one in endpoints):
        return name
    of_site = [one for one in endpoints if one.site == name]
    if not of_site:
        known = ", ".join(sorted({*(one.name for one in endpoints), *(one.site for one in endpoints)}))
        raise ConfigError("--dst", f"the mesh in force has no site, agent or host {name!r}; it has {known}")
    return _select_endpoint(of_site, name, address).name


def _select_endpoint(endpoints: list[Endpoint], site: str, address: str | None) -> Endpoint:
    same = [one for one in endpoints if one.address == address]
    if len(endpoints) == 1 or same:
        return (same or endpoints)[0]
    names = ", ".join(f"{one.name} ({one.address})" for one in endpoints)
    raise ConfigError(
        "--dst", f"site {site!r} has several targets, and the file does not say which: name one of {names}"
    )
