"""Packet rate limit of the prober."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leadline.clock import make_rng
from leadline.model import Failure
from leadline_agent.probe.engine import Prober
from leadline_agent.probe.rate_limit import BURST_S, TokenBucket
from leadline_agent.probe.results import ProbeResult
from tests.support.clock import FakeClock
from tests.support.fake_probe_socket import MS, FakeNetwork, Fate, build_probe_target
from tests.support.probing import has_finished

S_NS = 1_000_000_000


@given(st.integers(1, 50_000), st.lists(st.integers(0, S_NS // 2), max_size=300))
def test_rate_and_one_burst_are_the_maximum(rate: int, gaps_ns: list[int]) -> None:
    """The limit applies to every period from the start."""
    bucket, now_ns, count = TokenBucket(rate, 0), 0, 0
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        count += bucket.try_consume(now_ns)
        # The token time is rounded down: 0.005 % at 50,000 a second.
        assert count <= rate * (now_ns / S_NS + BURST_S) * 1.0001 + 1


def test_even_pace_at_the_rate_always_passes() -> None:
    """A constant rate at the limit loses no packet."""
    bucket = TokenBucket(1_000, 0)

    assert all(bucket.try_consume(number * MS) for number in range(10_000))


def test_slot_above_the_rate_is_not_sent_and_no_loss() -> None:
    """Targets of 100 packets a second pass a limit of 10 only at the limit; the rest is NOT_SENT."""
    clock = FakeClock()
    results: list[ProbeResult] = []
    network = FakeNetwork(clock, lambda _: Fate(replies_ns=(MS,)))
    prober = Prober(
        clock=clock, rng=make_rng(1), on_result=results.append, open_socket=network.open,
        packets_per_s=10,
    )  # fmt: skip
    prober.set_targets([build_probe_target(interval_ms=10, slots=1_000)])

    while not has_finished(prober):
        prober.run(clock.monotonic_ns() + S_NS)

    assert 10 * 10 <= len(network.sent) <= 10 * 10 + 10 * BURST_S + 1
    assert prober.counters.withheld == 1_000 - len(network.sent)
    assert {result.failure for result in results} == {None, Failure.NOT_SENT}
    assert len(results) == 1_000
