"""Rate limit for failed attempts of each client."""

from __future__ import annotations

from leadline_collector.auth.failure_limit import CLIENTS_MAX, FAILURES_PER_PERIOD_MAX, FailureRateLimiter
from tests.support.clock import FakeClock

SECOND = 1_000_000_000


def test_a_client_waits_after_too_many_failures_and_no_other_does() -> None:
    """After the last allowed failure the client must wait until the minute is over."""
    clock = FakeClock()
    limit = FailureRateLimiter(clock)
    for _ in range(FAILURES_PER_PERIOD_MAX):
        assert limit.retry_after_s("a") == 0
        limit.record_failure("a")

    assert (limit.retry_after_s("a"), limit.retry_after_s("b")) == (60, 0)
    clock.advance(59 * SECOND + 1)
    assert limit.retry_after_s("a") == 1
    clock.advance(SECOND)
    assert limit.retry_after_s("a") == 0


def test_the_number_of_tracked_clients_is_bounded() -> None:
    """A new client replaces the oldest one."""
    limit = FailureRateLimiter(FakeClock(), failures_max=1)
    for number in range(CLIENTS_MAX + 1):
        limit.record_failure(f"peer{number}")

    assert (limit.retry_after_s("peer0"), limit.retry_after_s("peer1"), limit.retry_after_s(f"peer{CLIENTS_MAX}")) == (
        0,
        60,
        60,
    )
