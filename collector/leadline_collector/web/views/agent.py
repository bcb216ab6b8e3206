"""What the page of one agent shows: how it stands, what is missing and why, its paths and keys. Texts, no HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from leadline.mesh.model import Mesh, Route
from leadline.model import WINDOW_S
from leadline.wire.admin import KeyEntry
from leadline.wire.batch import GapReason, is_imported
from leadline_collector.auth import key_store
from leadline_collector.db.transactions import Store
from leadline_collector.errors import NotFoundError
from leadline_collector.gaps.documents import GapAnswer
from leadline_collector.gaps.service import agent_gaps
from leadline_collector.mesh import service as mesh_service
from leadline_collector.web import formatting
from leadline_collector.web.views.agents import (
    DAY_S,
    AgentView,
    Known,
    gaps_text,
    settled,
    since_first,
    told_by_name,
    view,
)

#: Days of the gaps on the page of one agent, and how many of them.
GAP_DAYS = 7
GAPS_MAX = 200

REASONS = {
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
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPage:
    """One agent."""

    now_s: int
    agent: AgentView
    address: str | None
    keys: list[str]
    signing_keys: list[tuple[str, str]]
    #: What it probes: target, site, address, and the pages of the pairs.
    routes: list[tuple[Route, str]]
    gaps: list[GapView]
    gap_days: int
    #: When its first window began, if that was in these days: it owes none from before.
    first: str | None
    cut: bool
    #: Each reason that occurs, with what it means.
    explained: dict[str, str]


def agent_page(store: Store, name: str, now_s: int) -> AgentPage:
    """One agent with its paths and gaps; 404 if no mesh ever had it."""
    with store.read() as reader:
        found = mesh_service.in_force(reader)
        entry = next((one for one in key_store.agents(reader.connection, now_s) if one.name == name), None)
        told = told_by_name(reader)
    if entry is None or is_imported(name):
        raise NotFoundError(f"no mesh ever had an agent {name!r}")
    mesh = found[1] if found else None
    known = Known(mesh=mesh, told=told, now_s=now_s)
    period, first_s = since_first(store, name, settled(now_s, GAP_DAYS * DAY_S))
    answer = agent_gaps(store, name, period, GAPS_MAX)
    return AgentPage(
        now_s=now_s,
        agent=view(entry, known, gaps_text(store, entry, now_s)),
        address=next((one.address for one in mesh.agents if one.name == name), None) if mesh else None,
        keys=[_key_text(key, now_s) for key in entry.keys],
        signing_keys=[(key.id, formatting.moment(key.created_at_s)) for key in entry.signing_keys],
        routes=list(_routes(mesh, name)) if mesh else [],
        gaps=[_gap(gap, now_s) for gap in reversed(answer.gaps)],
        gap_days=GAP_DAYS,
        first=None if first_s is None else formatting.moment(first_s),
        cut=answer.next_from is not None,
        explained={gap.reason.value.replace("_", " "): REASONS[gap.reason] for gap in answer.gaps},
    )


def _key_text(key: KeyEntry, now_s: int) -> str:
    used = "never used" if key.used_at_s is None else f"first used {formatting.moment(key.used_at_s)}"
    end = "no end" if key.expires_at_s is None else f"ends {formatting.moment(key.expires_at_s)}"
    return f"{key.id}: made {formatting.moment(key.created_at_s)}, {used}, {end}"


def _gap(gap: GapAnswer, now_s: int) -> GapView:
    is_open = gap.end_s >= settled(now_s, DAY_S).end_s
    return GapView(
        start=formatting.moment(gap.start_s),
        end="now" if is_open else formatting.moment(gap.end_s),
        length=formatting.length(gap.end_s - gap.start_s) or f"{gap.end_s - gap.start_s} s",
        reason=gap.reason.value.replace("_", " "),
        source="told by the agent" if gap.source == "agent" else "found by the collector",
        targets="all paths" if gap.targets is None else ", ".join(gap.targets),
        windows=formatting.count(-(-(gap.end_s - gap.start_s) // WINDOW_S)),
        open=is_open,
    )


def _routes(mesh: Mesh, name: str) -> Iterator[tuple[Route, str]]:
    for route in mesh.routes():
        if route.source == name:
            pair = f"{quote(route.pair.source, safe='')}/{quote(route.pair.destination, safe='')}"
            yield route, f"/pairs/{pair}"
