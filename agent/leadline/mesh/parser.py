"""Parser of the mesh file (TOML); it validates the whole file.

Rule 1: every error has the line of its table, or line and column if the file is not TOML.
Rule 2: a pair may be in several groups, for example compute and storage. It is probed once and evaluated by the
profiles of all of them, so different probe settings for a pair are an error.
Rule 3: declared outages of an override apply before those of a group, and those of a group before those of the file.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from enum import StrEnum
from itertools import permutations
from typing import Annotated, Any, NoReturn
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from leadline.durations import parse_duration_ms
from leadline.errors import ConfigError
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import DeclaredOutages, Endpoint, Mesh, PairSettings
from leadline.model import Pair, ProbeSettings, Site, check_address, check_name
from leadline.wire.codec import convert
from leadline.wire.control import TARGETS_MAX

#: A mesh of a thousand sites is about 150 kB.
FILE_BYTES_MAX = 1 << 20
#: Rate of one prober without loss on a small host (docs/benchmarks.md); a mesh with a higher rate is refused.
PROBES_PER_SECOND_MAX = 10_000

Text = Annotated[str, Meta(min_length=1, max_length=253)]
SitePairs = list[tuple[Text, Text]]


class GroupKind(StrEnum):
    """Topology of a group."""

    FULL_MESH = "full-mesh"
    HUB_AND_SPOKE = "hub-and-spoke"
    PAIRS = "pairs"


class _MeshTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class _ProbeTable(_MeshTable, frozen=True, kw_only=True):
    interval: Text | None = None
    timeout: Text | None = None
    payload_bytes: int | None = None
    dscp: int | None = None
    dont_fragment: bool | None = None


class _OutagesTable(_MeshTable, frozen=True, kw_only=True):
    outages_per_year: float
    longest_outage: Text
    declared: date


class _SiteTable(_MeshTable, frozen=True, kw_only=True):
    name: Text
    latitude: float
    longitude: float
    uncertainty_km: float = 1.0
    time_zone: Text = "UTC"
    simulated: bool = False


class _HostTable(_MeshTable, frozen=True, kw_only=True):
    name: Text
    site: Text
    address: Text


class _GroupTable(_MeshTable, frozen=True, kw_only=True):
    name: Text
    kind: GroupKind
    sites: list[Text] = []
    hub: Text | None = None
    pairs: SitePairs = []
    profiles: Annotated[list[Text], Meta(min_length=1)] | None = None
    probe: _ProbeTable = _ProbeTable()
    outages: _OutagesTable | None = None


class _OverrideTable(_MeshTable, frozen=True, kw_only=True):
    pairs: Annotated[SitePairs, Meta(min_length=1)]
    probe: _ProbeTable | None = None
    outages: _OutagesTable | None = None


class _MeshFile(_MeshTable, frozen=True, kw_only=True):
    profiles: list[Text] = []
    probe: _ProbeTable = _ProbeTable()
    outages: _OutagesTable | None = None
    site: Annotated[list[_SiteTable], Meta(min_length=1)]
    agent: list[_HostTable] = []
    host: list[_HostTable] = []
    group: Annotated[list[_GroupTable], Meta(min_length=1)]
    override: list[_OverrideTable] = []


def parse_mesh(text: str) -> Mesh:
    """Parse a mesh file; raise ConfigError with the line of the error if it is invalid."""
    return _MeshParser(text).parse()


class _MeshParser:
    """Parser of one file, with the line numbers for its error messages."""

    def __init__(self, text: str) -> None:
        if len(text.encode()) > FILE_BYTES_MAX:
            raise ConfigError("mesh file", f"larger than {FILE_BYTES_MAX} bytes")
        self._lines = _index_table_lines(text)
        self._file = self._decode(text)

    def _decode(self, text: str) -> _MeshFile:
        try:
            return convert(tomllib.loads(text), _MeshFile)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError("mesh file", f"is not TOML: {error}") from error
        except msgspec.ValidationError as error:
            problem, _, path = str(error).partition(" - at `$")
            raise ConfigError(self._format_location(path.rstrip("`").lstrip(".")) or "mesh file", problem) from error

    def _format_location(self, path: str) -> str:
        """Format ``site[1].latitude`` as ``line 12, site 2: latitude``."""
        match = re.match(r"(\w+)\[(\d+)\]\.?(.*)", path)
        if not match:
            return path
        table, index, key = match[1], int(match[2]), match[3]
        return f"{self._format_table(table, index)}: {key}" if key else self._format_table(table, index)

    def _format_table(self, table: str, index: int) -> str:
        line = self._lines.get((table, index))
        return f"line {line}, {table} {index + 1}" if line else f"{table} {index + 1}"

    def _fail(self, table: str, index: int, problem: str) -> NoReturn:
        raise ConfigError(self._format_table(table, index), problem)

    def parse(self) -> Mesh:
        sites = tuple(self._build_site(index, site) for index, site in enumerate(self._file.site))
        self._check_unique("site", [(index, site.name) for index, site in enumerate(sites)])
        site_names = {site.name: site for site in sites}
        agents = self._build_endpoints("agent", self._file.agent, site_names)
        hosts = self._build_endpoints("host", self._file.host, site_names)
        self._check_targets(agents, hosts)
        self._check_unique("group", [(index, group.name) for index, group in enumerate(self._file.group)])
        mesh = Mesh(
            sites=sites,
            agents=agents,
            hosts=hosts,
            groups=tuple(group.name for group in self._file.group),
            pairs=self._build_pairs(
                site_names, {agent.site for agent in agents}, {host.site for host in (*agents, *hosts)}
            ),
        )
        _check_load(mesh)
        return mesh

    def _build_site(self, index: int, site: _SiteTable) -> Site:
        try:
            ZoneInfo(site.time_zone)
            return Site(
                name=site.name,
                latitude_deg=site.latitude,
                longitude_deg=site.longitude,
                uncertainty_km=site.uncertainty_km,
                time_zone=site.time_zone,
                simulated=site.simulated,
            )
        except (ValueError, KeyError, OSError) as error:
            problem = str(error) if isinstance(error, ValueError) else f"time_zone {site.time_zone!r} is not known"
            self._fail("site", index, problem)

    def _build_endpoints(self, table: str, hosts: list[_HostTable], sites: Mapping[str, Site]) -> tuple[Endpoint, ...]:
        for index, host in enumerate(hosts):
            try:
                check_name(table, host.name)
                check_address(host.address)
            except ValueError as error:
                self._fail(table, index, str(error))
            if host.site not in sites:
                self._fail(table, index, f"site {host.site!r} is not in the file; it has {', '.join(sorted(sites))}")
        return tuple(Endpoint(name=host.name, site=host.site, address=host.address) for host in hosts)

    def _check_unique(self, table: str, names: Iterable[tuple[int, str]]) -> None:
        seen: set[str] = set()
        for index, name in names:
            if name in seen:
                self._fail(table, index, f"{name!r} is defined twice")
            seen.add(name)

    def _check_targets(self, agents: tuple[Endpoint, ...], hosts: tuple[Endpoint, ...]) -> None:
        """Fail if two agents or hosts have the same name or address: each must be a unique target."""
        seen: dict[str, str] = {}
        for table, endpoints in (("agent", agents), ("host", hosts)):
            for index, endpoint in enumerate(endpoints):
                for identifier in (f"name {endpoint.name!r}", f"address {endpoint.address!r}"):
                    if identifier in seen:
                        self._fail(table, index, f"{identifier} is already used by {seen[identifier]}")
                    seen[identifier] = f"{table} {endpoint.name!r}"

    def _build_pairs(
        self, sites: Mapping[str, Site], agent_sites: set[str], target_sites: set[str]
    ) -> dict[Pair, PairSettings]:
        pairs: dict[Pair, PairSettings] = {}
        outages = self._build_outages("outages", None, self._file.outages)
        for index, group in enumerate(self._file.group):
            self._check_group(index, group, sites)
            group_pairs = [
                pair
                for pair in _iter_group_pairs(group)
                if pair.source in agent_sites and pair.destination in target_sites
            ]
            if not group_pairs:
                self._fail("group", index, "has no agent with a target at another site; add agents to its sites")
            settings = self._build_group_settings(index, group)
            for pair in group_pairs:
                pairs[pair] = self._merge_pair_settings(index, pair, pairs.get(pair), settings)
        for index, override in enumerate(self._file.override):
            self._apply_override(index, override, pairs)
        return {
            pair: settings if settings.outages else dataclasses.replace(settings, outages=outages)
            for pair, settings in pairs.items()
        }

    def _check_group(self, index: int, group: _GroupTable, sites: Mapping[str, Site]) -> None:
        invalid_keys = {
            GroupKind.FULL_MESH: ("hub", "pairs"),
            GroupKind.HUB_AND_SPOKE: ("pairs",),
            GroupKind.PAIRS: ("hub", "sites"),
        }[group.kind]
        for key in invalid_keys:
            if getattr(group, key):
                self._fail("group", index, f"{key!r} is not valid in a {group.kind} group")
        if group.kind is GroupKind.HUB_AND_SPOKE and group.hub is None:
            self._fail("group", index, 'a hub-and-spoke group needs hub = "SITE"')
        names = [*group.sites, *([group.hub] if group.hub else []), *(site for pair in group.pairs for site in pair)]
        for name in names:
            if name not in sites:
                self._fail("group", index, f"site {name!r} is not in the file; it has {', '.join(sorted(sites))}")
        for source, destination in group.pairs:
            if source == destination:
                self._fail(
                    "group", index, f"source and destination of a pair are both {source!r}; use two different sites"
                )
        if len({sites[name].simulated for name in names}) > 1:
            self._fail("group", index, "contains simulated sites and real sites; use separate groups")

    def _build_group_settings(self, index: int, group: _GroupTable) -> PairSettings:
        profiles = tuple(dict.fromkeys(group.profiles if group.profiles is not None else self._file.profiles))
        if not profiles:
            self._fail("group", index, "has no profiles, and the file has no default profiles; add profiles = [...]")
        for profile in profiles:
            try:
                load_catalogue().get_profile(profile)
            except ConfigError as error:
                self._fail("group", index, f"profiles: {error.problem}")
        probe = self._build_probe_settings(
            "group", index, ProbeSettings(), _overlay_probe(self._file.probe, group.probe)
        )
        outages = self._build_outages("group", index, group.outages)
        return PairSettings(probe=probe, profiles=profiles, groups=(group.name,), outages=outages)

    def _build_outages(self, table: str, index: int | None, outages: _OutagesTable | None) -> DeclaredOutages | None:
        """Return the declared outages of a table; ``index`` None means the table of the file."""
        if outages is None:
            return None
        try:
            return DeclaredOutages.from_text(outages.outages_per_year, outages.longest_outage, outages.declared)
        except ValueError as error:
            if index is None:
                raise ConfigError(table, str(error)) from error
            self._fail(table, index, f"outages: {error}")

    def _build_probe_settings(self, table: str, index: int, base: ProbeSettings, probe: _ProbeTable) -> ProbeSettings:
        try:
            return dataclasses.replace(base, **_parse_probe_table(probe))
        except ValueError as error:
            self._fail(table, index, f"probe: {error}")

    def _merge_pair_settings(
        self, index: int, pair: Pair, previous: PairSettings | None, settings: PairSettings
    ) -> PairSettings:
        if previous is None:
            return settings
        if previous.probe != settings.probe:
            self._fail(
                "group",
                index,
                f"its probe settings for {pair.source} to {pair.destination} differ from those of group "
                f"{previous.groups[0]!r}; use the same settings in both, or an override",
            )
        declared = {outages for outages in (previous.outages, settings.outages) if outages}
        if len(declared) > 1 and not self._has_own_outages(pair):
            self._fail(
                "group",
                index,
                f"its outages for {pair.source} to {pair.destination} differ from those of an earlier group; declare "
                "the same in both, or declare those of the pair in an override",
            )
        return PairSettings(
            probe=previous.probe,
            profiles=tuple(dict.fromkeys((*previous.profiles, *settings.profiles))),
            groups=(*previous.groups, *settings.groups),
            outages=previous.outages or settings.outages,
        )

    def _has_own_outages(self, pair: Pair) -> bool:
        names = (pair.source, pair.destination)
        return any(override.outages and names in override.pairs for override in self._file.override)

    def _apply_override(self, index: int, override: _OverrideTable, pairs: dict[Pair, PairSettings]) -> None:
        if override.probe is None and override.outages is None:
            self._fail("override", index, "changes nothing; add probe = {...} or outages = {...}")
        outages = self._build_outages("override", index, override.outages)
        for source, destination in override.pairs:
            if source == destination or Pair(source=source, destination=destination) not in pairs:
                self._fail("override", index, f"no group probes {source} to {destination}")
            pair = Pair(source=source, destination=destination)
            before = pairs[pair]
            probe = self._build_probe_settings("override", index, before.probe, override.probe or _ProbeTable())
            pairs[pair] = dataclasses.replace(before, probe=probe, outages=outages or before.outages)


def _index_table_lines(text: str) -> dict[tuple[str, int], int]:
    """Return the line of the n-th ``[[table]]`` header. A header inside a multi-line string also counts; harmless."""
    lines: dict[tuple[str, int], int] = {}
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*\[\[\s*(\w+)\s*\]\]", line):
            index = counts.get(match[1], 0)
            counts[match[1]] = index + 1
            lines[match[1], index] = number
    return lines


def _iter_group_pairs(group: _GroupTable) -> Iterator[Pair]:
    """Yield the directed pairs of a group. An explicit pair is one direction only; both need two entries."""
    if group.kind is GroupKind.FULL_MESH:
        site_pairs: Iterable[tuple[str, str]] = permutations(dict.fromkeys(group.sites), 2)
    elif group.kind is GroupKind.HUB_AND_SPOKE:
        assert group.hub is not None
        spokes = [site for site in dict.fromkeys(group.sites) if site != group.hub]
        site_pairs = [pair for spoke in spokes for pair in ((group.hub, spoke), (spoke, group.hub))]
    else:
        site_pairs = group.pairs
    for source, destination in site_pairs:
        yield Pair(source=source, destination=destination)


def _overlay_probe(below: _ProbeTable, above: _ProbeTable) -> _ProbeTable:
    return msgspec.structs.replace(below, **_get_present_keys(above))


def _get_present_keys(probe: _ProbeTable) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(probe).items() if value is not None}


def _parse_probe_table(probe: _ProbeTable) -> dict[str, Any]:
    """Return the values of a probe table by field of ProbeSettings. The file names a duration without its unit."""
    names = {field.name for field in dataclasses.fields(ProbeSettings)}
    return {
        key if key in names else f"{key}_ms": value if key in names else parse_duration_ms(value)
        for key, value in _get_present_keys(probe).items()
    }


def _check_load(mesh: Mesh) -> None:
    """Raise ConfigError if an agent has more targets or probes a second than one prober supports."""
    counts: dict[str, int] = {}
    rates: dict[str, float] = {}
    for path in mesh.iter_paths():
        counts[path.source] = counts.get(path.source, 0) + 1
        rates[path.source] = rates.get(path.source, 0.0) + 1_000 / path.target.settings.interval_ms
    for agent, rate in rates.items():
        if counts[agent] > TARGETS_MAX or rate > PROBES_PER_SECOND_MAX:
            raise ConfigError(
                f"agent {agent!r}",
                f"would probe {counts[agent]} targets with {rate:.0f} probes a second; the maximum is {TARGETS_MAX} "
                f"targets and {PROBES_PER_SECOND_MAX} probes a second: split its groups or lengthen their interval",
            )
