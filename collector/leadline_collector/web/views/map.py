"""View of the map page: positions of the sites, current states of their pairs, reachable distances.

Rule 1: states and shares come from ``analysis.matrix``, distances and minimum RTTs from ``leadline.propagation``.
Rule 2: a line represents both directions of a pair and shows the worse one; the table below shows each direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from leadline import propagation
from leadline.evaluation import Criterion, WindowState
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline.model import Pair, Site
from leadline_collector.analysis.documents import MatrixPairResponse, MatrixResponse
from leadline_collector.analysis.matrix import load_matrix
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh.propagation import get_propagation_delay
from leadline_collector.rollup.profile_revisions import get_criteria
from leadline_collector.time_range import TimeRange, parse_time_range
from leadline_collector.web.charts.map_labels import LABEL_SEPARATOR, Marker, has_separable_markers
from leadline_collector.web.charts.site_map import Edge, RangeRing, build_site_map
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.formatting import (
    format_count,
    format_duration,
    format_local_time,
    format_ms,
    format_percent,
    format_short_time,
    format_time_zone,
)
from leadline_collector.web.params import PERIOD_DEFAULT, Choice
from leadline_collector.web.views.propagation import INVALID_LABEL, REACH_LABELS, find_override_label

#: Round trips with a ring: the most frequent limits of vendors, in microseconds.
RING_RTTS_US = (5_000, 10_000)
PERIOD_LINKS = (("-1h", "1 h"), ("-24h", "24 h"), ("-7d", "7 d"), ("-28d", "28 d"))
#: Value of ``reach`` for a map without rings.
NO_RINGS = "none"
#: Value of ``group`` for the whole mesh.
WHOLE_MESH = ""
#: Labels, worst first: a line shows the worse direction of its pair.
_WORST_FIRST = (
    INVALID_LABEL,
    "impossible",
    "impossible on glass",
    WindowState.UNAVAILABLE,
    WindowState.BAD,
    WindowState.UNKNOWN,
    WindowState.GOOD,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapParams:
    """Query parameters of the map, unparsed; None if absent."""

    profile: str | None = None
    #: ``WHOLE_MESH`` for all sites; None lets the map choose.
    group: str | None = None
    #: The site at the centre of the rings, or ``NO_RINGS``.
    reach: str | None = None
    start: str | None = None

    def build_url(self, **changes: str | None) -> str:
        """Return the URL of the map with changed parameters."""
        params = {"group": self.group, "profile": self.profile, "reach": self.reach, "from": self.start} | changes
        query = {name: value for name, value in params.items() if value or (name == "group" and value == WHOLE_MESH)}
        return f"/map?{urlencode(query)}" if query else "/map"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapDirection:
    """One direction of a pair."""

    pair: Pair
    name: str
    href: str
    icon: str
    label: str
    share: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """Two sites, the distance between them and the state of each direction."""

    name: str
    distance: str
    vacuum_rtt_min: str
    glass_rtt_min: str
    #: For each round trip in ``RING_RTTS_US``: "possible" or "impossible ...".
    reach_labels: tuple[str, ...]
    directions: tuple[MapDirection, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRow:
    """One site."""

    name: str
    latitude: str
    longitude: str
    uncertainty: str
    time_zone: str
    local_time: str
    agents: tuple[tuple[str, str], ...]
    host_count: int
    is_simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPage:
    """The page."""

    now_s: int
    mesh_version: int
    profile_id: str
    profile_title: str
    period_length: str
    group_choices: list[Choice]
    profile_choices: list[Choice]
    period_choices: list[Choice]
    ring_choices: list[Choice]
    #: None without sites.
    spec: Spec | None
    #: URL of the image for browsers without JavaScript.
    image: str
    summary: str
    rings: list[str]
    sites: list[SiteRow]
    pairs: list[PairRow]
    is_simulated: bool


def build_map_page(store: Store, params: MapParams, now_s: int) -> MapPage:
    """Build the page in one transaction; the errors of ``parse_time_range`` and ``load_matrix``."""
    map_data = _MapData.load(store, params, now_s)
    mesh, profile_id = map_data.mesh, map_data.profile_id
    rings, pairs = _build_rings(map_data), list(_build_pair_rows(map_data))
    return MapPage(
        now_s=now_s,
        mesh_version=map_data.matrix.mesh_version,
        profile_id=profile_id,
        profile_title=load_catalogue().get_profile(profile_id).title,
        period_length=format_duration(map_data.period.end_s - map_data.period.start_s),
        group_choices=[
            Choice(
                name=name or "all",
                href=params.build_url(group=name, reach=None),
                is_current=name == (map_data.group or WHOLE_MESH),
            )
            for name in (WHOLE_MESH, *(mesh.groups if mesh else ()))
        ],
        profile_choices=[
            Choice(name=name, href=params.build_url(profile=name), is_current=name == profile_id)
            for name in map_data.profiles
        ],
        period_choices=[
            Choice(
                name=name,
                href=params.build_url(**{"from": start}),
                is_current=start == (params.start or PERIOD_DEFAULT),
            )
            for start, name in PERIOD_LINKS
        ],
        ring_choices=[
            Choice(name=name, href=params.build_url(reach=name), is_current=name == map_data.ring_site)
            for name in (*(site.name for site in map_data.sites), NO_RINGS)
        ],
        spec=_build_spec(map_data, rings, pairs) if map_data.sites else None,
        image=params.build_url().replace("/map", "/map.svg", 1),
        summary=_summarise_map(map_data, pairs),
        rings=[f"{ring.label}: {ring.radius_km:,.0f} km" for ring in rings],
        sites=[_to_site_row(site, map_data) for site in map_data.sites],
        pairs=pairs,
        is_simulated=any(site.simulated for site in map_data.sites),
    )


def build_map_spec(store: Store, params: MapParams, now_s: int) -> Spec | None:
    """Build the drawing alone; None without sites."""
    map_data = _MapData.load(store, params, now_s)
    return _build_spec(map_data, _build_rings(map_data), list(_build_pair_rows(map_data))) if map_data.sites else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _MapData:
    """Data of the map for the requested parameters."""

    mesh: Mesh | None
    #: None for the whole mesh.
    group: str | None
    profile_id: str
    #: Profiles of the pairs of the group, and the requested one.
    profiles: tuple[str, ...]
    sites: tuple[Site, ...]
    period: TimeRange
    matrix: MatrixResponse
    criteria: tuple[Criterion, ...]
    #: By directed pair.
    pair_results: Mapping[Pair, MatrixPairResponse]
    ring_site: str
    params: MapParams
    now_s: int

    @classmethod
    def load(cls, store: Store, params: MapParams, now_s: int) -> _MapData:
        period = parse_time_range(params.start or PERIOD_DEFAULT, None, now_s)
        with store.read() as reader:
            active_mesh = mesh_service.load_active_mesh(reader)
            mesh = active_mesh[1] if active_mesh else None
            group = _choose_group(mesh) if params.group is None else params.group or None
            used_profiles = _list_profiles(mesh, group)
            profile_id = params.profile or next(iter((*used_profiles, *load_catalogue().profiles)))
            matrix = load_matrix(reader, active_mesh, profile_id, period, group)
        results = {Pair(source=result.source, destination=result.destination): result for result in matrix.pairs}
        names = {name for pair in results for name in (pair.source, pair.destination)}
        sites = tuple(site for site in mesh.sites if site.name in names or group is None) if mesh else ()
        return cls(
            mesh=mesh,
            group=group,
            profile_id=profile_id,
            profiles=tuple(dict.fromkeys((*used_profiles, profile_id))),
            sites=sites,
            period=period,
            matrix=matrix,
            criteria=get_criteria(profile_id),
            pair_results=results,
            ring_site=_choose_ring_site(params.reach, sites, results),
            params=params,
            now_s=now_s,
        )


def _choose_group(mesh: Mesh | None) -> str | None:
    """Choose the group for a map without ``group``: the whole mesh, or the first group with distinguishable sites.

    A whole mesh with a few sites overseas would draw the other sites on top of each other.
    """
    if mesh is None or has_separable_markers([_get_position(site) for site in mesh.sites]):
        return None
    return next((name for name in mesh.groups if has_separable_markers(_list_positions(mesh, name))), None)


def _list_positions(mesh: Mesh, group: str) -> list[tuple[float, float]]:
    pairs = [pair for pair, settings in mesh.pairs.items() if group in settings.groups]
    names = {name for pair in pairs for name in (pair.source, pair.destination)}
    return [_get_position(site) for site in mesh.sites if site.name in names]


def _list_profiles(mesh: Mesh | None, group: str | None) -> list[str]:
    pairs = [] if mesh is None else mesh.pairs.values()
    group_pairs = [settings for settings in pairs if group is None or group in settings.groups]
    return list(dict.fromkeys(profile for settings in group_pairs for profile in settings.profiles))


def _choose_ring_site(requested_site: str | None, sites: Iterable[Site], pairs: Iterable[Pair]) -> str:
    """Return the requested site, or the site with the most pairs."""
    names = [site.name for site in sites]
    if requested_site == NO_RINGS or requested_site in names or not names:
        return requested_site or NO_RINGS
    sources = [pair.source for pair in pairs]
    return max(names, key=sources.count)


def _build_rings(map_data: _MapData) -> list[RangeRing]:
    site = next((site for site in map_data.sites if site.name == map_data.ring_site), None)
    if site is None:
        return []
    media = (("glass", propagation.GLASS_INDEX), ("vacuum", propagation.VACUUM_INDEX))
    return [
        RangeRing(
            centre=_get_position(site),
            radius_km=propagation.reachable_distance_km(rtt_us, index=index),
            label=f"{rtt_us // 1_000} ms in {medium}",
            is_vacuum=index == propagation.VACUUM_INDEX,
        )
        for rtt_us in RING_RTTS_US
        for medium, index in media
    ]


def _get_position(site: Site) -> tuple[float, float]:
    return site.longitude_deg, site.latitude_deg


def _build_spec(map_data: _MapData, rings: list[RangeRing], pairs: list[PairRow]) -> Spec:
    return build_site_map(
        list(_build_markers(map_data)), list(_build_edges(map_data, pairs)), rings, _summarise_map(map_data, pairs)
    )


def _build_markers(map_data: _MapData) -> Iterator[Marker]:
    """Yield a marker for each position; sites at the same position share one. Its link draws the rings of the site."""
    sites_by_position: dict[tuple[float, float], list[Site]] = {}
    for site in map_data.sites:
        sites_by_position.setdefault(_get_position(site), []).append(site)
    for position, sites in sites_by_position.items():
        label = LABEL_SEPARATOR.join(site.name for site in sites)
        text = "; ".join(
            f"{site.name} ± {site.uncertainty_km:g} km {_format_site_time(site, map_data.now_s)}" for site in sites
        )
        yield Marker(position=position, label=label, tooltip=text, href=map_data.params.build_url(reach=sites[0].name))


def _build_edges(map_data: _MapData, pairs: Iterable[PairRow]) -> Iterator[Edge]:
    sites = {site.name: site for site in map_data.sites}
    for row in pairs:
        worse = min(row.directions, key=lambda direction: _WORST_FIRST.index(direction.label))
        start, end = (_get_position(sites[name]) for name in (worse.pair.source, worse.pair.destination))
        if start != end:
            text = "\n".join((f"{row.name}, {row.distance}", *map(_format_direction, row.directions)))
            yield Edge(start=start, end=end, state=worse.label, tooltip=text, href=worse.href)


def _format_direction(direction: MapDirection) -> str:
    return f"{direction.name}: {direction.label}, {direction.share}"


def _build_pair_rows(map_data: _MapData) -> Iterator[PairRow]:
    """Yield one row for two sites that are probed in at least one direction, in the order of the mesh."""
    done: set[Pair] = set()
    for pair in map_data.pair_results:
        reverse = Pair(source=pair.destination, destination=pair.source)
        if reverse not in done:
            done.add(pair)
            directions = [pair, reverse] if reverse in map_data.pair_results else [pair]
            yield _to_pair_row(pair, directions, map_data)


def _to_pair_row(pair: Pair, directions: Iterable[Pair], map_data: _MapData) -> PairRow:
    assert map_data.mesh is not None
    floors = get_propagation_delay(map_data.mesh.get_site(pair.source), map_data.mesh.get_site(pair.destination))
    return PairRow(
        name=f"{pair.source} \u2013 {pair.destination}",
        distance=f"{floors.distance_km:,.1f} km",
        vacuum_rtt_min=format_ms(floors.vacuum_ns // 1_000),
        glass_rtt_min=format_ms(floors.glass_ns // 1_000),
        reach_labels=tuple(_get_reach_label(floors, rtt_us) for rtt_us in RING_RTTS_US),
        directions=tuple(_to_map_direction(direction, map_data) for direction in directions),
    )


def _get_reach_label(floors: propagation.PropagationDelay, rtt_us: int) -> str:
    if floors.vacuum_ns > rtt_us * 1_000:
        return REACH_LABELS[propagation.Feasibility.IMPOSSIBLE]
    return (
        REACH_LABELS[propagation.Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE]
        if floors.glass_ns > rtt_us * 1_000
        else "possible"
    )


def _to_map_direction(pair: Pair, map_data: _MapData) -> MapDirection:
    assert map_data.mesh is not None
    result = map_data.pair_results[pair]
    override = find_override_label(map_data.mesh, pair, map_data.criteria, is_invalid=result.invalid)
    label = override or result.state.value
    tally = result.pessimistic
    known_count = tally.good + tally.bad + tally.unavailable
    query = urlencode({"profile": map_data.profile_id, "from": map_data.params.start or PERIOD_DEFAULT})
    path = f"{quote(pair.source, safe='')}/{quote(pair.destination, safe='')}"
    return MapDirection(
        pair=pair,
        name=f"{pair.source} → {pair.destination}",
        href=f"/pairs/{path}?{query}",
        icon=label.replace(" ", "-"),
        label=label,
        share=f"{format_percent(tally.good, known_count)} of {format_count(known_count)} good"
        if known_count
        else "no known minute"
        if result.data
        else "not measured",
    )


def _to_site_row(site: Site, map_data: _MapData) -> SiteRow:
    assert map_data.mesh is not None
    agents = [agent.name for agent in map_data.mesh.agents if agent.site == site.name]
    return SiteRow(
        name=site.name,
        latitude=_format_degrees(site.latitude_deg, "NS"),
        longitude=_format_degrees(site.longitude_deg, "EW"),
        uncertainty=f"± {site.uncertainty_km:g} km",
        time_zone=format_time_zone(site, map_data.now_s),
        local_time=_format_site_time(site, map_data.now_s),
        agents=tuple((name, f"/agents/{quote(name, safe='')}") for name in agents),
        host_count=sum(host.site == site.name for host in map_data.mesh.hosts),
        is_simulated=site.simulated,
    )


def _format_degrees(value: float, letters: str) -> str:
    return f"{abs(value):.3f}° {letters[value < 0]}"


def _format_site_time(site: Site, now_s: int) -> str:
    return format_local_time(site, now_s) or f"{format_short_time(now_s, now_s)} UTC"


def _summarise_map(map_data: _MapData, rows: Iterable[PairRow]) -> str:
    """Describe the drawing for screen readers."""
    labels = [direction.label for row in rows for direction in row.directions]
    counts = ", ".join(f"{labels.count(label)} {label}" for label in dict.fromkeys(labels))
    pairs = f"; directions now: {counts}" if counts else ""
    return f"Map of {len(map_data.sites)} sites for {map_data.profile_id}{pairs}. The tables below show the same data."
