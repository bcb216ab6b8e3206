"""Failed attempts of each client are limited."""

from __future__ import annotations

from leadline_collector.auth.failure_limit import FAILURES_MAX, PEERS_MAX, FailureLimit
from tests.support.clock import FakeClock

SECOND = 1_000_000_000


def test_a_peer_waits_after_too_many_failures_and_no_other_does() -> None:
    """The last allowed failure closes the door until the minute is over."""
    clock = FakeClock()
    limit = FailureLimit(clock)
    for _ in range(FAILURES_MAX):
        assert limit.wait_s("a") == 0
        limit.failed("a")

    assert (limit.wait_s("a"), limit.wait_s("b")) == (60, 0)
    clock.advance(59 * SECOND + 1)
    assert limit.wait_s("a") == 1
    clock.advance(SECOND)
    assert limit.wait_s("a") == 0


def test_memory_for_peers_is_bounded() -> None:
    """One more than there is room for: the one known longest is forgotten."""
    limit = FailureLimit(FakeClock(), failures_max=1)
    for number in range(PEERS_MAX + 1):
        limit.failed(f"peer{number}")

    assert (limit.wait_s("peer0"), limit.wait_s("peer1"), limit.wait_s(f"peer{PEERS_MAX}")) == (0, 60, 60)
