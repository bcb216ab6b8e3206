"""The verdicts of a small mesh on one page: by two sites, the worst first. The matrix fetches them once it is there.

They take seconds and are of days that are over, so the page shows those of the last minute again and says so. What a
pair is now is read for each page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias

from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline.model import WINDOW_S, Pair
from leadline_collector.analysis.verdicts import PairWindowLoader, VerdictRequest, build_document
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.errors import InvalidRequestError, NotFoundError
from leadline_collector.http.ttl_cache import TtlCache
from leadline_collector.live import store as live_store
from leadline_collector.live.store import PairNowRow
from leadline_collector.mesh import registry
from leadline_collector.mesh import service as mesh_service
from leadline_collector.rollup import profile_revisions
from leadline_collector.time_range import DAY_S, TimeRange
from leadline_collector.web.formatting import format_day, format_short_time
from leadline_collector.web.params import PageParams
from leadline_collector.web.views.pair_data import choose_verdict_days
from leadline_collector.web.views.verdict_labels import VERDICT_LABELS, VerdictView, build_verdict_view, get_icon
from leadline_collector.windows.dirty_hours import HOUR_S
from leadline_verdict.decision import VerdictRule
from leadline_verdict.document import PairVerdict, SitesVerdict, VerdictClass, VerdictDocument
from leadline_verdict.requirements import NO_OVERRIDES

#: Directed pairs on the page: a verdict takes some 0.1 s, and nobody waits longer than a few seconds.
PAIRS_MAX = 30
#: What the page shows may be this much older than it is, and no more of it is kept than this many questions.
CACHE_TTL_S, CACHE_ENTRIES_MAX = 60, 16
#: A pair whose latest window that is due is older than this is not known to be anything now.
CURRENT_STATE_AGE_S_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    """Two sites."""

    href: str
    name: str
    icon: str
    label: str
    #: Each direction, the one that decides first.
    directions: list[tuple[str, VerdictView]]
    #: What the direction that decides is now, and since when; None where nothing is known of the minutes just past.
    current_state: tuple[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictsPage:
    """The page, and the part of it that the matrix fetches."""

    now_s: int
    matrix_url: str
    profile_title: str
    first_day: str
    last_day: str
    days: int
    target_share: str
    #: When the verdicts were worked out, to the second.
    computed_at: str
    #: How many pairs of sites have each word, the worst first.
    counts: list[tuple[str, str, int]]
    rows: list[VerdictRow]
    json_url: str


VerdictCache: TypeAlias = TtlCache[tuple[VerdictDocument, int]]


def build_verdicts_page(store: Store, cache: VerdictCache, params: PageParams, now_s: int) -> VerdictsPage:
    """The page; 404 without a pair, 422 for more pairs than it takes, or for an unknown group or profile."""
    days = choose_verdict_days(params.parse_period(now_s), now_s)
    with store.read() as reader:
        version, mesh = mesh_service.load_active_mesh(reader) or _raise_no_mesh()
    part = _select_group(mesh, params.group)
    profile = params.profile or choose_default_profile(part)
    known = load_catalogue()
    known.get_profile(profile)
    # Whoever waits for another's answer holds no connection meanwhile.
    document, judged_s = cache.get_or_compute(
        (version, params.group, profile, days),
        lambda: (_compute_verdicts(store, version, mesh, part, profile, days), now_s),
    )
    with store.read() as reader:
        standing = _load_current_states(reader, profile, now_s)
    return VerdictsPage(
        now_s=now_s,
        matrix_url=params.matrix_url(),
        profile_title=known.get_profile(profile).title,
        first_day=format_day(days.start_s),
        last_day=format_day(days.end_s - 1),
        days=document.days,
        target_share=f"{100 * document.rule.target_share:g}\u00a0%",
        computed_at=f"{datetime.fromtimestamp(judged_s, UTC):%H:%M:%S}",
        counts=_count_verdicts(document),
        rows=_build_rows(document, replace(params, profile=profile), standing),
        json_url=f"/api/v1/verdicts?profile={profile}&from={days.start_s}&to={days.end_s}",
    )


def _compute_verdicts(
    store: Store, version: int, mesh: Mesh, mesh_part: Mesh, profile: str, days: TimeRange
) -> VerdictDocument:
    question = VerdictRequest(
        period=days, pair=None, sites=(), profiles=(profile,), overrides=NO_OVERRIDES, rule=VerdictRule()
    )
    with store.read() as reader:
        return build_document(question, version, mesh_part, PairWindowLoader(reader, mesh, days).load_pair)


def _load_current_states(reader: ReadTransaction, profile: str, now_s: int) -> dict[tuple[str, str], tuple[str, str]]:
    """State now and since when of every pair that is judged by a profile in force; minutes long past are no now."""
    rule_id = profile_revisions.load_revision_ids(reader.connection).get(profile_revisions.compute_digest(profile))
    if rule_id is None:
        return {}
    names = {number: name for name, number in registry.load_registry(reader.connection).site_ids.items()}
    return {
        (names[source], names[destination]): (row.state, _format_since(row, now_s))
        for (source, destination), row in live_store.load_pairs_by_rule(reader.connection, rule_id).items()
        if now_s - row.t <= CURRENT_STATE_AGE_S_MAX
    }


def _format_since(row: PairNowRow, now_s: int) -> str:
    """``since 06:31``; a run that began a day ago or earlier may have begun before what was looked through."""
    if row.t - row.since < DAY_S - WINDOW_S:
        return f"since {format_short_time(row.since, now_s)}"
    return f"{(row.t + WINDOW_S - row.since) // HOUR_S:,}\u00a0h or longer"


def _raise_no_mesh() -> tuple[int, Mesh]:
    raise NotFoundError("no mesh is in force yet: run `leadline mesh apply FILE`")


def choose_default_profile(mesh: Mesh) -> str:
    """The first profile of the first pair that has one, else the catalogue's first."""
    named = (profile for settings in mesh.pairs.values() for profile in settings.profiles)
    return next(named, None) or next(iter(load_catalogue().profiles))


def _select_group(mesh: Mesh, group: str | None) -> Mesh:
    """The mesh with only the pairs of a group."""
    if group is not None and group not in mesh.groups:
        raise InvalidRequestError(f"group: {group!r} is none of {', '.join(mesh.groups)}", path="group")
    pairs = {pair: settings for pair, settings in mesh.pairs.items() if group is None or group in settings.groups}
    if len(pairs) > PAIRS_MAX:
        raise InvalidRequestError(
            f"group: {len(pairs)} pairs are more than {PAIRS_MAX} on one page; ask for a group, "
            "for two sites by their page, or use `leadline verdict`",
            path="group",
        )
    return replace(mesh, pairs=pairs)


def _count_verdicts(document: VerdictDocument) -> list[tuple[str, str, int]]:
    counted = Counter(one.verdict for one in document.site_pairs)
    return [(get_icon(word), VERDICT_LABELS[word], counted[word]) for word in VerdictClass if counted[word]]


CurrentStates: TypeAlias = Mapping[tuple[str, str], tuple[str, str]]


def _build_rows(document: VerdictDocument, params: PageParams, current_states: CurrentStates) -> list[VerdictRow]:
    """The worst first, and at the end those of which no minute is known."""
    found = {(one.source, one.destination): one for one in document.pairs}
    order = list(VerdictClass)
    ordered = sorted(document.site_pairs, key=lambda one: order.index(one.verdict))
    lines = [_to_row(one, found, params, current_states) for one in ordered]
    return sorted(lines, key=lambda line: not any(view.share for _, view in line.directions))


def _to_row(
    both: SitesVerdict,
    verdicts_by_pair: Mapping[tuple[str, str], PairVerdict],
    params: PageParams,
    current_states: CurrentStates,
) -> VerdictRow:
    a, b = both.sites
    verdicts = [verdicts_by_pair[ends] for ends in ((a, b), (b, a)) if ends in verdicts_by_pair]
    ordered: Sequence[PairVerdict] = sorted(verdicts, key=lambda one: [one.source, one.destination] != both.decided_by)
    worst = ordered[0]
    return VerdictRow(
        href=params.pair_url(Pair(source=worst.source, destination=worst.destination)),
        name=f"{a} ⇄ {b}" if len(verdicts) > 1 else f"{worst.source} → {worst.destination}",
        icon=get_icon(both.verdict),
        label=VERDICT_LABELS[both.verdict],
        current_state=current_states.get((worst.source, worst.destination)),
        directions=[(f"{one.source} → {one.destination}", build_verdict_view(one)) for one in ordered],
    )
