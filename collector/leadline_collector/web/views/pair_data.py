"""Data of the page of a pair: windows of both directions, verdict, failures, gaps.

The page shows any period; a verdict needs whole days. One query reads both periods if they overlap enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from leadline.evaluation import CAMPAIGN_DAYS_PROVISIONAL
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline.model import Failure, Pair
from leadline.wire.batch import is_imported
from leadline_collector.analysis.verdicts import PairWindowLoader, VerdictRequest, build_document
from leadline_collector.db.transactions import ReadTransaction
from leadline_collector.gaps import service as gap_service
from leadline_collector.gaps.documents import GapResponse
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.paths import load_paths_by_pair
from leadline_collector.rollup import failure_counts
from leadline_collector.time_range import DAY_S, TimeRange, parse_day_range
from leadline_collector.web.views.pair_buckets import slice_windows
from leadline_verdict.decision import VerdictRule
from leadline_verdict.document import PairVerdict, VerdictDocument
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import NO_OVERRIDES, RequirementSet, build_requirements

#: Read one range for both periods if it is at most this many times as long as the longer period.
_HULL_RATIO_MAX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionData:
    """One direction of the pair."""

    pair: Pair
    #: Over the selected period.
    windows: PairWindows
    #: Over the days of the verdict.
    verdict_windows: PairWindows
    verdict: PairVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class PairData:
    """The data of the page."""

    requirements: RequirementSet
    document: VerdictDocument
    #: Whole days.
    days: TimeRange
    #: The direction of the page, then the reverse if it is probed.
    directions: tuple[DirectionData, ...]


def choose_verdict_days(period: TimeRange, now_s: int) -> TimeRange:
    """Return the completed days of a period if they suffice for a verdict, else the last 28 days."""
    start_s, end_s = (second - second % DAY_S for second in (period.start_s, period.end_s))
    if end_s - start_s >= CAMPAIGN_DAYS_PROVISIONAL * DAY_S:
        return TimeRange(start_s=start_s, end_s=end_s)
    return parse_day_range(None, None, now_s)


def load_pair_data(
    reader: ReadTransaction, version: int, mesh: Mesh, pair: Pair, profile: str, period: TimeRange, now_s: int
) -> PairData:
    """Load the data of a pair of the mesh; ConfigError for an unknown profile."""
    days = choose_verdict_days(period, now_s)
    request = VerdictRequest(
        period=days,
        pair=(pair.source, pair.destination),
        sites=(),
        profiles=(profile,),
        overrides=NO_OVERRIDES,
        rule=VerdictRule(),
    )
    windows_by_pair = _load_windows_by_pair(reader, mesh, _list_probed_directions(mesh, pair), (period, days))
    document = build_document(request, version, mesh, lambda probed: windows_by_pair[probed][1])
    verdicts = {(verdict.source, verdict.destination): verdict for verdict in document.pairs}
    catalogue = load_catalogue()
    return PairData(
        requirements=build_requirements(catalogue, catalogue.get_profile(profile), NO_OVERRIDES),
        document=document,
        days=days,
        directions=tuple(
            DirectionData(
                pair=direction,
                windows=windows,
                verdict_windows=verdict_windows,
                verdict=verdicts[direction.source, direction.destination],
            )
            for direction, (windows, verdict_windows) in windows_by_pair.items()
        ),
    )


def _list_probed_directions(mesh: Mesh, pair: Pair) -> list[Pair]:
    both = (pair, Pair(source=pair.destination, destination=pair.source))
    return [direction for direction in both if direction in mesh.pairs]


def load_windows(reader: ReadTransaction, mesh: Mesh, pair: Pair, period: TimeRange) -> list[PairWindows]:
    """Load the windows of a pair and of its reverse, if probed, for a single chart."""
    windows_by_pair = _load_windows_by_pair(reader, mesh, _list_probed_directions(mesh, pair), (period,))
    return [windows for (windows,) in windows_by_pair.values()]


def _load_windows_by_pair(
    reader: ReadTransaction, mesh: Mesh, pairs: Iterable[Pair], periods: Sequence[TimeRange]
) -> Mapping[Pair, list[PairWindows]]:
    """Load the windows of each pair over each period."""
    hull = TimeRange(start_s=min(period.start_s for period in periods), end_s=max(period.end_s for period in periods))
    if hull.window_count <= _HULL_RATIO_MAX * max(period.window_count for period in periods):
        loader = PairWindowLoader(reader, mesh, hull)
        return {
            pair: [slice_windows(windows, period) for period in periods]
            for pair in pairs
            for windows in [loader.load_pair(pair)]
        }
    loaders = [PairWindowLoader(reader, mesh, period) for period in periods]
    return {pair: [loader.load_pair(pair) for loader in loaders] for pair in pairs}


def count_failures(reader: ReadTransaction, pair: Pair, period: TimeRange) -> dict[Failure, int]:
    """Count the failed probes of a pair by failure, over all its paths; deleted data is not counted."""
    totals = dict.fromkeys(Failure, 0)
    for path in load_paths_by_pair(reader).get(pair, ()):
        counts = failure_counts.load_failure_counts(
            reader.connection, path.src_id, path.dst_id, period.start_s, period.end_s
        )
        for failure, count in counts.items():
            totals[failure] += count
    return totals


def list_agents(reader: ReadTransaction, mesh: Mesh, pair: Pair) -> list[str]:
    """List active and retired agents that measure the pair in either direction; imported files have no agent."""
    sources = {direction.source for direction in _list_probed_directions(mesh, pair)}
    return sorted(
        agent.name
        for agent in mesh_store.load_agents(reader.connection)
        if agent.site in sources and not is_imported(agent.name)
    )


def list_gaps(reader: ReadTransaction, agents: Iterable[str], period: TimeRange) -> list[tuple[str, GapResponse]]:
    """List the gaps of these agents."""
    return [(agent, gap) for agent in agents for gap in gap_service.find_all_gaps(reader, agent, period)]
