"""Filling of ``latency_p95_us`` from single RTTs."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from leadline.model import Failure
from leadline.statistics import compute_stats
from leadline.wire.batch import to_target_window
from leadline_collector.rollup import window_codec
from leadline_collector.rollup.latency_p95 import fill_latency_p95
from leadline_collector.rollup.raw_codec import Chunk, to_rtt_column
from leadline_verdict.series import COLUMNS, MISSING
from tests.support.documents import NOW_S, build_window

_LATENCY_P95 = COLUMNS.index("latency_p95_us")
slots = st.lists(st.none() | st.integers(1, 99), min_size=60, max_size=60)
few_losses = st.lists(st.integers(1, 99), min_size=56, max_size=59).map(
    lambda rtts: [*rtts, *[None] * (60 - len(rtts))]
)


def build_chunk(minutes: Sequence[Sequence[int | None]]) -> Chunk:
    """Build a chunk with a window in every second minute."""
    windows = [
        to_target_window("ams1", "192.0.2.1", build_window(rtts_us, NOW_S + 120 * n))
        for n, rtts_us in enumerate(minutes)
    ]
    return Chunk.from_windows(NOW_S, windows, to_rtt_column([rtt for window in windows for rtt in window.rtt_us]))


@given(st.lists(few_losses | slots, min_size=1, max_size=5))
def test_missing_values_are_those_of_the_statistics(minutes: list[list[int | None]]) -> None:
    """Every window gets the value that ingest would have stored, also none."""
    (hour,) = window_codec.make_empty_hours(1)
    expected = hour[_LATENCY_P95].copy()
    for n, rtts_us in enumerate(minutes):
        stats = compute_stats(rtts_us, [Failure.TIMEOUT for rtt_us in rtts_us if rtt_us is None])
        for name in ("expected", "sent", "received"):
            hour[COLUMNS.index(name), 2 * n] = getattr(stats, name)
        expected[2 * n] = MISSING if stats.latency_p95_us is None else stats.latency_p95_us

    fill_latency_p95(hour, build_chunk(minutes))

    assert hour[_LATENCY_P95].tolist() == expected.tolist()


def test_values_of_other_rtts_are_not_used() -> None:
    """A chunk that has another number of replies belongs to another version of the window."""
    (hour,) = window_codec.make_empty_hours(1)
    for name, count in (("expected", 60), ("sent", 60), ("received", 58)):
        hour[COLUMNS.index(name), 0] = count

    fill_latency_p95(hour, build_chunk([[5] * 57 + [None] * 3]))

    assert (hour[_LATENCY_P95] == MISSING).all()
