"""Agents older and newer than their collector: an older agent is served, a newer one keeps its batches."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leadline.clock import make_rng
from leadline.wire import batch as wire
from leadline.wire import codec
from leadline_agent.delivery.batch_builder import BatchBuilder
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.delivery.responses import BatchResponse, ResponseKind
from leadline_agent.delivery.uploader import Uploader
from leadline_agent.identity.state_dir import Credential
from leadline_agent.spool.filesystem import DirectoryFileSystem
from leadline_agent.spool.index import PackedBatch
from leadline_agent.spool.quota import SpoolQuota
from leadline_agent.spool.spool import CommitSuccess, Spool
from leadline_collector.db.transactions import Store
from tests.contract.agent_v1 import AgentV1
from tests.integration.conftest import Client
from tests.integration.test_ingest import batches, rows
from tests.support.clock import FakeClock
from tests.support.documents import NOW_S, build_batch, build_steady_window

#: A minute with one probe every 5 s and every kind of failure.
SERIES_V1: dict[str, Any] = {
    "target": "ams1",
    "address": "192.0.2.3",
    "start_s": NOW_S,
    "interval_ms": 5_000,
    "rtt_us": [4_900, 4_900, 5_100, 5_300, None, None, None, None, None, None, None, None],
    "misses": [
        [4, "timeout"],
        [5, "late", 10_000_001],
        [6, "unreachable", 769],
        [7, "send_error", 1],
        [8, "local_drop"],
        [9, "local_stall"],
        [10, "not_sent"],
        [11, "resolve_error", None],
    ],
    "duplicates": 2,
    "error_us": [3, 17],
}


@pytest.fixture(name="old")
def _old(client: Client) -> AgentV1:
    """An enrolled agent of version 1."""
    assert client.apply().status == 200
    agent = AgentV1(port=int(client.url.rpartition(":")[2]))
    agent.enrol(client.token("fra"), "fra1")
    return agent


def test_an_agent_of_version_1_gets_its_plan(old: AgentV1) -> None:
    """The plan has every key of version 1 with its meaning."""
    plan = old.plan()

    assert old.mesh_version == 1
    assert plan == [
        {
            "name": "ams1",
            "site": "ams",
            "address": "192.0.2.3",
            "interval_ms": 1_000,
            "timeout_ms": 10_000,
            "payload_bytes": 56,
            "dscp": 0,
            "dont_fragment": False,
        }
    ]


def test_windows_of_an_agent_of_version_1_are_stored(client: Client, store: Store, old: AgentV1) -> None:
    """A window with every kind of failure and one without failures are acknowledged and stored in every column."""
    old.plan()
    old.seal((NOW_S + 70) * 1_000_000, 86_400_000_000, [SERIES_V1])
    full = {"rtt_us": list(range(4_900, 4_912)), "start_s": NOW_S + 60, "misses": [], "error_us": None}
    old.seal((NOW_S + 130) * 1_000_000, 86_460_000_000, [SERIES_V1 | full])
    old.seal((NOW_S + 190) * 1_000_000, 86_520_000_000, [])

    assert old.send() == [200, 200, 200]

    assert (old.unsent, batches(store)) == ([], 3)
    first, second = rows(store)
    assert (first["expected"], first["sent"], first["received"]) == (12, 7, 4)
    # The median of seven sent probes: a lost probe counts as slower than any reply.
    assert (first["min_us"], first["p50_us"], first["max_us"], first["mean_us"]) == (4_900, 5_300, 5_300, 5_050)
    assert {name: first[name] for name in first if name.endswith("_count")} == {
        f"{failure}_count": 1 for failure in (miss[1] for miss in SERIES_V1["misses"])
    }
    assert (first["duplicates"], first["error_p50_us"], first["error_p99_us"], first["seq"]) == (2, 3, 17, 0)
    assert (second["received"], second["min_us"], second["max_us"], second["error_p99_us"]) == (12, 4_900, 4_911, None)
    assert client.get(f"/api/v1/agents/fra1/gaps?from={NOW_S}&to={NOW_S + 120}")["gaps"] == []


def test_a_retry_of_an_agent_of_version_1_is_a_duplicate(store: Store, old: AgentV1) -> None:
    """The same bytes again are acknowledged and store nothing."""
    old.plan()
    old.seal((NOW_S + 70) * 1_000_000, 1, [SERIES_V1])
    again = list(old.unsent)
    old.send()

    old.unsent = again
    assert old.send() == [200]

    assert (old.unsent, batches(store), len(rows(store))) == ([], 1, 1)


class Upgraded:
    """A collector that is upgraded: the new version is a fake that acknowledges every batch."""

    url = "http://collector.test"

    def __init__(self, old: CollectorClient, clock: FakeClock) -> None:
        self.old: CollectorClient | None = old
        self.clock = clock
        #: Monotonic time in seconds, and body.
        self.posts: list[tuple[float, bytes]] = []

    def send_batch(self, body: bytes) -> BatchResponse:
        """Send one encoded batch."""
        self.posts.append((self.clock.monotonic_ns() / 1e9, body))
        if self.old is not None:
            return self.old.send_batch(body)
        ack = wire.Ack(digest=wire.compute_digest(body), batches=1)
        return BatchResponse(kind=ResponseKind.STORED, reason="stored", status=200, ack=ack)


def test_an_agent_newer_than_its_collector_keeps_its_batches(
    client: Client, store: Store, fra1: str, tmp_path: Path
) -> None:
    """426 for an unknown version: the agent keeps the batch and sends it again every few minutes until the upgrade."""
    clock = FakeClock()
    spool = Spool(
        file_system=DirectoryFileSystem(tmp_path / "spool"),
        clock=clock,
        make_epoch=lambda: "1" * 32,
        quota=SpoolQuota(),
    )
    collector = Upgraded(
        CollectorClient(client.url, Credential(collector=client.url, agent="fra1", site="fra", key=fra1)), clock
    )
    uploader = Uploader(
        clients=[collector],  # type: ignore[list-item]  # the port, not the class
        spool=spool,
        batch_builder=BatchBuilder("fra1", spool, clock),
        clock=clock,
        rng=make_rng(1),
    )
    newer = msgspec.json.decode(codec.encode(build_batch(("ams1", build_steady_window(4_900))))) | {
        "v": wire.WIRE_VERSION + 1,
        "mood": "good",
    }
    body = gzip.compress(msgspec.json.encode(newer))
    spool.append(PackedBatch(id=spool.reserve_id(), body=body, windows=1, t_first_s=NOW_S, t_last_s=NOW_S))
    assert isinstance(spool.commit(), CommitSuccess)

    def try_again() -> None:
        clock.sleep_until(uploader.upload_next() or 0)  # returns the time of the next attempt
        uploader.upload_next()

    for _ in range(3):
        try_again()
    counts = (spool.get_usage().unacked, spool.get_usage().dead, batches(store))
    error = uploader.last_error or ""
    collector.old = None
    try_again()

    assert counts == (1, 0, 0)
    assert error.startswith("426")
    assert [post_body for _, post_body in collector.posts] == [body] * 4
    assert all(150 <= later - earlier <= 300 for (earlier, _), (later, _) in pairwise(collector.posts))
    assert (spool.get_usage().unacked, spool.get_usage().acked) == (0, 1)
    spool.close()
