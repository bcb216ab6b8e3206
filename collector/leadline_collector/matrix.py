"""The matrix: every directed pair of the mesh in force, judged by one profile over one period."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from leadline import judge
from leadline.clock import iso
from leadline.judge import State, Tally, WindowJudgement
from leadline.limits import catalogue
from leadline.mesh import Mesh, PairSettings
from leadline.model import WINDOW_S, Pair
from leadline_collector import meshes
from leadline_collector.answers import MatrixAnswer, PairAnswer, RttAnswer, TallyAnswer
from leadline_collector.judging import Facts, Judge
from leadline_collector.paths import paths_by_pair
from leadline_collector.period import Period
from leadline_collector.problems import ProblemError
from leadline_collector.profiles import profile_answer
from leadline_collector.store import PathIds, PathSummary, Reader, Store

#: A pair whose latest window is older than this many at the end of the period has no current state.
RECENT_WINDOWS = 3


def matrix(store: Store, profile_id: str, period: Period, group: str | None = None) -> MatrixAnswer:
    """The answer; ConfigError for an unknown profile, 422 for an unknown group. Without a mesh there are no pairs."""
    known = catalogue()
    profile = known.profile(profile_id)
    judged = judge.judged(known.limits_of(profile))
    with store.read() as reader:
        version, mesh = meshes.in_force(reader) or (0, None)
        question = _Question(reader=reader, judge=Judge(judged), period=period)
        pairs = [] if mesh is None else list(_pairs(question, mesh, group))
    return MatrixAnswer(
        profile=profile_answer(known, profile),
        reason=judged.reason,
        start_s=period.start_s,
        start_iso=iso(period.start_s),
        end_s=period.end_s,
        end_iso=iso(period.end_s),
        mesh_version=version,
        simulated=any(pair.simulated for pair in pairs),
        imported=any(pair.imported for pair in pairs),
        pairs=pairs,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What is asked, and of whom."""

    reader: Reader
    judge: Judge
    period: Period


def _pairs(question: _Question, mesh: Mesh, group: str | None) -> Iterator[PairAnswer]:
    if group is not None and group not in mesh.groups:
        raise ProblemError(422, f"group: {group!r} is none of {', '.join(mesh.groups)}", path="group")
    paths = paths_by_pair(question.reader)
    marked = {site.name for site in mesh.sites if site.simulated}
    for pair, settings in mesh.pairs.items():
        if group is None or group in settings.groups:
            is_marked = not marked.isdisjoint((pair.source, pair.destination))
            yield _pair(question, pair, settings, paths.get(pair, ()), is_marked)


def _pair(
    question: _Question, pair: Pair, settings: PairSettings, paths: Sequence[PathIds], is_marked: bool
) -> PairAnswer:
    period = question.period
    found = [question.reader.path_summary(path, period.start_s, period.end_s) for path in paths]
    summaries = [summary for summary in found if summary is not None]
    latest = _latest(question, summaries)
    readings = _readings(question, [summary.path for summary in summaries])
    return PairAnswer(
        source=pair.source,
        destination=pair.destination,
        groups=list(settings.groups),
        profiles=list(settings.profiles),
        simulated=is_marked or any(summary.simulated for summary in summaries),
        imported=any(summary.path.imported for summary in summaries),
        state=latest.state,
        state_at=latest.t,
        state_at_iso=None if latest.t is None else iso(latest.t),
        windows_expected=period.windows,
        pessimistic=_tally(((reading.pessimistic, count) for reading, count in readings.items()), period.windows),
        optimistic=_tally(((reading.optimistic, count) for reading, count in readings.items()), period.windows),
        rtt_us=RttAnswer(min=_least(summaries), p50=latest.p50_us, p95=latest.p95_us),
        paths=len(summaries),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Latest:
    """The latest window of a pair; all None if it has none."""

    state: State = State.UNKNOWN
    t: int | None = None
    p50_us: int | None = None
    p95_us: int | None = None


def _latest(question: _Question, summaries: Sequence[PathSummary]) -> _Latest:
    if not summaries:
        return _Latest()
    t = max(summary.latest_t for summary in summaries)
    columns = ("p50_us", "p95_us", *question.judge.columns)
    rows = [
        row for summary in summaries for row in question.reader.path_windows(summary.path, columns, t, t + WINDOW_S)
    ]
    is_recent = t >= question.period.end_s - RECENT_WINDOWS * WINDOW_S
    return _Latest(
        state=question.judge.state([row[2:] for row in rows]) if is_recent else State.UNKNOWN,
        t=t,
        p50_us=max((row[0] for row in rows if row[0] is not None), default=None),
        p95_us=max((row[1] for row in rows if row[1] is not None), default=None),
    )


def _least(summaries: Sequence[PathSummary]) -> int | None:
    return min((summary.min_us for summary in summaries if summary.min_us is not None), default=None)


def _readings(question: _Question, paths: Sequence[PathIds]) -> Counter[WindowJudgement]:
    """How many windows of a pair came out how."""
    reader, period, judge = question.reader, question.period, question.judge
    readings: Counter[WindowJudgement] = Counter()
    if len(paths) == 1:
        for *facts, count in reader.path_counts(paths[0], judge.columns, period.start_s, period.end_s):
            readings[judge.judgement(tuple(facts))] += count
        return readings
    by_time: defaultdict[int, list[Facts]] = defaultdict(list)
    for path in paths:
        for row in reader.path_windows(path, ("t", *judge.columns), period.start_s, period.end_s):
            by_time[row[0]].append(row[1:])
    readings.update(judge.merged(facts_of_paths) for facts_of_paths in by_time.values())
    return readings


def _tally(states: Iterable[tuple[State, int]], windows: int) -> TallyAnswer:
    counts: Counter[State] = Counter()
    for state, count in states:
        counts[state] += count
    tally = Tally(
        good=counts[State.GOOD],
        bad=counts[State.BAD],
        unavailable=counts[State.UNAVAILABLE],
        # A minute without a row is a minute nobody knows.
        unknown=counts[State.UNKNOWN] + windows - counts.total(),
    )
    return TallyAnswer(
        good=tally.good,
        bad=tally.bad,
        unavailable=tally.unavailable,
        unknown=tally.unknown,
        good_ratio=tally.good_ratio,
        coverage_ratio=tally.coverage_ratio,
    )
