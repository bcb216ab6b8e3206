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
from leadline_collector.db.transactions import Reader, Store
from leadline_collector.gaps.service import agent_gaps
from leadline_collector.journal import store as journal_store
from leadline_collector.live import agent_health
from leadline_collector.live import store as live_store
from leadline_collector.live.agent_health import Concern, Standing, Told
from leadline_collector.live.store import AgentNow
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.time_range import Period
from leadline_collector.web import formatting

#: The list counts the gaps of so many agents; finding those of one costs a few milliseconds.
COUNTED_MAX = 60
DAY_S = 86_400
#: A hole of the last minutes is no gap yet: its windows are on their way.
ARRIVAL_S = 180

NOT_TOLD = "not told"

#: Signs of the words: names of symbols.
LOOKS = {
    Standing.OK: "good",
    Standing.LATE: "attention",
    Standing.SILENT: "bad",
    Standing.NEVER: "unknown",
    Standing.SIMULATED: "none",
    Standing.RETIRED: "none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """One agent; texts."""

    name: str
    site: str
    href: str
    look: str
    word: str
    concerns: tuple[str, ...]
    #: Time and age of its last batch and of the end of its newest window.
    heard: str
    latest: str
    spool: str
    #: Percent of the spool's budget for the bar; None if it was not told.
    spool_percent: int | None
    clock: str
    ntp: str
    version: str
    key: str
    signs: str
    #: "3 in 24 h"; None where they were not counted.
    gaps: str | None
    gaps_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsPage:
    """The list."""

    now_s: int
    mesh_version: int
    #: Those of which somebody expects something, and those that were.
    agents: list[AgentView]
    #: Those of simulated sites.
    simulated: list[AgentView]
    #: How many there are of each word, worst first.
    counts: list[tuple[str, str, int]]
    counted_max: int


def agents_page(store: Store, now_s: int) -> AgentsPage:
    """Every agent that a mesh ever named, those that need somebody first."""
    with store.read() as reader:
        found = mesh_service.in_force(reader)
        entries = key_store.agents(reader.connection, now_s)
        told = told_by_name(reader)
    known = Known(mesh=found[1] if found else None, told=told, now_s=now_s)
    views = [(_standing(entry, known), entry) for entry in entries]
    views.sort(key=lambda item: (_ORDER.index(item[0]), item[1].name))
    counts = Counter(standing for standing, _ in views)
    shown = [
        view(entry, known, gaps_text(store, entry, now_s) if number < COUNTED_MAX else None)
        for number, (_, entry) in enumerate(views)
    ]
    return AgentsPage(
        now_s=now_s,
        mesh_version=found[0] if found else 0,
        agents=[one for one in shown if one.word != Standing.SIMULATED],
        simulated=[one for one in shown if one.word == Standing.SIMULATED],
        counts=[(word.value, LOOKS[word], counts[word]) for word in _ORDER if counts[word]],
        counted_max=COUNTED_MAX,
    )


#: Those that need somebody first.
_ORDER = [
    Standing.SILENT,
    Standing.LATE,
    Standing.NEVER,
    Standing.OK,
    Standing.SIMULATED,
    Standing.RETIRED,
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the views of agents have in common."""

    mesh: Mesh | None
    told: Mapping[str, Told]
    now_s: int


def told_by_name(reader: Reader) -> dict[str, Told]:
    """What agents told of themselves, by name."""
    rows = live_store.agents(reader.connection)
    return {
        agent.name: _told_of(rows[agent.id]) for agent in mesh_store.load_agents(reader.connection) if agent.id in rows
    }


def _told_of(row: AgentNow) -> Told:
    return Told(
        heard_at_s=row.heard_at,
        version=row.version,
        spool_batches=row.spool_batches,
        spool_bytes=row.spool_bytes,
        spool_bytes_max=row.spool_bytes_max,
        clock_offset_us=row.clock_offset_us,
        clock_offset_error_us=row.clock_offset_error_us,
        ntp_synchronised=row.ntp_synchronised,
    )


def _standing(entry: AgentEntry, known: Known) -> Standing:
    mesh = known.mesh
    named = mesh is not None and any(one.name == entry.name for one in mesh.agents)
    simulated = mesh is not None and any(one.name == entry.site and one.simulated for one in mesh.sites)
    return agent_health.standing(entry.latest_s, known.now_s, simulated=simulated, retired=not named)


def view(entry: AgentEntry, known: Known, gaps: str | None) -> AgentView:
    """An agent in words."""
    told, now_s = known.told.get(entry.name, Told()), known.now_s
    word = _standing(entry, known)
    delivers = word not in (Standing.SIMULATED, Standing.RETIRED)
    ratio = told.spool_ratio
    return AgentView(
        name=entry.name,
        site=entry.site,
        href=f"/agents/{quote(entry.name, safe='')}",
        look=LOOKS[word],
        word=word.value,
        concerns=tuple(_concerns(told, entry.keys, now_s)) if delivers else (),
        heard=NOT_TOLD if told.heard_at_s is None else _since(told.heard_at_s, now_s),
        latest="none" if entry.latest_s is None else _since(entry.latest_s, now_s),
        spool=_spool(told),
        spool_percent=None if ratio is None else min(100, round(100 * ratio)),
        clock=_clock(told),
        ntp={True: "NTP synchronised", False: "NTP not synchronised", None: "NTP not told"}[told.ntp_synchronised],
        version=told.version or NOT_TOLD,
        key=_keys_text(entry.keys, now_s),
        signs="signed" if entry.signing_keys else "not signed",
        gaps=gaps,
        gaps_json=_gaps_json(entry.name, settled(now_s, DAY_S)),
    )


def _concerns(told: Told, keys: list[KeyEntry], now_s: int) -> Iterator[str]:
    for concern in agent_health.concerns(told, keys, now_s):
        yield Concern(concern).value


def _since(second: int, now_s: int) -> str:
    return f"{formatting.short_moment(second, now_s)}, {formatting.age(now_s - second)}"


def _spool(told: Told) -> str:
    if told.spool_batches is None or told.spool_bytes is None:
        return NOT_TOLD
    waiting = f"{formatting.count(told.spool_batches)} waiting" if told.spool_batches else "empty"
    return f"{waiting}, {formatting.size(told.spool_bytes)}" + (
        f" of {formatting.size(told.spool_bytes_max)}" if told.spool_bytes_max else ""
    )


def _clock(told: Told) -> str:
    if told.clock_offset_us is None:
        return NOT_TOLD
    sign = "\u2212" if told.clock_offset_us < 0 else "+"
    text = f"{sign}{formatting.ms(abs(told.clock_offset_us))}"
    return text if told.clock_offset_error_us is None else f"{text} ± {formatting.ms(told.clock_offset_error_us)}"


def _keys_text(keys: list[KeyEntry], now_s: int) -> str:
    ends = [key.expires_at_s for key in keys]
    if not ends:
        return "none"
    latest = None if None in ends else max(end for end in ends if end is not None)
    return "no end" if latest is None else f"until {formatting.short_moment(latest, now_s)}"


def settled(now_s: int, length_s: int) -> Period:
    """The last days up to what has had time to arrive."""
    end_s = (now_s - ARRIVAL_S) // 60 * 60
    return Period(start_s=end_s - length_s, end_s=end_s)


def _gaps_json(name: str, period: Period) -> str:
    query = urlencode({"from": period.start_s, "to": period.end_s})
    return f"/api/v1/agents/{quote(name, safe='')}/gaps?{query}"


def since_first(store: Store, name: str, period: Period) -> tuple[Period, int | None]:
    """What of a period can miss anything, and the first window if it lies in there: before it an agent owes none."""
    with store.read() as reader:
        src_id = mesh_store.load_agent_ids(reader.connection, [name]).get(name)
        first = None if src_id is None else journal_store.first_window(reader.connection, src_id)
    if first is None or not period.start_s < first < period.end_s:
        return period, None
    return Period(start_s=first, end_s=period.end_s), first


def gaps_text(store: Store, entry: AgentEntry, now_s: int) -> str | None:
    """How many gaps it has in 24 h, and whether one is open; None if it never delivered."""
    if entry.latest_s is None:
        return None
    period, _ = since_first(store, entry.name, settled(now_s, DAY_S))
    gaps = agent_gaps(store, entry.name, period).gaps
    is_open = any(gap.end_s >= period.end_s for gap in gaps)
    return f"{len(gaps)}{', one open' if is_open else ''}" if gaps else "none"
