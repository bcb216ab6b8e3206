"""TTL cache; concurrent callers with the same key share one computation."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Condition
from typing import Generic, TypeVar

from cachetools import TLRUCache, cached

from leadline.clock import Clock

V = TypeVar("V")
NS_PER_S = 1_000_000_000


class TtlCache(Generic[V]):
    """Thread-safe LRU cache with bounds on age and number of entries."""

    def __init__(self, clock: Clock, *, age_s_max: int, entries_max: int) -> None:
        def expires_ns(_key: Hashable, entry: tuple[V, int], now_ns: int) -> int:
            # Age counts from the start of the computation. An entry stays at least 1 s for callers that wait for it.
            return max(entry[1] + age_s_max * NS_PER_S, now_ns + NS_PER_S)

        @cached(
            TLRUCache[Hashable, tuple[V, int], int](entries_max, expires_ns, clock.monotonic_ns),
            key=lambda key, _compute: key,
            condition=Condition(),
        )
        def entry(_key: Hashable, compute: Callable[[], V]) -> tuple[V, int]:
            started_ns = clock.monotonic_ns()
            return compute(), started_ns

        self._entry = entry

    def get_or_compute(self, key: Hashable, compute: Callable[[], V]) -> V:
        """Return the cached value or compute it; errors are not cached, the next caller tries again."""
        return self._entry(key, compute)[0]
