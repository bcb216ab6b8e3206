"""Verdicts over weeks and months: loads the windows that the pure code in ``leadline_verdict`` needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import DeclaredOutages, Mesh
from leadline.model import WINDOW_S, Pair
from leadline.wire.batch import GapReason, is_imported
from leadline_collector.analysis.ambiguous_minutes import find_ambiguous_minutes
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.errors import InvalidRequestError, NotFoundError
from leadline_collector.gaps import service as gap_service
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.paths import load_paths_by_pair
from leadline_collector.mesh.propagation import get_propagation_delay
from leadline_collector.mesh.store import PathIds
from leadline_collector.rollup import hour_reader
from leadline_collector.time_range import DAY_S, TimeRange
from leadline_verdict.decision import MissingPolicy, VerdictRule
from leadline_verdict.document import VerdictDocument
from leadline_verdict.pair import PairWindows, PathWindows
from leadline_verdict.report import ReportParams, build_report
from leadline_verdict.requirements import LimitOverrides, RequirementSet, build_requirements
from leadline_verdict.series import PathSeries
from leadline_verdict.states import MinuteMask

#: Verdicts in one response: a pair takes about 0.1 s per profile, and a response must not take minutes.
VERDICTS_MAX = 300
#: Reasons for missing minutes that do not depend on the path. SPOOL_OVERFLOW is not among them: a spool only overflows
#: while its collector is unreachable, and the path may be the cause of that.
_UNRELATED_REASONS = frozenset(
    {
        GapReason.AGENT_DOWN,
        GapReason.LOCAL_STALL,
        GapReason.CLOCK_UNSYNC,
        GapReason.CONFIG_CHANGE,
        GapReason.SPOOL_CORRUPT,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRequest:
    """Period, pairs, profiles and rule of a request for verdicts."""

    #: Whole UTC days.
    period: TimeRange
    #: Both directions of two sites; None for all.
    pair: tuple[str, str] | None
    #: Only pairs between these sites; empty for all.
    sites: tuple[str, ...]
    #: Profiles to evaluate; empty for the profiles that the mesh assigns to each pair.
    profiles: tuple[str, ...]
    overrides: LimitOverrides
    rule: VerdictRule
    #: Outages for all pairs, instead of those of the mesh; None for those of the mesh.
    outages: DeclaredOutages | None = None


def compute_verdicts(
    store: Store, request: VerdictRequest, on_progress: Callable[[], None] = lambda: None
) -> VerdictDocument:
    """Compute the verdicts of a request.

    Raise NotFoundError for a site or pair outside the mesh, InvalidRequestError for an invalid request.
    """
    with store.read() as reader:
        version, mesh = _load_mesh(reader)
        windows = PairWindowLoader(reader, mesh, request.period, request.rule.missing_policy, request.outages)
        return build_document(request, version, mesh, windows.load_pair, on_progress)


def build_document(
    request: VerdictRequest,
    mesh_version: int,
    mesh: Mesh,
    load_windows: Callable[[Pair], PairWindows],
    on_progress: Callable[[], None] = lambda: None,
) -> VerdictDocument:
    """Build the document from windows over exactly the requested period; raise the errors of ``compute_verdicts``."""
    selection = _select_pairs(mesh, request)
    params = ReportParams(
        start_s=request.period.start_s,
        end_s=request.period.end_s,
        rule=request.rule,
        profiles=_list_unique_requirements(profiles for _, profiles in selection),
        catalogue_digest=load_catalogue().digest,
        mesh_version=mesh_version,
    )
    return build_report(params, ((load_windows(pair), profiles) for pair, profiles in selection), on_progress)


def load_verdict_windows(store: Store, request: VerdictRequest) -> tuple[list[PairWindows], Mesh]:
    """Load the windows of the requested pairs, and the mesh, for export."""
    with store.read() as reader:
        _, mesh = _load_mesh(reader)
        windows = PairWindowLoader(reader, mesh, request.period, request.rule.missing_policy, request.outages)
        return [windows.load_pair(pair) for pair, _ in _select_pairs(mesh, request)], mesh


def _load_mesh(reader: ReadTransaction) -> tuple[int, Mesh]:
    active_mesh = mesh_service.load_active_mesh(reader)
    if active_mesh is None:
        raise NotFoundError(
            "no mesh has been applied, so there is no pair to evaluate; apply one with `leadline mesh apply`"
        )
    return active_mesh


def _list_unique_requirements(groups: Iterable[Sequence[RequirementSet]]) -> list[RequirementSet]:
    """Return each requirement set once, in order of first use."""
    return list({requirement.id: requirement for group in groups for requirement in group}.values())


def _select_pairs(mesh: Mesh, request: VerdictRequest) -> list[tuple[Pair, Sequence[RequirementSet]]]:
    """Return the requested pairs, each with its requirement sets."""
    names = {site.name for site in mesh.sites}
    for site in (*(request.pair or ()), *request.sites):
        if site not in names:
            raise NotFoundError(f"{site!r} is not a site of the mesh; there are: {', '.join(sorted(names))}")
    pairs = [pair for pair in mesh.pairs if _is_selected(pair, request)]
    if not pairs:
        raise NotFoundError("the active mesh probes no pair between these sites")
    cache = _RequirementsCache(request)
    candidates: Iterator[tuple[Pair, Sequence[RequirementSet]]] = (
        (pair, [cache.get_or_compute(name) for name in _list_profiles(mesh, pair, request)]) for pair in pairs
    )
    selection = [(pair, profiles) for pair, profiles in candidates if profiles]
    if not selection:
        raise InvalidRequestError("profile: the mesh assigns no profile to these pairs; name one", path="profile")
    if (count := sum(len(profiles) for _, profiles in selection)) > VERDICTS_MAX:
        raise InvalidRequestError(
            f"pair: {count} verdicts, but a response has at most {VERDICTS_MAX}; request fewer pairs"
        )
    return selection


def _is_selected(pair: Pair, request: VerdictRequest) -> bool:
    ends = {pair.source, pair.destination}
    if request.pair is not None:
        return ends == set(request.pair)
    return not request.sites or ends <= set(request.sites)


def _list_profiles(mesh: Mesh, pair: Pair, request: VerdictRequest) -> Sequence[str | None]:
    if request.profiles:
        return request.profiles
    return (None,) if request.overrides.custom_limits else mesh.pairs[pair].profiles


class _RequirementsCache:
    """Requirement sets by profile, each built once."""

    def __init__(self, request: VerdictRequest) -> None:
        self._overrides = request.overrides
        self._requirements_by_profile: dict[str | None, RequirementSet] = {}

    def get_or_compute(self, profile: str | None) -> RequirementSet:
        if profile not in self._requirements_by_profile:
            catalogue = load_catalogue()
            catalogue_profile = None if profile is None else catalogue.get_profile(profile)
            requirements = build_requirements(catalogue, catalogue_profile, self._overrides)
            self._requirements_by_profile[profile] = requirements
        return self._requirements_by_profile[profile]


class PairWindowLoader:
    """Loads the windows of pairs over one period, which may have partial days."""

    def __init__(
        self,
        reader: ReadTransaction,
        mesh: Mesh,
        period: TimeRange,
        missing: MissingPolicy = MissingPolicy.BAD,
        outages: DeclaredOutages | None = None,
    ) -> None:
        """Load windows of this period; ``outages`` replace the declared outages of the mesh for all pairs."""
        self._reader, self._mesh, self._outages = reader, mesh, outages
        self._period, self._missing = period, missing
        self._paths = load_paths_by_pair(reader)
        self._agents = {agent.id: agent for agent in mesh_store.load_agents(reader.connection)}
        self._targets = {target.id: target for target in mesh_store.load_targets(reader.connection)}

    def load_pair(self, pair: Pair) -> PairWindows:
        """Load the windows of a pair; omit paths without a window."""
        all_paths = [self._load_path(ids) for ids in self._paths.get(pair, ())]
        paths = tuple(path for path in all_paths if path.series.expected.any())
        ends = self._mesh.get_site(pair.source), self._mesh.get_site(pair.destination)
        return PairWindows(
            source=pair.source,
            destination=pair.destination,
            start_s=self._period.start_s,
            minutes=self._period.window_count,
            paths=paths,
            propagation_delay=get_propagation_delay(*ends),
            ambiguous_minutes=self._find_ambiguous(pair.destination, [path.series for path in paths]),
            explained_minutes=self._find_explained(sorted({path.agent for path in paths})),
            declared_outages=self._outages or self._mesh.get_outages(pair),
            time_zone=ends[0].time_zone,
            measured_since_s=None if paths else self._find_first_window_s(self._paths.get(pair, ())),
        )

    def _find_first_window_s(self, paths: Sequence[PathIds]) -> int | None:
        """Return the start of the first window of the day after the period, for a pair that is not a day old."""
        start_s = self._period.end_s
        for_day = [
            hour_reader.load_series(self._reader.connection, ids.src_id, ids.dst_id, start_s, start_s + DAY_S)
            for ids in paths
        ]
        first = min((series.find_first_minute() for series in for_day), default=DAY_S // WINDOW_S)
        return start_s + first * WINDOW_S if first < DAY_S // WINDOW_S else None

    def _load_path(self, ids: PathIds) -> PathWindows:
        series = hour_reader.load_series(
            self._reader.connection, ids.src_id, ids.dst_id, self._period.start_s, self._period.end_s
        )
        return PathWindows(agent=self._agents[ids.src_id].name, target=self._targets[ids.dst_id].name, series=series)

    def _find_ambiguous(self, site: str, series: Sequence[PathSeries]) -> MinuteMask:
        """Return the minutes without a reply in which the site itself may have been down."""
        if not series:
            return np.zeros(self._period.window_count, dtype=np.bool_)
        return find_ambiguous_minutes(
            series,
            outgoing=(ids for pair, paths in self._paths.items() if pair.source == site for ids in paths),
            incoming=(ids for pair, paths in self._paths.items() if pair.destination == site for ids in paths),
            load_series=lambda ids, start_s, end_s: hour_reader.load_series(
                self._reader.connection, ids.src_id, ids.dst_id, start_s, end_s
            ),
        )

    def _find_explained(self, agents: Sequence[str]) -> MinuteMask:
        """Return minutes that every agent of the pair misses for a reason other than the path."""
        explained = np.ones(self._period.window_count, dtype=np.bool_)
        if self._missing is not MissingPolicy.MAR or not agents:
            return ~explained
        for agent in agents:
            explained &= self._find_agent_explained(agent)
        return explained

    def _find_agent_explained(self, agent: str) -> MinuteMask:
        explained = np.zeros(self._period.window_count, dtype=np.bool_)
        if is_imported(agent):
            # A file has no reasons for missing windows.
            return explained
        for gap in gap_service.find_all_gaps(self._reader, agent, self._period):
            if gap.reason in _UNRELATED_REASONS:
                first, last = (
                    (time_s - self._period.start_s) // WINDOW_S for time_s in (gap.start_s, gap.end_s + WINDOW_S - 1)
                )
                explained[max(0, first) : max(0, last)] = True
        return explained
