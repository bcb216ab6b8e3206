"""What the map shows: where the sites are, what their pairs are like now, and how far a round trip reaches.

Rule 1: states and shares are those of ``matrix``, distances and floors those of ``leadline.propagation``.
Rule 2: a line stands for both directions of a pair and shows the worse; the table below has each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from leadline import propagation
from leadline.evaluation import Criterion, State
from leadline.limits.catalogue import catalogue
from leadline.mesh.model import Mesh
from leadline.model import Pair, Site
from leadline_collector.analysis.documents import MatrixAnswer, PairAnswer
from leadline_collector.analysis.matrix import matrix
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import service as mesh_service
from leadline_collector.time_range import Period, period_of
from leadline_collector.web import formatting
from leadline_collector.web.charts.map_labels import BETWEEN, is_readable
from leadline_collector.web.charts.site_map import Link, Ring, Spot, site_map
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.params import PERIOD_DEFAULT, Choice
from leadline_collector.web.views.matrix import criteria_of
from leadline_collector.web.views.propagation import REACH_WORDS, reach_of

#: Round trips whose reach is drawn: what vendors ask for most often.
REACHES_US = (5_000, 10_000)
PERIODS = (("-1h", "1 h"), ("-24h", "24 h"), ("-7d", "7 d"), ("-28d", "28 d"))
#: ``reach`` for a map without rings.
NO_RINGS = "none"
#: ``group`` for the whole mesh.
ALL = ""
#: Worst first: the worse direction of a pair is shown.
_WORST = ("impossible", "impossible on glass", State.UNAVAILABLE, State.BAD, State.UNKNOWN, State.GOOD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The parameters of the map as they were written; None where absent."""

    profile: str | None = None
    #: ``ALL`` for the whole mesh; None leaves the choice to the map.
    group: str | None = None
    #: The site whose rings are drawn, or ``NO_RINGS``.
    reach: str | None = None
    start: str | None = None

    def href(self, **other: str | None) -> str:
        """The map with other parameters."""
        written = {"group": self.group, "profile": self.profile, "reach": self.reach, "from": self.start} | other
        given = {name: value for name, value in written.items() if value or (name == "group" and value == ALL)}
        return f"/map?{urlencode(given)}" if given else "/map"


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """One direction of a pair."""

    pair: Pair
    name: str
    href: str
    look: str
    word: str
    share: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """Two sites and what lies between them."""

    name: str
    distance: str
    vacuum: str
    glass: str
    #: For each round trip of ``REACHES_US``: possible, or why not.
    reaches: tuple[str, ...]
    directions: tuple[Direction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRow:
    """One site."""

    name: str
    latitude: str
    longitude: str
    uncertainty: str
    zone: str
    local_time: str
    agents: tuple[tuple[str, str], ...]
    hosts: int
    simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPage:
    """The page."""

    now_s: int
    mesh_version: int
    profile_id: str
    profile_title: str
    length: str
    groups: list[Choice]
    profiles: list[Choice]
    periods: list[Choice]
    reaches: list[Choice]
    #: None where there is nothing to draw.
    spec: Spec | None
    #: Address of the picture for pages without scripts.
    image: str
    summary: str
    rings: list[str]
    sites: list[SiteRow]
    pairs: list[PairRow]
    simulated: bool


def map_page(store: Store, asked: Asked, now_s: int) -> MapPage:
    """The page for these parameters; the errors are those of ``period_of`` and ``matrix``."""
    shown = _Shown.read(store, asked, now_s)
    mesh, profile_id = shown.mesh, shown.profile_id
    rings, pairs = _rings(shown), list(_pair_rows(shown))
    return MapPage(
        now_s=now_s,
        mesh_version=shown.answer.mesh_version,
        profile_id=profile_id,
        profile_title=catalogue().profile(profile_id).title,
        length=formatting.length(shown.period.end_s - shown.period.start_s),
        groups=[
            Choice(name=name or "all", href=asked.href(group=name, reach=None), current=name == (shown.group or ALL))
            for name in (ALL, *(mesh.groups if mesh else ()))
        ],
        profiles=[
            Choice(name=name, href=asked.href(profile=name), current=name == profile_id) for name in shown.profiles
        ],
        periods=[
            Choice(name=name, href=asked.href(**{"from": start}), current=start == (asked.start or PERIOD_DEFAULT))
            for start, name in PERIODS
        ],
        reaches=[
            Choice(name=name, href=asked.href(reach=name), current=name == shown.reach)
            for name in (*(site.name for site in shown.sites), NO_RINGS)
        ],
        spec=_spec(shown, rings, pairs) if shown.sites else None,
        image=asked.href().replace("/map", "/map.svg", 1),
        summary=_summary(shown, pairs),
        rings=[f"{ring.label}: {ring.km:,.0f} km" for ring in rings],
        sites=[_site_row(site, shown) for site in shown.sites],
        pairs=pairs,
        simulated=any(site.simulated for site in shown.sites),
    )


def map_spec(store: Store, asked: Asked, now_s: int) -> Spec | None:
    """The drawing alone; None where there is nothing to draw."""
    shown = _Shown.read(store, asked, now_s)
    return _spec(shown, _rings(shown), list(_pair_rows(shown))) if shown.sites else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """What was asked for, read."""

    mesh: Mesh | None
    #: None for the whole mesh.
    group: str | None
    profile_id: str
    #: Those of the pairs that are shown, and the asked one.
    profiles: tuple[str, ...]
    sites: tuple[Site, ...]
    period: Period
    answer: MatrixAnswer
    criteria: tuple[Criterion, ...]
    #: By directed pair.
    answers: Mapping[Pair, PairAnswer]
    reach: str
    asked: Asked
    now_s: int

    @classmethod
    def read(cls, store: Store, asked: Asked, now_s: int) -> _Shown:
        period = period_of(asked.start or PERIOD_DEFAULT, None, now_s)
        with store.read() as reader:
            found = mesh_service.in_force(reader)
        mesh = found[1] if found else None
        group = _group(mesh) if asked.group is None else asked.group or None
        used = _profiles(mesh, group)
        profile_id = asked.profile or next(iter((*used, *catalogue().profiles)))
        answer = matrix(store, profile_id, period, group)
        answers = {Pair(source=one.source, destination=one.destination): one for one in answer.pairs}
        ends = {name for pair in answers for name in (pair.source, pair.destination)}
        sites = tuple(site for site in mesh.sites if site.name in ends or group is None) if mesh else ()
        return cls(
            mesh=mesh,
            group=group,
            profile_id=profile_id,
            profiles=tuple(dict.fromkeys((*used, profile_id))),
            sites=sites,
            period=period,
            answer=answer,
            criteria=criteria_of(profile_id),
            answers=answers,
            reach=_reach(asked.reach, sites, answers),
            asked=asked,
            now_s=now_s,
        )


def _group(mesh: Mesh | None) -> str | None:
    """Nobody asked for a group: the whole mesh where its sites can be told apart, else the first group where they can.

    A continent with a few sites overseas would be a blot between two dots.
    """
    if mesh is None or is_readable([_place(site) for site in mesh.sites]):
        return None
    return next((name for name in mesh.groups if is_readable(_places(mesh, name))), None)


def _places(mesh: Mesh, group: str) -> list[tuple[float, float]]:
    pairs = [pair for pair, settings in mesh.pairs.items() if group in settings.groups]
    names = {name for pair in pairs for name in (pair.source, pair.destination)}
    return [_place(site) for site in mesh.sites if site.name in names]


def _profiles(mesh: Mesh | None, group: str | None) -> list[str]:
    pairs = [] if mesh is None else [one for one in mesh.pairs.values() if group is None or group in one.groups]
    return list(dict.fromkeys(profile for settings in pairs for profile in settings.profiles))


def _reach(asked: str | None, sites: Iterable[Site], pairs: Iterable[Pair]) -> str:
    """The site that was asked for, or the one with most pairs."""
    names = [site.name for site in sites]
    if asked == NO_RINGS or asked in names or not names:
        return asked or NO_RINGS
    ends = [pair.source for pair in pairs]
    return max(names, key=ends.count)


def _rings(shown: _Shown) -> list[Ring]:
    site = next((site for site in shown.sites if site.name == shown.reach), None)
    if site is None:
        return []
    media = (("glass", propagation.GLASS_INDEX), ("vacuum", propagation.VACUUM_INDEX))
    return [
        Ring(
            centre=_place(site),
            km=propagation.reach_km(rtt_us, index=index),
            label=f"{rtt_us // 1_000} ms in {medium}",
            is_best=index == propagation.VACUUM_INDEX,
        )
        for rtt_us in REACHES_US
        for medium, index in media
    ]


def _place(site: Site) -> tuple[float, float]:
    return site.longitude_deg, site.latitude_deg


def _spec(shown: _Shown, rings: list[Ring], pairs: list[PairRow]) -> Spec:
    return site_map(list(_spots(shown)), list(_links(shown, pairs)), rings, _summary(shown, pairs))


def _spots(shown: _Shown) -> Iterator[Spot]:
    """Sites at one place share a spot; a click on it draws its rings."""
    at: dict[tuple[float, float], list[Site]] = {}
    for site in shown.sites:
        at.setdefault(_place(site), []).append(site)
    for place, sites in at.items():
        names = BETWEEN.join(site.name for site in sites)
        text = "; ".join(f"{site.name} ± {site.uncertainty_km:g} km {_local(site, shown.now_s)}" for site in sites)
        yield Spot(place=place, label=names, text=text, href=shown.asked.href(reach=sites[0].name))


def _links(shown: _Shown, pairs: Iterable[PairRow]) -> Iterator[Link]:
    sites = {site.name: site for site in shown.sites}
    for row in pairs:
        worse = min(row.directions, key=lambda one: _WORST.index(one.word))
        start, end = (_place(sites[name]) for name in (worse.pair.source, worse.pair.destination))
        if start != end:
            text = "\n".join((f"{row.name}, {row.distance}", *(_direction_text(one) for one in row.directions)))
            yield Link(start=start, end=end, state=worse.word, text=text, href=worse.href)


def _direction_text(one: Direction) -> str:
    return f"{one.name}: {one.word}, {one.share}"


def _pair_rows(shown: _Shown) -> Iterator[PairRow]:
    """Each two sites that are probed in any direction, once, in the order of the mesh."""
    done: set[frozenset[str]] = set()
    for pair in shown.answers:
        ends = frozenset((pair.source, pair.destination))
        if ends not in done:
            done.add(ends)
            back = Pair(source=pair.destination, destination=pair.source)
            yield _pair_row(pair, [one for one in (pair, back) if one in shown.answers], shown)


def _pair_row(pair: Pair, directions: Iterable[Pair], shown: _Shown) -> PairRow:
    assert shown.mesh is not None
    floors = propagation.floors(shown.mesh.site(pair.source), shown.mesh.site(pair.destination))
    return PairRow(
        name=f"{pair.source} \u2013 {pair.destination}",
        distance=f"{floors.distance_km:,.1f} km",
        vacuum=formatting.ms(floors.vacuum_ns // 1_000),
        glass=formatting.ms(floors.glass_ns // 1_000),
        reaches=tuple(_reach_word(floors, rtt_us) for rtt_us in REACHES_US),
        directions=tuple(_direction(one, shown) for one in directions),
    )


def _reach_word(floors: propagation.Floors, rtt_us: int) -> str:
    if floors.vacuum_ns > rtt_us * 1_000:
        return REACH_WORDS[propagation.Reach.IMPOSSIBLE]
    return REACH_WORDS[propagation.Reach.IMPOSSIBLE_ON_GLASS_FIBRE] if floors.glass_ns > rtt_us * 1_000 else "possible"


def _direction(pair: Pair, shown: _Shown) -> Direction:
    assert shown.mesh is not None
    answer = shown.answers[pair]
    reach = reach_of(shown.mesh, pair, shown.criteria)
    word = REACH_WORDS.get(reach, answer.state.value)
    tally = answer.pessimistic
    known = tally.good + tally.bad + tally.unavailable
    query = urlencode({"profile": shown.profile_id, "from": shown.asked.start or PERIOD_DEFAULT})
    path = f"{quote(pair.source, safe='')}/{quote(pair.destination, safe='')}"
    return Direction(
        pair=pair,
        name=f"{pair.source} → {pair.destination}",
        href=f"/pairs/{path}?{query}",
        look=word.replace(" ", "-"),
        word=word,
        share=f"{formatting.percent(tally.good, known)} of {formatting.count(known)} good" if known else "no data",
    )


def _site_row(site: Site, shown: _Shown) -> SiteRow:
    assert shown.mesh is not None
    agents = [agent.name for agent in shown.mesh.agents if agent.site == site.name]
    return SiteRow(
        name=site.name,
        latitude=_degrees(site.latitude_deg, "NS"),
        longitude=_degrees(site.longitude_deg, "EW"),
        uncertainty=f"± {site.uncertainty_km:g} km",
        zone=formatting.zone(site, shown.now_s),
        local_time=_local(site, shown.now_s),
        agents=tuple((name, f"/agents/{quote(name, safe='')}") for name in agents),
        hosts=sum(host.site == site.name for host in shown.mesh.hosts),
        simulated=site.simulated,
    )


def _degrees(value: float, letters: str) -> str:
    return f"{abs(value):.3f}° {letters[value < 0]}"


def _local(site: Site, now_s: int) -> str:
    return formatting.local_time(site, now_s) or f"{formatting.short_moment(now_s, now_s)} UTC"


def _summary(shown: _Shown, rows: Iterable[PairRow]) -> str:
    """What a screen reader says of the drawing."""
    words = [one.word for row in rows for one in row.directions]
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    pairs = f"; directions now: {counts}" if counts else ""
    return f"Map of {len(shown.sites)} sites for {shown.profile_id}{pairs}. The tables below say the same."
