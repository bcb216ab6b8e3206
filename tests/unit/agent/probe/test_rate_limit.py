"""The ceiling of packets a second at the place that sends."""

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
def test_no_more_than_the_rate_and_one_burst_pass(rate: int, gaps_ns: list[int]) -> None:
    """In every span of time that begins at the start."""
    ceiling, now_ns, taken = TokenBucket(rate, 0), 0, 0
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        taken += ceiling.try_consume(now_ns)
        # The nanoseconds of a packet are rounded down: 0.005 % at 50,000 a second.
        assert taken <= rate * (now_ns / S_NS + BURST_S) * 1.0001 + 1


def test_an_even_pace_at_the_rate_passes_for_ever() -> None:
    """The ceiling itself withholds nothing."""
    ceiling = TokenBucket(1_000, 0)

    assert all(ceiling.try_consume(number * MS) for number in range(10_000))


def test_what_is_above_the_ceiling_is_not_sent_and_no_loss() -> None:
    """Even when the aims, which nobody narrowed, ask for more: 100 packets a second where 10 are allowed."""
    clock = FakeClock()
    outcomes: list[ProbeResult] = []
    network = FakeNetwork(clock, lambda _: Fate(replies_ns=(MS,)))
    prober = Prober(
        clock=clock, rng=make_rng(1), on_result=outcomes.append, open_socket=network.open,
        packets_per_s=10,
    )  # fmt: skip
    prober.set_targets([build_probe_target(interval_ms=10, slots=1_000)])

    while not has_finished(prober):
        prober.run(clock.monotonic_ns() + S_NS)

    assert 10 * 10 <= len(network.sent) <= 10 * 10 + 10 * BURST_S + 1
    assert prober.counters.withheld == 1_000 - len(network.sent)
    assert {outcome.failure for outcome in outcomes} == {None, Failure.NOT_SENT}
    assert len(outcomes) == 1_000
