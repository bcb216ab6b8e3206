"""View of the page of a pair: verdict, both directions over time, distribution, hours of the week, gaps.

Rule: numbers come from the verdict code, ``pair_data`` and ``pair_buckets``. This module only formats them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches

from leadline.evaluation import EvaluationPlan
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline.model import Pair
from leadline.wire.batch import is_imported
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.errors import NotFoundError
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh.propagation import get_propagation_delay
from leadline_collector.rollup.profile_revisions import get_evaluation_plan
from leadline_collector.time_range import TimeRange
from leadline_collector.web.charts.spec_templates import Spec
from leadline_collector.web.charts.timeline import find_highest_p95_us
from leadline_collector.web.formatting import (
    format_day,
    format_duration,
    format_target,
    format_time_zone,
    format_url_time,
)
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
    """The verdict on both sites: the verdict of the deciding direction."""

    verdict: VerdictView
    #: The deciding direction; None if only one direction is probed.
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
    #: URL of the page of the reverse direction; None if not probed.
    reverse_url: str | None
    matrix_url: str
    period_choices: list[Choice]
    #: URL of a period three times as long; None if the period has no explicit end.
    wider_url: str | None
    gaps_url: str
    json_url: str
    csv_url: str
    is_simulated: bool
    #: The directions with imported windows.
    imported_directions: tuple[str, ...]
    path_count: int
    time_zones: str
    profile_choices: list[Choice]
    #: (id, title) of the catalogue's other profiles.
    other_profiles: list[tuple[str, str]]
    headline: Headline
    #: Label and CSS class of each class of shares.
    share_classes: list[tuple[str, str]]
    directions: list[DirectionView]
    #: Description of each line in the charts.
    line_descriptions: list[str]
    #: Lines above the axis.
    omitted_lines: list[str]
    distribution: Spec | None
    #: Limits to the right of the axis.
    distribution_omitted_limits: list[str]
    distribution_image: str
    profile_views: list[ProfileView]
    propagation: PropagationView
    has_data: bool
    bucket_length: str
    latest_windows: list[WindowRow]


def build_pair_page(store: Store, source: str, destination: str, params: PageParams, now_s: int) -> PairPage:
    """Build the page in one transaction.

    Raises NotFoundError if the active mesh does not probe the pair, and the errors of ``parse_time_range`` and of the
    catalogue.
    """
    with store.read() as reader:
        version, mesh, pair = find_pair(reader, source, destination)
        period = params.parse_period(now_s)
        profile_id = choose_profile(mesh, pair, params)
        plans = _plan_evaluations(mesh, pair, profile_id)
        data = load_pair_data(reader, version, mesh, pair, profile_id, period, now_s)
        failures = [count_failures(reader, direction.pair, period) for direction in data.directions]
        forward = data.directions[0].windows
        latest_windows = load_latest_windows(reader, period, forward, list(plans.values()))
    delay = get_propagation_delay(mesh.get_site(source), mesh.get_site(destination))
    lines = pair_charts.build_reference_lines({name: plan.criteria for name, plan in plans.items()}, delay)
    criteria = plans[profile_id].criteria
    profile_params = replace(params, profile=profile_id)
    buckets = [pair_charts.build_buckets(direction.windows, criteria) for direction in data.directions]
    highest_us = max(map(find_highest_p95_us, buckets))
    charts = [
        pair_charts.build_round_trips_chart(direction.windows, direction_buckets, lines, highest_us)
        for direction, direction_buckets in zip(data.directions, buckets, strict=True)
    ]
    directions = [
        build_direction_view(direction, criteria, chart, failure_counts, profile_params, now_s)
        for direction, chart, failure_counts in zip(data.directions, charts, failures, strict=True)
    ]
    curves = [pair_charts.build_p95_curve(direction.windows) for direction in data.directions]
    reverse = Pair(source=destination, destination=source)
    return PairPage(
        params=params,
        now_s=now_s,
        mesh_version=version,
        period=period,
        period_length=format_duration(period.end_s - period.start_s),
        pair=pair,
        groups=mesh.pairs[pair].groups,
        reverse_url=params.pair_url(reverse) if reverse in mesh.pairs else None,
        matrix_url=params.matrix_url(),
        period_choices=params.build_period_choices(pair),
        wider_url=_build_wider_url(profile_params, pair, period, now_s),
        gaps_url=params.gaps_url(pair),
        json_url=windows_json_url(pair, period, params.profile),
        csv_url=verdict_csv_url(pair, data.days),
        is_simulated=_is_simulated(mesh, pair, data),
        imported_directions=_list_imported_directions(data),
        path_count=len(forward.paths),
        time_zones=_format_time_zones(mesh, pair, period.end_s),
        profile_choices=[
            Choice(name=name, href=replace(params, profile=name).pair_url(pair), is_current=name == profile_id)
            for name in plans
        ],
        other_profiles=[
            (profile.id, profile.title) for profile in load_catalogue().profiles.values() if profile.id not in plans
        ],
        headline=_build_headline(data),
        share_classes=pair_charts.list_share_classes(),
        directions=directions,
        line_descriptions=[line.description for line in lines if line not in charts[0].omitted_lines],
        omitted_lines=[line.description for line in charts[0].omitted_lines],
        distribution=pair_charts.build_distribution_spec(curves, lines),
        distribution_omitted_limits=pair_charts.describe_omitted_limits(curves, lines),
        distribution_image=profile_params.chart_url(pair, PairChart.DISTRIBUTION.value),
        profile_views=[build_profile_view(plan, forward, mesh, profile_params, name) for name, plan in plans.items()],
        propagation=build_propagation_view(delay, mesh, pair, forward.min_rtt_us()),
        has_data=any(direction.windows.paths for direction in data.directions),
        bucket_length=format_duration(choose_bucket_length_s(period)),
        latest_windows=latest_windows,
    )


def build_chart_spec(
    store: Store, source: str, destination: str, name: PairChart, params: PageParams, now_s: int
) -> Spec:
    """Build one chart of the page; the errors of ``build_pair_page``, and NotFoundError if no window is known."""
    with store.read() as reader:
        version, mesh, pair = find_pair(reader, source, destination)
        period, profile_id = params.parse_period(now_s), choose_profile(mesh, pair, params)
        plans = _plan_evaluations(mesh, pair, profile_id)
        criteria = plans[profile_id].criteria
        if name is PairChart.WEEK:
            data = load_pair_data(reader, version, mesh, pair, profile_id, period, now_s)
            windows = data.directions[0].verdict_windows
            return pair_charts.build_week_chart(windows, pair_charts.build_week_grid(windows, criteria))
        directions = load_windows(reader, mesh, pair, period)
    delay = get_propagation_delay(mesh.get_site(source), mesh.get_site(destination))
    lines = pair_charts.build_reference_lines({name: plan.criteria for name, plan in plans.items()}, delay)
    if name is PairChart.ROUND_TRIPS:
        buckets = [pair_charts.build_buckets(windows, criteria) for windows in directions]
        highest_us = max(map(find_highest_p95_us, buckets))
        return pair_charts.build_round_trips_chart(directions[0], buckets[0], lines, highest_us).spec
    spec = pair_charts.build_distribution_spec(list(map(pair_charts.build_p95_curve, directions)), lines)
    if spec is None:
        raise NotFoundError("no window of this pair is known in this period")
    return spec


def _plan_evaluations(mesh: Mesh, pair: Pair, profile_id: str) -> dict[str, EvaluationPlan]:
    """Return the plans of the pair's profiles and of the requested one, by profile id."""
    return {name: get_evaluation_plan(name) for name in (*mesh.pairs[pair].profiles, profile_id)}


def choose_profile(mesh: Mesh, pair: Pair, params: PageParams) -> str:
    """Return the requested profile, else the first of the pair, else the first of the catalogue."""
    return params.profile or next(iter(mesh.pairs[pair].profiles or load_catalogue().profiles))


def find_pair(reader: ReadTransaction, source: str, destination: str) -> tuple[int, Mesh, Pair]:
    """Return version, mesh and pair of the active mesh; NotFoundError names similar sites."""
    active_mesh = mesh_service.load_active_mesh(reader)
    if active_mesh is None:
        raise NotFoundError("there is no active mesh yet: run `leadline mesh apply FILE`")
    version, mesh = active_mesh
    sites = [site.name for site in mesh.sites]
    for name in (source, destination):
        if name not in sites:
            similar = get_close_matches(name, sites, cutoff=0.5)
            hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
            raise NotFoundError(f"the active mesh (version {version}) has no site {name!r}{hint}")
    if source == destination:
        raise NotFoundError(f"a pair needs two different sites; both are {source!r}")
    pair = Pair(source=source, destination=destination)
    if pair not in mesh.pairs:
        raise NotFoundError(f"the active mesh (version {version}) does not probe {source} → {destination}")
    return version, mesh, pair


def _build_wider_url(params: PageParams, pair: Pair, period: TimeRange, now_s: int) -> str | None:
    """Return the URL of a period three times as long with the same centre: the zoom out."""
    if not params.end:
        return None
    length_s = period.end_s - period.start_s
    end_s = min(period.end_s + length_s, now_s)
    return replace(params, start=format_url_time(period.start_s - length_s), end=format_url_time(end_s)).pair_url(pair)


def _is_simulated(mesh: Mesh, pair: Pair, pair_data: PairData) -> bool:
    has_simulated_site = mesh.get_site(pair.source).simulated or mesh.get_site(pair.destination).simulated
    return has_simulated_site or any(
        series.simulated for direction in pair_data.directions for series in direction.windows.series
    )


def _list_imported_directions(pair_data: PairData) -> tuple[str, ...]:
    return tuple(
        f"{direction.pair.source} → {direction.pair.destination}"
        for direction in pair_data.directions
        if any(is_imported(path.agent) for path in direction.windows.paths)
    )


def _format_time_zones(mesh: Mesh, pair: Pair, second: int) -> str:
    sites = (mesh.get_site(pair.source), mesh.get_site(pair.destination))
    return "; ".join(f"{site.name}: {format_time_zone(site, second)}" for site in sites)


def _build_headline(pair_data: PairData) -> Headline:
    document = pair_data.document
    both: SitesVerdict = document.site_pairs[0]
    decided_by = both.decided_by
    worst = next(verdict for verdict in document.pairs if [verdict.source, verdict.destination] == decided_by)
    rule = document.rule
    return Headline(
        verdict=build_verdict_view(worst),
        decided_by=f"{worst.source} → {worst.destination}" if len(document.pairs) > 1 else None,
        days=document.days,
        first_day=format_day(document.start_s),
        last_day=format_day(document.end_s - 1),
        target_share=format_target(rule.target_share),
        rule=f"rule {rule.id}, {100 * rule.confidence:g}\u00a0% confidence, unknown minutes count as {rule.missing}",
    )
