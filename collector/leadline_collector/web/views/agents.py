"""What the list of the agents shows: who delivers and who does not. Texts and links, no HTML; one agent: ``web_agent``.

Rule 1: what an agent did not tell reads "not told"; nothing is guessed from silence.
Rule 2: words and their thresholds are those of ``agent_standing``, gaps those of ``agent_gaps``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from leadline.mesh.model import Mesh
from leadline.wire.admin import AgentEntry, KeyEntry
from leadline_collector.auth import key_store
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.gaps.service import find_agent_gaps
from leadline_collector.journal import store as journal_store
from leadline_collector.live import agent_health
from leadline_collector.live import store as live_store
from leadline_collector.live.agent_health import AgentHealth, HealthWarning, ReportedStatus
from leadline_collector.live.store import AgentNowRow
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.time_range import TimeRange
from leadline_collector.web import formatting

#: The list counts the gaps of so many agents; finding those of one costs a few milliseconds.
GAP_COUNTED_AGENTS_MAX = 60
DAY_S = 86_400
#: A hole of the last minutes is no gap yet: its windows are on their way.
ARRIVAL_DELAY_S = 180

NOT_REPORTED = "not told"

#: Signs of the words: names of symbols.
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
    """One agent; texts."""

    name: str
    site: str
    href: str
    icon: str
    label: str
    warnings: tuple[str, ...]
    #: Time and age of its last batch and of the end of its newest window.
    last_batch_at: str
    latest_window_at: str
    spool: str
    #: Percent of the spool's budget for the bar; None if it was not told.
    spool_percent: int | None
    clock: str
    ntp: str
    version: str
    key_expiry: str
    signing: str
    #: "3 in 24 h"; None where they were not counted.
    gap_count: str | None
    gaps_json_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsPage:
    """The list."""

    now_s: int
    mesh_version: int
    #: Those of which somebody expects something, and those that were.
    agents: list[AgentView]
    #: Those of simulated sites.
    simulated_agents: list[AgentView]
    #: How many there are of each word, worst first.
    counts: list[tuple[str, str, int]]
    gap_counted_max: int


def build_agents_page(store: Store, now_s: int) -> AgentsPage:
    """Every agent that a mesh ever named, those that need somebody first."""
    with store.read() as reader:
        found = mesh_service.load_active_mesh(reader)
        entries = key_store.load_agents(reader.connection, now_s)
        told = load_reports(reader)
    known = AgentViewContext(mesh=found[1] if found else None, reports=told, now_s=now_s)
    views = [(_classify_health(entry, known), entry) for entry in entries]
    views.sort(key=lambda item: (_HEALTH_ORDER.index(item[0]), item[1].name))
    counts = Counter(standing for standing, _ in views)
    shown = [
        build_agent_view(entry, known, describe_gaps(store, entry, now_s) if number < GAP_COUNTED_AGENTS_MAX else None)
        for number, (_, entry) in enumerate(views)
    ]
    return AgentsPage(
        now_s=now_s,
        mesh_version=found[0] if found else 0,
        agents=[one for one in shown if one.label != AgentHealth.SIMULATED],
        simulated_agents=[one for one in shown if one.label == AgentHealth.SIMULATED],
        counts=[(word.value, HEALTH_ICONS[word], counts[word]) for word in _HEALTH_ORDER if counts[word]],
        gap_counted_max=GAP_COUNTED_AGENTS_MAX,
    )


#: Those that need somebody first.
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
    """What the views of agents have in common."""

    mesh: Mesh | None
    reports: Mapping[str, ReportedStatus]
    now_s: int


def load_reports(reader: ReadTransaction) -> dict[str, ReportedStatus]:
    """What agents told of themselves, by name."""
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
    named = mesh is not None and any(one.name == entry.name for one in mesh.agents)
    simulated = mesh is not None and any(one.name == entry.site and one.simulated for one in mesh.sites)
    return agent_health.assess_health(entry.latest_s, context.now_s, simulated=simulated, retired=not named)


def build_agent_view(entry: AgentEntry, context: AgentViewContext, gap_count: str | None) -> AgentView:
    """An agent in words."""
    told, now_s = context.reports.get(entry.name, ReportedStatus()), context.now_s
    word = _classify_health(entry, context)
    delivers = word not in (AgentHealth.SIMULATED, AgentHealth.RETIRED)
    ratio = told.spool_ratio
    return AgentView(
        name=entry.name,
        site=entry.site,
        href=f"/agents/{quote(entry.name, safe='')}",
        icon=HEALTH_ICONS[word],
        label=word.value,
        warnings=tuple(_list_warnings(told, entry.keys, now_s)) if delivers else (),
        last_batch_at=NOT_REPORTED if told.heard_at_s is None else _format_since(told.heard_at_s, now_s),
        latest_window_at="none" if entry.latest_s is None else _format_since(entry.latest_s, now_s),
        spool=_format_spool(told),
        spool_percent=None if ratio is None else min(100, round(100 * ratio)),
        clock=_format_clock(told),
        ntp={True: "NTP synchronised", False: "NTP not synchronised", None: "NTP not told"}[told.ntp_synchronised],
        version=told.version or NOT_REPORTED,
        key_expiry=_format_key_expiry(entry.keys, now_s),
        signing="signed" if entry.signing_keys else "not signed",
        gap_count=gap_count,
        gaps_json_url=_build_gaps_json_url(entry.name, get_settled_period(now_s, DAY_S)),
    )


def _list_warnings(report: ReportedStatus, keys: list[KeyEntry], now_s: int) -> Iterator[str]:
    for concern in agent_health.list_warnings(report, keys, now_s):
        yield HealthWarning(concern).value


def _format_since(second: int, now_s: int) -> str:
    return f"{formatting.format_short_time(second, now_s)}, {formatting.format_age(now_s - second)}"


def _format_spool(report: ReportedStatus) -> str:
    if report.spool_batches is None or report.spool_bytes is None:
        return NOT_REPORTED
    waiting = f"{formatting.format_count(report.spool_batches)} waiting" if report.spool_batches else "empty"
    return f"{waiting}, {formatting.format_bytes(report.spool_bytes)}" + (
        f" of {formatting.format_bytes(report.spool_bytes_max)}" if report.spool_bytes_max else ""
    )


def _format_clock(report: ReportedStatus) -> str:
    if report.clock_offset_us is None:
        return NOT_REPORTED
    sign = "\u2212" if report.clock_offset_us < 0 else "+"
    text = f"{sign}{formatting.format_ms(abs(report.clock_offset_us))}"
    return (
        text
        if report.clock_offset_error_us is None
        else f"{text} ± {formatting.format_ms(report.clock_offset_error_us)}"
    )


def _format_key_expiry(keys: list[KeyEntry], now_s: int) -> str:
    ends = [key.expires_at_s for key in keys]
    if not ends:
        return "none"
    latest = None if None in ends else max(end for end in ends if end is not None)
    return "no end" if latest is None else f"until {formatting.format_short_time(latest, now_s)}"


def get_settled_period(now_s: int, length_s: int) -> TimeRange:
    """The last days up to what has had time to arrive."""
    end_s = (now_s - ARRIVAL_DELAY_S) // 60 * 60
    return TimeRange(start_s=end_s - length_s, end_s=end_s)


def _build_gaps_json_url(name: str, period: TimeRange) -> str:
    query = urlencode({"from": period.start_s, "to": period.end_s})
    return f"/api/v1/agents/{quote(name, safe='')}/gaps?{query}"


def clip_to_first_window(store: Store, name: str, period: TimeRange) -> tuple[TimeRange, int | None]:
    """What of a period can miss anything, and the first window if it lies in there: before it an agent owes none."""
    with store.read() as reader:
        src_id = mesh_store.load_agent_ids(reader.connection, [name]).get(name)
        first = None if src_id is None else journal_store.load_first_window_start(reader.connection, src_id)
    if first is None or not period.start_s < first < period.end_s:
        return period, None
    return TimeRange(start_s=first, end_s=period.end_s), first


def describe_gaps(store: Store, entry: AgentEntry, now_s: int) -> str | None:
    """How many gaps it has in 24 h, and whether one is open; None if it never delivered."""
    if entry.latest_s is None:
        return None
    period, _ = clip_to_first_window(store, entry.name, get_settled_period(now_s, DAY_S))
    gaps = find_agent_gaps(store, entry.name, period).gaps
    is_open = any(gap.end_s >= period.end_s for gap in gaps)
    return f"{len(gaps)}{', one open' if is_open else ''}" if gaps else "none"
