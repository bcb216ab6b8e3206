"""Back-off delays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leadline.clock import make_rng
from leadline_agent.delivery.backoff import BASE_S, CAP_S, draw_backoff_s


@given(st.integers(1, 10_000), st.integers())
def test_delay_is_below_a_doubling_ceiling(failures: int, seed: int) -> None:
    """The delay is never negative, above five minutes or above base * 2^(n-1)."""
    delay_s = draw_backoff_s(failures, make_rng(seed))

    assert 0 <= delay_s <= min(CAP_S, BASE_S * 2 ** min(failures - 1, 20))


def test_retries_of_many_agents_are_spread() -> None:
    """After ten failures, the retries of 500 agents fall into every tenth of the five minutes."""
    delays_s = [draw_backoff_s(10, make_rng(seed)) for seed in range(500)]

    assert {int(delay_s // (CAP_S / 10)) for delay_s in delays_s} == set(range(10))


@given(st.floats(0, 1e6), st.integers())
def test_retry_after_is_a_lower_bound(retry_after_s: float, seed: int) -> None:
    """Retry-After, limited to the cap, is a lower bound of the delay."""
    assert draw_backoff_s(1, make_rng(seed), retry_after_s) >= min(retry_after_s, CAP_S)
