"""RTT histogram and loss counters of each pair of sites, for Prometheus, counted as batches arrive.

Rule 1: a batch is counted once, after it is stored; a duplicate is not counted. The counters include backfill and start
at 0 with the process, as Prometheus expects. Simulated, imported and quarantined windows are not counted.
Rule 2: every RTT limit in use is a bucket edge, upper-inclusive, so the share within a limit needs no interpolation.
Rule 3: if a new mesh changes the edges, all histograms start at 0 again.
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

#: Directed pairs with metrics, the first by name: 22 series each, and as many again per profile in ``live.prometheus``.
PAIRS_MAX = 1_000
#: Limits that are bucket edges, the smallest first. The whole catalogue has six RTT limits.
LIMITS_MAX = 10
#: Edges that every histogram has.
BASE_EDGES_US = (100, 1_000, 10_000, 100_000, 1_000_000)
US_PER_S = 1_000_000

LOSS_FAILURES = tuple(failure for failure in Failure if failure.is_loss)
_ZERO_LOSSES = (0,) * len(LOSS_FAILURES)


def _make_column_getter(*names: str) -> Callable[[WindowRow], Any]:
    """Build a getter of these columns of ``windows.rows.build_window_columns``, which omits source and destination."""
    return itemgetter(*(WINDOW_COLUMNS.index(name) - 2 for name in names))


_get_summary = _make_column_getter("sent", "received", "min_us", "max_us")
_get_losses = _make_column_getter(*(FAILURE_COLUMNS[failure] for failure in LOSS_FAILURES))


class WindowCounts(NamedTuple):
    """Counts of one window; a tuple, because there are 50,000 a second."""

    target: str
    sent: int
    #: In the order of ``LOSS_FAILURES``.
    loss_counts: Sequence[int]
    sum_us: int
    #: Bucket index and number of replies; empty buckets are left out.
    buckets: Sequence[tuple[int, int]]


def count_window(series: TargetWindow, row: WindowRow, edges_us: Sequence[int]) -> WindowCounts:
    """Count a window; ``row`` is the result of ``windows.rows.build_window_columns``.

    It takes 2 µs if all replies are in one bucket, as in most windows.
    """
    sent, received, min_us, max_us = _get_summary(row)
    loss_counts = _ZERO_LOSSES if sent == received else _get_losses(row)
    if not received:
        return WindowCounts(series.target, sent, loss_counts, 0, ())
    first, last = bisect_left(edges_us, min_us), bisect_left(edges_us, max_us)
    buckets = ((first, received),) if first == last else _count_buckets(series, edges_us, first, last)
    return WindowCounts(series.target, sent, loss_counts, sum(filter(None, series.rtt_us)), buckets)


def _count_buckets(series: TargetWindow, edges_us: Sequence[int], first: int, last: int) -> Sequence[tuple[int, int]]:
    """Count replies from bucket ``first``, that of the smallest RTT, to bucket ``last``, that of the largest."""
    rtts_us = sorted([rtt for rtt in series.rtt_us if rtt is not None])
    ends = [0, *(bisect_right(rtts_us, edge_us) for edge_us in edges_us[first:last]), len(rtts_us)]
    return [(first + number, end - ends[number]) for number, end in enumerate(ends[1:]) if end > ends[number]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterScope:
    """The pairs and bucket edges to count, as the active mesh defines them."""

    mesh_version: int
    edges_us: tuple[int, ...]
    #: In the order of their names.
    pairs: tuple[PairNames, ...]
    #: Site of every target.
    site_by_target: Mapping[str, str]
    #: Number of pairs and limits without series.
    omitted_pairs: int
    omitted_limits: int


def load_scope(reader: ReadTransaction, pairs_max: int) -> CounterScope:
    """Load the scope of the active mesh; version 0 and no pairs without a mesh."""
    version, mesh = mesh_service.load_active_mesh(reader) or (0, None)
    pairs = sorted((pair.source, pair.destination) for pair in mesh.pairs) if mesh else []
    limits_us = list_limits_us(profile_revisions.load_active_profiles(reader).values())
    return CounterScope(
        mesh_version=version,
        edges_us=tuple(sorted({*BASE_EDGES_US, *limits_us[:LIMITS_MAX]})),
        pairs=tuple(pairs[:pairs_max]),
        site_by_target={target.name: target.site for target in mesh_store.load_targets(reader.connection)},
        omitted_pairs=max(0, len(pairs) - pairs_max),
        omitted_limits=max(0, len(limits_us) - LIMITS_MAX),
    )


def list_limits_us(profiles: Collection[str]) -> list[int]:
    """Return the RTT limits of these profiles, allowed peaks included; unique and ascending."""
    criteria = [
        criterion
        for profile in profiles
        for criterion in profile_revisions.get_criteria(profile)
        if criterion.is_rtt_limit
    ]
    peaks_us = {criterion.peak_limit_us for criterion in criteria if criterion.peak_limit_us is not None}
    return sorted({criterion.limit_us for criterion in criteria} | peaks_us)


@dataclass(slots=True, kw_only=True)
class _PairCounters:
    """Counters of a pair since the start of the process."""

    #: Replies in each bucket; the last bucket is beyond every edge.
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
            self.loss_counts = [
                total + count for total, count in zip(self.loss_counts, window.loss_counts, strict=True)
            ]


class RttCounters:
    """The counters of one process. Safe for several threads."""

    def __init__(self, store: Store, pairs_max: int) -> None:
        self._store, self._pairs_max = store, pairs_max
        self._counts_lock = threading.Lock()
        #: Serialises loading of the scope.
        self._scope_lock = threading.Lock()
        self._scope: CounterScope | None = None
        self._counts: dict[PairNames, _PairCounters] = {}

    def get_edges_us(self) -> Sequence[int]:
        """Return the bucket edges for ``count_window``."""
        return (self._scope or self._get_scope(0)).edges_us

    def add_windows(
        self, source: str, mesh_version: int, windows: Sequence[WindowCounts], edges_us: Sequence[int]
    ) -> None:
        """Add the windows of a stored batch; ``source`` is the agent's site, ``mesh_version`` the active version.

        Ignore windows that were counted by edges that have changed since.
        """
        scope = self._scope
        if scope is None or scope.mesh_version != mesh_version:
            scope = self._get_scope(mesh_version)
        with self._counts_lock:
            if scope is not self._scope or scope.edges_us != tuple(edges_us):
                return
            for window in windows:
                counts = self._counts.get((source, scope.site_by_target.get(window.target, "")))
                if counts is not None:
                    counts.add_window(window)

    def _get_scope(self, mesh_version: int) -> CounterScope:
        """Return the scope of this mesh version or a later one; concurrent callers wait for one load."""
        with self._scope_lock:
            if self._scope is not None and self._scope.mesh_version >= mesh_version:
                return self._scope
            return self._reload_scope()

    def _reload_scope(self) -> CounterScope:
        """Load the scope; keep the counters of pairs that stay in it unless the edges change."""
        with self._store.read() as reader:
            scope = load_scope(reader, self._pairs_max)
        if not scope.mesh_version:
            # Counting starts with the first mesh: its limits are the edges.
            return scope
        with self._counts_lock:
            if self._scope is not None and self._scope.edges_us != scope.edges_us:
                self._counts = {}
            empty = [0] * (len(scope.edges_us) + 1)
            self._counts = {pair: self._counts.get(pair) or _PairCounters(buckets=empty.copy()) for pair in scope.pairs}
            self._scope = scope
        return scope

    def collect_metrics(self) -> Iterator[Metric]:
        """Yield the metrics; every pair has its series from the first scrape, starting at 0."""
        scope = self._scope or self._get_scope(0)
        rtt = HistogramMetricFamily(
            "leadline_rtt_seconds",
            "RTT of probes stored by this process, without lost probes; the limits in use are bucket edges.",
            labels=["source", "destination"],
        )
        sent = CounterMetricFamily(
            "leadline_probes_sent", "Probes sent, in windows stored by this process.", labels=["source", "destination"]
        )
        lost = CounterMetricFamily(
            "leadline_probes_lost", "Probes sent without a valid reply.", labels=["source", "destination", "reason"]
        )
        with self._counts_lock:
            scope = self._scope or scope
            edge_labels = [*(repr(edge_us / US_PER_S) for edge_us in scope.edges_us), "+Inf"]
            for pair, counts in self._counts.items():
                buckets = list(zip(edge_labels, accumulate(counts.buckets), strict=True))
                rtt.add_metric(pair, buckets, counts.sum_us / US_PER_S)
                sent.add_metric(pair, counts.sent)
                for failure, count in zip(LOSS_FAILURES, counts.loss_counts, strict=True):
                    lost.add_metric([*pair, failure.value], count)
            omitted = {"pairs": scope.omitted_pairs, "limits": scope.omitted_limits}
        yield from (rtt, sent, lost, _build_omitted_metric(omitted))


def _build_omitted_metric(counts: Mapping[str, int]) -> Metric:
    """Build the gauge of pairs and limits without series."""
    family = GaugeMetricFamily(
        "leadline_metrics_left_out", "Pairs and limits that have no series because there are too many.", labels=["what"]
    )
    for what, count in counts.items():
        family.add_metric([what], count)
    return family
