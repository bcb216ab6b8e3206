"""View of the page of one agent: health, gaps with reasons, paths, keys. Texts, no HTML."""

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
from leadline_collector.gaps.documents import GapResponse
from leadline_collector.gaps.service import find_agent_gaps
from leadline_collector.mesh import service as mesh_service
from leadline_collector.web.formatting import format_count, format_duration, format_time
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

#: Days in which the page looks for gaps, and the most gaps it lists.
GAP_DAYS = 7
GAPS_MAX = 200

GAP_REASON_DESCRIPTIONS = {
    GapReason.AGENT_DOWN: "The agent did not run: stopped, restarted, or its host was down.",
    GapReason.SPOOL_OVERFLOW: "The agent deleted batches that the collector had not accepted: spool or disk full.",
    GapReason.SPOOL_CORRUPT: "Batches on the agent's disk were damaged or deleted.",
    GapReason.REFUSED: "The collector permanently refused batches; the agent keeps them as dead letters.",
    GapReason.LOCAL_STALL: "The host was overloaded or suspended, so the prober could not send.",
    GapReason.CLOCK_UNSYNC: "The host's clock was wrong: these windows have another time or are in quarantine.",
    GapReason.CONFIG_CHANGE: "The mesh changed: the path was not yet part of it, or was removed.",
    GapReason.UNEXPLAINED: "The agent reported no reason, and the stored data shows none.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GapView:
    """One gap."""

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
    #: The paths of the agent, each with the URL of its pair.
    paths: list[tuple[ProbePath, str]]
    gaps: list[GapView]
    gap_days: int
    #: Start of its first window, if within these days; earlier minutes are not gaps.
    first_window_at: str | None
    is_truncated: bool
    #: Explanation of each reason in the list.
    reason_descriptions: dict[str, str]


def build_agent_page(store: Store, name: str, now_s: int) -> AgentPage:
    """Build the page in one transaction; NotFoundError if no mesh version had the agent."""
    with store.read() as reader:
        active_mesh = mesh_service.load_active_mesh(reader)
        mesh = active_mesh[1] if active_mesh else None
        agents = key_store.load_agents(reader.connection, now_s)
        entry = next((agent for agent in agents if agent.name == name), None)
        if entry is None or is_imported(name):
            raise NotFoundError(f"no mesh ever had an agent {name!r}")
        context = AgentViewContext(mesh=mesh, reports=load_reports(reader), now_s=now_s)
        period, first_s = clip_to_first_window(reader, name, get_settled_period(now_s, GAP_DAYS * DAY_S))
        gap_list = find_agent_gaps(reader, name, period, GAPS_MAX)
        gap_count = describe_gaps(reader, entry, now_s)
    return AgentPage(
        now_s=now_s,
        agent=build_agent_view(entry, context, gap_count),
        address=next((agent.address for agent in mesh.agents if agent.name == name), None) if mesh else None,
        keys=[_format_key(key, now_s) for key in entry.keys],
        signing_keys=[(key.id, format_time(key.created_at_s)) for key in entry.signing_keys],
        paths=list(_list_paths(mesh, name)) if mesh else [],
        gaps=[_to_gap_view(gap, now_s) for gap in reversed(gap_list.gaps)],
        gap_days=GAP_DAYS,
        first_window_at=None if first_s is None else format_time(first_s),
        is_truncated=gap_list.next_from is not None,
        reason_descriptions={
            gap.reason.value.replace("_", " "): GAP_REASON_DESCRIPTIONS[gap.reason] for gap in gap_list.gaps
        },
    )


def _format_key(key: KeyEntry, now_s: int) -> str:
    first_use = "never used" if key.used_at_s is None else f"first used {format_time(key.used_at_s)}"
    expiry = "no expiry" if key.expires_at_s is None else f"expires {format_time(key.expires_at_s)}"
    return f"{key.id}: created {format_time(key.created_at_s)}, {first_use}, {expiry}"


def _to_gap_view(gap: GapResponse, now_s: int) -> GapView:
    is_open = gap.end_s >= get_settled_period(now_s, DAY_S).end_s
    return GapView(
        start=format_time(gap.start_s),
        end="now" if is_open else format_time(gap.end_s),
        length=format_duration(gap.end_s - gap.start_s) or f"{gap.end_s - gap.start_s} s",
        reason=gap.reason.value.replace("_", " "),
        source="reported by the agent" if gap.source == "agent" else "found by the collector",
        targets="all paths" if gap.targets is None else ", ".join(gap.targets),
        windows=format_count(-(-(gap.end_s - gap.start_s) // WINDOW_S)),
        is_open=is_open,
    )


def _list_paths(mesh: Mesh, name: str) -> Iterator[tuple[ProbePath, str]]:
    for path in mesh.iter_paths():
        if path.source == name:
            pair = f"{quote(path.pair.source, safe='')}/{quote(path.pair.destination, safe='')}"
            yield path, f"/pairs/{pair}"
