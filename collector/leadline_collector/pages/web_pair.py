"""What the page of a directed pair shows: how it stands with each profile, what light allows, and what was measured.

Rule: numbers come from ``pair_history``, ``pair_windows`` and ``leadline.physics``; here they are only worded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from leadline import judge, physics
from leadline.judge import Judged, Tally
from leadline.limits import catalogue
from leadline.mesh import Mesh
from leadline.model import Pair
from leadline.physics import Floors
from leadline_collector import meshes
from leadline_collector.answers import PathWindowAnswer, ProfileAnswer, WindowAnswer
from leadline_collector.pages import figures
from leadline_collector.pages.asked import Asked, Choice, windows_json
from leadline_collector.pages.chart import Chart, Line, chart
from leadline_collector.pages.light import REACH_WORDS, Light, light, reach_of, reach_text
from leadline_collector.pages.pair_history import History, Judgements, history
from leadline_collector.pair_windows import pair_windows
from leadline_collector.period import Period, period_of
from leadline_collector.problems import ProblemError
from leadline_collector.profiles import profile_answer
from leadline_collector.store import Store

#: An hour, at which one still finds a line by eye.
LATEST_WINDOWS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A tally in words; ``share`` is None if no window is known."""

    share: str | None
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileView:
    """How the pair stands with one profile."""

    profile: ProfileAnswer
    #: Why nothing can be judged by it; None if something can.
    reason: str | None
    #: Name of the symbol.
    look: str
    word: str
    #: What was measured, where light has the first word; None elsewhere.
    measured: str | None
    pessimistic: Reading
    optimistic: Reading
    coverage: str
    #: What light says to each limit that bounds the round trip, by its id.
    physics: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """A line of the table, or one for each path: the states are the pair's."""

    at: str
    states: list[str]
    paths: list[PathWindowAnswer]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPage:
    """The page."""

    asked: Asked
    now_s: int
    mesh_version: int
    period: Period
    length: str
    pair: Pair
    groups: tuple[str, ...]
    #: Address of the page of the other direction; None if that is not probed.
    reverse: str | None
    back: str
    periods: list[Choice]
    json: str
    simulated: bool
    imported: bool
    paths: int
    zones: str
    profiles: list[ProfileView]
    light: Light
    chart: Chart | None
    bin: str
    latest: list[Minute]


def pair_page(store: Store, source: str, destination: str, asked: Asked, now_s: int) -> PairPage:
    """The page; 404 if the mesh in force does not probe the pair, or the errors of ``period_of`` and the catalogue."""
    version, mesh, pair = _found(store, source, destination)
    period = period_of(asked.start, asked.end, now_s)
    known = catalogue()
    ids = list(dict.fromkeys([*mesh.pairs[pair].profiles, *([asked.profile] if asked.profile else [])]))
    judged = {name: judge.judged(known.limits_of(known.profile(name))) for name in ids}
    with store.read() as reader:
        past = history(reader, pair, period, list(judged.values()))
    floors = physics.floors(mesh.site(source), mesh.site(destination))
    reverse = Pair(source=destination, destination=source)
    return PairPage(
        asked=asked,
        now_s=now_s,
        mesh_version=version,
        period=period,
        length=figures.length(period.end_s - period.start_s),
        pair=pair,
        groups=mesh.pairs[pair].groups,
        reverse=asked.pair(reverse) if reverse in mesh.pairs else None,
        back=asked.matrix(),
        periods=asked.periods(pair),
        json=windows_json(pair, period, asked.profile),
        simulated=past.simulated or mesh.site(source).simulated or mesh.site(destination).simulated,
        imported=past.imported,
        paths=past.paths,
        zones=_zones(mesh, pair, period.end_s),
        profiles=[_profile(name, judged[name], past.judgements[number], mesh, pair) for number, name in enumerate(ids)],
        light=light(floors, mesh, pair, past.min_us),
        chart=chart(period, past.bin_s, past.bins, _strips(ids, past), _lines(judged, floors)) if past.times else None,
        bin=figures.length(past.bin_s),
        latest=_latest(store, pair, period, past),
    )


def _found(store: Store, source: str, destination: str) -> tuple[int, Mesh, Pair]:
    with store.read() as reader:
        found = meshes.in_force(reader)
    if found is None:
        raise ProblemError(404, "no mesh is in force yet: run `leadline mesh apply FILE`")
    version, mesh = found
    sites = [site.name for site in mesh.sites]
    for name in (source, destination):
        if name not in sites:
            near = get_close_matches(name, sites, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ProblemError(404, f"the mesh in force (version {version}) has no site {name!r}{hint}")
    if source == destination:
        raise ProblemError(404, f"a pair joins two sites, and {source!r} is one")
    pair = Pair(source=source, destination=destination)
    if pair not in mesh.pairs:
        raise ProblemError(404, f"the mesh in force (version {version}) does not probe {source} → {destination}")
    return version, mesh, pair


def _zones(mesh: Mesh, pair: Pair, second: int) -> str:
    sites = (mesh.site(pair.source), mesh.site(pair.destination))
    return "; ".join(f"{site.name} keeps {figures.zone(site, second)}" for site in sites)


def _profile(name: str, judged: Judged, found: Judgements, mesh: Mesh, pair: Pair) -> ProfileView:
    known = catalogue()
    reach = reach_of(mesh, pair, judged.criteria)
    word = REACH_WORDS.get(reach, found.state.value)
    windows = found.pessimistic.known + found.pessimistic.unknown
    floors = physics.floors(mesh.site(pair.source), mesh.site(pair.destination))
    return ProfileView(
        profile=profile_answer(known, known.profile(name)),
        reason=judged.reason,
        look=word.replace(" ", "-"),
        word=word,
        measured=found.state.value if reach in REACH_WORDS else None,
        pessimistic=_reading(found.pessimistic),
        optimistic=_reading(found.optimistic),
        coverage=figures.percent(found.pessimistic.known, windows),
        physics={one.limit_id: reach_text(floors, one) for one in judged.criteria if one.bounds_rtt},
    )


def _reading(tally: Tally) -> Reading:
    return Reading(share=figures.percent(tally.good, tally.known) if tally.known else None, tally=tally)


def _strips(ids: Sequence[str], past: History) -> list[tuple[str, Sequence[Tally]]]:
    return [(name, found.bins) for name, found in zip(ids, past.judgements, strict=True)]


def _lines(judged: dict[str, Judged], floors: Floors) -> list[Line]:
    """The limits on the round trip, equal ones as one line, and the floor on glass."""
    names: dict[tuple[int, str], list[str]] = {}
    for profile_id, one in judged.items():
        for found in one.criteria:
            if found.bounds_rtt:
                names.setdefault((found.limit_us, found.comparison.value), []).append(
                    f"{found.measure} of {profile_id}"
                )
    lines = []
    for (us, sign), of in names.items():
        label = figures.comparison(f"{sign} {us / 1_000:g} ms")
        lines.append(Line(us=us, label=label, text=f"{label} for {', '.join(of)}", look="limit"))
    if floors.glass_ns:
        text = figures.ms(floors.glass_ns // 1_000)
        lines.append(Line(us=floors.glass_ns / 1_000, label="glass", text=f"glass floor {text}", look="floor"))
    return lines


def _latest(store: Store, pair: Pair, period: Period, past: History) -> list[Minute]:
    """The last windows that have a row, newest first."""
    if not past.times:
        return []
    start_s = past.times[-LATEST_WINDOWS:][0]
    part = replace(period, start_s=start_s)
    return list(_minutes(pair_windows(store, pair, part, None, LATEST_WINDOWS).windows, past))


def _minutes(windows: Sequence[WindowAnswer], past: History) -> Iterator[Minute]:
    for window in reversed(windows):
        # A window that arrived between the two readings is on the next page.
        if all(window.t in found.states for found in past.judgements):
            states = [found.states[window.t].value for found in past.judgements]
            yield Minute(at=figures.moment(window.t).removesuffix(" UTC"), states=states, paths=window.paths)
