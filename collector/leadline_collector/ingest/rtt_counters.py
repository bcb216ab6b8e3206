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
from leadline.wire.batch import Series
from leadline_collector.db.tables import FAILURE_COLUMNS
from leadline_collector.db.transactions import Reader, Store
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.paths import PairNames
from leadline_collector.rollup import profile_revisions
from leadline_collector.windows.rows import COLUMNS, WindowRow

#: Directed pairs with figures, the first by name: 22 series each, and as many again a profile in ``now.figures``.
PAIRS_MAX = 1_000
#: Limits that are edges, the smallest first. The whole catalogue has six on round trips.
LIMITS_MAX = 10
#: Edges that only give the histogram its shape.
SHAPE_US = (100, 1_000, 10_000, 100_000, 1_000_000)
US_PER_S = 1_000_000

LOSSES = tuple(failure for failure in Failure if failure.is_loss)
_NOTHING_LOST = (0,) * len(LOSSES)


def _of_row(*names: str) -> Callable[[WindowRow], Any]:
    """What takes these columns out of a ``windows.series_row``, which has neither source nor destination."""
    return itemgetter(*(COLUMNS.index(name) - 2 for name in names))


_FIGURES = _of_row("sent", "received", "min_us", "max_us")
_LOST = _of_row(*(FAILURE_COLUMNS[failure] for failure in LOSSES))


class WindowCounts(NamedTuple):
    """One window, counted; a tuple because there are 50,000 a second."""

    target: str
    sent: int
    #: In the order of ``LOSSES``.
    lost: Sequence[int]
    sum_us: int
    #: Bucket and how many replies it has; those without any are left out.
    buckets: Sequence[tuple[int, int]]


def window_counts(series: Series, row: WindowRow, edges_us: Sequence[int]) -> WindowCounts:
    """Count a window; ``row`` is its ``windows.series_row``. 2 µs where all replies are in one bucket, as most are."""
    sent, received, least_us, most_us = _FIGURES(row)
    lost = _NOTHING_LOST if sent == received else _LOST(row)
    if not received:
        return WindowCounts(series.target, sent, lost, 0, ())
    first, last = bisect_left(edges_us, least_us), bisect_left(edges_us, most_us)
    buckets = ((first, received),) if first == last else _buckets(series, edges_us, first, last)
    return WindowCounts(series.target, sent, lost, sum(filter(None, series.rtt_us)), buckets)


def _buckets(series: Series, edges_us: Sequence[int], first: int, last: int) -> Sequence[tuple[int, int]]:
    """Where the least reply is in one bucket and the largest in another."""
    ordered = sorted([rtt for rtt in series.rtt_us if rtt is not None])
    ends = [0, *(bisect_right(ordered, edge_us) for edge_us in edges_us[first:last]), len(ordered)]
    return [(first + number, end - ends[number]) for number, end in enumerate(ends[1:]) if end > ends[number]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is counted: it follows from the mesh in force."""

    mesh_version: int
    edges_us: tuple[int, ...]
    #: In the order of their names.
    pairs: tuple[PairNames, ...]
    #: Site of every target.
    site_of: Mapping[str, str]
    #: Pairs and limits that are left out.
    pairs_cut: int
    limits_cut: int


def scope(reader: Reader, pairs_max: int) -> Scope:
    """As the mesh in force has it; nothing without one."""
    version, mesh = mesh_service.in_force(reader) or (0, None)
    names = sorted((pair.source, pair.destination) for pair in mesh.pairs) if mesh else []
    limits = limits_us(profile_revisions.wanted(reader).values())
    return Scope(
        mesh_version=version,
        edges_us=tuple(sorted({*SHAPE_US, *limits[:LIMITS_MAX]})),
        pairs=tuple(names[:pairs_max]),
        site_of={target.name: target.site for target in mesh_store.load_targets(reader.connection)},
        pairs_cut=max(0, len(names) - pairs_max),
        limits_cut=max(0, len(limits) - LIMITS_MAX),
    )


def limits_us(profiles: Collection[str]) -> list[int]:
    """The limits these profiles put on a round trip, peaks that are allowed included; each once, ascending."""
    found = [one for profile in profiles for one in profile_revisions.criteria(profile) if one.bounds_rtt]
    peaks = {one.peak_us for one in found if one.peak_us is not None}
    return sorted({one.limit_us for one in found} | peaks)


@dataclass(slots=True, kw_only=True)
class _Counts:
    """A pair since the process began."""

    #: Replies in each bucket; the last has those beyond every edge.
    buckets: list[int]
    sum_us: int = 0
    sent: int = 0
    lost: list[int] = field(default_factory=lambda: [0] * len(LOSSES))

    def add(self, window: WindowCounts) -> None:
        self.sum_us += window.sum_us
        self.sent += window.sent
        for bucket, count in window.buckets:
            self.buckets[bucket] += count
        if window.lost is not _NOTHING_LOST:
            self.lost = [one + more for one, more in zip(self.lost, window.lost, strict=True)]


class RttCounts:
    """The counts of one process. Safe for several threads."""

    def __init__(self, store: Store, pairs_max: int) -> None:
        self._store, self._pairs_max = store, pairs_max
        self._guard = threading.Lock()
        #: Held while the scope is read.
        self._taking_up = threading.Lock()
        self._scope: Scope | None = None
        self._counts: dict[PairNames, _Counts] = {}

    def edges_us(self) -> Sequence[int]:
        """What windows are to be counted by."""
        return (self._scope or self._taken_up(0)).edges_us

    def add(self, source: str, mesh_version: int, windows: Sequence[WindowCounts], edges_us: Sequence[int]) -> None:
        """A batch of an agent of this site is stored; ``mesh_version`` is in force.

        Nothing is counted of one that was under way while the edges changed.
        """
        now = self._scope
        if now is None or now.mesh_version != mesh_version:
            now = self._taken_up(mesh_version)
        with self._guard:
            if now is not self._scope or now.edges_us != tuple(edges_us):
                return
            for window in windows:
                counts = self._counts.get((source, now.site_of.get(window.target, "")))
                if counts is not None:
                    counts.add(window)

    def _taken_up(self, mesh_version: int) -> Scope:
        """What is to be counted under this mesh or a later one: read once, whoever asks meanwhile waits."""
        with self._taking_up:
            if self._scope is not None and self._scope.mesh_version >= mesh_version:
                return self._scope
            return self._read()

    def _read(self) -> Scope:
        """Read what is to be counted, and go on with the counts of pairs that stay, if their edges do."""
        with self._store.read() as reader:
            fresh = scope(reader, self._pairs_max)
        if not fresh.mesh_version:
            # Nothing is counted before the first mesh, whose limits are the edges.
            return fresh
        with self._guard:
            if self._scope is not None and self._scope.edges_us != fresh.edges_us:
                self._counts = {}
            empty = [0] * (len(fresh.edges_us) + 1)
            self._counts = {pair: self._counts.get(pair) or _Counts(buckets=empty.copy()) for pair in fresh.pairs}
            self._scope = fresh
        return fresh

    def families(self) -> Iterator[Metric]:
        """As Prometheus reads them. Every pair has its series from the first scrape on, at 0."""
        now = self._scope or self._taken_up(0)
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
        with self._guard:
            now = self._scope or now
            edges = [*(repr(edge_us / US_PER_S) for edge_us in now.edges_us), "+Inf"]
            for pair, counts in self._counts.items():
                buckets = list(zip(edges, accumulate(counts.buckets), strict=True))
                rtt.add_metric(pair, buckets, counts.sum_us / US_PER_S)
                sent.add_metric(pair, counts.sent)
                for failure, count in zip(LOSSES, counts.lost, strict=True):
                    lost.add_metric([*pair, failure.value], count)
            cut = {"pairs": now.pairs_cut, "limits": now.limits_cut}
        yield from (rtt, sent, lost, _cut(cut))


def _cut(counts: Mapping[str, int]) -> Metric:
    """Tells when a bound left something out."""
    family = GaugeMetricFamily(
        "leadline_metrics_left_out", "Pairs and limits that have no series because there are too many.", labels=["what"]
    )
    for what, count in counts.items():
        family.add_metric([what], count)
    return family
