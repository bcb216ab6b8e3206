"""Windows from probe results."""

from __future__ import annotations

from leadline.model import ErrorBound, Failure, Miss, ProbeSettings
from leadline_agent.probe.results import ProbeResult, ProbeTarget
from leadline_agent.probe.window_builder import WindowBuilder, compute_error_bound

START_S = 1_700_000_040
TARGET = ProbeTarget(name="zrh", address="192.0.2.1", settings=ProbeSettings(interval_ms=20_000))
LOOPBACK = ProbeTarget(name="~loopback4", address="127.0.0.1", settings=ProbeSettings(interval_ms=200))
FIRST_SLOT = START_S // 20


def test_window_has_each_result_in_its_slot() -> None:
    """The order of the results does not matter. RTTs are rounded up to microseconds."""
    builder = WindowBuilder()
    builder.add(ProbeResult(TARGET, FIRST_SLOT + 2, failure=Failure.TIMEOUT))
    builder.add(ProbeResult(TARGET, FIRST_SLOT, rtt_ns=1_000_001))
    builder.add_duplicate(TARGET, FIRST_SLOT)

    ((target, window),) = builder.flush(START_S + 60)

    assert (target, window.start_s, window.duplicates) == (TARGET, START_S, 1)
    assert window.rtt_us == (1_001, None, None)
    assert window.misses == (Miss(1, Failure.NOT_SENT), Miss(2, Failure.TIMEOUT))


def test_window_is_flushed_once() -> None:
    """Results after the flush are dropped."""
    builder = WindowBuilder()
    builder.add(ProbeResult(TARGET, FIRST_SLOT, rtt_ns=1))
    builder.flush(START_S + 60)
    builder.add(ProbeResult(TARGET, FIRST_SLOT + 1, rtt_ns=1))

    assert builder.flush(START_S + 60) == []


def test_only_complete_minutes_are_flushed() -> None:
    """The next minute stays open."""
    builder = WindowBuilder()
    builder.add(ProbeResult(TARGET, FIRST_SLOT, rtt_ns=1))
    builder.add(ProbeResult(TARGET, FIRST_SLOT + 3, rtt_ns=1))

    assert [window.start_s for _, window in builder.flush(START_S + 60)] == [START_S]
    assert [window.start_s for _, window in builder.flush(START_S + 120)] == [START_S + 60]


def test_error_bound_is_loopback_plus_timestamp_uncertainty() -> None:
    """For each percentile: 300 loopback RTTs of 1 to 300 µs, and a timestamp uncertainty of 2 µs."""
    builder = WindowBuilder()
    builder.add(ProbeResult(TARGET, FIRST_SLOT, rtt_ns=9_000_000, error_ns=2_000))
    for index in range(300):
        builder.add_loopback(ProbeResult(LOOPBACK, START_S * 5 + index, rtt_ns=(index + 1) * 1_000))

    ((_, window),) = builder.flush(START_S + 60)

    assert window.error_bound == ErrorBound(p50_us=152, p99_us=299)


def test_error_bound_without_loopback_is_none() -> None:
    """An unmeasured error bound is None, not 0."""
    assert (compute_error_bound([], [0]), compute_error_bound([5], [])) == (None, None)
