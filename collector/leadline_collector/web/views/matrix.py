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
from leadline.limits.catalogue import catalogue
from leadline.mesh.model import Mesh
from leadline.model import Pair, Site
from leadline_collector.analysis.documents import MatrixAnswer, PairAnswer, ProfileAnswer, TallyAnswer
from leadline_collector.analysis.matrix import matrix
from leadline_collector.db.transactions import Store
from leadline_collector.errors import InvalidRequestError
from leadline_collector.mesh import service as mesh_service
from leadline_collector.time_range import Period
from leadline_collector.web import formatting
from leadline_collector.web.charts.hour_of_week import CLASSES
from leadline_collector.web.params import Asked, Choice, matrix_json
from leadline_collector.web.views import pair_charts
from leadline_collector.web.views import verdicts as verdicts_view
from leadline_collector.web.views.propagation import REACH_WORDS, reach_of
from leadline_verdict.decision import COVERAGE_MIN

#: More sites than this do not find room for whole cells on a screen.
COMPACT_ABOVE = 12
#: More than this do not find room for figures either.
TINY_ABOVE = 24
#: A coverage from here on is not worth a line: the count beside the share has it.
COVERAGE_TOLD = 0.99
#: The order of ``Asked.sort``.
WORST_FIRST = "worst"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One directed pair."""

    href: str
    #: Name of the symbol of what the pair is now.
    look: str
    word: str
    #: The class of its share: ``heat-0`` to ``heat-4``, ``heat-none`` if no window is known.
    heat: str
    #: Less of the period is known than a verdict asks.
    thin: bool
    simulated: bool
    imported: bool
    #: "99.31 %" and "1,412"; None if no window is known.
    share: str | None
    known: str | None
    #: The share in few figures: "99.31", "100".
    brief: str
    #: "coverage 87 %"; None if nearly every window is known, or none.
    coverage: str | None
    #: "p95 4.912 ms"; None without a window.
    latest: str | None
    latest_at: str | None
    #: All of it as one sentence.
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The pairs from one site; None where a pair is not probed or is the site itself."""

    source: str
    local_time: str
    cells: tuple[tuple[str, Cell | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One group of the mesh."""

    name: str
    destinations: tuple[str, ...]
    rows: tuple[Row, ...]
    simulated: bool
    #: At least one window of its pairs lies in the period.
    has_data: bool
    #: So many sites that cells have room for a sign and a share only.
    compact: bool
    #: So many that they have room for a sign alone.
    tiny: bool
    summary: Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A table in a sentence."""

    pairs: int
    #: Pairs with a known window, and those of them whose share reaches the target.
    known: int
    reaching: int
    #: How many pairs are in each state now, with its sign.
    now: list[tuple[str, str, int]]
    #: "fra → ams", its share and its address; None if no window is known.
    worst: tuple[str, str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixPage:
    """The page."""

    asked: Asked
    now_s: int
    mesh_version: int
    period: Period
    length: str
    profile: ProfileAnswer
    #: Why nothing can be judged by the profile; None if something can.
    reason: str | None
    groups: list[Choice]
    #: Profiles the mesh judges pairs by.
    profiles: list[Choice]
    #: (id, title) of the catalogue's other profiles, and of the asked one if it is none of the mesh.
    other_profiles: list[tuple[str, str]]
    periods: list[Choice]
    sorts: list[Choice]
    target: str
    #: Words and colour of each class of shares.
    classes: list[tuple[str, str]]
    #: Where the verdicts of all pairs shown are; None if they are too many to be judged for a page.
    verdicts: str | None
    pairs: int
    #: Each two sites: what the verdicts will be about.
    site_pairs: list[str]
    tables: list[Table]
    #: Names of the groups that show generated data.
    simulated: list[str]
    #: Some of the windows came out of files.
    imported: bool
    json: str


def matrix_page(store: Store, asked: Asked, now_s: int) -> MatrixPage:
    """The page for these parameters; the errors are those of ``period_of`` and ``matrix``, 422 for an unknown order."""
    period = asked.period(now_s)
    if asked.sort not in (None, WORST_FIRST):
        raise InvalidRequestError(f"sort: {asked.sort!r} is not {WORST_FIRST!r}", path="sort")
    with store.read() as reader:
        found = mesh_service.in_force(reader)
    mesh = found[1] if found else None
    used = list(_profiles_used(mesh, asked.group))
    profile_id = asked.profile or next(iter(used or catalogue().profiles))
    answer = matrix(store, profile_id, period, asked.group)
    tables = [] if mesh is None else list(_tables(mesh, answer, replace(asked, profile=profile_id), now_s))
    return MatrixPage(
        asked=asked,
        now_s=now_s,
        mesh_version=answer.mesh_version,
        period=period,
        length=formatting.length(period.end_s - period.start_s),
        profile=answer.profile,
        reason=answer.reason,
        groups=_group_choices(mesh, asked),
        profiles=[_profile_choice(asked, name, profile_id) for name in used],
        other_profiles=_other_profiles(used, profile_id),
        periods=asked.periods(),
        sorts=[
            Choice(name=name, href=replace(asked, sort=sort).matrix(), current=sort == asked.sort)
            for name, sort in (("mesh file", None), ("worst first", WORST_FIRST))
        ],
        target=f"{100 * TARGET_SHARE_DEFAULT:g}\u00a0%",
        classes=pair_charts.classes(),
        verdicts=_verdicts(answer, replace(asked, profile=profile_id, sort=None)),
        pairs=len(answer.pairs),
        site_pairs=_site_pairs(answer),
        tables=tables,
        simulated=[table.name for table in tables if table.simulated],
        imported=answer.imported,
        json=matrix_json(profile_id, period, asked.group),
    )


def _verdicts(answer: MatrixAnswer, asked: Asked) -> str | None:
    has_data = any(pair.paths for pair in answer.pairs)
    return asked.verdicts() if has_data and len(answer.pairs) <= verdicts_view.PAIRS_MAX else None


def _site_pairs(answer: MatrixAnswer) -> list[str]:
    """Both directions once."""
    first: dict[frozenset[str], PairAnswer] = {}
    for one in answer.pairs:
        first.setdefault(frozenset((one.source, one.destination)), one)
    return [f"{one.source} ⇄ {one.destination}" for one in first.values()]


def _profiles_used(mesh: Mesh | None, group: str | None) -> Iterable[str]:
    """The profiles of the pairs of a group, or of all, each once and in the order of the file."""
    pairs = [] if mesh is None else mesh.pairs.values()
    shown = [settings for settings in pairs if group is None or group in settings.groups]
    return dict.fromkeys(profile for settings in shown for profile in settings.profiles)


def _group_choices(mesh: Mesh | None, asked: Asked) -> list[Choice]:
    names = [] if mesh is None else [None, *mesh.groups]
    return [
        Choice(name=name or "all", href=replace(asked, group=name).matrix(), current=name == asked.group)
        for name in names
    ]


def _profile_choice(asked: Asked, profile_id: str, current_id: str) -> Choice:
    href = replace(asked, profile=profile_id).matrix()
    return Choice(name=profile_id, href=href, current=profile_id == current_id)


def _other_profiles(used: list[str], asked_id: str) -> list[tuple[str, str]]:
    known = catalogue()
    ids = dict.fromkeys([*known.profiles, asked_id])
    return [(profile_id, known.profile(profile_id).title) for profile_id in ids if profile_id not in used]


def _tables(mesh: Mesh, answer: MatrixAnswer, asked: Asked, now_s: int) -> Iterator[Table]:
    wording = _Wording(mesh=mesh, criteria=criteria_of(answer.profile.id), asked=asked, now_s=now_s)
    for group in mesh.groups:
        pairs = {
            Pair(source=one.source, destination=one.destination): one for one in answer.pairs if group in one.groups
        }
        if pairs:
            yield _table(group, pairs, wording)


def criteria_of(profile_id: str) -> tuple[Criterion, ...]:
    """What windows are judged by under a profile of the catalogue."""
    known = catalogue()
    return evaluation.judged(known.limits_of(known.profile(profile_id))).criteria


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wording:
    """What the cells have in common."""

    mesh: Mesh
    criteria: tuple[Criterion, ...]
    asked: Asked
    now_s: int


def _table(group: str, pairs: Mapping[Pair, PairAnswer], wording: _Wording) -> Table:
    ends = {name for pair in pairs for name in (pair.source, pair.destination)}
    sites = [site for site in wording.mesh.sites if site.name in ends]
    if wording.asked.sort == WORST_FIRST:
        sites.sort(key=lambda site: _least(pairs, site.name))
    return Table(
        name=group,
        destinations=tuple(site.name for site in sites),
        rows=tuple(_row(site, sites, pairs, wording) for site in sites),
        simulated=any(answer.simulated for answer in pairs.values()),
        has_data=any(answer.paths for answer in pairs.values()),
        compact=len(sites) > COMPACT_ABOVE,
        tiny=len(sites) > TINY_ABOVE,
        summary=_summary(pairs, wording),
    )


def _ratio(answer: PairAnswer) -> float:
    """The share of good windows; above 1 if none is known, which sorts last."""
    ratio = answer.pessimistic.good_ratio
    return 2.0 if ratio is None else ratio


def _least(pairs: Mapping[Pair, PairAnswer], site: str) -> float:
    return min(_ratio(answer) for pair, answer in pairs.items() if site in (pair.source, pair.destination))


def _summary(pairs: Mapping[Pair, PairAnswer], wording: _Wording) -> Summary:
    ratios = {pair: _ratio(answer) for pair, answer in pairs.items()}
    known = [pair for pair, ratio in ratios.items() if ratio <= 1]
    words = Counter(_word(pair, answer, wording) for pair, answer in pairs.items())
    worst = min(known, key=lambda pair: ratios[pair], default=None)
    return Summary(
        pairs=len(pairs),
        known=len(known),
        reaching=sum(ratios[pair] >= TARGET_SHARE_DEFAULT for pair in known),
        now=[(word.replace(" ", "-"), word, words[word]) for word in _ORDER if words[word]],
        worst=None if worst is None else _worst(worst, pairs[worst].pessimistic, wording),
    )


_ORDER = (*(state.value for state in State), *REACH_WORDS.values())


def _worst(pair: Pair, tally: TallyAnswer, wording: _Wording) -> tuple[str, str, str]:
    share = formatting.percent(tally.good, tally.good + tally.bad + tally.unavailable)
    return f"{pair.source} → {pair.destination}", share, wording.asked.pair(pair)


def _word(pair: Pair, answer: PairAnswer, wording: _Wording) -> str:
    return REACH_WORDS.get(reach_of(wording.mesh, pair, wording.criteria), answer.state.value)


def _row(source: Site, sites: list[Site], pairs: Mapping[Pair, PairAnswer], wording: _Wording) -> Row:
    cells = []
    for site in sites:
        pair = None if site.name == source.name else Pair(source=source.name, destination=site.name)
        answer = pairs.get(pair) if pair else None
        cells.append((site.name, _cell(pair, answer, wording) if pair and answer else None))
    return Row(source=source.name, local_time=formatting.local_time(source, wording.now_s), cells=tuple(cells))


def _cell(pair: Pair, answer: PairAnswer, wording: _Wording) -> Cell:
    word = _word(pair, answer, wording)
    tally = answer.pessimistic
    known = tally.good + tally.bad + tally.unavailable
    texts = {
        "share": formatting.percent(tally.good, known) if known else None,
        "known": formatting.count(known) if known else None,
        "coverage": _coverage(known, answer.windows_expected),
        "latest": _latest(answer),
        "latest_at": None if answer.state_at is None else formatting.short_moment(answer.state_at, wording.now_s),
    }
    return Cell(
        href=wording.asked.pair(pair),
        look=word.replace(" ", "-"),
        word=word,
        heat=_heat(tally.good_ratio),
        thin=known < COVERAGE_MIN * answer.windows_expected,
        brief=(texts["share"] or formatting.NOTHING).removesuffix("\u00a0%"),
        simulated=answer.simulated,
        imported=answer.imported,
        label=_label(pair, word, answer, texts),
        **texts,
    )


def _heat(ratio: float | None) -> str:
    if ratio is None:
        return "heat-none"
    return next(colour for least, _, colour in CLASSES if ratio >= least)


def _coverage(known: int, windows: int) -> str | None:
    return f"coverage {formatting.whole_percent(known, windows)}" if 0 < known < COVERAGE_TOLD * windows else None


def _latest(answer: PairAnswer) -> str | None:
    if answer.state_at is None:
        return None
    return "no p95" if answer.rtt_us.p95 is None else f"p95 {formatting.ms(answer.rtt_us.p95)}"


def _label(pair: Pair, word: str, answer: PairAnswer, texts: Mapping[str, str | None]) -> str:
    parts = [f"{pair.source} to {pair.destination}: {word if word in REACH_WORDS.values() else f'{word} now'}"]
    parts.append(f"{texts['share']} of {texts['known']} windows good" if texts["share"] else "no data in this period")
    if texts["coverage"]:
        parts.append(texts["coverage"])
    if texts["latest"]:
        parts.append(f"latest window {texts['latest_at']} UTC, {texts['latest']}")
    marks = [name for name, is_so in (("simulated", answer.simulated), ("imported", answer.imported)) if is_so]
    return "; ".join([*parts, *marks])
