"""What Prometheus reads: round trips counted once, states of now, agents, within bounds."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from leadline.clock import SystemClock
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


def bucket(found: dict[str, float], le: str) -> float:
    """Replies of at most so many seconds from fra to ams."""
    return found[f"leadline_rtt_seconds_bucket{{{TO},le={le},{FROM}}}"]


def test_a_limit_in_use_is_an_edge_and_belongs_to_its_bucket(client: Client, fra1: str) -> None:
    """A round trip of exactly the limit is within; one of a microsecond more is not."""
    assert client.apply(MESH.replace("vcf9-stretched-cluster", "vsan-stretched")).status == 200
    rtts = [4_999, 5_000, 5_001] * 20

    assert client.post(build_batch(("ams1", build_window(rtts))), fra1).status == 200
    found = samples(client)

    assert (bucket(found, "0.001"), bucket(found, "0.005"), bucket(found, "0.01")) == (0, 40, 60)
    assert bucket(found, "+Inf") == found[f"leadline_rtt_seconds_count{{{TO},{FROM}}}"] == 60
    assert found[f"leadline_rtt_seconds_sum{{{TO},{FROM}}}"] == pytest.approx(sum(rtts) / 1e6)


def test_lost_probes_are_counted_by_reason(client: Client, fra1: str) -> None:
    """What was not sent is in none; a lost probe is in no bucket."""
    lost = build_window([None if slot < 6 else 3_000 for slot in range(60)], missing=Failure.TIMEOUT)
    unsent = build_window([None if slot < 9 else 3_000 for slot in range(60)], NOW_S + 60, missing=Failure.NOT_SENT)

    client.post(build_batch(("ams1", lost), ("ams1", unsent)), fra1)
    found = samples(client)

    assert found[f"leadline_probes_sent_total{{{TO},{FROM}}}"] == 60 + 51
    of = {name: found[f"leadline_probes_lost_total{{{TO},reason={name},{FROM}}}"] for name in ("timeout", "late")}
    assert of == {"timeout": 6, "late": 0}
    assert bucket(found, "+Inf") == 54 + 51


def test_what_comes_twice_is_counted_once_and_backfill_too(client: Client, fra1: str) -> None:
    """The same batch again, and a batch of two hours ago."""
    document = build_batch(("ams1", build_steady_window(4_900)))
    client.post(document, fra1)
    client.post(document, fra1)
    client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S - 7_200)), seq=2), fra1)

    assert bucket(samples(client), "+Inf") == 120


def test_every_pair_has_its_series_before_anything_was_measured(client: Client, fra1: str) -> None:
    """At 0, so that the first increase is seen."""
    assert bucket(samples(client), "+Inf") == 0


def test_another_mesh_with_the_same_limits_goes_on_counting(client: Client, fra1: str) -> None:
    """And one with other limits begins anew, with them as edges."""
    client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)
    assert client.apply(MESH + "\n# the same again\n").status == 200
    client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60)), seq=2), fra1)
    assert bucket(samples(client), "+Inf") == 120

    assert client.apply(MESH.replace("vcf9-stretched-cluster", "vsphere-long-distance-vmotion")).status == 200
    for seq in (3, 4):  # one may be under way while the mesh changes
        client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60 * seq)), seq=seq), fra1)
    found = samples(client)

    assert f"leadline_rtt_seconds_bucket{{{TO},le=0.005,{FROM}}}" not in found
    assert (bucket(found, "0.15"), bucket(found, "+Inf")) == (60, 60)


def test_limits_in_use_fit_into_few_buckets() -> None:
    """Of all profiles together: no more than sixteen with the one without an edge."""
    limits = rtt_counters.list_limits_us(list(load_catalogue().profiles))

    assert 5_000 in limits
    assert len(limits) <= rtt_counters.LIMITS_MAX
    assert len({*limits, *rtt_counters.BASE_EDGES_US}) + 1 <= 16


@pytest.fixture(name="scraped")
def _scraped(store: Store, clock: FakeClock) -> Metrics:
    """The figures of a collector on a day of windows, brought up to date."""
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
    """What is scraped."""
    text = metrics.render().decode()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def test_the_state_of_a_pair_is_a_gauge_for_each_state(scraped: Metrics) -> None:
    """1 for the one it is in, and since when."""
    found = lines(scraped)
    of = '{destination="ams",profile="vcf9-stretched-cluster",source="fra"'

    states = {state: found[f'leadline_pair_state{of},state="{state}"}}'] for state in ("good", "bad", "unknown")}
    assert states == {"good": 0, "bad": 1, "unknown": 0}
    assert found[f"leadline_pair_state_since_seconds{of}}}"] == NOW_S + 12 * 3_600
    assert found["leadline_now_age_seconds"] == 0


def test_coverage_is_the_share_of_known_windows(scraped: Metrics) -> None:
    """Of the last fifteen minutes, and of the last day whose hours are counted: twelve of twenty-four are there."""
    found = lines(scraped)

    assert found['leadline_pair_coverage_ratio{destination="ams",period="15m",source="fra"}'] == 1
    assert found['leadline_pair_coverage_ratio{destination="ams",period="24h",source="fra"}'] == 0.5
    assert found['leadline_pair_coverage_ratio{destination="fra",period="24h",source="ams"}'] == 0


@pytest.mark.usefixtures("scraped")
def test_what_does_not_fit_is_told(store: Store, clock: FakeClock) -> None:
    """Of two pairs one has series, and a gauge says that one has not."""
    found = lines(Metrics(store, clock, lambda: 0, pairs_max=1))

    assert found['leadline_metrics_left_out{what="pairs"}'] == 1
    assert found['leadline_metrics_left_out{what="limits"}'] == 0
    shown = {name for name in found if "leadline_rtt_seconds_bucket" in name or name.startswith("leadline_pair_state{")}
    assert shown
    assert all('source="ams"' in name for name in shown)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_has_nothing_to_say(scraped: Metrics) -> None:
    """Names, units and help as Prometheus wants them."""
    done = subprocess.run(["promtool", "check", "metrics"], input=scraped.render(), capture_output=True, timeout=60)

    assert (done.returncode, done.stderr.decode(), done.stdout.decode()) == (0, "", "")


@pytest.fixture(name="quick")
def _quick(config: CollectorConfig, store: Store) -> Iterator[Client]:
    """A collector whose clock stands a fifth of a second before a minute is due: it has a round each time."""
    clock = FakeClock(wall_ns=(NOW_S + 3_600 + 30) * NS_PER_S - 200_000_000)
    with serve_in_thread(config, store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        yield client
        client.pool.clear()


def test_what_an_agent_says_of_itself_is_there_a_minute_later(quick: Client, store: Store) -> None:
    """Version and spool from its headers, the clock from its batch; of an agent that never came nothing."""
    assert quick.apply().status == 200
    key = quick.key("fra1", "fra")
    document = build_batch(("ams1", build_steady_window(4_900)))
    headers = {"Content_Encoding": "gzip", "User_Agent": "leadline-agent/1.2.3", "Leadline_Spool": SPOOL}
    assert quick.send("POST", "/api/v1/batches", encode_body(document), key, **headers).status == 200

    found = _soon(quick, "leadline_agent_spool_batches{agent=fra1}")

    assert found["leadline_agent_spool_batches{agent=fra1}"] == 12
    assert found["leadline_agent_spool_bytes{agent=fra1}"] == 34_567
    assert found["leadline_agent_spool_limit_bytes{agent=fra1}"] == 512 << 20
    assert found["leadline_agent_info{agent=fra1,version=1.2.3}"] == 1
    assert 0 <= found["leadline_agent_heard_age_seconds{agent=fra1}"] <= 1
    assert not [name for name in found if name.startswith("leadline_agent") and "fra2" in name]
    with store.read() as reader:
        assert len(live_store.load_agents(reader.connection)) == 3


def _soon(client: Client, name: str) -> dict[str, float]:
    """A scrape that has the series; the round takes a fifth of a second."""
    clock = SystemClock()
    deadline_ns = clock.monotonic_ns() + 20 * NS_PER_S
    while name not in (found := samples(client)):
        assert clock.monotonic_ns() < deadline_ns
        clock.sleep_until(clock.monotonic_ns() + 50_000_000)
    return found
