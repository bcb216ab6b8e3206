"""Prometheus metrics of the collector: one registry per application, no global state.

Rule 1: labels are bounded: results and reasons are closed lists, agents at most ``AGENTS_MAX``, pairs and profiles
as limited by ``ingest.rtt_counters`` and ``live.prometheus``.
Rule 2: a scrape succeeds while the database is down: ``leadline_database_up`` is 0 then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leadline import __version__
from leadline.clock import Clock
from leadline_collector.auth import key_store
from leadline_collector.db.engine import StoreUnavailableError
from leadline_collector.http.problems import REFUSAL_REASONS
from leadline_collector.ingest import rtt_counters
from leadline_collector.ingest.rtt_counters import RttCounters
from leadline_collector.live import prometheus
from leadline_collector.mesh import store as mesh_store
from leadline_collector.windows import dirty_hours

if TYPE_CHECKING:
    from leadline_collector.db.transactions import Store

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: One series per agent; use the reported gaps to monitor a larger mesh.
AGENTS_MAX = 2_000
#: A batch takes milliseconds; a commit on a busy disk up to seconds.
DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCHES_PATH = "/api/v1/batches"
NS_PER_S = 1_000_000_000


class Metrics:
    """Metrics of one application."""

    def __init__(
        self, store: Store, clock: Clock, in_progress: Callable[[], int], pairs_max: int = rtt_counters.PAIRS_MAX
    ) -> None:
        self.rtt_counters = RttCounters(store, pairs_max)
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self.registry.register(_DatabaseCollector(store, clock, self.rtt_counters, pairs_max))
        self._batches = self._make_counter("batches", "Batches acknowledged.", "result")
        self._refused_batches = self._make_counter("batches_refused", "Batches not acknowledged.", "reason")
        self._windows = self._make_counter("windows", "Windows stored.")
        self._samples = self._make_counter("samples", "Probes of stored windows, including lost ones.")
        self._batch_bytes = self._make_counter("batch_bytes", "Transferred bytes of stored batches.")
        self._enrolments = self._make_counter("enrolments", "Enrolment requests.", "result")
        self._ingest_duration = Histogram(
            "leadline_ingest_seconds",
            "Time from the header of a batch request to its response.",
            buckets=DURATION_BUCKETS_S,
            registry=self.registry,
        )
        Gauge("leadline_batches_inside", "Batches being stored or queued.", registry=self.registry).set_function(
            in_progress
        )
        for result in ("stored", "duplicate"):
            self._batches.labels(result)
        for reason in REFUSAL_REASONS.values():
            self._refused_batches.labels(reason)

    def _make_counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"leadline_{name}", help_text, labels, registry=self.registry)

    def record_ack(self, windows: int, samples: int, *, byte_count: int, is_duplicate: bool) -> None:
        """Count an acknowledged batch; a duplicate adds no windows, samples or bytes."""
        self._batches.labels("duplicate" if is_duplicate else "stored").inc()
        if not is_duplicate:
            self._windows.inc(windows)
            self._samples.inc(samples)
            self._batch_bytes.inc(byte_count)

    def record_response(self, status: int, seconds: float) -> None:
        """Count a response to a batch request and its duration."""
        self._ingest_duration.observe(seconds)
        if status != 200:
            self._refused_batches.labels(REFUSAL_REASONS.get(status, "other")).inc()

    def record_enrolment(self, status: int) -> None:
        """Count an enrolment request by its HTTP status."""
        self._enrolments.labels("enrolled" if status == 200 else "refused").inc()

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)


class _DatabaseCollector(Collector):
    """Metrics read from the database at each scrape."""

    def __init__(self, store: Store, clock: Clock, rtt_counters: RttCounters, pairs_max: int) -> None:
        self._store, self._clock, self._rtt_counters, self._pairs_max = store, clock, rtt_counters, pairs_max

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registration does not read the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("leadline_build", "Version of the collector.", {"version": __version__})
        up = GaugeMetricFamily("leadline_database_up", "1 if the database responds, else 0.")
        try:
            families = list(self._collect_from_database())
        except StoreUnavailableError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from families

    def _collect_from_database(self) -> Iterator[Metric]:
        now_s = self._clock.wall_ns() // NS_PER_S
        with self._store.read() as reader:
            version, mesh_version = reader.load_schema_version(), mesh_store.load_mesh_version(reader.connection)
            latest_end_s = key_store.load_latest_windows(reader.connection, AGENTS_MAX)
            lag_s = dirty_hours.load_lag_s(reader.connection, now_s)
            live = list(prometheus.collect_metrics(reader, now_s, pairs_max=self._pairs_max, agents_max=AGENTS_MAX))
        yield InfoMetricFamily("leadline_schema", "Version of the database schema.", {"version": version})
        yield GaugeMetricFamily("leadline_mesh_version", "Version of the active mesh; 0 without a mesh.", mesh_version)
        yield GaugeMetricFamily(
            "leadline_compaction_lag_seconds", "Time since the end of the oldest hour that is not compacted.", lag_s
        )
        age = GaugeMetricFamily(
            "leadline_agent_latest_window_age_seconds",
            "Time since the end of the latest window an agent delivered; 0 if the agent's clock is ahead.",
            labels=["agent"],
        )
        for name, end_s in latest_end_s.items():
            age.add_metric([name], max(0, now_s - end_s))
        yield age
        yield from live
        yield from self._rtt_counters.collect_metrics()


class BatchMetricsMiddleware:
    """Measures every batch request, including those rejected before the route runs."""

    def __init__(self, app: ASGIApp, metrics: Metrics, clock: Clock) -> None:
        self._app, self._metrics, self._clock = app, metrics, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != BATCHES_PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        start_ns = self._clock.monotonic_ns()

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.record_response(message["status"], (self._clock.monotonic_ns() - start_ns) / 1e9)
            await send(message)

        await self._app(scope, receive, send_and_record)
