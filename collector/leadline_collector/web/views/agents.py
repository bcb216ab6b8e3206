"""View of the list of agents. Texts and links, no HTML. The page of one agent is in ``agent``.

Rule 1: a value that an agent did not report reads "not reported"; the page derives nothing from a missing value.
Rule 2: labels and thresholds come from ``live.agent_health``, gaps from ``gaps.service``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from urllib.parse import quote, urlencode

from leadline.mesh.model import Mesh
from leadline.rounding import round_down
from leadline.wire.admin import AgentEntry, KeyEntry
from leadline_collector.auth import key_store
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.gaps.service import find_agent_gaps
from leadline_collector.journal import store as journal_store
from leadline_collector.live import agent_health
from leadline_collector.live import store as live_store
from leadline_collector.live.agent_health import AgentHealth, ReportedStatus
from leadline_collector.live.store import AgentNowRow
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.time_range import TimeRange
from leadline_collector.web.formatting import format_age, format_bytes, format_count, format_ms, format_short_time

#: The list counts gaps for this many agents; each costs a few milliseconds.
GAP_COUNTED_AGENTS_MAX = 60
DAY_S = 86_400
#: A window may take this long to arrive; until then it is not missing. Seconds.
ARRIVAL_DELAY_S = 180

NOT_REPORTED = "not reported"

#: Symbol of each label.
HEALTH_ICONS = {
    AgentHealth.OK: "good",
    AgentHealth.LATE: "attention",
    AgentHealth.SILENT: "bad",
    AgentHealth.NEVER_SEEN: "unknown",
    AgentHealth.SIMULATED: "none",
    AgentHealth.RETIRED: "none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """One agent, as texts."""

    name: str
    site: str
    href: str
    icon: str
    label: str
    warnings: tuple[str, ...]
    #: Time and age of the last batch, and of the end of the latest window.
    last_batch_at: str
    latest_window_at: str
    spool: str
    #: Used percentage of the spool's budget; None if not reported.
    spool_percent: int | None
    clock: str
    ntp: str
    version: str
    key_expiry: str
    signing: str
    #: "3, one open" or "none", of 24 h; None if not counted.
    gap_count: str | None
    gaps_json_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsPage:
    """The list."""

    now_s: int
    mesh_version: int
    #: Agents of sites that are not simulated, and retired agents.
    agents: list[AgentView]
    #: Agents of simulated sites.
    simulated_agents: list[AgentView]
    #: Label, icon and number of agents, worst first.
    counts: list[tuple[str, str, int]]
    gap_counted_max: int


def build_agents_page(store: Store, now_s: int) -> AgentsPage:
    """List every agent of any mesh version in one transaction, agents that need attention first."""
    with store.read() as reader:
        version, mesh = mesh_service.load_active_mesh(reader) or (0, None)
        context = AgentViewContext(mesh=mesh, reports=load_reports(reader), now_s=now_s)
        agents = [
            (_classify_health(entry, context), entry) for entry in key_store.load_agents(reader.connection, now_s)
        ]
        agents.sort(key=lambda item: (_HEALTH_ORDER.index(item[0]), item[1].name))
        gap_counts = [describe_gaps(reader, entry, now_s) for _, entry in agents[:GAP_COUNTED_AGENTS_MAX]]
    counts = Counter(health for health, _ in agents)
    views = [build_agent_view(entry, context, gap_count) for (_, entry), gap_count in zip_longest(agents, gap_counts)]
    return AgentsPage(
        now_s=now_s,
        mesh_version=version,
        agents=[view for view in views if view.label != AgentHealth.SIMULATED],
        simulated_agents=[view for view in views if view.label == AgentHealth.SIMULATED],
        counts=[(health.value, HEALTH_ICONS[health], counts[health]) for health in _HEALTH_ORDER if counts[health]],
        gap_counted_max=GAP_COUNTED_AGENTS_MAX,
    )


#: Agents that need attention first.
_HEALTH_ORDER = [
    AgentHealth.SILENT,
    AgentHealth.LATE,
    AgentHealth.NEVER_SEEN,
    AgentHealth.OK,
    AgentHealth.SIMULATED,
    AgentHealth.RETIRED,
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentViewContext:
    """Values that all views of agents share."""

    mesh: Mesh | None
    reports: Mapping[str, ReportedStatus]
    now_s: int


def load_reports(reader: ReadTransaction) -> dict[str, ReportedStatus]:
    """Return the status that each agent reported, by name."""
    rows = live_store.load_agents(reader.connection)
    return {
        agent.name: _to_report(rows[agent.id])
        for agent in mesh_store.load_agents(reader.connection)
        if agent.id in rows
    }


def _to_report(row: AgentNowRow) -> ReportedStatus:
    return ReportedStatus(
        heard_at_s=row.heard_at,
        version=row.version,
        spool_batches=row.spool_batches,
        spool_bytes=row.spool_bytes,
        spool_bytes_max=row.spool_bytes_max,
        clock_offset_us=row.clock_offset_us,
        clock_offset_error_us=row.clock_offset_error_us,
        ntp_synchronised=row.ntp_synchronised,
    )


def _classify_health(entry: AgentEntry, context: AgentViewContext) -> AgentHealth:
    mesh = context.mesh
    is_active = mesh is not None and any(agent.name == entry.name for agent in mesh.agents)
    is_simulated = mesh is not None and any(site.name == entry.site and site.simulated for site in mesh.sites)
    return agent_health.assess_health(entry.latest_s, context.now_s, simulated=is_simulated, retired=not is_active)


def build_agent_view(entry: AgentEntry, context: AgentViewContext, gap_count: str | None) -> AgentView:
    """Format one agent."""
    report, now_s = context.reports.get(entry.name, ReportedStatus()), context.now_s
    health = _classify_health(entry, context)
    is_expected = health not in (AgentHealth.SIMULATED, AgentHealth.RETIRED)
    warnings = agent_health.list_warnings(report, entry.keys, now_s) if is_expected else ()
    ratio = report.spool_ratio
    return AgentView(
        name=entry.name,
        site=entry.site,
        href=f"/agents/{quote(entry.name, safe='')}",
        icon=HEALTH_ICONS[health],
        label=health.value,
        warnings=tuple(warning.value for warning in warnings),
        last_batch_at=NOT_REPORTED if report.heard_at_s is None else _format_time_and_age(report.heard_at_s, now_s),
        latest_window_at="none" if entry.latest_s is None else _format_time_and_age(entry.latest_s, now_s),
        spool=_format_spool(report),
        spool_percent=None if ratio is None else min(100, max(int(100 * round_down(ratio, 2)), int(ratio > 0))),
        clock=_format_clock(report),
        ntp={True: "NTP synchronised", False: "NTP not synchronised", None: "NTP not reported"}[
            report.ntp_synchronised
        ],
        version=report.version or NOT_REPORTED,
        key_expiry=_format_key_expiry(entry.keys, now_s),
        signing="signed" if entry.signing_keys else "not signed",
        gap_count=gap_count,
        gaps_json_url=_build_gaps_json_url(entry.name, get_settled_period(now_s, DAY_S)),
    )


def _format_time_and_age(second: int, now_s: int) -> str:
    return f"{format_short_time(second, now_s)}, {format_age(now_s - second)}"


def _format_spool(report: ReportedStatus) -> str:
    if report.spool_batches is None or report.spool_bytes is None:
        return NOT_REPORTED
    waiting = f"{format_count(report.spool_batches)} waiting" if report.spool_batches else "empty"
    return f"{waiting}, {format_bytes(report.spool_bytes)}" + (
        f" of {format_bytes(report.spool_bytes_max)}" if report.spool_bytes_max else ""
    )


def _format_clock(report: ReportedStatus) -> str:
    if report.clock_offset_us is None:
        return NOT_REPORTED
    sign = "\u2212" if report.clock_offset_us < 0 else "+"
    text = f"{sign}{format_ms(abs(report.clock_offset_us))}"
    return text if report.clock_offset_error_us is None else f"{text} ± {format_ms(report.clock_offset_error_us)}"


def _format_key_expiry(keys: list[KeyEntry], now_s: int) -> str:
    expiries = [key.expires_at_s for key in keys]
    if not expiries:
        return "none"
    latest = None if None in expiries else max(expiry for expiry in expiries if expiry is not None)
    return "no expiry" if latest is None else f"until {format_short_time(latest, now_s)}"


def get_settled_period(now_s: int, length_s: int) -> TimeRange:
    """Return the last ``length_s`` seconds, up to the windows that have had time to arrive."""
    end_s = (now_s - ARRIVAL_DELAY_S) // 60 * 60
    return TimeRange(start_s=end_s - length_s, end_s=end_s)


def _build_gaps_json_url(name: str, period: TimeRange) -> str:
    query = urlencode({"from": period.start_s, "to": period.end_s})
    return f"/api/v1/agents/{quote(name, safe='')}/gaps?{query}"


def clip_to_first_window(reader: ReadTransaction, name: str, period: TimeRange) -> tuple[TimeRange, int | None]:
    """Clip a period to start at the agent's first window; also return that start if it is within the period.

    Days before the first window are not gaps.
    """
    src_id = mesh_store.load_agent_ids(reader.connection, [name]).get(name)
    first = None if src_id is None else journal_store.load_first_window_start(reader.connection, src_id)
    if first is None or not period.start_s < first < period.end_s:
        return period, None
    return TimeRange(start_s=first, end_s=period.end_s), first


def describe_gaps(reader: ReadTransaction, entry: AgentEntry, now_s: int) -> str | None:
    """Format the number of gaps in 24 h, and whether one is still open; None if the agent never delivered."""
    if entry.latest_s is None:
        return None
    period, _ = clip_to_first_window(reader, entry.name, get_settled_period(now_s, DAY_S))
    gaps = find_agent_gaps(reader, entry.name, period).gaps
    is_open = any(gap.end_s >= period.end_s for gap in gaps)
    return f"{len(gaps)}{', one open' if is_open else ''}" if gaps else "none"
