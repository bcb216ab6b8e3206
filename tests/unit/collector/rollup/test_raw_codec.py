"""Codec of raw chunks: lossless and small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.model import FAILURES_WITH_DETAIL, RTT_US_MAX, ErrorBound, Failure, Miss, Window, build_window
from leadline.wire.batch import to_target_window
from leadline_collector.rollup import byte_shuffle
from leadline_collector.rollup.raw_codec import FAILURE_CODES, Chunk, to_rtt_column
from leadline_collector.windows.dirty_hours import HOUR_S

HOUR = 1_795_327_200


def chunk(windows: list[Window]) -> Chunk:
    """Build a chunk as compaction does."""
    target_windows = [to_target_window("a", "192.0.2.1", window) for window in windows]
    slots = [rtt for target_window in target_windows for rtt in target_window.rtt_us]
    return Chunk.from_windows(HOUR, target_windows, to_rtt_column(slots))


@st.composite
def windows(draw: st.DrawFn) -> list[Window]:
    """Draw some minutes of an hour with any interval, RTTs, every failure, duplicates and error bounds."""
    return [draw(window(HOUR + 60 * minute)) for minute in sorted(draw(st.sets(st.integers(0, 59), max_size=4)))]


@st.composite
def window(draw: st.DrawFn, start_s: int) -> Window:
    interval_ms = draw(st.sampled_from([5_000, 10_000, 20_000, 60_000]))
    slots = 60_000 // interval_ms
    answered = draw(st.dictionaries(st.integers(0, slots - 1), st.integers(0, RTT_US_MAX)))
    failures = {slot: draw(st.sampled_from(list(Failure))) for slot in range(slots) if slot not in answered}
    misses = [
        Miss(slot, failure, draw(number if failure in FAILURES_WITH_DETAIL else st.none() | number))
        for slot, failure in failures.items()
    ]
    bound = draw(st.none() | st.tuples(st.integers(0, 99), st.integers(0, RTT_US_MAX - 99)))
    return build_window(
        start_s,
        interval_ms,
        answered,
        misses,
        duplicates=draw(number),
        error_bound=None if bound is None else ErrorBound(p50_us=bound[0], p99_us=sum(bound)),
    )


number = st.integers(0, RTT_US_MAX)


@given(windows())
def test_a_chunk_is_lossless(before: list[Window]) -> None:
    """RTTs, failures with their details, intervals, duplicates and bounds are unchanged after encode and decode."""
    assert Chunk.decode(chunk(before).encode()).to_windows(HOUR) == before


@given(windows())
def test_counts_are_those_of_the_windows(before: list[Window]) -> None:
    """The counters are the sums of duplicates and failures of the hour."""
    after = Chunk.decode(chunk(before).encode())

    failures = [miss.failure for window in before for miss in window.misses]
    assert after.compute_counters() == (
        sum(window.duplicates for window in before),
        *(failures.count(failure) for failure in Failure),
    )


def test_every_failure_has_its_own_code() -> None:
    """The codes are complete, unique and not 0."""
    assert set(FAILURE_CODES) == set(Failure)
    assert len(set(FAILURE_CODES.values())) == len(Failure)
    assert 0 not in FAILURE_CODES.values()


def test_an_hour_of_probes_takes_less_than_a_byte_and_a_half_each() -> None:
    """Noise of 150 µs on 8 ms, one spike in 200 probes and two losses are some ten bits of information per probe."""
    rng = np.random.default_rng(7)
    noise = (8_000 + rng.gamma(2, 150, HOUR_S) + (rng.random(HOUR_S) < 0.005) * rng.exponential(5_000, HOUR_S)).tolist()
    slots = [int(rtt) for rtt in noise]
    hour = [
        build_window(
            HOUR + 60 * minute,
            1_000,
            {slot: slots[60 * minute + slot] for slot in range(60) if (minute, slot) not in {(7, 3), (50, 59)}},
            [Miss(slot, Failure.TIMEOUT) for lost_minute, slot in ((7, 3), (50, 59)) if lost_minute == minute],
            error_bound=ErrorBound(p50_us=12, p99_us=40 + minute % 3),
        )
        for minute in range(60)
    ]

    assert len(chunk(hour).encode()) < 1.4 * HOUR_S


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02" + bytes(20)])
def test_bytes_that_are_not_a_chunk_are_refused(data: bytes) -> None:
    """They are truncated or have an unknown version."""
    with pytest.raises(ValueError, match="chunk"):
        Chunk.decode(data)


def test_a_damaged_chunk_is_refused() -> None:
    """A block cannot be inflated, or has another length."""
    data = bytearray(chunk([build_window(HOUR, 1_000, dict.fromkeys(range(60), 700), ())]).encode())
    data[16] ^= 0xFF

    with pytest.raises(ValueError):
        Chunk.decode(bytes(data))


@given(st.lists(st.integers(0, (1 << 32) - 1), max_size=40))
def test_planes_are_lossless(values: list[int]) -> None:
    """Values of any width are unchanged."""
    before = np.array(values, np.uint32)

    after = byte_shuffle.join_planes(byte_shuffle.split_planes(before, byte_shuffle.count_planes(before)))

    assert after.tolist() == values
