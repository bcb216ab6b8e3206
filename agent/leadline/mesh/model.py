"""Mesh: the sites, agents and hosts, and the pairs that are probed. ``mesh.parser`` reads it from a file.

``Mesh.iter_paths`` expands pairs into paths: every agent of the source site probes every agent and every host of the
destination site. ``Mesh.build_plan`` derives the plan of an agent from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Self

from leadline.durations import format_duration, parse_duration_ms
from leadline.model import WINDOW_S, Pair, ProbeSettings, Site, Target
from leadline.wire.control import Plan, PlanTarget

#: Seconds of 365.25 days.
YEAR_S = 31_557_600
#: A path that is down for longer is not a path.
LONGEST_OUTAGE_S_MAX = 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredOutages:
    """Outages of a pair as its operator declares them; ValueError for numbers that cannot be true."""

    #: Mean number of outages in a year of 365.25 days; above 0, may be fractional.
    outages_per_year: float
    #: Seconds; one window to 365 days.
    longest_outage_s: int
    #: UTC date of the declaration.
    declared_on: date

    def __post_init__(self) -> None:
        if not 0 < self.outages_per_year < math.inf:
            raise ValueError(
                f"outages_per_year = {self.outages_per_year:g} is not a number above 0: declare 0.5 for one outage in "
                "two years"
            )
        longest_text = format_duration(self.longest_outage_s * 1_000)
        if not WINDOW_S <= self.longest_outage_s <= LONGEST_OUTAGE_S_MAX:
            raise ValueError(f"longest_outage = {longest_text} is not from 1m to 365d")
        if self.unavailable_ratio >= 1:
            raise ValueError(
                f"outages_per_year = {self.outages_per_year:g} and longest_outage = {longest_text} are more than a "
                "year of outages in a year: declare fewer or shorter ones"
            )

    @classmethod
    def from_text(cls, outages_per_year: float, longest_outage: str, declared_on: date) -> Self:
        """Parse the duration, such as ``12h`` or ``90m``; raise ValueError unless it is whole seconds."""
        longest_ms = parse_duration_ms(longest_outage)
        if longest_ms % 1_000:
            raise ValueError(f"longest_outage = {longest_outage} is not a whole number of seconds")
        return cls(outages_per_year=outages_per_year, longest_outage_s=longest_ms // 1_000, declared_on=declared_on)

    @property
    def unavailable_ratio(self) -> float:
        """Share of time in outages if each is as long as the longest: above 0, below 1."""
        return self.outages_per_year * self.longest_outage_s / YEAR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An agent, or a host that is only a target. An agent probes from ``address`` and is also a target."""

    name: str
    site: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSettings:
    """Probe settings, profiles and declared outages of a pair."""

    probe: ProbeSettings
    #: Profiles of all groups of the pair, in the order of the file, without duplicates.
    profiles: tuple[str, ...]
    groups: tuple[str, ...]
    #: Outages that the operator declares; None without a declaration. Agents do not get them.
    outages: DeclaredOutages | None = None


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

    def get_outages(self, pair: Pair) -> DeclaredOutages | None:
        """Return the declared outages of a directed pair; None without a declaration or if the pair is not probed."""
        settings = self.pairs.get(pair)
        return settings.outages if settings else None

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
