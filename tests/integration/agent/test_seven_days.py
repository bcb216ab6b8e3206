"""A collector that is away for a week: spool, sealing and sending as they are, on a clock that jumps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from leadline.wire import batch as wire
from leadline_agent.delivery.responses import BatchResponse, ResponseKind
from leadline_agent.delivery.upload_policy import BACKFILL_RATE_MAX, OPERATOR_RETRY_NS
from leadline_agent.probe.ipc import WindowsMessage
from leadline_agent.spool.index import BatchId
from leadline_agent.spool.quota import SpoolQuota
from leadline_agent.spool.spool import CommitSuccess
from tests.support.clock import FakeClock
from tests.unit.agent.delivery.test_uploader import START_S, Bench, Collector

NS_PER_S = 1_000_000_000
TARGETS = 50
#: Twenty minutes of all targets in a batch, six slots in a minute: a week is 504 batches.
MINUTES = 20
WEEK_BATCHES = 7 * 24 * 60 // MINUTES
RTTS_US: list[int | None] = [5_000, 5_010, 4_990, 5_100, 5_000, 5_020]
#: Twice of what a week takes.
LIMITS = SpoolQuota(bytes_max=16 << 20, segment_bytes=1 << 20, memory_bytes_max=1 << 20, free_bytes_min=0)
#: A live batch is sealed whenever so many of the backlog are in.
LIVE_EVERY = 25


class AwayCollector(Collector):
    """Does not answer, or answers and notes when what came."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.is_away = True
        self.tried_ns: list[int] = []
        self.stored_ns: list[tuple[int, BatchId]] = []

    def push(self, body: bytes) -> BatchResponse:
        if self.is_away:
            self.tried_ns.append(self.clock.monotonic_ns())
            return BatchResponse(kind=ResponseKind.UNAVAILABLE, reason="no answer", status=None)
        answer = super().send_batch(body)
        self.stored_ns.append((self.clock.monotonic_ns(), BatchId(self.got[-1].epoch, self.got[-1].seq)))
        return answer


def seal(bench: Bench, number: int) -> BatchId:
    """Spool the batch of these minutes, durably."""
    start_s = START_S + 60 * MINUTES * number
    series = [
        wire.TargetWindow(
            target=f"t{target}", address="192.0.2.1", start_s=start_s + 60 * minute, interval_ms=10_000, rtt_us=RTTS_US
        )
        for minute in range(MINUTES)
        for target in range(TARGETS)
    ]
    bench.sealer.build(WindowsMessage(3, series))
    committed = bench.spool.commit()
    assert isinstance(committed, CommitSuccess)
    (name,) = committed.accepted_ids
    return name


def week(bench: Bench, directory: Path) -> tuple[Bench, list[BatchId]]:
    """Seven days without an answer, with a restart in the middle; the agent as it is then, and its batches in order."""
    names = []
    for number in range(WEEK_BATCHES):
        if number == WEEK_BATCHES // 2:
            bench.spool.close()
            bench = Bench(directory, bench.clock, epoch=0, limits=LIMITS, collector=bench.collector)
        names.append(seal(bench, number))
        bench.run(60 * MINUTES)
        assert bench.spool.get_usage().bytes <= LIMITS.bytes_max
    return bench, names


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """A week away, and what came after it."""

    bench: Bench
    collector: AwayCollector
    returned_ns: int
    #: The backlog, in order of sealing.
    backlog: list[BatchId]
    #: The live batches, and how many had been stored when each was sealed.
    live: dict[BatchId, int]


@pytest.fixture(name="week", scope="module")
def _week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Return]:
    """The collector is back, everything has been sent."""
    directory, clock = tmp_path_factory.mktemp("week"), FakeClock()
    collector = AwayCollector(clock)
    # The second life gets the epoch that sorts first.
    bench, backlog = week(Bench(directory, clock, epoch=50, limits=LIMITS, collector=collector), directory)
    collector.is_away, returned_ns = False, clock.monotonic_ns()
    live = {seal(bench, WEEK_BATCHES): 0}
    while (due_ns := bench.sender.upload_next()) is not None:
        clock.sleep_until(due_ns)
        if len(collector.stored_ns) >= LIVE_EVERY * len(live) and len(live) <= WEEK_BATCHES // LIVE_EVERY:
            live[seal(bench, WEEK_BATCHES + len(live))] = len(collector.stored_ns)
    yield Return(bench=bench, collector=collector, returned_ns=returned_ns, backlog=backlog, live=live)
    bench.spool.close()


def test_everything_of_a_week_is_delivered_once(week: Return) -> None:
    """Of 50 targets, half a million windows; nothing was given up, nothing waits, and the budget held."""
    starts = [(one.target, one.start_s) for batch in week.collector.got for one in batch.series]
    batches = WEEK_BATCHES + len(week.live)

    assert len(starts) == len(set(starts)) == batches * MINUTES * TARGETS
    assert {gap for batch in week.collector.got for gap in batch.gaps} == set()
    usage = week.bench.spool.get_usage()
    assert (usage.unacked, usage.loss_records, usage.acked) == (0, 0, batches)


def test_a_collector_that_is_away_is_asked_every_few_minutes(week: Return) -> None:
    """No less, so that its return is noticed; and not much more, all the week."""
    tried_ns = week.collector.tried_ns
    waits_ns = [after - before for before, after in pairwise(tried_ns)]

    assert max(waits_ns) <= 2 * OPERATOR_RETRY_NS
    assert len(tried_ns) <= 7 * 86_400 // 100
    assert week.collector.stored_ns[0][0] - week.returned_ns <= 2 * OPERATOR_RETRY_NS


def test_what_is_live_goes_before_the_backlog(week: Return) -> None:
    """The newest batch of all is the first, and each that is sealed while the backlog goes is the very next."""
    order = [name for _, name in week.collector.stored_ns]

    assert len(week.live) > 10
    assert {name: order.index(name) for name in week.live} == week.live


def test_the_backlog_goes_at_its_pace_and_oldest_first(week: Return) -> None:
    """It begins slowly, speeds up with every batch that is stored, and keeps to the most that is allowed."""
    backlog = [(at_ns, name) for at_ns, name in week.collector.stored_ns if name not in week.live]
    names = [name for _, name in backlog]
    took_s = (backlog[-1][0] - backlog[0][0]) / NS_PER_S

    assert names == week.backlog
    assert len(backlog) == WEEK_BATCHES
    assert len(backlog) / BACKFILL_RATE_MAX * 0.9 <= took_s <= 3 * len(backlog) / BACKFILL_RATE_MAX
    # Whatever the live ones let it do: at least half of the interval at the highest pace lies between two.
    waits_ns = [after - before for (before, _), (after, _) in pairwise(backlog)]
    assert min(waits_ns) >= NS_PER_S / BACKFILL_RATE_MAX / 2
