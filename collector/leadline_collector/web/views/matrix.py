"""What the matrix page shows: one table per group, one cell per directed pair. Texts and links, no HTML.

A cell says two things that must not be taken for each other: what the pair is now, and which share of the period it
was within. Neither is a verdict.

Rule: what can be judged comes from ``matrix``, what light allows from ``leadline.propagation``; here it is only worded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from leadline import evaluation
from leadline.evaluation import TARGET_SHARE_DEFAULT, Criterion, State
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline.model import Pair, Site
from leadline_collector.analysis.documents import MatrixAnswer, PairAnswer, ProfileAnswer, TallyAnswer
from leadline_collector.analysis.matrix import build_matrix
from leadline_collector.db.transactions import Store
from leadline_collector.errors import InvalidRequestError
from leadline_collector.mesh import service as mesh_service
from leadline_collector.time_range import TimeRange
from leadline_collector.web import formatting
from leadline_collector.web.charts.hour_of_week import SHARE_CLASSES
from leadline_collector.web.params import Choice, PageParams, matrix_json_url
from leadline_collector.web.views import pair_charts
from leadline_collector.web.views import verdicts as verdicts_view
from leadline_collector.web.views.propagation import REACH_LABELS, classify_reach
from leadline_verdict.decision import COVERAGE_MIN

#: More sites than this do not find room for whole cells on a screen.
COMPACT_ABOVE_SITES = 12
#: More than this do not find room for figures either.
TINY_ABOVE_SITES = 24
#: A coverage from here on is not worth a line: the count beside the share has it.
FULL_COVERAGE_MIN = 0.99
#: The order of ``Asked.sort``.
WORST_FIRST = "worst"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixCell:
    """One directed pair."""

    href: str
    #: Name of the symbol of what the pair is now.
    icon: str
    label: str
    #: The class of its share: ``heat-0`` to ``heat-4``, ``heat-none`` if no window is known.
    heat_class: str
    #: Less of the period is known than a verdict asks.
    is_sparse: bool
    is_simulated: bool
    is_imported: bool
    #: "99.31 %" and "1,412"; None if no window is known.
    share: str | None
    known_count: str | None
    #: The share in few figures: "99.31", "100".
    short_share: str
    #: "coverage 87 %"; None if nearly every window is known, or none.
    coverage: str | None
    #: "p95 4.912 ms"; None without a window.
    latest_p95: str | None
    latest_at: str | None
    #: All of it as one sentence.
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """The pairs from one site; None where a pair is not probed or is the site itself."""

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
    #: At least one window of its pairs lies in the period.
    has_data: bool
    #: So many sites that cells have room for a sign and a share only.
    is_compact: bool
    #: So many that they have room for a sign alone.
    is_tiny: bool
    summary: GroupSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSummary:
    """A table in a sentence."""

    pair_count: int
    #: Pairs with a known window, and those of them whose share reaches the target.
    known_count: int
    target_met_count: int
    #: How many pairs are in each state now, with its sign.
    state_counts: list[tuple[str, str, int]]
    #: "fra → ams", its share and its address; None if no window is known.
    worst_pair: tuple[str, str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixPage:
    """The page."""

    params: PageParams
    now_s: int
    mesh_version: int
    period: TimeRange
    period_length: str
    profile: ProfileAnswer
    #: Why nothing can be judged by the profile; None if something can.
    reason: str | None
    group_choices: list[Choice]
    #: Profiles the mesh judges pairs by.
    profile_choices: list[Choice]
    #: (id, title) of the catalogue's other profiles, and of the asked one if it is none of the mesh.
    other_profiles: list[tuple[str, str]]
    period_choices: list[Choice]
    sort_choices: list[Choice]
    target_share: str
    #: Words and colour of each class of shares.
    share_classes: list[tuple[str, str]]
    #: Where the verdicts of all pairs shown are; None if they are too many to be judged for a page.
    verdicts_url: str | None
    pair_count: int
    #: Each two sites: what the verdicts will be about.
    site_pairs: list[str]
    tables: list[MatrixTable]
    #: Names of the groups that show generated data.
    simulated_groups: list[str]
    #: Some of the windows came out of files.
    has_imported_data: bool
    json_url: str


def build_matrix_page(store: Store, params: PageParams, now_s: int) -> MatrixPage:
    """The page for these parameters; the errors are those of ``period_of`` and ``matrix``, 422 for an unknown order."""
    period = params.parse_period(now_s)
    if params.sort not in (None, WORST_FIRST):
        raise InvalidRequestError(f"sort: {params.sort!r} is not {WORST_FIRST!r}", path="sort")
    with store.read() as reader:
        found = mesh_service.load_active_mesh(reader)
    mesh = found[1] if found else None
    used = list(_list_used_profiles(mesh, params.group))
    profile_id = params.profile or next(iter(used or load_catalogue().profiles))
    answer = build_matrix(store, profile_id, period, params.group)
    tables = [] if mesh is None else list(_build_tables(mesh, answer, replace(params, profile=profile_id), now_s))
    return MatrixPage(
        params=params,
        now_s=now_s,
        mesh_version=answer.mesh_version,
        period=period,
        period_length=formatting.format_duration(period.end_s - period.start_s),
        profile=answer.profile,
        reason=answer.reason,
        group_choices=_build_group_choices(mesh, params),
        profile_choices=[_to_profile_choice(params, name, profile_id) for name in used],
        other_profiles=_list_other_profiles(used, profile_id),
        period_choices=params.build_period_choices(),
        sort_choices=[
            Choice(name=name, href=replace(params, sort=sort).matrix_url(), is_current=sort == params.sort)
            for name, sort in (("mesh file", None), ("worst first", WORST_FIRST))
        ],
        target_share=f"{100 * TARGET_SHARE_DEFAULT:g}\u00a0%",
        share_classes=pair_charts.list_share_classes(),
        verdicts_url=_build_verdicts_url(answer, replace(params, profile=profile_id, sort=None)),
        pair_count=len(answer.pairs),
        site_pairs=_list_site_pairs(answer),
        tables=tables,
        simulated_groups=[table.name for table in tables if table.is_simulated],
        has_imported_data=answer.imported,
        json_url=matrix_json_url(profile_id, period, params.group),
    )


def _build_verdicts_url(answer: MatrixAnswer, params: PageParams) -> str | None:
    has_data = any(pair.paths for pair in answer.pairs)
    return params.verdicts_url() if has_data and len(answer.pairs) <= verdicts_view.PAIRS_MAX else None


def _list_site_pairs(answer: MatrixAnswer) -> list[str]:
    """Both directions once."""
    first: dict[frozenset[str], PairAnswer] = {}
    for one in answer.pairs:
        first.setdefault(frozenset((one.source, one.destination)), one)
    return [f"{one.source} ⇄ {one.destination}" for one in first.values()]


def _list_used_profiles(mesh: Mesh | None, group: str | None) -> Iterable[str]:
    """The profiles of the pairs of a group, or of all, each once and in the order of the file."""
    pairs = [] if mesh is None else mesh.pairs.values()
    shown = [settings for settings in pairs if group is None or group in settings.groups]
    return dict.fromkeys(profile for settings in shown for profile in settings.profiles)


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
    known = load_catalogue()
    ids = dict.fromkeys([*known.profiles, requested_id])
    return [(profile_id, known.get_profile(profile_id).title) for profile_id in ids if profile_id not in used_profiles]


def _build_tables(mesh: Mesh, answer: MatrixAnswer, params: PageParams, now_s: int) -> Iterator[MatrixTable]:
    wording = _CellContext(mesh=mesh, criteria=get_criteria(answer.profile.id), params=params, now_s=now_s)
    for group in mesh.groups:
        pairs = {
            Pair(source=one.source, destination=one.destination): one for one in answer.pairs if group in one.groups
        }
        if pairs:
            yield _build_table(group, pairs, wording)


def get_criteria(profile_id: str) -> tuple[Criterion, ...]:
    """What windows are judged by under a profile of the catalogue."""
    known = load_catalogue()
    return evaluation.plan_evaluation(known.get_required_limits(known.get_profile(profile_id))).criteria


@dataclass(frozen=True, slots=True, kw_only=True)
class _CellContext:
    """What the cells have in common."""

    mesh: Mesh
    criteria: tuple[Criterion, ...]
    params: PageParams
    now_s: int


def _build_table(group: str, pairs: Mapping[Pair, PairAnswer], context: _CellContext) -> MatrixTable:
    ends = {name for pair in pairs for name in (pair.source, pair.destination)}
    sites = [site for site in context.mesh.sites if site.name in ends]
    if context.params.sort == WORST_FIRST:
        sites.sort(key=lambda site: _lowest_ratio(pairs, site.name))
    return MatrixTable(
        name=group,
        destinations=tuple(site.name for site in sites),
        rows=tuple(_build_row(site, sites, pairs, context) for site in sites),
        is_simulated=any(answer.simulated for answer in pairs.values()),
        has_data=any(answer.paths for answer in pairs.values()),
        is_compact=len(sites) > COMPACT_ABOVE_SITES,
        is_tiny=len(sites) > TINY_ABOVE_SITES,
        summary=_summarise_group(pairs, context),
    )


def _sort_ratio(answer: PairAnswer) -> float:
    """The share of good windows; above 1 if none is known, which sorts last."""
    ratio = answer.pessimistic.good_ratio
    return 2.0 if ratio is None else ratio


def _lowest_ratio(pairs: Mapping[Pair, PairAnswer], site: str) -> float:
    return min(_sort_ratio(answer) for pair, answer in pairs.items() if site in (pair.source, pair.destination))


def _summarise_group(pairs: Mapping[Pair, PairAnswer], context: _CellContext) -> GroupSummary:
    ratios = {pair: _sort_ratio(answer) for pair, answer in pairs.items()}
    known = [pair for pair, ratio in ratios.items() if ratio <= 1]
    words = Counter(_get_label(pair, answer, context) for pair, answer in pairs.items())
    worst = min(known, key=lambda pair: ratios[pair], default=None)
    return GroupSummary(
        pair_count=len(pairs),
        known_count=len(known),
        target_met_count=sum(ratios[pair] >= TARGET_SHARE_DEFAULT for pair in known),
        state_counts=[(word.replace(" ", "-"), word, words[word]) for word in _LABEL_ORDER if words[word]],
        worst_pair=None if worst is None else _to_worst_pair(worst, pairs[worst].pessimistic, context),
    )


_LABEL_ORDER = (*(state.value for state in State), *REACH_LABELS.values())


def _to_worst_pair(pair: Pair, tally: TallyAnswer, context: _CellContext) -> tuple[str, str, str]:
    share = formatting.format_percent(tally.good, tally.good + tally.bad + tally.unavailable)
    return f"{pair.source} → {pair.destination}", share, context.params.pair_url(pair)


def _get_label(pair: Pair, answer: PairAnswer, context: _CellContext) -> str:
    return REACH_LABELS.get(classify_reach(context.mesh, pair, context.criteria), answer.state.value)


def _build_row(source: Site, sites: list[Site], pairs: Mapping[Pair, PairAnswer], context: _CellContext) -> MatrixRow:
    cells = []
    for site in sites:
        pair = None if site.name == source.name else Pair(source=source.name, destination=site.name)
        answer = pairs.get(pair) if pair else None
        cells.append((site.name, _build_cell(pair, answer, context) if pair and answer else None))
    return MatrixRow(
        site=source.name, local_time=formatting.format_local_time(source, context.now_s), cells=tuple(cells)
    )


def _build_cell(pair: Pair, answer: PairAnswer, context: _CellContext) -> MatrixCell:
    word = _get_label(pair, answer, context)
    tally = answer.pessimistic
    known = tally.good + tally.bad + tally.unavailable
    texts = {
        "share": formatting.format_percent(tally.good, known) if known else None,
        "known_count": formatting.format_count(known) if known else None,
        "coverage": _format_coverage(known, answer.windows_expected),
        "latest_p95": _format_latest_p95(answer),
        "latest_at": None if answer.state_at is None else formatting.format_short_time(answer.state_at, context.now_s),
    }
    return MatrixCell(
        href=context.params.pair_url(pair),
        icon=word.replace(" ", "-"),
        label=word,
        heat_class=_get_heat_class(tally.good_ratio),
        is_sparse=known < COVERAGE_MIN * answer.windows_expected,
        short_share=(texts["share"] or formatting.NO_VALUE).removesuffix("\u00a0%"),
        is_simulated=answer.simulated,
        is_imported=answer.imported,
        description=_describe_cell(pair, word, answer, texts),
        **texts,
    )


def _get_heat_class(ratio: float | None) -> str:
    if ratio is None:
        return "heat-none"
    return next(colour for least, _, colour in SHARE_CLASSES if ratio >= least)


def _format_coverage(known: int, windows: int) -> str | None:
    return (
        f"coverage {formatting.format_whole_percent(known, windows)}"
        if 0 < known < FULL_COVERAGE_MIN * windows
        else None
    )


def _format_latest_p95(answer: PairAnswer) -> str | None:
    if answer.state_at is None:
        return None
    return "no p95" if answer.rtt_us.p95 is None else f"p95 {formatting.format_ms(answer.rtt_us.p95)}"


def _describe_cell(pair: Pair, label: str, answer: PairAnswer, texts: Mapping[str, str | None]) -> str:
    parts = [f"{pair.source} to {pair.destination}: {label if label in REACH_LABELS.values() else f'{label} now'}"]
    parts.append(
        f"{texts['share']} of {texts['known_count']} windows good" if texts["share"] else "no data in this period"
    )
    if texts["coverage"]:
        parts.append(texts["coverage"])
    if texts["latest"]:
        parts.append(f"latest window {texts['latest_at']} UTC, {texts['latest_p95']}")
    marks = [name for name, is_so in (("simulated", answer.simulated), ("imported", answer.imported)) if is_so]
    return "; ".join([*parts, *marks])
