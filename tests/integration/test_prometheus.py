"""Prometheus metrics of round trips, current states and agents, and their bounds."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from leadline.clock import SystemClock
from leadline.evaluation import WindowCause
from leadline.limits.catalogue import load_catalogue
from leadline.model import Failure
from leadline_collector.config import CollectorConfig
from leadline_collector.db.transactions import Store
from leadline_collector.http.metrics import Metrics
from leadline_collector.ingest import rtt_counters
from leadline_collector.live import pairs as live_pairs
from leadline_collector.live import store as live_store
from leadline_collector.live.pairs import GRACE_S
from leadline_collector.rollup import recount
from leadline_collector.rollup.worker import run_compaction
from leadline_collector.server.serve import serve_in_thread
from tests.integration.conftest import Client
from tests.integration.test_health import samples
from tests.support.clock import FakeClock
from tests.support.documents import MESH, NOW_S, build_batch, build_steady_window, build_window, encode_body
from tests.support.rollup_data import RollupFixture

NS_PER_S = 1_000_000_000
TO = "destination=ams"
FROM = "source=fra"
SPOOL = "batches=12, bytes=34567, max=536870912"


def bucket(values: dict[str, float], le: str) -> float:
    """Return the number of replies of at most ``le`` seconds from fra to ams."""
    return values[f"leadline_rtt_seconds_bucket{{{TO},le={le},{FROM}}}"]


def test_a_limit_of_the_mesh_is_a_bucket_edge(client: Client, fra1: str) -> None:
    """A round trip of exactly the limit is in the bucket; one microsecond more is not."""
    assert client.apply(MESH.replace("vcf9-stretched-cluster", "vsan-stretched")).status == 200
    rtts = [4_999, 5_000, 5_001] * 20

    assert client.post(build_batch(("ams1", build_window(rtts))), fra1).status == 200
    values = samples(client)

    assert (bucket(values, "0.001"), bucket(values, "0.005"), bucket(values, "0.01")) == (0, 40, 60)
    assert bucket(values, "+Inf") == values[f"leadline_rtt_seconds_count{{{TO},{FROM}}}"] == 60
    assert values[f"leadline_rtt_seconds_sum{{{TO},{FROM}}}"] == pytest.approx(sum(rtts) / 1e6)


def test_lost_probes_are_counted_by_reason(client: Client, fra1: str) -> None:
    """Probes that were not sent are not counted as lost; lost probes are in no bucket."""
    lost = build_window([None if slot < 6 else 3_000 for slot in range(60)], missing=Failure.TIMEOUT)
    unsent = build_window([None if slot < 9 else 3_000 for slot in range(60)], NOW_S + 60, missing=Failure.NOT_SENT)

    client.post(build_batch(("ams1", lost), ("ams1", unsent)), fra1)
    values = samples(client)

    assert values[f"leadline_probes_sent_total{{{TO},{FROM}}}"] == 60 + 51
    lost_by_reason = {
        reason: values[f"leadline_probes_lost_total{{{TO},reason={reason},{FROM}}}"] for reason in ("timeout", "late")
    }
    assert lost_by_reason == {"timeout": 6, "late": 0}
    assert bucket(values, "+Inf") == 54 + 51


def test_a_duplicate_is_counted_once_and_backfill_is_counted(client: Client, fra1: str) -> None:
    """The same batch is sent twice, then a batch of two hours ago."""
    document = build_batch(("ams1", build_steady_window(4_900)))
    client.post(document, fra1)
    client.post(document, fra1)
    client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S - 7_200)), seq=2), fra1)

    assert bucket(samples(client), "+Inf") == 120


def test_every_pair_has_series_before_the_first_measurement(client: Client, fra1: str) -> None:
    """They are 0, so that Prometheus sees the first increase."""
    assert bucket(samples(client), "+Inf") == 0


def test_counters_survive_a_mesh_with_the_same_limits(client: Client, fra1: str) -> None:
    """A mesh with other limits resets them, with the new limits as edges."""
    client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)
    assert client.apply(MESH + "\n# the same again\n").status == 200
    client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60)), seq=2), fra1)
    assert bucket(samples(client), "+Inf") == 120

    assert client.apply(MESH.replace("vcf9-stretched-cluster", "vsphere-long-distance-vmotion")).status == 200
    for seq in (3, 4):  # the mesh may change during the first
        client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60 * seq)), seq=seq), fra1)
    values = samples(client)

    assert f"leadline_rtt_seconds_bucket{{{TO},le=0.005,{FROM}}}" not in values
    assert (bucket(values, "0.15"), bucket(values, "+Inf")) == (60, 60)


def test_the_number_of_buckets_is_bounded() -> None:
    """All profiles together need at most sixteen, including +Inf."""
    limits = rtt_counters.list_limits_us(list(load_catalogue().profiles))

    assert 5_000 in limits
    assert len(limits) <= rtt_counters.LIMITS_MAX
    assert len({*limits, *rtt_counters.BASE_EDGES_US}) + 1 <= 16


@pytest.fixture(name="scraped")
def _scraped(store: Store, clock: FakeClock) -> Metrics:
    """Create the metrics of a collector with a day of windows and refreshed current states."""
    site = RollupFixture(store, clock)
    recount.sync_revisions(store)
    for hour in range(12):
        site.store_windows(*(build_steady_window(4_000, NOW_S + 3_600 * hour + 60 * n) for n in range(60)))
    t = NOW_S + 12 * 3_600
    site.store_windows(*(build_steady_window(10_001, t + 60 * n) for n in range(20)))
    clock.advance((t + 20 * 60 + GRACE_S) * NS_PER_S - clock.wall_ns())
    run_compaction(store, clock)
    live_pairs.refresh_pairs(store, clock.wall_ns() // NS_PER_S, {})
    return Metrics(store, clock, lambda: 0)


def lines(metrics: Metrics) -> dict[str, float]:
    """Return the rendered metrics: value by series."""
    text = metrics.render().decode()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def test_the_state_of_a_pair_is_a_gauge_for_each_state(scraped: Metrics) -> None:
    """The current state and its cause are 1; another gauge has the start of the state."""
    values = lines(scraped)
    labels = '{destination="ams",profile="vcf9-stretched-cluster",source="fra"'

    states = {state: values[f'leadline_pair_state{labels},state="{state}"}}'] for state in ("good", "bad", "unknown")}
    assert states == {"good": 0, "bad": 1, "unknown": 0}
    causes = {cause: values[f'leadline_pair_cause{{cause="{cause}",{labels[1:]}}}'] for cause in WindowCause}
    assert causes == {"outage": 0, "loss": 0, "latency": 1, "both": 0}
    assert values[f"leadline_pair_state_since_seconds{labels}}}"] == NOW_S + 12 * 3_600
    assert values["leadline_now_age_seconds"] == 0


def test_a_pair_faster_than_light_is_a_gauge(scraped: Metrics, store: Store, clock: FakeClock) -> None:
    """There is one series for a pair, not one for each profile."""
    name = 'leadline_pair_invalid{destination="ams",source="fra"}'
    assert lines(scraped)[name] == 0

    site = RollupFixture(store, clock)
    site.store_windows(build_steady_window(900, NOW_S + 12 * 3_600 + 60 * 20), agent="fra2")
    clock.advance(60 * NS_PER_S)
    live_pairs.refresh_pairs(store, clock.wall_ns() // NS_PER_S, {})

    values = lines(scraped)
    assert values[name] == 1
    assert values['leadline_pair_invalid{destination="fra",source="ams"}'] == 0


def test_coverage_is_the_share_of_known_windows(scraped: Metrics) -> None:
    """For the last fifteen minutes, and for the last 24 compacted hours, of which twelve have data."""
    values = lines(scraped)

    assert values['leadline_pair_coverage_ratio{destination="ams",period="15m",source="fra"}'] == 1
    assert values['leadline_pair_coverage_ratio{destination="ams",period="24h",source="fra"}'] == 0.5
    assert values['leadline_pair_coverage_ratio{destination="fra",period="24h",source="ams"}'] == 0


@pytest.mark.usefixtures("scraped")
def test_pairs_beyond_the_limit_are_omitted_and_counted(store: Store, clock: FakeClock) -> None:
    """One of two pairs has series; a gauge counts the other one."""
    values = lines(Metrics(store, clock, lambda: 0, pairs_max=1))

    assert values['leadline_metrics_left_out{what="pairs"}'] == 1
    assert values['leadline_metrics_left_out{what="limits"}'] == 0
    series = {
        name for name in values if "leadline_rtt_seconds_bucket" in name or name.startswith("leadline_pair_state{")
    }
    assert series
    assert all('source="ams"' in name for name in series)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_accepts_the_metrics(scraped: Metrics) -> None:
    """Names, units and help texts follow Prometheus' conventions."""
    process = subprocess.run(["promtool", "check", "metrics"], input=scraped.render(), capture_output=True, timeout=60)

    assert (process.returncode, process.stderr.decode(), process.stdout.decode()) == (0, "", "")


@pytest.fixture(name="quick")
def _quick(config: CollectorConfig, store: Store) -> Iterator[Client]:
    """Yield a collector with a clock fixed 0.2 s before the live worker is due: it refreshes every 0.2 s."""
    clock = FakeClock(wall_ns=(NOW_S + 3_600 + 30) * NS_PER_S - 200_000_000)
    with serve_in_thread(config, store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        yield client
        client.pool.clear()


def test_the_status_an_agent_reports_becomes_metrics(quick: Client, store: Store) -> None:
    """Version and spool are from its headers; an agent that never reported has no series."""
    assert quick.apply().status == 200
    key = quick.key("fra1", "fra")
    document = build_batch(("ams1", build_steady_window(4_900)))
    headers = {"Content_Encoding": "gzip", "User_Agent": "leadline-agent/1.2.3", "Leadline_Spool": SPOOL}
    assert quick.send("POST", "/api/v1/batches", encode_body(document), key, **headers).status == 200

    values = _soon(quick, "leadline_agent_spool_batches{agent=fra1}")

    # Headers are known before the batch is stored, so the age may follow one refresh later.
    values |= _soon(quick, "leadline_agent_heard_age_seconds{agent=fra1}")
    assert values["leadline_agent_spool_batches{agent=fra1}"] == 12
    assert values["leadline_agent_spool_bytes{agent=fra1}"] == 34_567
    assert values["leadline_agent_spool_limit_bytes{agent=fra1}"] == 512 << 20
    assert values["leadline_agent_info{agent=fra1,version=1.2.3}"] == 1
    assert 0 <= values["leadline_agent_heard_age_seconds{agent=fra1}"] <= 1
    assert not [name for name in values if name.startswith("leadline_agent") and "fra2" in name]
    with store.read() as reader:
        assert len(live_store.load_agents(reader.connection)) == 3


def _soon(client: Client, name: str) -> dict[str, float]:
    """Scrape until the series is present; a refresh takes 0.2 s."""
    clock = SystemClock()
    deadline_ns = clock.monotonic_ns() + 20 * NS_PER_S
    while name not in (values := samples(client)):
        assert clock.monotonic_ns() < deadline_ns
        clock.sleep_until(clock.monotonic_ns() + 50_000_000)
    return values
