"""Lossless codec of table ``chunk``: one hour of raw RTTs of a path in some 1.3 bytes per probe.

A chunk contains the minutes with a window, the RTT or the failure with its detail of every slot, and the interval,
duplicates and error bound of every window. It does not contain the probed address and the batch; the journal has them.

Version 1 is a header, a deflated block of columns (windows, then misses), and one deflated block for each byte plane of
RTT - min. A later version gets another first byte; decoders keep reading old versions.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct, error
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from leadline.model import WINDOW_S, ErrorBound, Failure, Miss, Window
from leadline_collector.rollup import byte_shuffle
from leadline_collector.rollup.byte_shuffle import UnsignedArray
from leadline_verdict.series import MISSING, IntColumn

VERSION = 1
#: Version, windows, planes of RTTs, slots without RTT, smallest RTT, length of the block of columns.
_HEADER = Struct("<BBBIII")
_BLOCK_LENGTH = Struct("<I")

#: Stored code of each failure. Codes never change; a new failure gets the next one.
FAILURE_CODES = {
    Failure.TIMEOUT: 1,
    Failure.LATE: 2,
    Failure.UNREACHABLE: 3,
    Failure.SEND_ERROR: 4,
    Failure.LOCAL_DROP: 5,
    Failure.LOCAL_STALL: 6,
    Failure.NOT_SENT: 7,
    Failure.RESOLVE_ERROR: 8,
}
_FAILURE_BY_CODE = {code: failure for failure, code in FAILURE_CODES.items()}
#: Columns of the windows and of the misses in a chunk, each 32 bits; nullable ones are stored plus 1, MISSING as 0.
_WINDOW_COLUMN_COUNT, _MISS_COLUMN_COUNT = 5, 3


class WindowMeta(Protocol):
    """A window without its slots, from a wire batch or from the journal."""

    @property
    def start_s(self) -> int: ...
    @property
    def interval_ms(self) -> int: ...
    @property
    def misses(self) -> Sequence[Miss]: ...
    @property
    def duplicates(self) -> int: ...
    @property
    def error_us(self) -> ErrorBound | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Every slot of the windows of a path within an hour, as columns."""

    #: Minutes of the hour with a window, ascending. This and the next four columns have one entry per window.
    minutes: IntColumn
    interval_ms: IntColumn
    duplicates: IntColumn
    #: MISSING for a window without an error bound.
    error_p50_us: IntColumn
    error_p99_us: IntColumn
    #: One entry per slot, window after window; MISSING for a miss.
    rtt_us: IntColumn
    #: One entry per miss, in order of slots (``FAILURE_CODES``).
    failure_codes: IntColumn
    #: MISSING for a failure without a detail.
    failure_details: IntColumn

    @classmethod
    def from_windows(cls, hour_s: int, windows: Sequence[WindowMeta], rtt_us: IntColumn) -> Chunk:
        """Build a chunk from the windows of one path in the hour at ``hour_s``, in order of time.

        ``rtt_us`` are their slots as one column (``to_rtt_column``).
        """
        misses = [miss for window in windows for miss in window.misses]
        bounds = [window.error_us for window in windows]
        return cls(
            minutes=_to_int_column([(window.start_s - hour_s) // WINDOW_S for window in windows]),
            interval_ms=_to_int_column([window.interval_ms for window in windows]),
            duplicates=_to_int_column([window.duplicates for window in windows]),
            error_p50_us=_to_int_column([MISSING if bound is None else bound.p50_us for bound in bounds]),
            error_p99_us=_to_int_column([MISSING if bound is None else bound.p99_us for bound in bounds]),
            rtt_us=rtt_us,
            failure_codes=_to_int_column([FAILURE_CODES[miss.failure] for miss in misses]),
            failure_details=_to_int_column([MISSING if miss.detail is None else miss.detail for miss in misses]),
        )

    @property
    def received_us(self) -> IntColumn:
        """RTTs of all replies, in order of schedule."""
        received: IntColumn = self.rtt_us[self.rtt_us != MISSING]
        return received

    @property
    def slot_counts(self) -> IntColumn:
        """Number of slots of each window."""
        slots: IntColumn = WINDOW_S * 1_000 // self.interval_ms
        return slots

    def to_windows(self, hour_s: int) -> list[Window]:
        """Return the windows of the chunk."""
        ends = np.cumsum(self.slot_counts).tolist()
        miss_slots = np.flatnonzero(self.rtt_us == MISSING)
        return [
            self._build_window(hour_s, index, slice(start, end), slice(*np.searchsorted(miss_slots, (start, end))))
            for index, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
        ]

    def _build_window(self, hour_s: int, index: int, slots: slice, misses: slice) -> Window:
        rtts = self.rtt_us[slots]
        codes, details = self.failure_codes[misses].tolist(), self.failure_details[misses].tolist()
        p50, p99 = int(self.error_p50_us[index]), int(self.error_p99_us[index])
        return Window(
            start_s=hour_s + WINDOW_S * int(self.minutes[index]),
            interval_ms=int(self.interval_ms[index]),
            rtt_us=tuple(None if rtt == MISSING else rtt for rtt in rtts.tolist()),
            misses=tuple(
                Miss(slot, _FAILURE_BY_CODE[code], None if detail == MISSING else detail)
                for slot, code, detail in zip(np.flatnonzero(rtts == MISSING).tolist(), codes, details, strict=True)
            ),
            duplicates=int(self.duplicates[index]),
            error_bound=None if p50 == MISSING else ErrorBound(p50_us=p50, p99_us=p99),
        )

    def compute_counters(self) -> tuple[int, ...]:
        """Return the duplicates, then the count of each failure in the order of ``Failure``."""
        counts = np.bincount(self.failure_codes, minlength=len(FAILURE_CODES) + 1).tolist()
        return int(self.duplicates.sum(dtype=np.int64)), *(counts[FAILURE_CODES[failure]] for failure in Failure)

    def encode(self) -> bytes:
        """Encode the chunk as stored."""
        received = self.received_us
        min_us = int(received.min()) if len(received) else 0
        offsets = (received - min_us).astype(np.uint32)
        planes = byte_shuffle.split_planes(offsets, byte_shuffle.count_planes(offsets))
        blocks = [byte_shuffle.deflate(plane) for plane in planes]
        columns = byte_shuffle.deflate(byte_shuffle.split_planes(self._stack_columns(), byte_shuffle.VALUE_BYTES))
        header = _HEADER.pack(VERSION, len(self.minutes), len(blocks), len(self.failure_codes), min_us, len(columns))
        return b"".join(
            [header, columns, *(part for block in blocks for part in (_BLOCK_LENGTH.pack(len(block)), block))]
        )

    def _stack_columns(self) -> UnsignedArray:
        miss_slots = np.flatnonzero(self.rtt_us == MISSING)
        return np.concatenate(
            [
                self.minutes, self.interval_ms, self.duplicates, self.error_p50_us + 1, self.error_p99_us + 1,
                np.diff(miss_slots, prepend=0), self.failure_codes, self.failure_details + 1,
            ]
        ).astype(np.uint32)  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Chunk:
        """Decode the bytes of ``encode``; raise ValueError if they are not a chunk."""
        try:
            version, window_count, plane_count, miss_count, min_us, size = _HEADER.unpack_from(data)
        except error as struct_error:
            raise ValueError("a chunk is truncated") from struct_error
        if version != VERSION:
            raise ValueError(f"a chunk of version {version}: this collector reads version {VERSION}")
        count = _WINDOW_COLUMN_COUNT * window_count + _MISS_COLUMN_COUNT * miss_count
        block = memoryview(data)[_HEADER.size : _HEADER.size + size]
        columns = byte_shuffle.join_planes(
            byte_shuffle.inflate(block, byte_shuffle.VALUE_BYTES * count).reshape(byte_shuffle.VALUE_BYTES, count)
        )
        window_columns, miss_columns = np.split(columns.astype(np.int32), [_WINDOW_COLUMN_COUNT * window_count])
        minutes, intervals, duplicates, p50, p99 = window_columns.reshape(_WINDOW_COLUMN_COUNT, window_count)
        steps, failures, details = miss_columns.reshape(_MISS_COLUMN_COUNT, miss_count)
        rtts = np.full(int((WINDOW_S * 1_000 // intervals).sum()), min_us, np.int32)
        _decode_rtts(rtts, np.cumsum(steps), memoryview(data)[_HEADER.size + size :], plane_count)
        return cls(
            minutes=minutes, interval_ms=intervals, duplicates=duplicates, error_p50_us=p50 - 1, error_p99_us=p99 - 1,
            rtt_us=rtts, failure_codes=failures, failure_details=details - 1,
        )  # fmt: skip


def _decode_rtts(rtts: IntColumn, miss_slots: NDArray[np.integer], blocks: memoryview, plane_count: int) -> None:
    """Add the planes to ``rtts``, which contains the smallest RTT, and set the misses to MISSING."""
    planes = np.empty((plane_count, len(rtts) - len(miss_slots)), np.uint8)
    for plane in planes:
        (size,) = _BLOCK_LENGTH.unpack_from(blocks)
        plane[:] = byte_shuffle.inflate(blocks[_BLOCK_LENGTH.size : _BLOCK_LENGTH.size + size], len(plane))
        blocks = blocks[_BLOCK_LENGTH.size + size :]
    offsets = byte_shuffle.join_planes(planes).astype(np.int32)
    if not len(miss_slots):
        rtts += offsets
        return
    is_received = np.ones(len(rtts), bool)
    is_received[miss_slots] = False
    rtts[is_received] += offsets
    rtts[miss_slots] = MISSING


def _to_int_column(values: Sequence[int]) -> IntColumn:
    return np.array(values, np.int32)


def to_rtt_column(slots: list[int | None]) -> IntColumn:
    """Return slots as a column; ``array`` takes a third of numpy's time for a list."""
    try:
        values: array[int] = array("i", slots)  # type: ignore[arg-type]  # None raises the TypeError below
    except TypeError:
        values = array("i", [MISSING if rtt is None else rtt for rtt in slots])
    return np.frombuffer(values, np.int32) if slots else _to_int_column([])
