"""View of the matrix page: one table per group, one cell per directed pair. Texts and links, no HTML.

A cell shows two separate values: the current state of the pair, and its share of good windows over the period.
Neither is a verdict.

Rule: counts come from ``analysis.matrix``, minimum RTTs from ``leadline.propagation``. This module only formats them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from leadline.evaluation import PROBES_MIN, TARGET_SHARE_DEFAULT, Criterion, WindowState
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline.model import Pair, Site
from leadline_collector.analysis.documents import (
    MatrixPairResponse,
    MatrixResponse,
    ProfileResponse,
    StateCountsResponse,
)
from leadline_collector.analysis.matrix import load_matrix
from leadline_collector.db.transactions import Store
from leadline_collector.errors import InvalidRequestError
from leadline_collector.mesh import service as mesh_service
from leadline_collector.rollup.profile_revisions import get_criteria
from leadline_collector.time_range import TimeRange
from leadline_collector.web.charts.hour_of_week import SHARE_CLASSES
from leadline_collector.web.formatting import (
    CAUSE_NAMES,
    NO_VALUE,
    format_cause_counts,
    format_count,
    format_duration,
    format_local_time,
    format_ms,
    format_percent,
    format_short_time,
    format_state,
    format_target,
    format_whole_percent,
)
from leadline_collector.web.params import Choice, PageParams, matrix_json_url
from leadline_collector.web.views import pair_charts
from leadline_collector.web.views import verdicts as verdicts_view
from leadline_collector.web.views.causes import map_causes
from leadline_collector.web.views.propagation import INVALID_LABEL, REACH_LABELS, find_override_label
from leadline_verdict.decision import COVERAGE_MIN

#: A table with more sites has compact cells: icon and share.
COMPACT_ABOVE_SITES = 12
#: A table with more sites has cells with an icon only.
TINY_ABOVE_SITES = 24
#: A cell omits the coverage from this ratio on.
FULL_COVERAGE_MIN = 0.99
#: Value of ``PageParams.sort``.
WORST_FIRST = "worst"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixCell:
    """One directed pair."""

    href: str
    #: Name of the symbol of the current state.
    icon: str
    label: str
    #: CSS class of the share: ``heat-0`` to ``heat-4``, ``heat-none`` if no window is known.
    heat_class: str
    #: The coverage is below the minimum for a verdict.
    is_sparse: bool
    is_simulated: bool
    #: Letter and meaning of each kind of windows that is not measured, and of few probes.
    marks: tuple[tuple[str, str], ...]
    #: "imported, 60 probes a minute; 12 minutes unknown".
    provenance: str
    #: "99.31 %" and "1,412"; None if no window is known (``no_share`` says why).
    share: str | None
    known_count: str | None
    no_share: str
    #: The share without its unit: "99.31", "100".
    short_share: str
    #: "others: mostly latency"; None if every known window was good.
    main_cause: str | None
    #: "coverage 87 %", since the first window; None if no window or at least 99 % of the windows are known.
    coverage: str | None
    #: "since 22 Nov 06:00"; None if the pair was measured at the start of the period, or not at all.
    since: str | None
    #: "p95 4.912 ms"; None without a window.
    latest_p95: str | None
    latest_at: str | None
    #: The whole cell as text, for screen readers.
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """The pairs from one site; None for the site itself and for pairs that are not probed."""

    site: str
    local_time: str
    cells: tuple[tuple[str, MatrixCell | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixTable:
    """One group of the mesh."""

    name: str
    destinations: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    is_simulated: bool
    #: At least one pair has a window in the period.
    has_data: bool
    #: Cells have an icon and a share only.
    is_compact: bool
    #: Cells have an icon only.
    is_tiny: bool
    summary: GroupSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSummary:
    """The summary above a table."""

    pair_count: int
    #: Pairs with a known window that are not invalid, and how many of them reach the target share.
    known_count: int
    unknown_count: int
    invalid_count: int
    target_met_count: int
    #: Icon, label and number of pairs of each current state.
    state_counts: list[tuple[str, str, int]]
    #: "fra → ams", its share and its URL; None if no window is known.
    worst_pair: tuple[str, str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixPage:
    """The page."""

    params: PageParams
    now_s: int
    mesh_version: int
    period: TimeRange
    period_length: str
    profile: ProfileResponse
    #: Why the profile cannot be evaluated; None if it can.
    reason: str | None
    #: Limits of the profile with reservations: "ID: superseded".
    weak_limits: list[str]
    #: Windows with fewer probes are marked.
    probes_min: int
    group_choices: list[Choice]
    #: Profiles of the pairs of the mesh or group.
    profile_choices: list[Choice]
    #: (id, title) of the other profiles of the catalogue, and of the requested one if the mesh does not use it.
    other_profiles: list[tuple[str, str]]
    period_choices: list[Choice]
    sort_choices: list[Choice]
    target_share: str
    #: Label and CSS class of each class of shares.
    share_classes: list[tuple[str, str]]
    #: URL of the verdicts on all pairs of the page; None without data, or with more than ``PAIRS_MAX`` pairs.
    verdicts_url: str | None
    pair_count: int
    #: Directed pairs with verdicts on one page.
    verdict_pairs_max: int
    #: Names of the pairs of sites, listed until the verdicts are loaded.
    site_pairs: list[str]
    tables: list[MatrixTable]
    #: Names of the groups with simulated data.
    simulated_groups: list[str]
    #: Some windows were imported from files.
    has_imported_data: bool
    json_url: str


def build_matrix_page(store: Store, params: PageParams, now_s: int) -> MatrixPage:
    """Build the page in one transaction.

    Raises the errors of ``parse_time_range`` and ``load_matrix``, and InvalidRequestError for an unknown order.
    """
    period = params.parse_period(now_s)
    if params.sort not in (None, WORST_FIRST):
        raise InvalidRequestError(f"sort: {params.sort!r} is not {WORST_FIRST!r}", path="sort")
    with store.read() as reader:
        active_mesh = mesh_service.load_active_mesh(reader)
        mesh = active_mesh[1] if active_mesh else None
        used_profiles = list(_list_used_profiles(mesh, params.group))
        profile_id = params.profile or next(iter(used_profiles or load_catalogue().profiles))
        matrix = load_matrix(reader, active_mesh, profile_id, period, params.group)
    tables = [] if mesh is None else list(_build_tables(mesh, matrix, replace(params, profile=profile_id), now_s))
    return MatrixPage(
        params=params,
        now_s=now_s,
        mesh_version=matrix.mesh_version,
        period=period,
        period_length=format_duration(period.end_s - period.start_s),
        profile=matrix.profile,
        reason=matrix.reason,
        weak_limits=matrix.weak_limits,
        probes_min=PROBES_MIN,
        group_choices=_build_group_choices(mesh, params),
        profile_choices=[_to_profile_choice(params, name, profile_id) for name in used_profiles],
        other_profiles=_list_other_profiles(used_profiles, profile_id),
        period_choices=params.build_period_choices(),
        sort_choices=[
            Choice(name=name, href=replace(params, sort=sort).matrix_url(), is_current=sort == params.sort)
            for name, sort in (("mesh file", None), ("worst first", WORST_FIRST))
        ],
        target_share=format_target(TARGET_SHARE_DEFAULT),
        share_classes=pair_charts.list_share_classes(),
        verdicts_url=_build_verdicts_url(matrix, replace(params, profile=profile_id, sort=None)),
        pair_count=len(matrix.pairs),
        verdict_pairs_max=verdicts_view.PAIRS_MAX,
        site_pairs=_list_site_pairs(matrix),
        tables=tables,
        simulated_groups=[table.name for table in tables if table.is_simulated],
        has_imported_data=matrix.imported,
        json_url=matrix_json_url(profile_id, period, params.group),
    )


def _build_verdicts_url(matrix: MatrixResponse, params: PageParams) -> str | None:
    has_data = any(pair.paths for pair in matrix.pairs)
    return params.verdicts_url() if has_data and len(matrix.pairs) <= verdicts_view.PAIRS_MAX else None


def _list_site_pairs(matrix: MatrixResponse) -> list[str]:
    """Return each pair of sites once."""
    first_directions: dict[frozenset[str], MatrixPairResponse] = {}
    for pair in matrix.pairs:
        first_directions.setdefault(frozenset((pair.source, pair.destination)), pair)
    return [f"{pair.source} ⇄ {pair.destination}" for pair in first_directions.values()]


def _list_used_profiles(mesh: Mesh | None, group: str | None) -> Iterable[str]:
    """Return the distinct profiles of the pairs of a group, or of all pairs, in the order of the mesh file."""
    pairs = [] if mesh is None else mesh.pairs.values()
    group_pairs = [settings for settings in pairs if group is None or group in settings.groups]
    return dict.fromkeys(profile for settings in group_pairs for profile in settings.profiles)


def _build_group_choices(mesh: Mesh | None, params: PageParams) -> list[Choice]:
    names = [] if mesh is None else [None, *mesh.groups]
    return [
        Choice(name=name or "all", href=replace(params, group=name).matrix_url(), is_current=name == params.group)
        for name in names
    ]


def _to_profile_choice(params: PageParams, profile_id: str, current_id: str) -> Choice:
    href = replace(params, profile=profile_id).matrix_url()
    return Choice(name=profile_id, href=href, is_current=profile_id == current_id)


def _list_other_profiles(used_profiles: list[str], requested_id: str) -> list[tuple[str, str]]:
    catalogue = load_catalogue()
    ids = dict.fromkeys([*catalogue.profiles, requested_id])
    return [
        (profile_id, catalogue.get_profile(profile_id).title) for profile_id in ids if profile_id not in used_profiles
    ]


def _build_tables(mesh: Mesh, matrix: MatrixResponse, params: PageParams, now_s: int) -> Iterator[MatrixTable]:
    context = _CellContext(mesh=mesh, criteria=get_criteria(matrix.profile.id), params=params, now_s=now_s)
    for group in mesh.groups:
        pairs = {
            Pair(source=pair.source, destination=pair.destination): pair
            for pair in matrix.pairs
            if group in pair.groups
        }
        if pairs:
            yield _build_table(group, pairs, context)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CellContext:
    """Values that all cells share."""

    mesh: Mesh
    criteria: tuple[Criterion, ...]
    params: PageParams
    now_s: int


def _build_table(group: str, pairs: Mapping[Pair, MatrixPairResponse], context: _CellContext) -> MatrixTable:
    names = {name for pair in pairs for name in (pair.source, pair.destination)}
    sites = [site for site in context.mesh.sites if site.name in names]
    if context.params.sort == WORST_FIRST:
        sites.sort(key=lambda site: _lowest_ratio(pairs, site.name))
    return MatrixTable(
        name=group,
        destinations=tuple(site.name for site in sites),
        rows=tuple(_build_row(site, sites, pairs, context) for site in sites),
        is_simulated=any(result.simulated for result in pairs.values()),
        has_data=any(result.paths for result in pairs.values()),
        is_compact=len(sites) > COMPACT_ABOVE_SITES,
        is_tiny=len(sites) > TINY_ABOVE_SITES,
        summary=_summarise_group(pairs, context),
    )


def _sort_ratio(result: MatrixPairResponse) -> float:
    """Return the share of good windows, or a value above 1 if no window is known: these pairs sort last."""
    ratio = result.pessimistic.good_ratio
    return 2.0 if ratio is None else ratio


def _lowest_ratio(pairs: Mapping[Pair, MatrixPairResponse], site: str) -> float:
    return min(_sort_ratio(result) for pair, result in pairs.items() if site in (pair.source, pair.destination))


def _summarise_group(pairs: Mapping[Pair, MatrixPairResponse], context: _CellContext) -> GroupSummary:
    ratios = {pair: _sort_ratio(result) for pair, result in pairs.items()}
    known_pairs = [pair for pair, ratio in ratios.items() if ratio <= 1 and not pairs[pair].invalid]
    labels = Counter(_get_label(pair, result, context) for pair, result in pairs.items())
    worst = min(known_pairs, key=lambda pair: ratios[pair], default=None)
    return GroupSummary(
        pair_count=len(pairs),
        known_count=len(known_pairs),
        unknown_count=sum(ratio > 1 for ratio in ratios.values()),
        invalid_count=sum(result.invalid for result in pairs.values()),
        target_met_count=sum(ratios[pair] >= TARGET_SHARE_DEFAULT for pair in known_pairs),
        state_counts=[(label.replace(" ", "-"), label, labels[label]) for label in _LABEL_ORDER if labels[label]],
        worst_pair=None if worst is None else _to_worst_pair(worst, pairs[worst].pessimistic, context),
    )


_LABEL_ORDER = (*(state.value for state in WindowState), *REACH_LABELS.values(), INVALID_LABEL)


def _to_worst_pair(pair: Pair, tally: StateCountsResponse, context: _CellContext) -> tuple[str, str, str]:
    share = format_percent(tally.good, tally.good + tally.bad + tally.unavailable)
    return f"{pair.source} → {pair.destination}", share, context.params.pair_url(pair)


def _get_label(pair: Pair, result: MatrixPairResponse, context: _CellContext) -> str:
    return _find_override_label(pair, result, context) or result.state.value


def _find_override_label(pair: Pair, result: MatrixPairResponse, context: _CellContext) -> str | None:
    return find_override_label(context.mesh, pair, context.criteria, is_invalid=result.invalid)


def _build_row(
    source: Site, sites: list[Site], pairs: Mapping[Pair, MatrixPairResponse], context: _CellContext
) -> MatrixRow:
    cells = []
    for site in sites:
        pair = None if site.name == source.name else Pair(source=source.name, destination=site.name)
        result = pairs.get(pair) if pair else None
        cells.append((site.name, _build_cell(pair, result, context) if pair and result else None))
    return MatrixRow(site=source.name, local_time=format_local_time(source, context.now_s), cells=tuple(cells))


def _build_cell(pair: Pair, result: MatrixPairResponse, context: _CellContext) -> MatrixCell:
    override = _find_override_label(pair, result, context)
    label = override or result.state.value
    tally = result.pessimistic
    known_count = tally.good + tally.bad + tally.unavailable
    measured_count = known_count + result.unknown_minutes
    since = (
        None if result.measured_since is None else f"since {format_short_time(result.measured_since, context.now_s)}"
    )
    texts = {
        "share": format_percent(tally.good, known_count) if known_count else None,
        "known_count": format_count(known_count) if known_count else None,
        "main_cause": _format_main_cause(result),
        "coverage": _format_coverage(known_count, measured_count),
        "since": since,
        "latest_p95": _format_latest_p95(result),
        "latest_at": None if result.state_at is None else format_short_time(result.state_at, context.now_s),
    }
    return MatrixCell(
        href=context.params.pair_url(pair),
        icon=label.replace(" ", "-"),
        label=override or format_state(result.state, result.cause),
        heat_class=_get_heat_class(tally.good_ratio),
        is_sparse=known_count < COVERAGE_MIN * measured_count,
        no_share="no known minute" if result.data else "not measured",
        marks=tuple(_iter_marks(result)),
        provenance=_format_provenance(result, since),
        short_share=(texts["share"] or NO_VALUE).removesuffix("\u00a0%"),
        is_simulated=result.simulated,
        description=_describe_cell(pair, override, result, texts),
        **texts,
    )


def _get_heat_class(ratio: float | None) -> str:
    if ratio is None:
        return "heat-none"
    return next(css_class for ratio_min, _, css_class in SHARE_CLASSES if ratio >= ratio_min)


def _format_main_cause(result: MatrixPairResponse) -> str | None:
    """Return the most frequent cause of the known windows that were not good; None if all were good."""
    present = {CAUSE_NAMES[cause]: count for cause, count in map_causes(result.causes).items() if count}
    if not present:
        return None
    return f"others: {'' if len(present) == 1 else 'mostly '}{max(present, key=present.__getitem__)}"


def _format_coverage(known_count: int, expected_count: int) -> str | None:
    has_gaps = 0 < known_count < FULL_COVERAGE_MIN * expected_count
    return f"coverage {format_whole_percent(known_count, expected_count)}" if has_gaps else None


def _format_latest_p95(result: MatrixPairResponse) -> str | None:
    if result.state_at is None:
        return None
    return "no p95" if result.rtt_us.p95 is None else f"p95 {format_ms(result.rtt_us.p95)}"


def _iter_marks(result: MatrixPairResponse) -> Iterator[tuple[str, str]]:
    if result.simulated:
        yield "S", "simulated: generated, not measured"
    if result.imported:
        yield "I", "imported from files of other programs"
    if result.probes_per_window is not None and result.probes_per_window < PROBES_MIN:
        yield "F", f"few probes: {result.probes_per_window} a minute"


def _format_provenance(result: MatrixPairResponse, since: str | None) -> str:
    if not result.data:
        return "simulated, no data in this period" if result.simulated else "not measured in this period"
    parts = [f"measured {since} UTC"] if since and result.data == ["measured"] else [", ".join(result.data)]
    if since and result.data != ["measured"]:
        parts.append(f"{since} UTC")
    if result.probes_per_window is not None:
        parts.append(f"{result.probes_per_window} probe{'' if result.probes_per_window == 1 else 's'} a minute")
    if result.unknown_minutes:
        parts.append(
            f"{format_count(result.unknown_minutes)} minute{'' if result.unknown_minutes == 1 else 's'} unknown"
        )
    return ", ".join(parts)


def _describe_cell(
    pair: Pair, override: str | None, result: MatrixPairResponse, texts: Mapping[str, str | None]
) -> str:
    state = override or f"{format_state(result.state, result.cause)} now"
    parts = [f"{pair.source} to {pair.destination}: {state}"]
    if texts["share"]:
        parts.append(f"{texts['share']} of {texts['known_count']} windows good")
    if causes := format_cause_counts(map_causes(result.causes)):
        parts.append(f"others by cause: {causes}")
    if texts["coverage"]:
        parts.append(texts["coverage"])
    if texts["latest_p95"]:
        parts.append(f"latest window {texts['latest_at']} UTC, {texts['latest_p95']}")
    parts.append(_format_provenance(result, texts["since"]))
    return "; ".join(parts)
