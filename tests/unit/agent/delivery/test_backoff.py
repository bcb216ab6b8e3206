"""When to try again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leadline.clock import make_rng
from leadline_agent.delivery.backoff import BASE_S, CAP_S, draw_backoff_s


@given(st.integers(1, 10_000), st.integers())
def test_waits_are_below_a_ceiling_that_doubles(failures: int, seed: int) -> None:
    """Never negative, never above five minutes, never above base * 2^(n-1)."""
    wait_s = draw_backoff_s(failures, make_rng(seed))

    assert 0 <= wait_s <= min(CAP_S, BASE_S * 2 ** min(failures - 1, 20))


def test_agents_do_not_come_back_together() -> None:
    """500 agents after ten failures spread over the whole five minutes: each tenth of it gets some."""
    waits = [draw_backoff_s(10, make_rng(seed)) for seed in range(500)]

    assert {int(wait_s // (CAP_S / 10)) for wait_s in waits} == set(range(10))


@given(st.floats(0, 1e6), st.integers())
def test_what_the_collector_asks_for_is_waited_at_least(asked_s: float, seed: int) -> None:
    """Retry-After is a lower bound, itself bounded."""
    assert draw_backoff_s(1, make_rng(seed), asked_s) >= min(asked_s, CAP_S)
