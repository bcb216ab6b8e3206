"""Mesh: the sites, agents and hosts, and the pairs that are probed. ``mesh.parser`` reads it from a file.

``Mesh.iter_paths`` expands pairs into paths: every agent of the source site probes every agent and every host of the
destination site. ``Mesh.build_plan`` derives the plan of an agent from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from leadline.model import Pair, ProbeSettings, Site, Target
from leadline.wire.control import Plan, PlanTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An agent, or a host that is only a target. An agent probes from ``address`` and is also a target."""

    name: str
    site: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSettings:
    """Probe settings and profiles of a pair."""

    probe: ProbeSettings
    #: Profiles of all groups of the pair, in the order of the file, without duplicates.
    profiles: tuple[str, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePath:
    """A path to probe, from one agent to one target."""

    source: str
    target: Target
    pair: Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A validated mesh."""

    sites: tuple[Site, ...]
    agents: tuple[Endpoint, ...]
    hosts: tuple[Endpoint, ...]
    #: Group names in the order of the file.
    groups: tuple[str, ...]
    #: All directed pairs that are probed, in the order of the file.
    pairs: Mapping[Pair, PairSettings]

    def get_site(self, name: str) -> Site:
        """Return the site; raise KeyError if the mesh has no such site."""
        return {site.name: site for site in self.sites}[name]

    def iter_paths(self) -> Iterator[ProbePath]:
        """Yield every path: each agent of the source site to each agent and host of the destination site."""
        for pair, settings in self.pairs.items():
            for agent in self.agents:
                if agent.site == pair.source:
                    yield from self._iter_paths_from(agent, pair, settings)

    def _iter_paths_from(self, agent: Endpoint, pair: Pair, settings: PairSettings) -> Iterator[ProbePath]:
        for host in (*self.agents, *self.hosts):
            if host.site == pair.destination:
                target = Target(name=host.name, site=host.site, address=host.address, settings=settings.probe)
                yield ProbePath(source=agent.name, target=target, pair=pair)

    def build_plan(self, agent_name: str, mesh_version: int) -> Plan:
        """Build the plan of an agent; raise KeyError if the mesh has no such agent."""
        agent = {agent.name: agent for agent in self.agents}[agent_name]
        return Plan(
            mesh_version=mesh_version,
            agent=agent.name,
            site=agent.site,
            source_address=agent.address,
            targets=[PlanTarget.from_target(path.target) for path in self.iter_paths() if path.source == agent_name],
        )
