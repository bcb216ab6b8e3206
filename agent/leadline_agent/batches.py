"""Batches: sealed windows with a number, and the queue they wait in until they are acknowledged."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from leadline import wire
from leadline.clock import Clock
from leadline_agent.frames import Sealed
from leadline_agent.push import pack

log = logging.getLogger(__name__)

#: A minute of 50 targets is 6 kB packed: more than a week of it.
QUEUE_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Packed:
    """A sealed batch as it travels."""

    seq: int
    body: bytes
    windows: int


class BatchQueue:
    """Batches between sealing and acknowledgement, in memory, oldest first and bounded."""

    def __init__(self, bytes_max: int = QUEUE_BYTES_MAX) -> None:
        self._batches: deque[Packed] = deque()
        self._bytes_max = bytes_max
        self._bytes = 0
        self._changed = threading.Condition()
        #: Windows given up because the queue was full.
        self.windows_dropped = 0

    def __len__(self) -> int:
        return len(self._batches)

    def put(self, batch: Packed) -> None:
        """Append a batch; the oldest go when there is no room."""
        with self._changed:
            self._batches.append(batch)
            self._bytes += len(batch.body)
            while self._bytes > self._bytes_max and len(self._batches) > 1:
                dropped = self._take_oldest()
                self.windows_dropped += dropped.windows
                log.error("queue full, batch dropped", extra={"seq": dropped.seq, "windows": dropped.windows})
            self._changed.notify()

    def oldest(self) -> Packed | None:
        """The batch to send next; it stays until ``done``."""
        with self._changed:
            return self._batches[0] if self._batches else None

    def done(self, batch: Packed) -> None:
        """Remove a batch, if overflow has not removed it already."""
        with self._changed:
            if self._batches and self._batches[0] is batch:
                self._take_oldest()

    def wait(self, timeout_s: float) -> None:
        """Return when something was put, or after ``timeout_s``."""
        with self._changed:
            self._changed.wait(timeout_s)

    def wake(self) -> None:
        """Let ``wait`` return."""
        with self._changed:
            self._changed.notify_all()

    def _take_oldest(self) -> Packed:
        batch = self._batches.popleft()
        self._bytes -= len(batch.body)
        return batch


class Sealer:
    """Makes batches of sealed windows and numbers them; the only place that gives out sequence numbers."""

    def __init__(self, agent: str, clock: Clock) -> None:
        self._agent, self._clock = agent, clock
        self._epoch = secrets.token_hex(16)
        self._seq = 0

    def seal(self, sealed: Sealed) -> Iterator[Packed]:
        """One batch, or several where one would hold too many windows."""
        for first in range(0, len(sealed.windows), wire.SERIES_MAX):
            windows = sealed.windows[first : first + wire.SERIES_MAX]
            batch = wire.Batch(
                v=wire.WIRE_VERSION,
                agent=self._agent,
                epoch=self._epoch,
                seq=self._seq,
                mesh_version=sealed.mesh_version,
                sealed_at_us=self._clock.wall_ns() // 1_000,
                monotonic_us=self._clock.monotonic_ns() // 1_000,
                series=windows,
            )
            yield Packed(self._seq, pack(batch), len(windows))
            self._seq += 1
