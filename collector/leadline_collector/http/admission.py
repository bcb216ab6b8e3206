"""How many requests are inside at once, and how much of them is held in memory: the rest is told to come again.

Everything here runs on the event loop, which is one thread: counting needs no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio

from leadline.wire.batch import BODY_BYTES_MAX
from leadline_collector.db.group_commit import StoreUnavailableError

#: Batches that are stored at once, a thread each; pages and questions have the other threads of the server.
CONCURRENT_BATCHES_MAX = 32
#: Batches that wait for one of those threads. All agents of 500 sites may come back in the same second.
QUEUED_BATCHES_MAX = 512
#: Bodies in memory, as they travelled: 64 of the largest, or 500 agents' minutes of 130 kB.
BODY_MEMORY_BYTES = 64 * BODY_BYTES_MAX

T = TypeVar("T")


class AdmissionController:
    """Lets so many in. ``StoreUnavailableError`` (503 with Retry-After) is what the others hear."""

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
        """Batches that are being stored or wait for it."""
        return self._in_progress

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, done in a thread when one is free."""
        if self._in_progress >= self._in_progress_max:
            raise StoreUnavailableError(f"{self._in_progress} batches are waiting already; try again in a few seconds")
        self._in_progress += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._thread_limiter)
        finally:
            self._in_progress -= 1

    @contextmanager
    def reserve_memory(self) -> Iterator[Callable[[int], None]]:
        """Call the value with the size of every piece that is kept; the room is free again at the end."""
        total = 0

        def keep(size: int) -> None:
            nonlocal total
            if size > self._free_bytes:
                raise StoreUnavailableError("too many large bodies at once; try again in a few seconds")
            self._free_bytes -= size
            total += size

        try:
            yield keep
        finally:
            self._free_bytes += total
