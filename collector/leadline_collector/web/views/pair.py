"""What the page of a pair shows: the verdict, both directions over time, how often, when, and what is missing.

Rule: numbers come from the verdict code, ``pair_study`` and ``pair_steps``; here they are only worded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches

from leadline import evaluation, propagation
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline.model import Pair
from leadline.wire.batch import is_imported
from leadline_collector.db.transactions import Store
from leadline_collector.errors import NotFoundError
from leadline_collector.mesh import service as mesh_service
from leadline_collector.time_range import TimeRange
from leadline_collector.web import formatting
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.charts.timeline import find_highest_p95_us
from leadline_collector.web.params import Choice, PageParams, verdict_csv_url, windows_json_url
from leadline_collector.web.views import pair_charts
from leadline_collector.web.views.pair_buckets import choose_bucket_length_s
from leadline_collector.web.views.pair_charts import PairChart
from leadline_collector.web.views.pair_data import PairData, count_failures, load_pair_data, load_windows
from leadline_collector.web.views.pair_direction import DirectionView, build_direction_view
from leadline_collector.web.views.pair_profiles import ProfileView, WindowRow, build_profile_view, load_latest_windows
from leadline_collector.web.views.propagation import PropagationView, build_propagation_view
from leadline_collector.web.views.verdict_labels import VerdictView, build_verdict_view
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
    target_share: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPage:
    """The page."""

    params: PageParams
    now_s: int
    mesh_version: int
    period: TimeRange
    period_length: str
    pair: Pair
    groups: tuple[str, ...]
    #: Address of the page of the other direction; None if that is not probed.
    reverse_url: str | None
    matrix_url: str
    period_choices: list[Choice]
    #: A longer period around this one; None where it is one of the usual.
    wider_url: str | None
    gaps_url: str
    json_url: str
    csv_url: str
    is_simulated: bool
    #: The directions that have windows out of files.
    imported_directions: tuple[str, ...]
    path_count: int
    time_zones: str
    profile_choices: list[Choice]
    #: (id, title) of the catalogue's other profiles.
    other_profiles: list[tuple[str, str]]
    headline: Headline
    #: Words and colour of each class of the week's hours.
    share_classes: list[tuple[str, str]]
    directions: list[DirectionView]
    #: What each line in the charts is.
    line_descriptions: list[str]
    #: Those that lie too high to be drawn.
    omitted_lines: list[str]
    distribution: Spec | None
    #: Limits that lie too far above the values to be drawn.
    distribution_omitted_limits: list[str]
    distribution_image: str
    profile_views: list[ProfileView]
    propagation: PropagationView
    has_data: bool
    bucket_length: str
    latest_windows: list[WindowRow]


def build_pair_page(store: Store, source: str, destination: str, params: PageParams, now_s: int) -> PairPage:
    """The page; 404 if the mesh in force does not probe the pair, or the errors of ``period_of`` and the catalogue."""
    version, mesh, pair = find_pair(store, source, destination)
    period = params.parse_period(now_s)
    profile = choose_profile(mesh, pair, params)
    ids = list(dict.fromkeys([*mesh.pairs[pair].profiles, profile]))
    known = load_catalogue()
    judged = {name: evaluation.plan_evaluation(known.get_required_limits(known.get_profile(name))) for name in ids}
    with store.read() as reader:
        found = load_pair_data(reader, version, mesh, pair, profile, period, now_s)
        failures = [count_failures(reader, one.pair, period) for one in found.directions]
    floors = propagation.compute_propagation_delay(mesh.get_site(source), mesh.get_site(destination))
    lines = pair_charts.build_reference_lines({name: one.criteria for name, one in judged.items()}, floors)
    here = replace(params, profile=profile)
    steps = [pair_charts.build_buckets(one.windows, judged[profile].criteria) for one in found.directions]
    top_us = max(map(find_highest_p95_us, steps))
    drawn = [
        pair_charts.build_round_trips_chart(one.windows, own, lines, top_us)
        for one, own in zip(found.directions, steps, strict=True)
    ]
    directions = [
        build_direction_view(one, judged[profile].criteria, chart, failure, here, now_s)
        for one, chart, failure in zip(found.directions, drawn, failures, strict=True)
    ]
    shown = found.directions[0].windows
    curves = [pair_charts.build_p95_curve(one.windows) for one in found.directions]
    reverse = Pair(source=destination, destination=source)
    return PairPage(
        params=params,
        now_s=now_s,
        mesh_version=version,
        period=period,
        period_length=formatting.format_duration(period.end_s - period.start_s),
        pair=pair,
        groups=mesh.pairs[pair].groups,
        reverse_url=params.pair_url(reverse) if reverse in mesh.pairs else None,
        matrix_url=params.matrix_url(),
        period_choices=params.build_period_choices(pair),
        wider_url=_build_wider_url(here, pair, period, now_s),
        gaps_url=params.gaps_url(pair),
        json_url=windows_json_url(pair, period, params.profile),
        csv_url=verdict_csv_url(pair, found.days),
        is_simulated=_is_simulated(mesh, pair, found),
        imported_directions=_list_imported_directions(found),
        path_count=len(shown.paths),
        time_zones=_format_time_zones(mesh, pair, period.end_s),
        profile_choices=[
            Choice(name=name, href=replace(params, profile=name).pair_url(pair), is_current=name == profile)
            for name in ids
        ],
        other_profiles=[(one.id, one.title) for one in known.profiles.values() if one.id not in ids],
        headline=_build_headline(found),
        share_classes=pair_charts.list_share_classes(),
        directions=directions,
        line_descriptions=[line.description for line in lines if line not in drawn[0].omitted_lines],
        omitted_lines=[line.description for line in drawn[0].omitted_lines],
        distribution=pair_charts.build_distribution_spec(curves, lines),
        distribution_omitted_limits=pair_charts.describe_omitted_limits(curves, lines),
        distribution_image=here.chart_url(pair, PairChart.DISTRIBUTION.value),
        profile_views=[build_profile_view(judged[name], shown, mesh, here, name) for name in ids],
        propagation=build_propagation_view(floors, mesh, pair, shown.min_rtt_us()),
        has_data=any(one.windows.paths for one in found.directions),
        bucket_length=formatting.format_duration(choose_bucket_length_s(period)),
        latest_windows=load_latest_windows(store, period, shown, list(judged.values())),
    )


def build_chart_spec(
    store: Store, source: str, destination: str, name: PairChart, params: PageParams, now_s: int
) -> Spec:
    """One chart of the page alone; the errors of ``pair_page``, and 404 where there is nothing to draw."""
    version, mesh, pair = find_pair(store, source, destination)
    period, profile = params.parse_period(now_s), choose_profile(mesh, pair, params)
    known = load_catalogue()
    ids = list(dict.fromkeys([*mesh.pairs[pair].profiles, profile]))
    criteria = {
        name: evaluation.plan_evaluation(known.get_required_limits(known.get_profile(name))).criteria for name in ids
    }
    floors = propagation.compute_propagation_delay(mesh.get_site(source), mesh.get_site(destination))
    lines = pair_charts.build_reference_lines(criteria, floors)
    with store.read() as reader:
        if name is PairChart.WEEK:
            windows = load_pair_data(reader, version, mesh, pair, profile, period, now_s).directions[0].verdict_windows
            return pair_charts.build_week_chart(windows, pair_charts.build_week_grid(windows, criteria[profile]))
        found = load_windows(reader, mesh, pair, period)
    if name is PairChart.ROUND_TRIPS:
        steps = [pair_charts.build_buckets(one, criteria[profile]) for one in found]
        return pair_charts.build_round_trips_chart(found[0], steps[0], lines, max(map(find_highest_p95_us, steps))).spec
    spec = pair_charts.build_distribution_spec([pair_charts.build_p95_curve(one) for one in found], lines)
    if spec is None:
        raise NotFoundError("no window of this pair is known in this period")
    return spec


def choose_profile(mesh: Mesh, pair: Pair, params: PageParams) -> str:
    """The profile asked for, else the pair's first, else the catalogue's."""
    return params.profile or next(iter(mesh.pairs[pair].profiles or load_catalogue().profiles))


def find_pair(store: Store, source: str, destination: str) -> tuple[int, Mesh, Pair]:
    """The mesh in force and the pair in it; 404 with the nearest name."""
    with store.read() as reader:
        found = mesh_service.load_active_mesh(reader)
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


def _build_wider_url(params: PageParams, pair: Pair, period: TimeRange, now_s: int) -> str | None:
    """Three times as long around the same middle: the way out of a zoom."""
    if not params.end:
        return None
    length_s = period.end_s - period.start_s
    end_s = min(period.end_s + length_s, now_s)
    return replace(
        params, start=formatting.format_url_time(period.start_s - length_s), end=formatting.format_url_time(end_s)
    ).pair_url(pair)


def _is_simulated(mesh: Mesh, pair: Pair, pair_data: PairData) -> bool:
    marked = mesh.get_site(pair.source).simulated or mesh.get_site(pair.destination).simulated
    return marked or any(series.simulated for one in pair_data.directions for series in one.windows.series)


def _list_imported_directions(pair_data: PairData) -> tuple[str, ...]:
    return tuple(
        f"{one.pair.source} → {one.pair.destination}"
        for one in pair_data.directions
        if any(is_imported(path.agent) for path in one.windows.paths)
    )


def _format_time_zones(mesh: Mesh, pair: Pair, second: int) -> str:
    sites = (mesh.get_site(pair.source), mesh.get_site(pair.destination))
    return "; ".join(f"{site.name} keeps {formatting.format_time_zone(site, second)}" for site in sites)


def _build_headline(pair_data: PairData) -> Headline:
    document = pair_data.document
    both: SitesVerdict = document.site_pairs[0]
    decided_by = both.decided_by
    worst = next(one for one in document.pairs if [one.source, one.destination] == decided_by)
    rule = document.rule
    return Headline(
        verdict=build_verdict_view(worst),
        decided_by=f"{worst.source} → {worst.destination}" if len(document.pairs) > 1 else None,
        days=document.days,
        first_day=formatting.format_day(document.start_s),
        last_day=formatting.format_day(document.end_s - 1),
        target_share=f"{100 * rule.target_share:g}\u00a0%",
        rule=f"rule {rule.id}, {100 * rule.confidence:g}\u00a0% confidence, unknown minutes {rule.missing}",
    )
