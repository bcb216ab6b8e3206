"""One hour of the raw round trips of a path in some 1.3 bytes a probe, with nothing lost: the codec of table ``chunk``.

What is kept: which minutes have a window, every slot's RTT or its failure with its number, the interval, duplicates
and the error bound of each window. What is not: the address that was probed and the batch, which the journal has.

Version 1 is a head, a deflated block of columns (windows, then misses), and one deflated block for each byte plane of
RTT - min. A later version gets another first byte; old ones are read for ever.
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
#: Version, windows, planes of RTTs, slots without RTT, least RTT, then the length of the block of columns.
_HEADER = Struct("<BBBIII")
_BLOCK_LENGTH = Struct("<I")

#: How a failure is stored. Codes are for ever: a new failure gets the next.
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
#: Columns of the windows and of the misses in a chunk, each 32 bits; NONE is kept as 0 by adding 1.
_WINDOW_COLUMN_COUNT, _MISS_COLUMN_COUNT = 5, 3


class WindowMeta(Protocol):
    """A window without its slots: of a batch as it travels, or of one in the journal."""

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

    #: Which minutes of the hour have a window, ascending; one entry a window in this and the next four.
    minutes: IntColumn
    interval_ms: IntColumn
    duplicates: IntColumn
    #: NONE for a window without an error bound.
    error_p50_us: IntColumn
    error_p99_us: IntColumn
    #: One entry a slot, window after window; NONE where there is a miss.
    rtt_us: IntColumn
    #: One entry a miss, in order of slot (``FAILURE_CODES``).
    failure_codes: IntColumn
    #: NONE for a failure without a number.
    failure_details: IntColumn

    @classmethod
    def from_windows(cls, hour_s: int, windows: Sequence[WindowMeta], rtt_us: IntColumn) -> Chunk:
        """From the valid windows of one path in the hour that begins at ``hour_s``, in order of time, and their slots
        as a column (``rtts``).
        """
        misses = [miss for one in windows for miss in one.misses]
        bounds = [one.error_us for one in windows]
        return cls(
            minutes=_to_int_column([(one.start_s - hour_s) // WINDOW_S for one in windows]),
            interval_ms=_to_int_column([one.interval_ms for one in windows]),
            duplicates=_to_int_column([one.duplicates for one in windows]),
            error_p50_us=_to_int_column([MISSING if bound is None else bound.p50_us for bound in bounds]),
            error_p99_us=_to_int_column([MISSING if bound is None else bound.p99_us for bound in bounds]),
            rtt_us=rtt_us,
            failure_codes=_to_int_column([FAILURE_CODES[miss.failure] for miss in misses]),
            failure_details=_to_int_column([MISSING if miss.detail is None else miss.detail for miss in misses]),
        )

    @property
    def received_us(self) -> IntColumn:
        """The round trips of all replies, in order of schedule."""
        received: IntColumn = self.rtt_us[self.rtt_us != MISSING]
        return received

    @property
    def slot_counts(self) -> IntColumn:
        """How many slots each window has."""
        slots: IntColumn = WINDOW_S * 1_000 // self.interval_ms
        return slots

    def to_windows(self, hour_s: int) -> list[Window]:
        """The windows the chunk was made of."""
        ends = np.cumsum(self.slot_counts).tolist()
        empty = np.flatnonzero(self.rtt_us == MISSING)
        return [
            self._build_window(hour_s, number, slice(start, end), slice(*np.searchsorted(empty, (start, end))))
            for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
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
        """Duplicates, then how often each failure happened, in the order of ``Failure``."""
        counted = np.bincount(self.failure_codes, minlength=len(FAILURE_CODES) + 1).tolist()
        return int(self.duplicates.sum(dtype=np.int64)), *(counted[FAILURE_CODES[failure]] for failure in Failure)

    def encode(self) -> bytes:
        """As stored."""
        received = self.received_us
        least = int(received.min()) if len(received) else 0
        above = (received - least).astype(np.uint32)
        blocks = [
            byte_shuffle.deflate(plane) for plane in byte_shuffle.split_planes(above, byte_shuffle.count_planes(above))
        ]
        columns = byte_shuffle.deflate(byte_shuffle.split_planes(self._stack_columns(), byte_shuffle.VALUE_BYTES))
        head = _HEADER.pack(VERSION, len(self.minutes), len(blocks), len(self.failure_codes), least, len(columns))
        return b"".join(
            [head, columns, *(part for block in blocks for part in (_BLOCK_LENGTH.pack(len(block)), block))]
        )

    def _stack_columns(self) -> UnsignedArray:
        empty = np.flatnonzero(self.rtt_us == MISSING)
        return np.concatenate(
            [
                self.minutes, self.interval_ms, self.duplicates, self.error_p50_us + 1, self.error_p99_us + 1,
                np.diff(empty, prepend=0), self.failure_codes, self.failure_details + 1,
            ]
        ).astype(np.uint32)  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Chunk:
        """The chunk ``encode`` was called on; ValueError if the bytes are none."""
        try:
            version, windows, width, misses, least, size = _HEADER.unpack_from(data)
        except error as cut:
            raise ValueError("a chunk is cut off") from cut
        if version != VERSION:
            raise ValueError(f"a chunk of version {version}: this collector reads version {VERSION}")
        count = _WINDOW_COLUMN_COUNT * windows + _MISS_COLUMN_COUNT * misses
        block = memoryview(data)[_HEADER.size : _HEADER.size + size]
        columns = byte_shuffle.join_planes(
            byte_shuffle.inflate(block, byte_shuffle.VALUE_BYTES * count).reshape(byte_shuffle.VALUE_BYTES, count)
        )
        of_windows, of_misses = np.split(columns.astype(np.int32), [_WINDOW_COLUMN_COUNT * windows])
        minutes, intervals, duplicates, p50, p99 = of_windows.reshape(_WINDOW_COLUMN_COUNT, windows)
        steps, failures, details = of_misses.reshape(_MISS_COLUMN_COUNT, misses)
        rtts = np.full(int((WINDOW_S * 1_000 // intervals).sum()), least, np.int32)
        empty = np.cumsum(steps)
        _decode_rtts(rtts, empty, memoryview(data)[_HEADER.size + size :], width)
        return cls(
            minutes=minutes, interval_ms=intervals, duplicates=duplicates, error_p50_us=p50 - 1, error_p99_us=p99 - 1,
            rtt_us=rtts, failure_codes=failures, failure_details=details - 1,
        )  # fmt: skip


def _decode_rtts(rtts: IntColumn, empty: NDArray[np.integer], blocks: memoryview, width: int) -> None:
    """Add the planes to the least RTT, and put NONE where the misses are."""
    received = np.empty((width, len(rtts) - len(empty)), np.uint8)
    for plane in received:
        (size,) = _BLOCK_LENGTH.unpack_from(blocks)
        plane[:] = byte_shuffle.inflate(blocks[_BLOCK_LENGTH.size : _BLOCK_LENGTH.size + size], len(plane))
        blocks = blocks[_BLOCK_LENGTH.size + size :]
    above = byte_shuffle.join_planes(received).astype(np.int32)
    if not len(empty):
        rtts += above
        return
    is_received = np.ones(len(rtts), bool)
    is_received[empty] = False
    rtts[is_received] += above
    rtts[empty] = MISSING


def _to_int_column(values: Sequence[int]) -> IntColumn:
    return np.array(values, np.int32)


def to_rtt_column(slots: list[int | None]) -> IntColumn:
    """Slots as a column; ``array`` takes a third of numpy's time for a list."""
    try:
        flat: array[int] = array("i", slots)  # type: ignore[arg-type]  # None is the TypeError below
    except TypeError:
        flat = array("i", [MISSING if rtt is None else rtt for rtt in slots])
    return np.frombuffer(flat, np.int32) if slots else _to_int_column([])
