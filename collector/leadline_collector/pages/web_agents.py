"""What the pages of the agents show: who delivers, who does not, and what is missing of each. Texts and links, no HTML.

Rule 1: what an agent did not tell reads "not told"; nothing is guessed from silence.
Rule 2: words and their thresholds are those of ``agent_standing``, gaps those of ``agent_gaps``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from leadline.administration import AgentEntry, KeyEntry
from leadline.mesh import Mesh, Route
from leadline.model import WINDOW_S
from leadline.wire import GapReason, is_imported
from leadline_collector import agent_standing, credentials, meshes
from leadline_collector.agent_gaps import agent_gaps
from leadline_collector.agent_standing import Concern, Standing, Told
from leadline_collector.answers import GapAnswer
from leadline_collector.now import stored
from leadline_collector.now.stored import AgentNow
from leadline_collector.pages import figures
from leadline_collector.period import Period
from leadline_collector.problems import ProblemError
from leadline_collector.store import Reader, Store

#: The list counts the gaps of so many agents; finding those of one costs a few milliseconds.
COUNTED_MAX = 60
DAY_S = 86_400
#: Days of the gaps on the page of one agent, and how many of them.
GAP_DAYS = 7
GAPS_MAX = 200
#: A hole of the last minutes is no gap yet: its windows are on their way.
ARRIVAL_S = 180

NOT_TOLD = "not told"

REASONS = {
    GapReason.AGENT_DOWN: "The agent did not run: not enrolled yet, stopped, restarted, or its host was down.",
    GapReason.SPOOL_OVERFLOW: "The agent gave batches up: budget or disk were full before the collector took them.",
    GapReason.SPOOL_CORRUPT: "Batches were damaged on the agent's disk, or removed by somebody.",
    GapReason.REFUSED: "The collector refused batches for ever; the agent keeps their bytes in its dead letters.",
    GapReason.LOCAL_STALL: "The host was too busy or suspended: the prober got no time to send.",
    GapReason.CLOCK_UNSYNC: "The host's clock was wrong, so these windows stand under another time, or in quarantine.",
    GapReason.CONFIG_CHANGE: "The mesh changed: the path was not probed yet, or no longer.",
    GapReason.UNEXPLAINED: "Nobody told why, and what is stored does not show it.",
}

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
    agents: list[AgentView]
    #: How many there are of each word, worst first.
    counts: list[tuple[str, str, int]]
    counted_max: int


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
    cut: bool
    #: Each reason that occurs, with what it means.
    explained: dict[str, str]


def agents_page(store: Store, now_s: int) -> AgentsPage:
    """Every agent that a mesh ever named, those that need somebody first."""
    with store.read() as reader:
        found = meshes.in_force(reader)
        entries = credentials.agents(reader.connection, now_s)
        told = _told(reader)
    known = _Known(mesh=found[1] if found else None, told=told, now_s=now_s)
    views = [(_standing(entry, known), entry) for entry in entries]
    views.sort(key=lambda item: (_ORDER.index(item[0]), item[1].name))
    counts = Counter(standing for standing, _ in views)
    return AgentsPage(
        now_s=now_s,
        mesh_version=found[0] if found else 0,
        agents=[
            _view(entry, known, _gaps_text(store, entry, now_s) if number < COUNTED_MAX else None)
            for number, (_, entry) in enumerate(views)
        ],
        counts=[(word.value, LOOKS[word], counts[word]) for word in _ORDER if counts[word]],
        counted_max=COUNTED_MAX,
    )


def agent_page(store: Store, name: str, now_s: int) -> AgentPage:
    """One agent with its paths and gaps; 404 if no mesh ever had it."""
    with store.read() as reader:
        found = meshes.in_force(reader)
        entry = next((one for one in credentials.agents(reader.connection, now_s) if one.name == name), None)
        told = _told(reader)
    if entry is None or is_imported(name):
        raise ProblemError(404, f"no mesh ever had an agent {name!r}")
    mesh = found[1] if found else None
    known = _Known(mesh=mesh, told=told, now_s=now_s)
    answer = agent_gaps(store, name, _period(now_s, GAP_DAYS * DAY_S), GAPS_MAX)
    return AgentPage(
        now_s=now_s,
        agent=_view(entry, known, _gaps_text(store, entry, now_s)),
        address=next((one.address for one in mesh.agents if one.name == name), None) if mesh else None,
        keys=[_key_text(key, now_s) for key in entry.keys],
        signing_keys=[(key.id, figures.moment(key.created_at_s)) for key in entry.signing_keys],
        routes=list(_routes(mesh, name)) if mesh else [],
        gaps=[_gap(gap, now_s) for gap in reversed(answer.gaps)],
        gap_days=GAP_DAYS,
        cut=answer.next_from is not None,
        explained={gap.reason.value.replace("_", " "): REASONS[gap.reason] for gap in answer.gaps},
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
class _Known:
    """What the views have in common."""

    mesh: Mesh | None
    told: Mapping[str, Told]
    now_s: int


def _told(reader: Reader) -> dict[str, Told]:
    """What agents told of themselves, by name."""
    rows = stored.agents(reader.connection)
    return {agent.name: _told_of(rows[agent.id]) for agent in reader.agents() if agent.id in rows}


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


def _standing(entry: AgentEntry, known: _Known) -> Standing:
    mesh = known.mesh
    named = mesh is not None and any(one.name == entry.name for one in mesh.agents)
    simulated = mesh is not None and any(one.name == entry.site and one.simulated for one in mesh.sites)
    return agent_standing.standing(entry.latest_s, known.now_s, simulated=simulated, retired=not named)


def _view(entry: AgentEntry, known: _Known, gaps: str | None) -> AgentView:
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
        gaps_json=_gaps_json(entry.name, _period(now_s, DAY_S)),
    )


def _concerns(told: Told, keys: list[KeyEntry], now_s: int) -> Iterator[str]:
    for concern in agent_standing.concerns(told, keys, now_s):
        yield Concern(concern).value


def _since(second: int, now_s: int) -> str:
    return f"{figures.short_moment(second, now_s)}, {figures.age(now_s - second)}"


def _spool(told: Told) -> str:
    if told.spool_batches is None or told.spool_bytes is None:
        return NOT_TOLD
    waiting = f"{figures.count(told.spool_batches)} waiting" if told.spool_batches else "empty"
    return f"{waiting}, {figures.size(told.spool_bytes)}" + (
        f" of {figures.size(told.spool_bytes_max)}" if told.spool_bytes_max else ""
    )


def _clock(told: Told) -> str:
    if told.clock_offset_us is None:
        return NOT_TOLD
    sign = "\u2212" if told.clock_offset_us < 0 else "+"
    text = f"{sign}{figures.ms(abs(told.clock_offset_us))}"
    return text if told.clock_offset_error_us is None else f"{text} ± {figures.ms(told.clock_offset_error_us)}"


def _keys_text(keys: list[KeyEntry], now_s: int) -> str:
    ends = [key.expires_at_s for key in keys]
    if not ends:
        return "none"
    latest = None if None in ends else max(end for end in ends if end is not None)
    return "no end" if latest is None else f"until {figures.short_moment(latest, now_s)}"


def _key_text(key: KeyEntry, now_s: int) -> str:
    used = "never used" if key.used_at_s is None else f"first used {figures.moment(key.used_at_s)}"
    end = "no end" if key.expires_at_s is None else f"ends {figures.moment(key.expires_at_s)}"
    return f"{key.id}: made {figures.moment(key.created_at_s)}, {used}, {end}"


def _period(now_s: int, length_s: int) -> Period:
    """The last days up to what has had time to arrive."""
    end_s = (now_s - ARRIVAL_S) // 60 * 60
    return Period(start_s=end_s - length_s, end_s=end_s)


def _gaps_json(name: str, period: Period) -> str:
    query = urlencode({"from": period.start_s, "to": period.end_s})
    return f"/api/v1/agents/{quote(name, safe='')}/gaps?{query}"


def _gaps_text(store: Store, entry: AgentEntry, now_s: int) -> str | None:
    if entry.latest_s is None:
        return None
    period = _period(now_s, DAY_S)
    gaps = agent_gaps(store, entry.name, period).gaps
    is_open = any(gap.end_s >= period.end_s for gap in gaps)
    return f"{len(gaps)}{', one open' if is_open else ''}" if gaps else "none"


def _gap(gap: GapAnswer, now_s: int) -> GapView:
    is_open = gap.end_s >= _period(now_s, DAY_S).end_s
    return GapView(
        start=figures.moment(gap.start_s),
        end="now" if is_open else figures.moment(gap.end_s),
        length=figures.length(gap.end_s - gap.start_s) or f"{gap.end_s - gap.start_s} s",
        reason=gap.reason.value.replace("_", " "),
        source="told by the agent" if gap.source == "agent" else "found by the collector",
        targets="all paths" if gap.targets is None else ", ".join(gap.targets),
        windows=figures.count(-(-(gap.end_s - gap.start_s) // WINDOW_S)),
        open=is_open,
    )


def _routes(mesh: Mesh, name: str) -> Iterator[tuple[Route, str]]:
    for route in mesh.routes():
        if route.source == name:
            pair = f"{quote(route.pair.source, safe='')}/{quote(route.pair.destination, safe='')}"
            yield route, f"/pairs/{pair}"
