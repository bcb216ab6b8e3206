"""Verdicts over weeks and months: reads what the pure code in ``leadline_verdict`` asks for, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from leadline import propagation
from leadline.limits.catalogue import catalogue
from leadline.mesh.model import Mesh
from leadline.model import WINDOW_S, Pair
from leadline.wire.batch import GapReason, is_imported
from leadline_collector.db.transactions import Reader, Store
from leadline_collector.errors import InvalidRequestError, NotFoundError
from leadline_collector.gaps import service as gap_service
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.paths import paths_by_pair
from leadline_collector.mesh.store import PathIds
from leadline_collector.rollup import hour_reader
from leadline_collector.time_range import Period
from leadline_verdict.decision import Missing, Rule
from leadline_verdict.document import VerdictDocument
from leadline_verdict.pair import PairWindows, PathWindows
from leadline_verdict.report import Asked, answer
from leadline_verdict.requirements import Requirements, Wishes, requirements
from leadline_verdict.series import PathSeries
from leadline_verdict.states import Minutes

#: Verdicts in one answer: a pair takes some 0.1 s for each profile, and an answer must not take minutes.
VERDICTS_MAX = 300
#: Why a minute may be missing without the path having anything to do with it. A spool only overflows while its
#: collector cannot be reached, which may be the path's doing.
_NOT_THE_PATH = frozenset(
    {
        GapReason.AGENT_DOWN,
        GapReason.LOCAL_STALL,
        GapReason.CLOCK_UNSYNC,
        GapReason.CONFIG_CHANGE,
        GapReason.SPOOL_CORRUPT,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked for."""

    #: Whole UTC days.
    period: Period
    #: Both directions of two sites; None for all.
    pair: tuple[str, str] | None
    #: Only pairs between these; empty for all.
    sites: tuple[str, ...]
    #: By these; empty for the profiles the mesh gives each pair.
    profiles: tuple[str, ...]
    wishes: Wishes
    rule: Rule


def verdicts(store: Store, question: Question, progress: Callable[[], None] = lambda: None) -> VerdictDocument:
    """The document; 404 for a site or pair that is not in the mesh, 422 for what cannot be asked."""
    with store.read() as reader:
        version, mesh = _mesh(reader)
        windows = Windows(reader, mesh, question.period, question.rule.missing)
        return judged(question, version, mesh, windows.of, progress)


def judged(
    question: Question,
    version: int,
    mesh: Mesh,
    windows_of: Callable[[Pair], PairWindows],
    progress: Callable[[], None] = lambda: None,
) -> VerdictDocument:
    """The document from windows over exactly the period of the question; the errors of ``verdicts``."""
    chosen = _chosen(mesh, question)
    asked = Asked(
        start_s=question.period.start_s,
        end_s=question.period.end_s,
        rule=question.rule,
        profiles=_all(profiles for _, profiles in chosen),
        catalogue=catalogue().digest,
        mesh_version=version,
    )
    return answer(asked, ((windows_of(pair), profiles) for pair, profiles in chosen), progress)


def pair_windows(store: Store, question: Question) -> tuple[list[PairWindows], Mesh]:
    """The windows behind the verdicts, for export."""
    with store.read() as reader:
        _, mesh = _mesh(reader)
        windows = Windows(reader, mesh, question.period, question.rule.missing)
        return [windows.of(pair) for pair, _ in _chosen(mesh, question)], mesh


def _mesh(reader: Reader) -> tuple[int, Mesh]:
    found = mesh_service.in_force(reader)
    if found is None:
        raise NotFoundError(
            "no mesh has been applied, so there is no pair to judge; apply one with `leadline mesh apply`"
        )
    return found


def _all(profiles: Iterable[Sequence[Requirements]]) -> list[Requirements]:
    """Each once, in order."""
    return list({one.id: one for several in profiles for one in several}.values())


def _chosen(mesh: Mesh, question: Question) -> list[tuple[Pair, Sequence[Requirements]]]:
    """The pairs asked for, and what each is judged by."""
    names = {site.name for site in mesh.sites}
    for site in (*(question.pair or ()), *question.sites):
        if site not in names:
            raise NotFoundError(f"{site!r} is no site of the mesh; there are: {', '.join(sorted(names))}")
    pairs = [pair for pair in mesh.pairs if _is_asked(pair, question)]
    if not pairs:
        raise NotFoundError("the mesh in force probes no pair between these sites")
    known = _Known(question)
    judged: Iterator[tuple[Pair, Sequence[Requirements]]] = (
        (pair, [known.of(name) for name in _profiles(mesh, pair, question)]) for pair in pairs
    )
    chosen = [(pair, profiles) for pair, profiles in judged if profiles]
    if not chosen:
        raise InvalidRequestError("profile: the mesh gives these pairs none, so name one", path="profile")
    if (count := sum(len(profiles) for _, profiles in chosen)) > VERDICTS_MAX:
        raise InvalidRequestError(
            f"pair: {count} verdicts are more than {VERDICTS_MAX} in one answer; ask for fewer pairs"
        )
    return chosen


def _is_asked(pair: Pair, question: Question) -> bool:
    ends = {pair.source, pair.destination}
    if question.pair is not None:
        return ends == set(question.pair)
    return not question.sites or ends <= set(question.sites)


def _profiles(mesh: Mesh, pair: Pair, question: Question) -> Sequence[str | None]:
    if question.profiles:
        return question.profiles
    return (None,) if question.wishes.own else mesh.pairs[pair].profiles


class _Known:
    """What a profile asks, worked out once."""

    def __init__(self, question: Question) -> None:
        self._wishes = question.wishes
        self._found: dict[str | None, Requirements] = {}

    def of(self, profile: str | None) -> Requirements:
        if profile not in self._found:
            named = None if profile is None else catalogue().profile(profile)
            self._found[profile] = requirements(catalogue(), named, self._wishes)
        return self._found[profile]


class Windows:
    """Reads the windows of pairs over one period; it need not be of whole days."""

    def __init__(self, reader: Reader, mesh: Mesh, period: Period, missing: Missing = Missing.BAD) -> None:
        self._reader, self._mesh = reader, mesh
        self._period, self._missing = period, missing
        self._paths = paths_by_pair(reader)
        self._agents = {agent.id: agent for agent in mesh_store.load_agents(reader.connection)}
        self._targets = {target.id: target for target in mesh_store.load_targets(reader.connection)}

    def of(self, pair: Pair) -> PairWindows:
        """The windows of a pair; paths without a window are left out."""
        found = [self._path(ids) for ids in self._paths.get(pair, ())]
        paths = tuple(path for path in found if path.series.expected.any())
        ends = self._mesh.site(pair.source), self._mesh.site(pair.destination)
        return PairWindows(
            source=pair.source,
            destination=pair.destination,
            start_s=self._period.start_s,
            minutes=self._period.windows,
            paths=paths,
            floors=propagation.floors(*ends),
            ambiguous=self._ambiguous(pair.destination, [path.series for path in paths]),
            explained=self._explained(sorted({path.agent for path in paths})),
        )

    def _path(self, ids: PathIds) -> PathWindows:
        series = hour_reader.series(
            self._reader.connection, ids.src_id, ids.dst_id, self._period.start_s, self._period.end_s
        )
        return PathWindows(agent=self._agents[ids.src_id].name, target=self._targets[ids.dst_id].name, series=series)

    def _ambiguous(self, site: str, paths: Sequence[PathSeries]) -> Minutes:
        """Minutes in which this pair had no reply, nobody else reached the site, and its own agents gave no window.

        A site that was cut off measures on and delivers later, so its windows are there in the end: a loss then.
        """
        silent: Minutes = np.zeros(self._period.windows, dtype=np.bool_)
        if not paths or all(agent.site != site for agent in self._agents.values()):
            return silent
        sent = np.any([series.sent > 0 for series in paths], axis=0)
        replied = np.any([series.received > 0 for series in paths], axis=0)
        silent = sent & ~replied
        for ids, is_own in self._around(site):
            first, last = _hull(silent)
            if first == last:
                break
            series = hour_reader.series(
                self._reader.connection, ids.src_id, ids.dst_id, self._start(first), self._start(last)
            )
            silent[first:last] &= (series.expected if is_own else series.received) == 0
        return silent

    def _around(self, site: str) -> Iterator[tuple[PathIds, bool]]:
        """Every path from the site, which shows that its agents were alive, then every path to it.

        Most often the first one tells: the agent was well and the path was not.
        """
        for pair, paths in self._paths.items():
            if pair.source == site:
                yield from ((ids, True) for ids in paths)
        for pair, paths in self._paths.items():
            if pair.destination == site:
                yield from ((ids, False) for ids in paths)

    def _start(self, minute: int) -> int:
        return self._period.start_s + minute * WINDOW_S

    def _explained(self, agents: Sequence[str]) -> Minutes:
        """Minutes that are missing of every agent of the pair, each for a cause that is not the path."""
        every = np.ones(self._period.windows, dtype=np.bool_)
        if self._missing is not Missing.MAR or not agents:
            return ~every
        for agent in agents:
            every &= self._explained_of(agent)
        return every

    def _explained_of(self, agent: str) -> Minutes:
        explained = np.zeros(self._period.windows, dtype=np.bool_)
        if is_imported(agent):
            # A file tells no reason for what is not in it.
            return explained
        for gap in gap_service.all_gaps(self._reader, agent, self._period):
            if gap.reason in _NOT_THE_PATH:
                first, last = (
                    (one - self._period.start_s) // WINDOW_S for one in (gap.start_s, gap.end_s + WINDOW_S - 1)
                )
                explained[max(0, first) : max(0, last)] = True
        return explained


def _hull(minutes: Minutes) -> tuple[int, int]:
    """From the first to behind the last true minute; (0, 0) without any."""
    at = np.flatnonzero(minutes)
    return (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 0)
