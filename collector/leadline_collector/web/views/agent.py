"""What the page of one agent shows: how it stands, what is missing and why, its paths and keys. Texts, no HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from leadline.mesh.model import Mesh, ProbePath
from leadline.model import WINDOW_S
from leadline.wire.admin import KeyEntry
from leadline.wire.batch import GapReason, is_imported
from leadline_collector.auth import key_store
from leadline_collector.db.transactions import Store
from leadline_collector.errors import NotFoundError
from leadline_collector.gaps.documents import GapAnswer
from leadline_collector.gaps.service import find_agent_gaps
from leadline_collector.mesh import service as mesh_service
from leadline_collector.web import formatting
from leadline_collector.web.views.agents import (
    DAY_S,
    AgentView,
    AgentViewContext,
    build_agent_view,
    clip_to_first_window,
    describe_gaps,
    get_settled_period,
    load_reports,
)

#: Days of the gaps on the page of one agent, and how many of them.
GAP_DAYS = 7
GAPS_MAX = 200

GAP_REASON_DESCRIPTIONS = {
    GapReason.AGENT_DOWN: "The agent did not run: stopped, restarted, or its host was down.",
    GapReason.SPOOL_OVERFLOW: "The agent gave batches up: budget or disk were full before the collector took them.",
    GapReason.SPOOL_CORRUPT: "Batches were damaged on the agent's disk, or removed by somebody.",
    GapReason.REFUSED: "The collector refused batches for ever; the agent keeps their bytes in its dead letters.",
    GapReason.LOCAL_STALL: "The host was too busy or suspended: the prober got no time to send.",
    GapReason.CLOCK_UNSYNC: "The host's clock was wrong, so these windows stand under another time, or in quarantine.",
    GapReason.CONFIG_CHANGE: "The mesh changed: the path was not probed yet, or no longer.",
    GapReason.UNEXPLAINED: "Nobody told why, and what is stored does not show it.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GapView:
    """One hole."""

    start: str
    end: str
    length: str
    reason: str
    source: str
    targets: str
    windows: str
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPage:
    """One agent."""

    now_s: int
    agent: AgentView
    address: str | None
    keys: list[str]
    signing_keys: list[tuple[str, str]]
    #: What it probes: target, site, address, and the pages of the pairs.
    routes: list[tuple[ProbePath, str]]
    gaps: list[GapView]
    gap_days: int
    #: When its first window began, if that was in these days: it owes none from before.
    first_window_at: str | None
    is_truncated: bool
    #: Each reason that occurs, with what it means.
    reason_descriptions: dict[str, str]


def build_agent_page(store: Store, name: str, now_s: int) -> AgentPage:
    """One agent with its paths and gaps; 404 if no mesh ever had it."""
    with store.read() as reader:
        found = mesh_service.load_active_mesh(reader)
        entry = next((one for one in key_store.load_agents(reader.connection, now_s) if one.name == name), None)
        told = load_reports(reader)
    if entry is None or is_imported(name):
        raise NotFoundError(f"no mesh ever had an agent {name!r}")
    mesh = found[1] if found else None
    known = AgentViewContext(mesh=mesh, reports=told, now_s=now_s)
    period, first_s = clip_to_first_window(store, name, get_settled_period(now_s, GAP_DAYS * DAY_S))
    answer = find_agent_gaps(store, name, period, GAPS_MAX)
    return AgentPage(
        now_s=now_s,
        agent=build_agent_view(entry, known, describe_gaps(store, entry, now_s)),
        address=next((one.address for one in mesh.agents if one.name == name), None) if mesh else None,
        keys=[_format_key(key, now_s) for key in entry.keys],
        signing_keys=[(key.id, formatting.format_time(key.created_at_s)) for key in entry.signing_keys],
        routes=list(_list_routes(mesh, name)) if mesh else [],
        gaps=[_to_gap_view(gap, now_s) for gap in reversed(answer.gaps)],
        gap_days=GAP_DAYS,
        first_window_at=None if first_s is None else formatting.format_time(first_s),
        is_truncated=answer.next_from is not None,
        reason_descriptions={
            gap.reason.value.replace("_", " "): GAP_REASON_DESCRIPTIONS[gap.reason] for gap in answer.gaps
        },
    )


def _format_key(key: KeyEntry, now_s: int) -> str:
    used = "never used" if key.used_at_s is None else f"first used {formatting.format_time(key.used_at_s)}"
    end = "no end" if key.expires_at_s is None else f"ends {formatting.format_time(key.expires_at_s)}"
    return f"{key.id}: made {formatting.format_time(key.created_at_s)}, {used}, {end}"


def _to_gap_view(gap: GapAnswer, now_s: int) -> GapView:
    is_open = gap.end_s >= get_settled_period(now_s, DAY_S).end_s
    return GapView(
        start=formatting.format_time(gap.start_s),
        end="now" if is_open else formatting.format_time(gap.end_s),
        length=formatting.format_duration(gap.end_s - gap.start_s) or f"{gap.end_s - gap.start_s} s",
        reason=gap.reason.value.replace("_", " "),
        source="told by the agent" if gap.source == "agent" else "found by the collector",
        targets="all paths" if gap.targets is None else ", ".join(gap.targets),
        windows=formatting.format_count(-(-(gap.end_s - gap.start_s) // WINDOW_S)),
        is_open=is_open,
    )


def _list_routes(mesh: Mesh, name: str) -> Iterator[tuple[ProbePath, str]]:
    for route in mesh.iter_paths():
        if route.source == name:
            pair = f"{quote(route.pair.source, safe='')}/{quote(route.pair.destination, safe='')}"
            yield route, f"/pairs/{pair}"
