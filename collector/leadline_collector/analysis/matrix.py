"""The matrix: every directed pair of the active mesh, evaluated by one profile over one period."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from leadline.clock import format_iso8601
from leadline.evaluation import WindowState, WindowStateCounts
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh, PairSettings
from leadline.model import WINDOW_S, Pair
from leadline_collector.analysis.documents import (
    CauseCountsResponse,
    MatrixPairResponse,
    MatrixResponse,
    RttResponse,
    StateCountsResponse,
)
from leadline_collector.analysis.profiles import build_profile, list_weak_limits
from leadline_collector.db.tables import COUNT_COLUMNS
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.errors import InvalidRequestError
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh.propagation import is_invalid_rtt
from leadline_collector.mesh.registry import Registry, load_registry
from leadline_collector.rollup import period_counts
from leadline_collector.rollup.period_counts import PairCounts
from leadline_collector.rollup.profile_revisions import get_evaluation_plan
from leadline_collector.time_range import TimeRange

#: A pair has no current state if its latest window is older than this many windows at the end of the period.
RECENT_WINDOWS = 3


def build_matrix(store: Store, profile_id: str, period: TimeRange, group: str | None = None) -> MatrixResponse:
    """Build the matrix; it has no pairs without a mesh.

    Raise ConfigError for an unknown profile, InvalidRequestError for an unknown group.
    """
    with store.read() as reader:
        return load_matrix(reader, mesh_service.load_active_mesh(reader), profile_id, period, group)


def load_matrix(
    reader: ReadTransaction,
    active_mesh: tuple[int, Mesh] | None,
    profile_id: str,
    period: TimeRange,
    group: str | None = None,
) -> MatrixResponse:
    """Build the matrix in the transaction that loaded the active mesh; raise the errors of ``build_matrix``."""
    catalogue = load_catalogue()
    profile = catalogue.get_profile(profile_id)
    version, mesh = active_mesh or (0, None)
    pairs = [] if mesh is None else list(_build_pairs(reader, mesh, profile_id, period, group))
    return MatrixResponse(
        profile=build_profile(catalogue, profile),
        reason=get_evaluation_plan(profile_id).reason,
        weak_limits=list(list_weak_limits(profile_id)),
        start_s=period.start_s,
        start_iso=format_iso8601(period.start_s),
        end_s=period.end_s,
        end_iso=format_iso8601(period.end_s),
        mesh_version=version,
        simulated=any(pair.simulated for pair in pairs),
        imported=any(pair.imported for pair in pairs),
        pairs=pairs,
    )


def _build_pairs(
    reader: ReadTransaction, mesh: Mesh, profile_id: str, period: TimeRange, group: str | None
) -> Iterator[MatrixPairResponse]:
    if group is not None and group not in mesh.groups:
        raise InvalidRequestError(f"group: {group!r} is not one of {', '.join(mesh.groups)}", path="group")
    pairs = {pair: settings for pair, settings in mesh.pairs.items() if group is None or group in settings.groups}
    registry = load_registry(reader.connection)
    sources = sorted({registry.site_ids[pair.source] for pair in pairs})
    counts_by_pair = period_counts.count_pairs(reader.connection, registry, sources, profile_id, period)
    simulated_sites = {site.name for site in mesh.sites if site.simulated}
    for pair, settings in pairs.items():
        ids = registry.site_ids[pair.source], registry.site_ids[pair.destination]
        counts = counts_by_pair.get(ids, PairCounts())
        kinds = _list_kinds(counts, registry)
        yield msgspec.structs.replace(
            _build_pair(pair, settings, counts, period),
            simulated="simulated" in kinds or not simulated_sites.isdisjoint((pair.source, pair.destination)),
            imported="imported" in kinds,
            data=kinds,
            invalid=is_invalid_rtt(mesh.get_site(pair.source), mesh.get_site(pair.destination), counts.min_us),
        )


def _list_kinds(counts: PairCounts, registry: Registry) -> list[str]:
    """Return the kinds of windows of the period. Agents of simulated sites measure nothing."""
    is_imported = {src_id in registry.imported_agents for src_id, _ in counts.paths}
    kinds = {
        "imported": True in is_imported,
        "measured": False in is_imported and not counts.simulated,
        "simulated": counts.simulated,
    }
    return [kind for kind, occurs in kinds.items() if occurs]


def _build_pair(pair: Pair, settings: PairSettings, counts: PairCounts, period: TimeRange) -> MatrixPairResponse:
    is_recent = counts.latest_t is not None and counts.latest_t >= period.end_s - RECENT_WINDOWS * WINDOW_S
    count = dict(zip(COUNT_COLUMNS, counts.counts.tolist(), strict=True))
    return MatrixPairResponse(
        source=pair.source,
        destination=pair.destination,
        groups=list(settings.groups),
        profiles=list(settings.profiles),
        simulated=counts.simulated,
        imported=False,
        data=[],
        invalid=False,
        measured_since=counts.measured_since_s,
        measured_since_iso=None if counts.measured_since_s is None else format_iso8601(counts.measured_since_s),
        probes_per_window=counts.expected_min,
        unknown_minutes=_count_unknown(counts, period),
        state=counts.latest_state if is_recent else WindowState.UNKNOWN,
        cause=counts.latest_cause if is_recent else None,
        state_at=counts.latest_t,
        state_at_iso=None if counts.latest_t is None else format_iso8601(counts.latest_t),
        windows_expected=period.window_count,
        pessimistic=_build_state_counts(count["good"], count["bad"], count["unavailable"], windows=period.window_count),
        optimistic=_build_state_counts(
            count["good_best"], count["bad_best"], count["unavailable_best"], windows=period.window_count
        ),
        causes=CauseCountsResponse(
            outage=count["unavailable"],
            loss=count["bad_loss"],
            latency=count["bad_latency"],
            both=count["bad_both"],
        ),
        rtt_us=RttResponse(min=counts.min_us, p50=counts.latest_p50_us, p95=counts.latest_p95_us),
        paths=len(counts.paths),
    )


def _count_unknown(counts: PairCounts, period: TimeRange) -> int:
    if not counts.paths:
        return 0
    start_s = period.start_s if counts.measured_since_s is None else counts.measured_since_s
    return (period.end_s - start_s) // WINDOW_S - counts.known_count


def _build_state_counts(good: int, bad: int, unavailable: int, *, windows: int) -> StateCountsResponse:
    # A minute without a row is unknown.
    counts = WindowStateCounts(good=good, bad=bad, unavailable=unavailable, unknown=windows - good - bad - unavailable)
    return StateCountsResponse(
        good=counts.good,
        bad=counts.bad,
        unavailable=counts.unavailable,
        unknown=counts.unknown,
        good_ratio=counts.good_ratio,
        coverage_ratio=counts.coverage_ratio,
    )
