"""Limits concurrent batches and buffered bytes; excess requests get 503 with Retry-After.

All of this runs on the single thread of the event loop: the counters need no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio

from leadline.wire.batch import BODY_BYTES_MAX
from leadline_collector.db.group_commit import StoreUnavailableError

#: Batches stored concurrently, one thread each. Pages and queries use the other threads of the server.
CONCURRENT_BATCHES_MAX = 32
#: Batches that wait for one of these threads. All agents of 500 sites may reconnect in the same second.
QUEUED_BATCHES_MAX = 512
#: Compressed bodies in memory: 64 of the maximum size, or one minute of 500 agents at 130 kB each.
BODY_MEMORY_BYTES = 64 * BODY_BYTES_MAX

T = TypeVar("T")


class AdmissionController:
    """Limits of concurrency and memory. Beyond them, requests fail with ``StoreUnavailableError`` (503)."""

    def __init__(
        self,
        concurrent_max: int = CONCURRENT_BATCHES_MAX,
        queued_max: int = QUEUED_BATCHES_MAX,
        memory_bytes: int = BODY_MEMORY_BYTES,
    ) -> None:
        self._thread_limiter = anyio.CapacityLimiter(concurrent_max)
        self._in_progress_max = concurrent_max + queued_max
        self._in_progress = 0
        self._free_bytes = memory_bytes

    @property
    def in_progress(self) -> int:
        """Number of batches being stored or queued."""
        return self._in_progress

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread as soon as one is free, and return its result."""
        if self._in_progress >= self._in_progress_max:
            raise StoreUnavailableError(f"{self._in_progress} batches are already queued; try again in a few seconds")
        self._in_progress += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._thread_limiter)
        finally:
            self._in_progress -= 1

    @contextmanager
    def reserve_memory(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that reserves memory: call it with the size of each chunk. Exit releases all of it."""
        total = 0

        def reserve(size: int) -> None:
            nonlocal total
            if size > self._free_bytes:
                raise StoreUnavailableError("too many large bodies at once; try again in a few seconds")
            self._free_bytes -= size
            total += size

        try:
            yield reserve
        finally:
            self._free_bytes += total
