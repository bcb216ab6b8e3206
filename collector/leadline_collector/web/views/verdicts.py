"""View of the verdicts on all pairs of sites of a small mesh, worst first. The matrix loads it as a fragment.

Verdicts take seconds and cover completed days, so a cache keeps them for a minute and the page shows when they were
computed. The current states are read for each page.
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
from leadline_collector.web.formatting import format_day, format_short_time, format_target
from leadline_collector.web.params import PageParams
from leadline_collector.web.views.pair_data import choose_verdict_days
from leadline_collector.web.views.propagation import INVALID_LABEL
from leadline_collector.web.views.verdict_labels import VERDICT_LABELS, VerdictView, build_verdict_view, get_icon
from leadline_collector.windows.dirty_hours import HOUR_S
from leadline_verdict.decision import VerdictRule
from leadline_verdict.document import PairVerdict, SitesVerdict, VerdictClass, VerdictDocument
from leadline_verdict.requirements import NO_OVERRIDES

#: Directed pairs on the page, at most: a verdict takes about 0.1 s.
PAIRS_MAX = 30
#: Lifetime of a cache entry in seconds, and number of entries.
CACHE_TTL_S, CACHE_ENTRIES_MAX = 60, 16
#: A current state older than this, in seconds, is not shown.
CURRENT_STATE_AGE_S_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    """Two sites."""

    href: str
    name: str
    icon: str
    label: str
    #: Each direction, the deciding one first.
    directions: list[tuple[str, VerdictView]]
    #: State of the deciding direction and its start; None without recent windows.
    current_state: tuple[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictsPage:
    """The page; the matrix loads a part of it."""

    now_s: int
    matrix_url: str
    profile_title: str
    first_day: str
    last_day: str
    days: int
    target_share: str
    #: Time of the computation, ``HH:MM:SS`` UTC.
    computed_at: str
    #: Icon, label and number of pairs of sites of each verdict, worst first.
    counts: list[tuple[str, str, int]]
    rows: list[VerdictRow]
    json_url: str


VerdictCache: TypeAlias = TtlCache[tuple[VerdictDocument, int]]


def build_verdicts_page(store: Store, cache: VerdictCache, params: PageParams, now_s: int) -> VerdictsPage:
    """Build the page.

    Raises NotFoundError without a mesh, InvalidRequestError for an unknown group or too many pairs, and ConfigError for
    an unknown profile. It loads the mesh once but uses three transactions: a request that waits for another one's
    computation must not occupy a connection.
    """
    days = choose_verdict_days(params.parse_period(now_s), now_s)
    with store.read() as reader:
        active_mesh = mesh_service.load_active_mesh(reader)
    if active_mesh is None:
        raise NotFoundError("there is no active mesh yet: run `leadline mesh apply FILE`")
    version, mesh = active_mesh
    group_mesh = _select_group(mesh, params.group)
    profile_id = params.profile or choose_default_profile(group_mesh)
    profile = load_catalogue().get_profile(profile_id)
    document, computed_at_s = cache.get_or_compute(
        (version, params.group, profile_id, days),
        lambda: (_compute_verdicts(store, version, mesh, group_mesh, profile_id, days), now_s),
    )
    with store.read() as reader:
        current_states = _load_current_states(reader, profile_id, now_s)
    return VerdictsPage(
        now_s=now_s,
        matrix_url=params.matrix_url(),
        profile_title=profile.title,
        first_day=format_day(days.start_s),
        last_day=format_day(days.end_s - 1),
        days=document.days,
        target_share=format_target(document.rule.target_share),
        computed_at=f"{datetime.fromtimestamp(computed_at_s, UTC):%H:%M:%S}",
        counts=_count_verdicts(document),
        rows=_build_rows(document, replace(params, profile=profile_id), current_states),
        json_url=f"/api/v1/verdicts?profile={profile_id}&from={days.start_s}&to={days.end_s}",
    )


def _compute_verdicts(
    store: Store, version: int, mesh: Mesh, group_mesh: Mesh, profile_id: str, days: TimeRange
) -> VerdictDocument:
    request = VerdictRequest(
        period=days, pair=None, sites=(), profiles=(profile_id,), overrides=NO_OVERRIDES, rule=VerdictRule()
    )
    with store.read() as reader:
        return build_document(request, version, group_mesh, PairWindowLoader(reader, mesh, days).load_pair)


def _load_current_states(
    reader: ReadTransaction, profile_id: str, now_s: int
) -> dict[tuple[str, str], tuple[str, str]]:
    """Return state and start of every pair with a recent current state by this profile."""
    revision_id = profile_revisions.load_revision_ids(reader.connection).get(
        profile_revisions.compute_digest(profile_id)
    )
    if revision_id is None:
        return {}
    names = {site_id: name for name, site_id in registry.load_registry(reader.connection).site_ids.items()}
    return {
        (names[source], names[destination]): _format_state(row, now_s)
        for (source, destination), row in live_store.load_pairs_by_rule(reader.connection, revision_id).items()
        if now_s - row.t <= CURRENT_STATE_AGE_S_MAX
    }


def _format_state(row: PairNowRow, now_s: int) -> tuple[str, str]:
    return (INVALID_LABEL, "a reply is faster than light") if row.invalid else (row.state, _format_since(row, now_s))


def _format_since(row: PairNowRow, now_s: int) -> str:
    """Format the start of a state: ``since 06:31``; from a day on ``24 h or longer``, as the search covers a day.

    A day without a known minute has no start: the pair may not have been measured.
    """
    if row.known_at is None:
        return "no known minute in 24\u00a0h"
    if row.t - row.since < DAY_S - WINDOW_S:
        return f"since {format_short_time(row.since, now_s)}"
    return f"{(row.t + WINDOW_S - row.since) // HOUR_S:,}\u00a0h or longer"


def choose_default_profile(mesh: Mesh) -> str:
    """Return the first profile of the first pair with one, else the first of the catalogue."""
    profiles = (profile for settings in mesh.pairs.values() for profile in settings.profiles)
    return next(profiles, None) or next(iter(load_catalogue().profiles))


def _select_group(mesh: Mesh, group: str | None) -> Mesh:
    """Return the mesh with only the pairs of a group; InvalidRequestError if they are too many."""
    if group is not None and group not in mesh.groups:
        raise InvalidRequestError(f"group: {group!r} is not one of {', '.join(mesh.groups)}", path="group")
    pairs = {pair: settings for pair, settings in mesh.pairs.items() if group is None or group in settings.groups}
    if len(pairs) > PAIRS_MAX:
        raise InvalidRequestError(
            f"group: {len(pairs)} directed pairs, at most {PAIRS_MAX} on one page; select a group, "
            "open the page of a pair, or use `leadline verdict`",
            path="group",
        )
    return replace(mesh, pairs=pairs)


def _count_verdicts(document: VerdictDocument) -> list[tuple[str, str, int]]:
    counts = Counter(sites.verdict for sites in document.site_pairs)
    return [(get_icon(word), VERDICT_LABELS[word], counts[word]) for word in VerdictClass if counts[word]]


CurrentStates: TypeAlias = Mapping[tuple[str, str], tuple[str, str]]


def _build_rows(document: VerdictDocument, params: PageParams, current_states: CurrentStates) -> list[VerdictRow]:
    """Sort rows worst first, pairs without a known minute last."""
    verdicts = {(verdict.source, verdict.destination): verdict for verdict in document.pairs}
    order = list(VerdictClass)
    ordered = sorted(document.site_pairs, key=lambda sites: order.index(sites.verdict))
    rows = [_to_row(sites, verdicts, params, current_states) for sites in ordered]
    return sorted(rows, key=lambda row: not any(view.share for _, view in row.directions))


def _to_row(
    both: SitesVerdict,
    verdicts_by_pair: Mapping[tuple[str, str], PairVerdict],
    params: PageParams,
    current_states: CurrentStates,
) -> VerdictRow:
    a, b = both.sites
    verdicts = [verdicts_by_pair[direction] for direction in ((a, b), (b, a)) if direction in verdicts_by_pair]
    ordered: Sequence[PairVerdict] = sorted(
        verdicts, key=lambda verdict: [verdict.source, verdict.destination] != both.decided_by
    )
    worst = ordered[0]
    return VerdictRow(
        href=params.pair_url(Pair(source=worst.source, destination=worst.destination)),
        name=f"{a} ⇄ {b}" if len(verdicts) > 1 else f"{worst.source} → {worst.destination}",
        icon=get_icon(both.verdict),
        label=VERDICT_LABELS[both.verdict],
        current_state=current_states.get((worst.source, worst.destination)),
        directions=[(f"{verdict.source} → {verdict.destination}", build_verdict_view(verdict)) for verdict in ordered],
    )
