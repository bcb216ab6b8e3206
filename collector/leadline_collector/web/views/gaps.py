"""What is missing of a pair's windows and why: looked for among all windows of its agents, so apart from its page."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.model import Pair
from leadline_collector.db.transactions import Store
from leadline_collector.gaps.documents import GapAnswer
from leadline_collector.time_range import TimeRange
from leadline_collector.web import formatting
from leadline_collector.web.params import PageParams
from leadline_collector.web.views.pair import find_pair
from leadline_collector.web.views.pair_data import list_agents, list_gaps

#: The longest gaps are shown, in order of time.
ROWS_MAX = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """A row: windows that are missing."""

    start: str
    length: str
    agent: str
    reason: str
    #: "all", or the names of the targets that are concerned.
    targets: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GapsPage:
    """The page, and the part of it that the page of the pair fetches."""

    now_s: int
    pair: Pair
    period: TimeRange
    pair_url: str
    agents: list[str]
    gaps: list[GapRow]
    gap_count: int


def build_gaps_page(store: Store, source: str, destination: str, params: PageParams, now_s: int) -> GapsPage:
    """The gaps of the agents of both sites that measure the pair; the errors of the page of the pair."""
    _, mesh, pair = find_pair(store, source, destination)
    period = params.parse_period(now_s)
    with store.read() as reader:
        agents = list_agents(reader, mesh, pair)
        found = list_gaps(reader, agents, period)
    longest = sorted(found, key=lambda one: one[1].start_s - one[1].end_s)[:ROWS_MAX]
    return GapsPage(
        now_s=now_s,
        pair=pair,
        period=period,
        pair_url=params.pair_url(pair),
        agents=agents,
        gaps=[_to_gap_row(agent, gap) for agent, gap in sorted(longest, key=lambda one: (one[1].start_s, one[0]))],
        gap_count=len(found),
    )


def _to_gap_row(agent: str, gap: GapAnswer) -> GapRow:
    return GapRow(
        start=formatting.format_time(gap.start_s).removesuffix(" UTC"),
        length=formatting.format_duration(gap.end_s - gap.start_s),
        agent=agent,
        reason=gap.reason.value.replace("_", " "),
        targets="all" if gap.targets is None else ", ".join(gap.targets),
    )
