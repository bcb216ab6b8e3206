"""A collector that is unavailable for a week: real spool, batch builder and uploader on a simulated clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from leadline.wire.batch import TargetWindow
from leadline_agent.delivery.responses import BatchResponse, ResponseKind
from leadline_agent.delivery.upload_policy import BACKFILL_RATE_MAX, OPERATOR_RETRY_NS
from leadline_agent.probe.ipc import WindowsMessage
from leadline_agent.spool.index import BatchId
from leadline_agent.spool.quota import SpoolQuota
from leadline_agent.spool.spool import CommitSuccess
from tests.support.clock import FakeClock
from tests.unit.agent.delivery.test_uploader import START_S, AgentHarness, Collector

NS_PER_S = 1_000_000_000
TARGETS = 50
#: Twenty minutes of all targets in a batch, six slots in a minute: a week is 504 batches.
MINUTES = 20
WEEK_BATCHES = 7 * 24 * 60 // MINUTES
RTTS_US: list[int | None] = [5_000, 5_010, 4_990, 5_100, 5_000, 5_020]
#: Twice the size of a week of batches.
QUOTA = SpoolQuota(bytes_max=16 << 20, segment_bytes=1 << 20, memory_bytes_max=1 << 20, free_bytes_min=0)
#: One live batch is built each time this number of backlog batches has arrived.
LIVE_EVERY = 25


class UnavailableCollector(Collector):
    """Collector that is unavailable at first, and later records when each batch arrives."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.is_unavailable = True
        self.attempts_ns: list[int] = []
        self.stored_ns: list[tuple[int, BatchId]] = []

    def send_batch(self, body: bytes) -> BatchResponse:
        if self.is_unavailable:
            self.attempts_ns.append(self.clock.monotonic_ns())
            return BatchResponse(kind=ResponseKind.UNAVAILABLE, reason="no answer", status=None)
        response = super().send_batch(body)
        self.stored_ns.append((self.clock.monotonic_ns(), BatchId(self.received[-1].epoch, self.received[-1].seq)))
        return response


def spool_batch(harness: AgentHarness, number: int) -> BatchId:
    """Spool the batch of 20 minutes durably."""
    start_s = START_S + 60 * MINUTES * number
    series = [
        TargetWindow(
            target=f"t{target}", address="192.0.2.1", start_s=start_s + 60 * minute, interval_ms=10_000, rtt_us=RTTS_US
        )
        for minute in range(MINUTES)
        for target in range(TARGETS)
    ]
    harness.batch_builder.build(WindowsMessage(3, series))
    result = harness.spool.commit()
    assert isinstance(result, CommitSuccess)
    (batch_id,) = result.accepted_ids
    return batch_id


def simulate_week(harness: AgentHarness, directory: Path) -> tuple[AgentHarness, list[BatchId]]:
    """Run seven days without a response and with one restart; return the agent and its batches in order."""
    batch_ids = []
    for number in range(WEEK_BATCHES):
        if number == WEEK_BATCHES // 2:
            harness.spool.close()
            harness = AgentHarness(directory, harness.clock, epoch=0, quota=QUOTA, collector=harness.collector)
        batch_ids.append(spool_batch(harness, number))
        harness.run(60 * MINUTES)
        assert harness.spool.get_usage().bytes <= QUOTA.bytes_max
    return harness, batch_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekResult:
    """Result of a week without a collector and of the uploads after it."""

    harness: AgentHarness
    collector: UnavailableCollector
    returned_ns: int
    #: The backlog, in build order.
    backlog: list[BatchId]
    #: The live batches, and how many batches were stored when each was built.
    live: dict[BatchId, int]


@pytest.fixture(name="week", scope="module")
def _week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeekResult]:
    """Return the state after the collector is available again and all batches are sent."""
    directory, clock = tmp_path_factory.mktemp("week"), FakeClock()
    collector = UnavailableCollector(clock)
    # The second process gets an epoch that sorts before the first one.
    harness, backlog = simulate_week(
        AgentHarness(directory, clock, epoch=50, quota=QUOTA, collector=collector), directory
    )
    collector.is_unavailable, returned_ns = False, clock.monotonic_ns()
    live = {spool_batch(harness, WEEK_BATCHES): 0}
    while (due_ns := harness.uploader.upload_next()) is not None:
        clock.sleep_until(due_ns)
        if len(collector.stored_ns) >= LIVE_EVERY * len(live) and len(live) <= WEEK_BATCHES // LIVE_EVERY:
            live[spool_batch(harness, WEEK_BATCHES + len(live))] = len(collector.stored_ns)
    yield WeekResult(harness=harness, collector=collector, returned_ns=returned_ns, backlog=backlog, live=live)
    harness.spool.close()


def test_week_of_backlog_is_delivered_once(week: WeekResult) -> None:
    """Half a million windows of 50 targets arrive once; no batch is lost or left."""
    starts = [(window.target, window.start_s) for batch in week.collector.received for window in batch.series]
    batches = WEEK_BATCHES + len(week.live)

    assert len(starts) == len(set(starts)) == batches * MINUTES * TARGETS
    assert {gap for batch in week.collector.received for gap in batch.gaps} == set()
    usage = week.harness.spool.get_usage()
    assert (usage.unacked, usage.loss_records, usage.acked) == (0, 0, batches)


def test_unavailable_collector_is_retried_every_few_minutes(week: WeekResult) -> None:
    """Attempts are frequent enough to notice the recovery, and not much more frequent."""
    attempts_ns = week.collector.attempts_ns
    waits_ns = [after - before for before, after in pairwise(attempts_ns)]

    assert max(waits_ns) <= 2 * OPERATOR_RETRY_NS
    assert len(attempts_ns) <= 7 * 86_400 // 100
    assert week.collector.stored_ns[0][0] - week.returned_ns <= 2 * OPERATOR_RETRY_NS


def test_live_batches_are_sent_before_the_backlog(week: WeekResult) -> None:
    """The newest batch is sent first, and each batch built during the backfill is sent next."""
    order = [batch_id for _, batch_id in week.collector.stored_ns]

    assert len(week.live) > 10
    assert {batch_id: order.index(batch_id) for batch_id in week.live} == week.live


def test_backlog_is_sent_at_its_rate_oldest_first(week: WeekResult) -> None:
    """The rate starts low, rises with every stored batch and stays below the maximum."""
    backlog = [(at_ns, batch_id) for at_ns, batch_id in week.collector.stored_ns if batch_id not in week.live]
    batch_ids = [batch_id for _, batch_id in backlog]
    duration_s = (backlog[-1][0] - backlog[0][0]) / NS_PER_S

    assert batch_ids == week.backlog
    assert len(backlog) == WEEK_BATCHES
    assert len(backlog) / BACKFILL_RATE_MAX * 0.9 <= duration_s <= 3 * len(backlog) / BACKFILL_RATE_MAX
    # The interval between two backlog batches is at least half of the interval at the maximum rate.
    waits_ns = [after - before for (before, _), (after, _) in pairwise(backlog)]
    assert min(waits_ns) >= NS_PER_S / BACKFILL_RATE_MAX / 2
