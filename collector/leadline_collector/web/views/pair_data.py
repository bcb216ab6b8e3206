"""What is read for the page of a pair: the windows of both directions, the verdict on them, and what is missing.

The page shows any period; a verdict takes whole days. Both are cut from one reading where they overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from leadline.evaluation import CAMPAIGN_DAYS_PROVISIONAL
from leadline.limits.catalogue import catalogue
from leadline.mesh.model import Mesh
from leadline.model import Failure, Pair
from leadline.wire.batch import is_imported
from leadline_collector.analysis.verdicts import Question, Windows, judged
from leadline_collector.db.transactions import Reader
from leadline_collector.gaps import service as gap_service
from leadline_collector.gaps.documents import GapAnswer
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.paths import paths_by_pair
from leadline_collector.rollup import failure_counts
from leadline_collector.time_range import DAY_S, Period, days_of
from leadline_collector.web.views.pair_buckets import cut
from leadline_verdict.decision import Rule
from leadline_verdict.document import PairVerdict, VerdictDocument
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import NO_WISHES, Requirements, requirements

#: Read at once for both periods if that is not much more than reading each.
_HULL_RATIO_MAX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """One direction of the pair."""

    pair: Pair
    #: Over the period that is shown.
    shown: PairWindows
    #: Over the days of the verdict.
    judged: PairWindows
    verdict: PairVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Everything that is read."""

    asked: Requirements
    document: VerdictDocument
    #: Whole days.
    days: Period
    #: That of the page first, then the reverse if it is probed.
    directions: tuple[Direction, ...]


def verdict_days(shown: Period, now_s: int) -> Period:
    """The days that a period touches and that are over, if they are enough for a verdict; else the usual 28."""
    start_s, end_s = (second - second % DAY_S for second in (shown.start_s, shown.end_s))
    if end_s - start_s >= CAMPAIGN_DAYS_PROVISIONAL * DAY_S:
        return Period(start_s=start_s, end_s=end_s)
    return days_of(None, None, now_s)


def study(reader: Reader, version: int, mesh: Mesh, pair: Pair, profile: str, shown: Period, now_s: int) -> Study:
    """The reading of a pair of the mesh; ConfigError for an unknown profile."""
    days = verdict_days(shown, now_s)
    question = Question(
        period=days, pair=(pair.source, pair.destination), sites=(), profiles=(profile,), wishes=NO_WISHES, rule=Rule()
    )
    found = _windows(reader, mesh, _directions(mesh, pair), (shown, days))
    document = judged(question, version, mesh, lambda one: found[one][1])
    verdicts = {(one.source, one.destination): one for one in document.pairs}
    known = catalogue()
    return Study(
        asked=requirements(known, known.profile(profile), NO_WISHES),
        document=document,
        days=days,
        directions=tuple(
            Direction(pair=one, shown=both[0], judged=both[1], verdict=verdicts[one.source, one.destination])
            for one, both in found.items()
        ),
    )


def _directions(mesh: Mesh, pair: Pair) -> list[Pair]:
    both = (pair, Pair(source=pair.destination, destination=pair.source))
    return [one for one in both if one in mesh.pairs]


def windows_of(reader: Reader, mesh: Mesh, pair: Pair, shown: Period) -> list[PairWindows]:
    """The windows of a pair and of its reverse, where that is probed, for a chart alone."""
    return [both[0] for both in _windows(reader, mesh, _directions(mesh, pair), (shown,)).values()]


def _windows(
    reader: Reader, mesh: Mesh, pairs: Iterable[Pair], periods: Sequence[Period]
) -> Mapping[Pair, list[PairWindows]]:
    """The windows of each pair over each period."""
    hull = Period(start_s=min(one.start_s for one in periods), end_s=max(one.end_s for one in periods))
    if hull.windows <= _HULL_RATIO_MAX * max(one.windows for one in periods):
        whole = Windows(reader, mesh, hull)
        return {pair: [cut(windows, one) for one in periods] for pair in pairs for windows in [whole.of(pair)]}
    readers = [Windows(reader, mesh, one) for one in periods]
    return {pair: [one.of(pair) for one in readers] for pair in pairs}


def failures_of(reader: Reader, pair: Pair, period: Period) -> dict[Failure, int]:
    """Why probes of a pair have no round trip, over all its paths; what is no longer kept is not counted."""
    totals = dict.fromkeys(Failure, 0)
    for path in paths_by_pair(reader).get(pair, ()):
        found = failure_counts.of_path(reader.connection, path.src_id, path.dst_id, period.start_s, period.end_s)
        for failure, count in found.items():
            totals[failure] += count
    return totals


def agents_of(reader: Reader, mesh: Mesh, pair: Pair) -> list[str]:
    """The agents in force or gone that measure the pair in any direction; imported files have none."""
    sources = {one.source for one in _directions(mesh, pair)}
    return sorted(
        one.name
        for one in mesh_store.load_agents(reader.connection)
        if one.site in sources and not is_imported(one.name)
    )


def gaps_of(reader: Reader, agents: Iterable[str], period: Period) -> list[tuple[str, GapAnswer]]:
    """What is missing of these agents and why."""
    return [(agent, gap) for agent in agents for gap in gap_service.all_gaps(reader, agent, period)]
