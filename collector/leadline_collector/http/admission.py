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
STORING_MAX = 32
#: Batches that wait for one of those threads. All agents of 500 sites may come back in the same second.
WAITING_MAX = 512
#: Bodies in memory, as they travelled: 64 of the largest, or 500 agents' minutes of 130 kB.
ROOM_BYTES = 64 * BODY_BYTES_MAX

Result = TypeVar("Result")


class Door:
    """Lets so many in. ``StoreUnavailableError`` (503 with Retry-After) is what the others hear."""

    def __init__(
        self, storing_max: int = STORING_MAX, waiting_max: int = WAITING_MAX, room_bytes: int = ROOM_BYTES
    ) -> None:
        self._threads = anyio.CapacityLimiter(storing_max)
        self._inside_max = storing_max + waiting_max
        self._inside = 0
        self._room_bytes = room_bytes

    @property
    def inside(self) -> int:
        """Batches that are being stored or wait for it."""
        return self._inside

    async def run(self, work: Callable[[], Result]) -> Result:
        """What ``work`` returns, done in a thread when one is free."""
        if self._inside >= self._inside_max:
            raise StoreUnavailableError(f"{self._inside} batches are waiting already; try again in a few seconds")
        self._inside += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._threads)
        finally:
            self._inside -= 1

    @contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """Call the value with the size of every piece that is kept; the room is free again at the end."""
        total = 0

        def keep(size: int) -> None:
            nonlocal total
            if size > self._room_bytes:
                raise StoreUnavailableError("too many large bodies at once; try again in a few seconds")
            self._room_bytes -= size
            total += size

        try:
            yield keep
        finally:
            self._room_bytes += total
