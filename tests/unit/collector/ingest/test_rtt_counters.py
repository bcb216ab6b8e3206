"""RTT counts of a window equal the counts of its slots, one by one."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from leadline.model import Failure, Miss, Window
from leadline.wire.batch import to_target_window
from leadline_collector.ingest.rtt_counters import LOSS_FAILURES, count_window
from leadline_collector.windows.rows import build_window_columns

EDGES_US = (100, 1_000, 5_000, 10_000, 100_000, 1_000_000)
RTT = st.one_of(st.sampled_from([0, *EDGES_US, *(edge + 1 for edge in EDGES_US)]), st.integers(0, 2_000_000))
SLOT = st.one_of(RTT, st.sampled_from(list(Failure)))


@given(st.lists(SLOT, min_size=60, max_size=60))
def test_a_window_is_counted_like_its_slots(slots: list[int | Failure]) -> None:
    """Buckets are upper-inclusive; sum, sent and every kind of loss are exact."""
    rtts = [slot for slot in slots if isinstance(slot, int)]
    misses = [Miss(number, slot, 1) for number, slot in enumerate(slots) if isinstance(slot, Failure)]
    window = Window(
        start_s=0,
        interval_ms=1_000,
        rtt_us=tuple(None if isinstance(slot, Failure) else slot for slot in slots),
        misses=tuple(misses),
    )
    series = to_target_window("x", "192.0.2.1", window)

    counts = count_window(series, build_window_columns(series), EDGES_US)

    losses = Counter(miss.failure for miss in misses)
    assert dict(counts.buckets) == Counter(bisect_left(EDGES_US, rtt) for rtt in rtts)
    assert counts.sum_us == sum(rtts)
    assert counts.loss_counts == tuple(losses[failure] for failure in LOSS_FAILURES)
    assert counts.sent == len(rtts) + sum(counts.loss_counts)
