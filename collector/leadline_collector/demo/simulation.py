"""Simulated windows of a plausible network for the demo.

Rule 1: only pairs of sites with ``simulated`` in the mesh get windows, and these have no batch in the journal. Pages
and responses mark simulated sites and windows.
Rule 2: the same seed, mesh and period give the same windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import pi, sin
from random import Random
from types import MappingProxyType
from typing import TypeAlias

from leadline.clock import make_rng
from leadline.mesh.model import Mesh, ProbePath
from leadline.model import WINDOW_S, ErrorBound, Failure
from leadline.statistics import WindowStats
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.propagation import get_propagation_delay
from leadline_collector.windows import store as window_store
from leadline_collector.windows.rows import WindowRow, build_window_row

DAY_S = 86_400
#: Probes per window with the default settings.
PROBES_PER_WINDOW = 60
#: Fibre length over geodesic: from careful to common routes (``leadline.propagation.ROUTE_FACTORS``).
_ROUTE_FACTOR_RANGE = (1.3, 1.9)
#: Mean interval in days and median length in minutes of congestion and of outages.
_EPISODE_EVERY_DAYS, _EPISODE_MINUTES = 4.0, 25.0
_OUTAGE_EVERY_DAYS, _OUTAGE_MINUTES = 20.0, 6.0
#: Only the outage of three hours prevents a verdict.
_AGENT_OUTAGE_MINUTES = (4, 4, 12, 180)
_ERROR_BOUND = ErrorBound(p50_us=12, p99_us=40)
#: A path: the ids of its agent and its target.
PathKey: TypeAlias = tuple[int, int]

#: Rows in one transaction: half a day of the demo's pairs.
_ROWS_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _SimulatedPath:
    """Behaviour of one simulated path."""

    base_us: int
    #: Added RTT at the peak of the business day.
    busy_us: float
    #: (start, end, added µs): another route for some days.
    detour: tuple[int, int, int]
    #: (start, end, probes lost per window): congestion below 12, outage from 12.
    episodes: tuple[tuple[int, int, int], ...]


def simulate_windows(
    store: Store,
    mesh: Mesh,
    mesh_version: int,
    start_s: int,
    end_s: int,
    seed: int,
    on_progress: Callable[[int], None],
    latest_by_path: Mapping[PathKey, int] = MappingProxyType({}),
) -> int:
    """Store windows for every simulated path over [start_s, end_s), whole minutes, and return their number.

    ``latest_by_path`` has the start of the last stored window of a path; only later windows are added. ``on_progress``
    receives the number of windows of each path after they are stored.
    """
    simulated_sites = {site.name for site in mesh.sites if site.simulated}
    paths = [path for path in mesh.iter_paths() if path.pair.source in simulated_sites]
    with store.read() as reader:
        agents = mesh_store.load_agent_ids(reader.connection, {path.source for path in paths})
        targets = mesh_store.load_target_ids(reader.connection, {path.target.name for path in paths})
    store.ensure_partitions(range(start_s, end_s, DAY_S))
    gaps = {site: _draw_outage(make_rng(f"{seed} {site}"), start_s, end_s) for site in sorted(simulated_sites)}
    total = 0
    for path in paths:
        ids = (agents[path.source], targets[path.target.name])
        gap, last_s = gaps[path.pair.source], latest_by_path.get(ids, -1)
        rows = list(_generate_rows(path, mesh, ids, mesh_version, (start_s, end_s), gap, last_s, seed))
        for first in range(0, len(rows), _ROWS_MAX):
            with store.write() as writer:
                window_store.add_windows(writer.connection, ids[0], rows[first : first + _ROWS_MAX])
        total += len(rows)
        on_progress(len(rows))
    return total


def _generate_rows(
    probe_path: ProbePath,
    mesh: Mesh,
    ids: tuple[int, int],
    version: int,
    period: tuple[int, int],
    gap: tuple[int, int],
    last_s: int,
    seed: int,
) -> Iterator[WindowRow]:
    rng = make_rng(f"{seed} {probe_path.source} {probe_path.target.name}")
    path = _draw_path(probe_path, mesh, period, seed)
    for t in range(*period, WINDOW_S):
        if not gap[0] <= t < gap[1]:
            stats = _draw_stats(rng, path, t)
            bound = _ERROR_BOUND if stats.received else None
            if t > last_s:
                yield build_window_row(*ids, t, 1_000, stats, mesh_version=version, batch=None, error_bound=bound)


def _draw_path(probe_path: ProbePath, mesh: Mesh, period: tuple[int, int], seed: int) -> _SimulatedPath:
    """Draw the behaviour of a path; both directions of a pair get the same, because they share the fibre."""
    a, b = sorted((probe_path.pair.source, probe_path.pair.destination))
    rng = make_rng(f"{seed} {a} {b}")
    floor_us = get_propagation_delay(mesh.get_site(a), mesh.get_site(b)).glass_ns / 1_000
    base_us = int(floor_us * rng.uniform(*_ROUTE_FACTOR_RANGE)) + 150
    detour_s = rng.randrange(*period)
    episodes = [
        *_draw_episodes(rng, period, _EPISODE_EVERY_DAYS, _EPISODE_MINUTES, (0, 5)),
        *_draw_episodes(rng, period, _OUTAGE_EVERY_DAYS, _OUTAGE_MINUTES, (15, PROBES_PER_WINDOW)),
    ]
    return _SimulatedPath(
        base_us=base_us,
        busy_us=base_us * rng.uniform(0.005, 0.04),
        detour=(detour_s, detour_s + rng.randrange(DAY_S, 4 * DAY_S), int(base_us * rng.uniform(0.02, 0.25))),
        episodes=tuple(sorted(episodes)),
    )


def _draw_episodes(
    rng: Random, period: tuple[int, int], every_days: float, minutes: float, lost: tuple[int, int]
) -> Iterator[tuple[int, int, int]]:
    t = period[0] + rng.expovariate(1 / (every_days * DAY_S))
    while t < period[1]:
        end = t + 60 * minutes * rng.lognormvariate(0, 0.7)
        yield int(t), int(end), rng.randint(*lost)
        t = end + rng.expovariate(1 / (every_days * DAY_S))


def _draw_outage(rng: Random, start_s: int, end_s: int) -> tuple[int, int]:
    """Draw the interval in which the agent of a site is down; these minutes have no windows."""
    length_s = 60 * rng.choice(_AGENT_OUTAGE_MINUTES)
    t = rng.randrange(start_s, max(start_s + 1, end_s - length_s))
    return t, t + length_s


def _draw_stats(rng: Random, path: _SimulatedPath, t: int) -> WindowStats:
    busy_us = path.busy_us * max(0.0, sin(2 * pi * ((t % DAY_S) / DAY_S - 0.25)))
    lost = next((count for start, end, count in path.episodes if start <= t < end), None)
    congestion_us = 0.0 if lost is None else 0.15 * path.base_us + 900
    if lost is None:
        lost = 1 if rng.random() < 0.004 else 0
    detour_us = path.detour[2] if path.detour[0] <= t < path.detour[1] else 0
    min_us = path.base_us + detour_us + int(busy_us * 0.3)
    p50_us = min_us + 20 + int(busy_us + congestion_us * rng.random() + 15 * rng.random())
    p95_us = p50_us + int(rng.expovariate(1 / (60 + busy_us + congestion_us)))
    p99_us = p95_us + int(rng.expovariate(1 / (90 + busy_us)))
    received = PROBES_PER_WINDOW - lost
    return WindowStats(
        expected=PROBES_PER_WINDOW,
        sent=PROBES_PER_WINDOW,
        received=received,
        min_us=min_us if received else None,
        mean_us=p50_us + (p95_us - p50_us) // 8 if received else None,
        p50_us=p50_us if lost <= PROBES_PER_WINDOW // 2 else None,
        p95_us=p95_us if lost <= 3 else None,
        p99_us=p99_us if lost == 0 else None,
        max_us=p99_us if received else None,
        pdv_us=p95_us - min_us if lost <= 3 else None,
        mean_step_us=(p95_us - min_us) // 3 if received > PROBES_PER_WINDOW // 2 else None,
        failures={Failure.TIMEOUT: lost} if lost else {},
        # One probe lost moves the rank by one; an exponential tail falls by an eighth of p95 - p50 there.
        latency_p95_us=p95_us - (p95_us - p50_us) * lost // 8 if 0 < lost <= 3 else None,
    )
