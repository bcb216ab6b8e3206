"""Batches and the queue they wait in."""

from __future__ import annotations

import gzip

from leadline import wire
from leadline.model import window_of
from leadline_agent.batches import BatchQueue, Packed, Sealer
from leadline_agent.frames import Sealed
from tests.fakes import FakeClock

MINUTE = wire.series("zrh-a1", "192.0.2.1", window_of(1_700_000_040, 1_000, {0: 5_000}, []))


def packed(seq: int, size: int = 10) -> Packed:
    return Packed(seq, b"x" * size, windows=1)


def test_a_batch_stays_until_it_is_done() -> None:
    """Looking at the oldest does not take it out."""
    queue = BatchQueue()
    first, second = packed(0), packed(1)
    queue.put(first)
    queue.put(second)

    assert (queue.oldest(), queue.oldest(), len(queue)) == (first, first, 2)
    queue.done(first)
    assert (queue.oldest(), len(queue)) == (second, 1)


def test_a_full_queue_gives_up_the_oldest_and_counts_it() -> None:
    """At the limit all stay; one byte past it the oldest goes."""
    queue = BatchQueue(bytes_max=20)
    queue.put(packed(0))
    queue.put(packed(1))
    assert queue.windows_dropped == 0

    queue.put(packed(2, size=1))

    oldest = queue.oldest()
    assert oldest is not None
    assert (oldest.seq, queue.windows_dropped) == (1, 1)


def test_a_batch_that_overflow_removed_while_it_was_sent_is_done_without_harm() -> None:
    """Its acknowledgement must not take out the one behind it."""
    queue = BatchQueue(bytes_max=20)
    sending = packed(0)
    for batch in (sending, packed(1), packed(2)):
        queue.put(batch)

    queue.done(sending)

    assert len(queue) == 2


def test_one_batch_larger_than_the_queue_is_kept() -> None:
    """There is always the newest."""
    queue = BatchQueue(bytes_max=5)
    queue.put(packed(0, size=50))

    assert len(queue) == 1


def test_sealing_numbers_batches_without_gaps() -> None:
    """Also where one minute needs several; every one decodes to what went in."""
    sealer = Sealer("fra-a1", FakeClock())
    many = Sealed(3, [MINUTE] * (wire.SERIES_MAX + 1))
    batches = [*sealer.seal(many), *sealer.seal(Sealed(4, [MINUTE]))]
    decoded = [wire.decode(gzip.decompress(batch.body), wire.Batch) for batch in batches]

    assert [(batch.seq, batch.mesh_version, len(batch.series)) for batch in decoded] == [
        (0, 3, wire.SERIES_MAX),
        (1, 3, 1),
        (2, 4, 1),
    ]
    assert len({batch.epoch for batch in decoded}) == 1
    assert decoded[2].series[0] == MINUTE
