"""Who probes whom and how: the value both sides read. ``mesh_file`` makes one from a file and checks it as a whole.

What a mesh means is worked out here once (``routes``, ``plan``): a pair is every agent of the source site probing
every agent and host of the destination site.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from leadline.model import Pair, ProbeSettings, Site, Target
from leadline.wire.control import Plan, PlanTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An agent, or a host that is only probed. An agent probes from ``address`` and is a target under its name."""

    name: str
    site: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSettings:
    """How a pair is probed and judged."""

    probe: ProbeSettings
    #: Profiles of all its groups, in the order of the file, each once.
    profiles: tuple[str, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePath:
    """A path to be probed: one agent, one target."""

    source: str
    target: Target
    pair: Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A mesh file that is right as a whole."""

    sites: tuple[Site, ...]
    agents: tuple[Endpoint, ...]
    hosts: tuple[Endpoint, ...]
    #: Group names in the order of the file.
    groups: tuple[str, ...]
    #: Every directed pair that is probed, in the order of the file.
    pairs: Mapping[Pair, PairSettings]

    def get_site(self, name: str) -> Site:
        """The site of that name; KeyError if the mesh has none."""
        return {site.name: site for site in self.sites}[name]

    def iter_paths(self) -> Iterator[ProbePath]:
        """Every path: each agent of the source site with each agent and host of the destination site."""
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
        """What this agent has to measure; KeyError if the mesh has no such agent."""
        agent = {agent.name: agent for agent in self.agents}[agent_name]
        return Plan(
            mesh_version=mesh_version,
            agent=agent.name,
            site=agent.site,
            source_address=agent.address,
            targets=[_to_plan_target(route.target) for route in self.iter_paths() if route.source == agent_name],
        )


def _to_plan_target(target: Target) -> PlanTarget:
    settings = target.settings
    return PlanTarget(
        name=target.name,
        site=target.site,
        address=target.address,
        interval_ms=settings.interval_ms,
        timeout_ms=settings.timeout_ms,
        payload_bytes=settings.payload_bytes,
        dscp=settings.dscp,
        dont_fragment=settings.dont_fragment,
    )
