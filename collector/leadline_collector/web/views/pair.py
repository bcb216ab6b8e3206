"""What the page of a pair shows: the verdict, both directions over time, how often, when, and what is missing.

Rule: numbers come from the verdict code, ``pair_study`` and ``pair_steps``; here they are only worded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches

from leadline import evaluation, propagation
from leadline.limits.catalogue import catalogue
from leadline.mesh.model import Mesh
from leadline.model import Pair
from leadline.wire.batch import is_imported
from leadline_collector.db.transactions import Store
from leadline_collector.errors import NotFoundError
from leadline_collector.mesh import service as mesh_service
from leadline_collector.time_range import Period
from leadline_collector.web import formatting
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.charts.timeline import highest
from leadline_collector.web.params import Asked, Choice, verdict_csv, windows_json
from leadline_collector.web.views import pair_charts
from leadline_collector.web.views.pair_buckets import step_length_s
from leadline_collector.web.views.pair_charts import Name
from leadline_collector.web.views.pair_data import Study, failures_of, study, windows_of
from leadline_collector.web.views.pair_direction import DirectionView, direction_view
from leadline_collector.web.views.pair_profiles import Minute, ProfileView, latest, profile_view
from leadline_collector.web.views.propagation import Light, light
from leadline_collector.web.views.verdict_labels import VerdictView, view
from leadline_verdict.document import SitesVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The verdict on both sites: that of the direction that decides."""

    verdict: VerdictView
    #: The direction that decides, in print; None where only one is probed.
    decided_by: str | None
    days: int
    first_day: str
    last_day: str
    target: str
    rule: str


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
    #: A longer period around this one; None where it is one of the usual.
    wider: str | None
    gaps: str
    json: str
    csv: str
    simulated: bool
    #: The directions that have windows out of files.
    imported: tuple[str, ...]
    paths: int
    zones: str
    profile_choices: list[Choice]
    #: (id, title) of the catalogue's other profiles.
    other_profiles: list[tuple[str, str]]
    headline: Headline
    #: Words and colour of each class of the week's hours.
    classes: list[tuple[str, str]]
    directions: list[DirectionView]
    #: What each line in the charts is.
    lines: list[str]
    #: Those that lie too high to be drawn.
    above: list[str]
    distribution: Spec | None
    #: Limits that lie too far above the values to be drawn.
    distribution_too_far: list[str]
    distribution_image: str
    profiles: list[ProfileView]
    light: Light
    has_data: bool
    step: str
    latest: list[Minute]


def pair_page(store: Store, source: str, destination: str, asked: Asked, now_s: int) -> PairPage:
    """The page; 404 if the mesh in force does not probe the pair, or the errors of ``period_of`` and the catalogue."""
    version, mesh, pair = found_pair(store, source, destination)
    period = asked.period(now_s)
    profile = profile_of(mesh, pair, asked)
    ids = list(dict.fromkeys([*mesh.pairs[pair].profiles, profile]))
    known = catalogue()
    judged = {name: evaluation.judged(known.limits_of(known.profile(name))) for name in ids}
    with store.read() as reader:
        found = study(reader, version, mesh, pair, profile, period, now_s)
        failures = [failures_of(reader, one.pair, period) for one in found.directions]
    floors = propagation.floors(mesh.site(source), mesh.site(destination))
    lines = pair_charts.lines_of({name: one.criteria for name, one in judged.items()}, floors)
    here = replace(asked, profile=profile)
    steps = [pair_charts.steps_of(one.shown, judged[profile].criteria) for one in found.directions]
    top_us = max(map(highest, steps))
    drawn = [
        pair_charts.round_trips(one.shown, own, lines, top_us) for one, own in zip(found.directions, steps, strict=True)
    ]
    directions = [
        direction_view(one, judged[profile].criteria, chart, failure, here, now_s)
        for one, chart, failure in zip(found.directions, drawn, failures, strict=True)
    ]
    shown = found.directions[0].shown
    curves = [pair_charts.curve(one.shown) for one in found.directions]
    reverse = Pair(source=destination, destination=source)
    return PairPage(
        asked=asked,
        now_s=now_s,
        mesh_version=version,
        period=period,
        length=formatting.length(period.end_s - period.start_s),
        pair=pair,
        groups=mesh.pairs[pair].groups,
        reverse=asked.pair(reverse) if reverse in mesh.pairs else None,
        back=asked.matrix(),
        periods=asked.periods(pair),
        wider=_wider(here, pair, period, now_s),
        gaps=asked.gaps(pair),
        json=windows_json(pair, period, asked.profile),
        csv=verdict_csv(pair, found.days),
        simulated=_is_simulated(mesh, pair, found),
        imported=_imported(found),
        paths=len(shown.paths),
        zones=_zones(mesh, pair, period.end_s),
        profile_choices=[
            Choice(name=name, href=replace(asked, profile=name).pair(pair), current=name == profile) for name in ids
        ],
        other_profiles=[(one.id, one.title) for one in known.profiles.values() if one.id not in ids],
        headline=_headline(found),
        classes=pair_charts.classes(),
        directions=directions,
        lines=[line.text for line in lines if line not in drawn[0].above],
        above=[line.text for line in drawn[0].above],
        distribution=pair_charts.distribution_of(curves, lines),
        distribution_too_far=pair_charts.too_far(curves, lines),
        distribution_image=here.chart(pair, Name.DISTRIBUTION.value),
        profiles=[profile_view(judged[name], shown, mesh, here, name) for name in ids],
        light=light(floors, mesh, pair, shown.smallest_us()),
        has_data=any(one.shown.paths for one in found.directions),
        step=formatting.length(step_length_s(period)),
        latest=latest(store, period, shown, list(judged.values())),
    )


def chart_spec(store: Store, source: str, destination: str, name: Name, asked: Asked, now_s: int) -> Spec:
    """One chart of the page alone; the errors of ``pair_page``, and 404 where there is nothing to draw."""
    version, mesh, pair = found_pair(store, source, destination)
    period, profile = asked.period(now_s), profile_of(mesh, pair, asked)
    known = catalogue()
    ids = list(dict.fromkeys([*mesh.pairs[pair].profiles, profile]))
    criteria = {name: evaluation.judged(known.limits_of(known.profile(name))).criteria for name in ids}
    floors = propagation.floors(mesh.site(source), mesh.site(destination))
    lines = pair_charts.lines_of(criteria, floors)
    with store.read() as reader:
        if name is Name.WEEK:
            windows = study(reader, version, mesh, pair, profile, period, now_s).directions[0].judged
            return pair_charts.week_of(windows, pair_charts.grid_of(windows, criteria[profile]))
        found = windows_of(reader, mesh, pair, period)
    if name is Name.ROUND_TRIPS:
        steps = [pair_charts.steps_of(one, criteria[profile]) for one in found]
        return pair_charts.round_trips(found[0], steps[0], lines, max(map(highest, steps))).spec
    spec = pair_charts.distribution_of([pair_charts.curve(one) for one in found], lines)
    if spec is None:
        raise NotFoundError("no window of this pair is known in this period")
    return spec


def profile_of(mesh: Mesh, pair: Pair, asked: Asked) -> str:
    """The profile asked for, else the pair's first, else the catalogue's."""
    return asked.profile or next(iter(mesh.pairs[pair].profiles or catalogue().profiles))


def found_pair(store: Store, source: str, destination: str) -> tuple[int, Mesh, Pair]:
    """The mesh in force and the pair in it; 404 with the nearest name."""
    with store.read() as reader:
        found = mesh_service.in_force(reader)
    if found is None:
        raise NotFoundError("no mesh is in force yet: run `leadline mesh apply FILE`")
    version, mesh = found
    sites = [site.name for site in mesh.sites]
    for name in (source, destination):
        if name not in sites:
            near = get_close_matches(name, sites, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise NotFoundError(f"the mesh in force (version {version}) has no site {name!r}{hint}")
    if source == destination:
        raise NotFoundError(f"a pair joins two sites, and {source!r} is one")
    pair = Pair(source=source, destination=destination)
    if pair not in mesh.pairs:
        raise NotFoundError(f"the mesh in force (version {version}) does not probe {source} → {destination}")
    return version, mesh, pair


def _wider(asked: Asked, pair: Pair, period: Period, now_s: int) -> str | None:
    """Three times as long around the same middle: the way out of a zoom."""
    if not asked.end:
        return None
    length_s = period.end_s - period.start_s
    end_s = min(period.end_s + length_s, now_s)
    return replace(asked, start=formatting.written(period.start_s - length_s), end=formatting.written(end_s)).pair(pair)


def _is_simulated(mesh: Mesh, pair: Pair, found: Study) -> bool:
    marked = mesh.site(pair.source).simulated or mesh.site(pair.destination).simulated
    return marked or any(series.simulated for one in found.directions for series in one.shown.series)


def _imported(found: Study) -> tuple[str, ...]:
    return tuple(
        f"{one.pair.source} → {one.pair.destination}"
        for one in found.directions
        if any(is_imported(path.agent) for path in one.shown.paths)
    )


def _zones(mesh: Mesh, pair: Pair, second: int) -> str:
    sites = (mesh.site(pair.source), mesh.site(pair.destination))
    return "; ".join(f"{site.name} keeps {formatting.zone(site, second)}" for site in sites)


def _headline(found: Study) -> Headline:
    document = found.document
    both: SitesVerdict = document.site_pairs[0]
    decided_by = both.decided_by
    worst = next(one for one in document.pairs if [one.source, one.destination] == decided_by)
    rule = document.rule
    return Headline(
        verdict=view(worst),
        decided_by=f"{worst.source} → {worst.destination}" if len(document.pairs) > 1 else None,
        days=document.days,
        first_day=formatting.day(document.start_s),
        last_day=formatting.day(document.end_s - 1),
        target=f"{100 * rule.target_share:g}\u00a0%",
        rule=f"rule {rule.id}, {100 * rule.confidence:g}\u00a0% confidence, unknown minutes {rule.missing}",
    )
