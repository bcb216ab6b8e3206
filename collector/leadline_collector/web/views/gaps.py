"""View of the missing windows of a pair, with reasons.

The search reads all windows of the agents, so it is a page of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from leadline.model import Pair
from leadline_collector.db.transactions import Store
from leadline_collector.gaps.documents import GapResponse
from leadline_collector.time_range import TimeRange
from leadline_collector.web.formatting import format_duration, format_time
from leadline_collector.web.params import PageParams
from leadline_collector.web.views.pair import find_pair
from leadline_collector.web.views.pair_data import list_agents, list_gaps

#: The page shows this many gaps, the longest ones, in order of time.
ROWS_MAX = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """One gap."""

    start: str
    length: str
    agent: str
    reason: str
    #: "all", or the names of the affected targets.
    targets: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GapsPage:
    """The page; the page of the pair loads a part of it."""

    now_s: int
    pair: Pair
    period: TimeRange
    pair_url: str
    agents: list[str]
    gaps: list[GapRow]
    gap_count: int


def build_gaps_page(store: Store, source: str, destination: str, params: PageParams, now_s: int) -> GapsPage:
    """List the gaps of the agents that measure the pair in either direction; the errors of ``build_pair_page``."""
    with store.read() as reader:
        _, mesh, pair = find_pair(reader, source, destination)
        period = params.parse_period(now_s)
        agents = list_agents(reader, mesh, pair)
        gaps = list_gaps(reader, agents, period)
    longest = sorted(gaps, key=lambda item: item[1].start_s - item[1].end_s)[:ROWS_MAX]
    return GapsPage(
        now_s=now_s,
        pair=pair,
        period=period,
        pair_url=params.pair_url(pair),
        agents=agents,
        gaps=[_to_gap_row(agent, gap) for agent, gap in sorted(longest, key=lambda item: (item[1].start_s, item[0]))],
        gap_count=len(gaps),
    )


def _to_gap_row(agent: str, gap: GapResponse) -> GapRow:
    return GapRow(
        start=format_time(gap.start_s).removesuffix(" UTC"),
        length=format_duration(gap.end_s - gap.start_s),
        agent=agent,
        reason=gap.reason.value.replace("_", " "),
        targets="all" if gap.targets is None else ", ".join(gap.targets),
    )
