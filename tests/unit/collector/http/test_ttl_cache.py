"""TTL cache: age, number of entries, and concurrent callers of one key."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from leadline_collector.http.ttl_cache import TtlCache
from tests.support.clock import FakeClock

AGE_S, NS = 60, 1_000_000_000
WAIT_S = 10.0


def counter() -> tuple[list[int], Callable[[], int]]:
    """Return the list of computed values, and a function that computes the next number."""
    values: list[int] = []

    def compute() -> int:
        values.append(len(values))
        return values[-1]

    return values, compute


def create_cache(clock: FakeClock, entries_max: int = 4) -> TtlCache[int]:
    return TtlCache(clock, age_s_max=AGE_S, entries_max=entries_max)


def test_a_value_is_cached_until_its_age_limit() -> None:
    """Each key has its own value."""
    clock = FakeClock()
    cache, (values, compute) = create_cache(clock), counter()

    results = [cache.get_or_compute(key, compute) for key in ("a", "a", "b")]
    clock.advance(AGE_S * NS - 1)
    results.append(cache.get_or_compute("a", compute))
    clock.advance(1)
    results.append(cache.get_or_compute("a", compute))

    assert (results, values) == ([0, 0, 1, 0, 2], [0, 1, 2])


def test_the_least_recently_used_entry_is_evicted() -> None:
    """The number of entries never exceeds the limit."""
    cache, (_, compute) = create_cache(FakeClock(), entries_max=2), counter()

    results = [cache.get_or_compute(key, compute) for key in ("a", "b", "a", "c", "a", "b")]

    assert results == [0, 1, 0, 2, 0, 3]


def test_concurrent_callers_share_one_computation() -> None:
    """Eight callers wait for a single computation."""
    cache, (values, compute) = create_cache(FakeClock()), counter()
    started, may_end = threading.Event(), threading.Event()

    def compute_slowly() -> int:
        started.set()
        assert may_end.wait(WAIT_S)
        return compute()

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(cache.get_or_compute, "a", compute_slowly) for _ in range(8)]
        assert started.wait(WAIT_S)
        may_end.set()
        assert [future.result(WAIT_S) for future in futures] == [0] * 8

    assert values == [0]


def test_callers_that_wait_share_a_value_that_took_longer_than_its_age() -> None:
    """They do not compute it one after another; a later caller does."""
    clock = FakeClock()
    cache, (values, compute) = create_cache(clock), counter()
    started, may_end = threading.Event(), threading.Event()

    def compute_slowly() -> int:
        started.set()
        assert may_end.wait(WAIT_S)
        clock.advance(2 * AGE_S * NS)
        return compute()

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(cache.get_or_compute, "a", compute_slowly) for _ in range(8)]
        assert started.wait(WAIT_S)
        may_end.set()
        assert [future.result(WAIT_S) for future in futures] == [0] * 8
    clock.advance(NS)

    assert values == [0]
    assert cache.get_or_compute("a", compute) == 1


def test_age_counts_from_the_start_of_the_computation() -> None:
    """The value does not contain changes made during the computation."""
    clock = FakeClock()
    cache, (_, compute) = create_cache(clock), counter()

    def compute_slowly() -> int:
        clock.advance(10 * NS)
        return compute()

    results = [cache.get_or_compute("a", compute_slowly)]
    clock.advance((AGE_S - 10) * NS - 1)
    results.append(cache.get_or_compute("a", compute))
    clock.advance(1)
    results.append(cache.get_or_compute("a", compute))

    assert results == [0, 0, 1]


def test_an_error_is_not_cached() -> None:
    """The next caller computes again."""
    cache, (_, compute) = create_cache(FakeClock()), counter()

    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute("a", lambda: 1 // 0)

    assert cache.get_or_compute("a", compute) == 0
