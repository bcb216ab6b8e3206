"""Round trips and losses counted as they come in, for Prometheus: one histogram and four counters a pair of sites.

Rule 1: a batch is counted after it is stored, and once: of one that is there already, nothing is counted. So the counts
grow with what the database has, backfill included, and begin at 0 with every start of the process, as Prometheus
expects. Simulated, imported and quarantined windows are not counted.
Rule 2: every limit on round trips in use is an edge, upper-inclusive, so "within" is read off without interpolation.
Rule 3: other edges, because another mesh names other profiles, are other histograms: all of them begin at 0 again.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from leadline.model import Failure
from leadline.wire.batch import TargetWindow
from leadline_collector.db.tables import FAILURE_COLUMNS
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.paths import PairNames
from leadline_collector.rollup import profile_revisions
from leadline_collector.windows.rows import WINDOW_COLUMNS, WindowRow

#: Directed pairs with figures, the first by name: 22 series each, and as many again a profile in ``now.figures``.
PAIRS_MAX = 1_000
#: Limits that are edges, the smallest first. The whole catalogue has six on round trips.
LIMITS_MAX = 10
#: Edges that only give the histogram its shape.
BASE_EDGES_US = (100, 1_000, 10_000, 100_000, 1_000_000)
US_PER_S = 1_000_000

LOSS_FAILURES = tuple(failure for failure in Failure if failure.is_loss)
_ZERO_LOSSES = (0,) * len(LOSS_FAILURES)


def _make_column_getter(*names: str) -> Callable[[WindowRow], Any]:
    """What takes these columns out of a ``windows.series_row``, which has neither source nor destination."""
    return itemgetter(*(WINDOW_COLUMNS.index(name) - 2 for name in names))


_get_summary = _make_column_getter("sent", "received", "min_us", "max_us")
_get_losses = _make_column_getter(*(FAILURE_COLUMNS[failure] for failure in LOSS_FAILURES))


class WindowCounts(NamedTuple):
    """One window, counted; a tuple because there are 50,000 a second."""

    target: str
    sent: int
    #: In the order of ``LOSSES``.
    loss_counts: Sequence[int]
    sum_us: int
    #: Bucket and how many replies it has; those without any are left out.
    buckets: Sequence[tuple[int, int]]


def count_window(series: TargetWindow, row: WindowRow, edges_us: Sequence[int]) -> WindowCounts:
    """Count a window; ``row`` is its ``windows.series_row``. 2 µs where all replies are in one bucket, as most are."""
    sent, received, least_us, most_us = _get_summary(row)
    lost = _ZERO_LOSSES if sent == received else _get_losses(row)
    if not received:
        return WindowCounts(series.target, sent, lost, 0, ())
    first, last = bisect_left(edges_us, least_us), bisect_left(edges_us, most_us)
    buckets = ((first, received),) if first == last else _count_buckets(series, edges_us, first, last)
    return WindowCounts(series.target, sent, lost, sum(filter(None, series.rtt_us)), buckets)


def _count_buckets(series: TargetWindow, edges_us: Sequence[int], first: int, last: int) -> Sequence[tuple[int, int]]:
    """Where the least reply is in one bucket and the largest in another."""
    ordered = sorted([rtt for rtt in series.rtt_us if rtt is not None])
    ends = [0, *(bisect_right(ordered, edge_us) for edge_us in edges_us[first:last]), len(ordered)]
    return [(first + number, end - ends[number]) for number, end in enumerate(ends[1:]) if end > ends[number]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterScope:
    """What is counted: it follows from the mesh in force."""

    mesh_version: int
    edges_us: tuple[int, ...]
    #: In the order of their names.
    pairs: tuple[PairNames, ...]
    #: Site of every target.
    site_by_target: Mapping[str, str]
    #: Pairs and limits that are left out.
    omitted_pairs: int
    omitted_limits: int


def load_scope(reader: ReadTransaction, pairs_max: int) -> CounterScope:
    """As the mesh in force has it; nothing without one."""
    version, mesh = mesh_service.load_active_mesh(reader) or (0, None)
    names = sorted((pair.source, pair.destination) for pair in mesh.pairs) if mesh else []
    limits = list_limits_us(profile_revisions.load_active_profiles(reader).values())
    return CounterScope(
        mesh_version=version,
        edges_us=tuple(sorted({*BASE_EDGES_US, *limits[:LIMITS_MAX]})),
        pairs=tuple(names[:pairs_max]),
        site_by_target={target.name: target.site for target in mesh_store.load_targets(reader.connection)},
        omitted_pairs=max(0, len(names) - pairs_max),
        omitted_limits=max(0, len(limits) - LIMITS_MAX),
    )


def list_limits_us(profiles: Collection[str]) -> list[int]:
    """The limits these profiles put on a round trip, peaks that are allowed included; each once, ascending."""
    found = [one for profile in profiles for one in profile_revisions.get_criteria(profile) if one.is_rtt_limit]
    peaks = {one.peak_limit_us for one in found if one.peak_limit_us is not None}
    return sorted({one.limit_us for one in found} | peaks)


@dataclass(slots=True, kw_only=True)
class _PairCounters:
    """A pair since the process began."""

    #: Replies in each bucket; the last has those beyond every edge.
    buckets: list[int]
    sum_us: int = 0
    sent: int = 0
    loss_counts: list[int] = field(default_factory=lambda: [0] * len(LOSS_FAILURES))

    def add_window(self, window: WindowCounts) -> None:
        self.sum_us += window.sum_us
        self.sent += window.sent
        for bucket, count in window.buckets:
            self.buckets[bucket] += count
        if window.loss_counts is not _ZERO_LOSSES:
            self.loss_counts = [one + more for one, more in zip(self.loss_counts, window.loss_counts, strict=True)]


class RttCounters:
    """The counts of one process. Safe for several threads."""

    def __init__(self, store: Store, pairs_max: int) -> None:
        self._store, self._pairs_max = store, pairs_max
        self._counts_lock = threading.Lock()
        #: Held while the scope is read.
        self._scope_lock = threading.Lock()
        self._scope: CounterScope | None = None
        self._counts: dict[PairNames, _PairCounters] = {}

    def get_edges_us(self) -> Sequence[int]:
        """What windows are to be counted by."""
        return (self._scope or self._get_scope(0)).edges_us

    def add_windows(
        self, source: str, mesh_version: int, windows: Sequence[WindowCounts], edges_us: Sequence[int]
    ) -> None:
        """A batch of an agent of this site is stored; ``mesh_version`` is in force.

        Nothing is counted of one that was under way while the edges changed.
        """
        now = self._scope
        if now is None or now.mesh_version != mesh_version:
            now = self._get_scope(mesh_version)
        with self._counts_lock:
            if now is not self._scope or now.edges_us != tuple(edges_us):
                return
            for window in windows:
                counts = self._counts.get((source, now.site_by_target.get(window.target, "")))
                if counts is not None:
                    counts.add_window(window)

    def _get_scope(self, mesh_version: int) -> CounterScope:
        """What is to be counted under this mesh or a later one: read once, whoever asks meanwhile waits."""
        with self._scope_lock:
            if self._scope is not None and self._scope.mesh_version >= mesh_version:
                return self._scope
            return self._reload_scope()

    def _reload_scope(self) -> CounterScope:
        """Read what is to be counted, and go on with the counts of pairs that stay, if their edges do."""
        with self._store.read() as reader:
            fresh = load_scope(reader, self._pairs_max)
        if not fresh.mesh_version:
            # Nothing is counted before the first mesh, whose limits are the edges.
            return fresh
        with self._counts_lock:
            if self._scope is not None and self._scope.edges_us != fresh.edges_us:
                self._counts = {}
            empty = [0] * (len(fresh.edges_us) + 1)
            self._counts = {pair: self._counts.get(pair) or _PairCounters(buckets=empty.copy()) for pair in fresh.pairs}
            self._scope = fresh
        return fresh

    def collect_metrics(self) -> Iterator[Metric]:
        """As Prometheus reads them. Every pair has its series from the first scrape on, at 0."""
        now = self._scope or self._get_scope(0)
        rtt = HistogramMetricFamily(
            "leadline_rtt_seconds",
            "Round trips of probes stored by this process, lost ones not among them; limits in use are edges.",
            labels=["source", "destination"],
        )
        sent = CounterMetricFamily(
            "leadline_probes_sent", "Probes sent, of windows stored by this process.", labels=["source", "destination"]
        )
        lost = CounterMetricFamily(
            "leadline_probes_lost", "Probes sent that have no valid reply.", labels=["source", "destination", "reason"]
        )
        with self._counts_lock:
            now = self._scope or now
            edges = [*(repr(edge_us / US_PER_S) for edge_us in now.edges_us), "+Inf"]
            for pair, counts in self._counts.items():
                buckets = list(zip(edges, accumulate(counts.buckets), strict=True))
                rtt.add_metric(pair, buckets, counts.sum_us / US_PER_S)
                sent.add_metric(pair, counts.sent)
                for failure, count in zip(LOSS_FAILURES, counts.loss_counts, strict=True):
                    lost.add_metric([*pair, failure.value], count)
            cut = {"pairs": now.omitted_pairs, "limits": now.omitted_limits}
        yield from (rtt, sent, lost, _build_omitted_metric(cut))


def _build_omitted_metric(counts: Mapping[str, int]) -> Metric:
    """Tells when a bound left something out."""
    family = GaugeMetricFamily(
        "leadline_metrics_left_out", "Pairs and limits that have no series because there are too many.", labels=["what"]
    )
    for what, count in counts.items():
        family.add_metric([what], count)
    return family
