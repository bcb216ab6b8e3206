"""What is read for the page of a pair: the windows of both directions, the verdict on them, and what is missing.

The page shows any period; a verdict takes whole days. Both are cut from one reading where they overlap.
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
from leadline_collector.gaps.documents import GapAnswer
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.paths import load_paths_by_pair
from leadline_collector.rollup import failure_counts
from leadline_collector.time_range import DAY_S, TimeRange, parse_day_range
from leadline_collector.web.views.pair_buckets import slice_windows
from leadline_verdict.decision import VerdictRule
from leadline_verdict.document import PairVerdict, VerdictDocument
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import NO_OVERRIDES, RequirementSet, build_requirements

#: Read at once for both periods if that is not much more than reading each.
_HULL_RATIO_MAX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionData:
    """One direction of the pair."""

    pair: Pair
    #: Over the period that is shown.
    windows: PairWindows
    #: Over the days of the verdict.
    verdict_windows: PairWindows
    verdict: PairVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class PairData:
    """Everything that is read."""

    requirements: RequirementSet
    document: VerdictDocument
    #: Whole days.
    days: TimeRange
    #: That of the page first, then the reverse if it is probed.
    directions: tuple[DirectionData, ...]


def choose_verdict_days(period: TimeRange, now_s: int) -> TimeRange:
    """The days that a period touches and that are over, if they are enough for a verdict; else the usual 28."""
    start_s, end_s = (second - second % DAY_S for second in (period.start_s, period.end_s))
    if end_s - start_s >= CAMPAIGN_DAYS_PROVISIONAL * DAY_S:
        return TimeRange(start_s=start_s, end_s=end_s)
    return parse_day_range(None, None, now_s)


def load_pair_data(
    reader: ReadTransaction, version: int, mesh: Mesh, pair: Pair, profile: str, period: TimeRange, now_s: int
) -> PairData:
    """The reading of a pair of the mesh; ConfigError for an unknown profile."""
    days = choose_verdict_days(period, now_s)
    question = VerdictRequest(
        period=days,
        pair=(pair.source, pair.destination),
        sites=(),
        profiles=(profile,),
        overrides=NO_OVERRIDES,
        rule=VerdictRule(),
    )
    found = _load_windows_by_pair(reader, mesh, _list_probed_directions(mesh, pair), (period, days))
    document = build_document(question, version, mesh, lambda one: found[one][1])
    verdicts = {(one.source, one.destination): one for one in document.pairs}
    known = load_catalogue()
    return PairData(
        requirements=build_requirements(known, known.get_profile(profile), NO_OVERRIDES),
        document=document,
        days=days,
        directions=tuple(
            DirectionData(
                pair=one, windows=both[0], verdict_windows=both[1], verdict=verdicts[one.source, one.destination]
            )
            for one, both in found.items()
        ),
    )


def _list_probed_directions(mesh: Mesh, pair: Pair) -> list[Pair]:
    both = (pair, Pair(source=pair.destination, destination=pair.source))
    return [one for one in both if one in mesh.pairs]


def load_windows(reader: ReadTransaction, mesh: Mesh, pair: Pair, period: TimeRange) -> list[PairWindows]:
    """The windows of a pair and of its reverse, where that is probed, for a chart alone."""
    return [
        both[0] for both in _load_windows_by_pair(reader, mesh, _list_probed_directions(mesh, pair), (period,)).values()
    ]


def _load_windows_by_pair(
    reader: ReadTransaction, mesh: Mesh, pairs: Iterable[Pair], periods: Sequence[TimeRange]
) -> Mapping[Pair, list[PairWindows]]:
    """The windows of each pair over each period."""
    hull = TimeRange(start_s=min(one.start_s for one in periods), end_s=max(one.end_s for one in periods))
    if hull.window_count <= _HULL_RATIO_MAX * max(one.window_count for one in periods):
        whole = PairWindowLoader(reader, mesh, hull)
        return {
            pair: [slice_windows(windows, one) for one in periods]
            for pair in pairs
            for windows in [whole.load_pair(pair)]
        }
    readers = [PairWindowLoader(reader, mesh, one) for one in periods]
    return {pair: [one.load_pair(pair) for one in readers] for pair in pairs}


def count_failures(reader: ReadTransaction, pair: Pair, period: TimeRange) -> dict[Failure, int]:
    """Why probes of a pair have no round trip, over all its paths; what is no longer kept is not counted."""
    totals = dict.fromkeys(Failure, 0)
    for path in load_paths_by_pair(reader).get(pair, ()):
        found = failure_counts.load_failure_counts(
            reader.connection, path.src_id, path.dst_id, period.start_s, period.end_s
        )
        for failure, count in found.items():
            totals[failure] += count
    return totals


def list_agents(reader: ReadTransaction, mesh: Mesh, pair: Pair) -> list[str]:
    """The agents in force or gone that measure the pair in any direction; imported files have none."""
    sources = {one.source for one in _list_probed_directions(mesh, pair)}
    return sorted(
        one.name
        for one in mesh_store.load_agents(reader.connection)
        if one.site in sources and not is_imported(one.name)
    )


def list_gaps(reader: ReadTransaction, agents: Iterable[str], period: TimeRange) -> list[tuple[str, GapAnswer]]:
    """What is missing of these agents and why."""
    return [(agent, gap) for agent in agents for gap in gap_service.find_all_gaps(reader, agent, period)]
