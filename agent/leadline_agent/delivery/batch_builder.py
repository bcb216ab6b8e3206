"""Builds batches from complete windows: ids, clock readings and loss reports.

Rule 1: a batch is encoded once; every upload sends the same bytes.
Rule 2: every batch reports the losses (loss records of the spool) that the collector has not acknowledged yet. A loss
may be reported several times; the collector identifies it by its sequence numbers.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Sequence
from typing import Any

from leadline.clock import Clock
from leadline.model import WINDOW_S
from leadline.wire import codec
from leadline.wire.batch import GAPS_MAX, SERIES_MAX, TIME_S_MAX, WIRE_VERSION, Batch, Gap, GapReason, TargetWindow
from leadline_agent.host_clock import ClockOffset, read_boot_id, read_clock_state
from leadline_agent.probe.ipc import WindowsMessage
from leadline_agent.spool.index import BatchId, PackedBatch
from leadline_agent.spool.loss_records import LossRecord
from leadline_agent.spool.spool import Spool

#: Level 6 takes twice the time and saves 3 % on RTT columns.
GZIP_LEVEL = 4


def pack_batch(batch: Batch) -> bytes:
    """Return the request body of a batch; the same batch always gives the same bytes."""
    return gzip.compress(codec.encode(batch), compresslevel=GZIP_LEVEL, mtime=0)


def unpack_batch(body: bytes) -> Batch:
    """Return the batch of a body made by ``pack_batch``."""
    return codec.decode(gzip.decompress(body), Batch)


class BatchBuilder:
    """Builds batches and appends them to the spool. Thread-safe."""

    def __init__(self, agent: str, spool: Spool, clock: Clock) -> None:
        self._agent, self._spool, self._clock = agent, spool, clock
        self._boot_id = read_boot_id()
        self._lock = threading.Lock()
        #: Offset measured by the last successful upload; the uploader sets it.
        self.clock_offset: ClockOffset | None = None
        #: Losses by the batch that reports them, until it is acknowledged.
        self._reported_losses: dict[BatchId, tuple[LossRecord, ...]] = {}

    def build(self, message: WindowsMessage) -> None:
        """Append windows to the spool, as one batch, or as several if they exceed the limit of a batch."""
        for first in range(0, len(message.windows), SERIES_MAX):
            self._build_batch(message.mesh_version, message.windows[first : first + SERIES_MAX])

    def split(self, body: bytes) -> None:
        """Append the windows of a batch that is too large as two batches of half the size."""
        batch = unpack_batch(body)
        half = (len(batch.series) + 1) // 2
        for series in (batch.series[:half], batch.series[half:]):
            self._rebuild_batch(batch, series)

    def reissue(self, body: bytes) -> None:
        """Append the windows of a batch again under a new id, because its id is taken."""
        batch = unpack_batch(body)
        self._rebuild_batch(batch, batch.series)

    def acknowledge(self, batch_id: BatchId) -> None:
        """Mark the losses that an acknowledged batch reported as delivered."""
        with self._lock:
            losses = self._reported_losses.pop(batch_id, ())
        if losses:
            self._spool.mark_delivered(losses)

    def _build_batch(self, mesh_version: int, series: Sequence[TargetWindow]) -> None:
        losses = tuple(self._spool.list_undelivered_losses()[:GAPS_MAX])
        self._append_batch(series, losses, mesh_version=mesh_version, **self._read_clock_fields())

    def _rebuild_batch(self, batch: Batch, series: Sequence[TargetWindow]) -> None:
        """Append windows of an existing batch with its clock readings."""
        clock_fields = {name: getattr(batch, name) for name in _CLOCK_FIELDS}
        self._append_batch(series, (), mesh_version=batch.mesh_version, **clock_fields)

    def _read_clock_fields(self) -> dict[str, Any]:
        offset = self.clock_offset
        return {
            "sealed_at_us": self._clock.wall_ns() // 1_000,
            "monotonic_us": self._clock.monotonic_ns() // 1_000,
            "boottime_us": self._clock.boottime_ns() // 1_000,
            "boot_id": self._boot_id,
            "clock": read_clock_state(),
            "clock_offset_us": offset.offset_us if offset else None,
            "clock_offset_error_us": offset.error_us if offset else None,
        }

    def _append_batch(self, series: Sequence[TargetWindow], losses: tuple[LossRecord, ...], **fields: Any) -> None:
        batch_id = self._spool.reserve_id()
        batch = Batch(
            v=WIRE_VERSION,
            agent=self._agent,
            epoch=batch_id.epoch,
            seq=batch_id.seq,
            series=list(series),
            gaps=[_build_gap(loss) for loss in losses],
            **fields,
        )
        if losses:
            with self._lock:
                self._reported_losses[batch_id] = losses
        # Limit the times to what the spool can index. The collector refuses such a batch; the agent must not crash.
        times = [min(window.start_s, TIME_S_MAX) for window in series]
        self._spool.append(
            PackedBatch(
                id=batch_id, body=pack_batch(batch), windows=len(series), t_first_s=min(times), t_last_s=max(times)
            )
        )


#: Fields of a batch that describe the clocks at the time it was built.
_CLOCK_FIELDS = (
    "sealed_at_us",
    "monotonic_us",
    "boottime_us",
    "boot_id",
    "clock",
    "clock_offset_us",
    "clock_offset_error_us",
)


def _build_gap(loss: LossRecord) -> Gap:
    """Return the gap of a loss on the wire: half-open, from time 0 if the start is unknown.

    The times are limited to the range of the wire format: the collector would refuse every batch that reports an
    invalid gap.
    """
    first_s = min(loss.t_first_s or 0, TIME_S_MAX - WINDOW_S)
    last_s = first_s if loss.t_last_s is None else min(loss.t_last_s, TIME_S_MAX - WINDOW_S)
    return Gap(
        reason=GapReason(loss.reason),
        from_s=first_s,
        to_s=last_s + WINDOW_S,
        windows=loss.windows,
        first_seq=loss.first_seq,
        last_seq=loss.last_seq,
        epoch=loss.epoch,
    )
