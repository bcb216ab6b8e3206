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
from leadline.wire.batch import Bound, MissEntry
from leadline_collector.rollup import byte_shuffle
from leadline_collector.rollup.byte_shuffle import Unsigned
from leadline_verdict.series import NONE, IntColumn

VERSION = 1
#: Version, windows, planes of RTTs, slots without RTT, least RTT, then the length of the block of columns.
_HEAD = Struct("<BBBIII")
_LENGTH = Struct("<I")

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
_FAILURES = {code: failure for failure, code in FAILURE_CODES.items()}
#: Columns of the windows and of the misses in a chunk, each 32 bits; NONE is kept as 0 by adding 1.
_WINDOW_COLUMNS, _MISS_COLUMNS = 5, 3


class Head(Protocol):
    """A window without its slots: of a batch as it travels, or of one in the journal."""

    @property
    def start_s(self) -> int: ...
    @property
    def interval_ms(self) -> int: ...
    @property
    def misses(self) -> Sequence[MissEntry]: ...
    @property
    def duplicates(self) -> int: ...
    @property
    def error_us(self) -> Bound | None: ...


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
    failures: IntColumn
    #: NONE for a failure without a number.
    details: IntColumn

    @classmethod
    def of(cls, hour_s: int, series: Sequence[Head], rtt_us: IntColumn) -> Chunk:
        """From the valid windows of one path in the hour that begins at ``hour_s``, in order of time, and their slots
        as a column (``rtts``).
        """
        misses = [miss for one in series for miss in one.misses]
        bounds = [one.error_us for one in series]
        return cls(
            minutes=_ints([(one.start_s - hour_s) // WINDOW_S for one in series]),
            interval_ms=_ints([one.interval_ms for one in series]),
            duplicates=_ints([one.duplicates for one in series]),
            error_p50_us=_ints([NONE if bound is None else bound.p50_us for bound in bounds]),
            error_p99_us=_ints([NONE if bound is None else bound.p99_us for bound in bounds]),
            rtt_us=rtt_us,
            failures=_ints([FAILURE_CODES[miss.failure] for miss in misses]),
            details=_ints([NONE if miss.detail is None else miss.detail for miss in misses]),
        )

    @property
    def received_us(self) -> IntColumn:
        """The round trips of all replies, in order of schedule."""
        received: IntColumn = self.rtt_us[self.rtt_us != NONE]
        return received

    @property
    def slots(self) -> IntColumn:
        """How many slots each window has."""
        slots: IntColumn = WINDOW_S * 1_000 // self.interval_ms
        return slots

    def windows(self, hour_s: int) -> list[Window]:
        """The windows the chunk was made of."""
        ends = np.cumsum(self.slots).tolist()
        empty = np.flatnonzero(self.rtt_us == NONE)
        return [
            self._window(hour_s, number, slice(start, end), slice(*np.searchsorted(empty, (start, end))))
            for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
        ]

    def _window(self, hour_s: int, number: int, slots: slice, misses: slice) -> Window:
        rtts = self.rtt_us[slots]
        codes, details = self.failures[misses].tolist(), self.details[misses].tolist()
        p50, p99 = int(self.error_p50_us[number]), int(self.error_p99_us[number])
        return Window(
            start_s=hour_s + WINDOW_S * int(self.minutes[number]),
            interval_ms=int(self.interval_ms[number]),
            rtt_us=tuple(None if rtt == NONE else rtt for rtt in rtts.tolist()),
            misses=tuple(
                Miss(slot, _FAILURES[code], None if detail == NONE else detail)
                for slot, code, detail in zip(np.flatnonzero(rtts == NONE).tolist(), codes, details, strict=True)
            ),
            duplicates=int(self.duplicates[number]),
            error_bound=None if p50 == NONE else ErrorBound(p50_us=p50, p99_us=p99),
        )

    def counters(self) -> tuple[int, ...]:
        """Duplicates, then how often each failure happened, in the order of ``Failure``."""
        counted = np.bincount(self.failures, minlength=len(FAILURE_CODES) + 1).tolist()
        return int(self.duplicates.sum(dtype=np.int64)), *(counted[FAILURE_CODES[failure]] for failure in Failure)

    def encode(self) -> bytes:
        """As stored."""
        received = self.received_us
        least = int(received.min()) if len(received) else 0
        above = (received - least).astype(np.uint32)
        blocks = [byte_shuffle.deflate(plane) for plane in byte_shuffle.split(above, byte_shuffle.width(above))]
        columns = byte_shuffle.deflate(byte_shuffle.split(self._columns(), byte_shuffle.WIDTH_MAX))
        head = _HEAD.pack(VERSION, len(self.minutes), len(blocks), len(self.failures), least, len(columns))
        return b"".join([head, columns, *(part for block in blocks for part in (_LENGTH.pack(len(block)), block))])

    def _columns(self) -> Unsigned:
        empty = np.flatnonzero(self.rtt_us == NONE)
        return np.concatenate(
            [
                self.minutes, self.interval_ms, self.duplicates, self.error_p50_us + 1, self.error_p99_us + 1,
                np.diff(empty, prepend=0), self.failures, self.details + 1,
            ]
        ).astype(np.uint32)  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Chunk:
        """The chunk ``encode`` was called on; ValueError if the bytes are none."""
        try:
            version, windows, width, misses, least, size = _HEAD.unpack_from(data)
        except error as cut:
            raise ValueError("a chunk is cut off") from cut
        if version != VERSION:
            raise ValueError(f"a chunk of version {version}: this collector reads version {VERSION}")
        count = _WINDOW_COLUMNS * windows + _MISS_COLUMNS * misses
        block = memoryview(data)[_HEAD.size : _HEAD.size + size]
        columns = byte_shuffle.join(
            byte_shuffle.inflate(block, byte_shuffle.WIDTH_MAX * count).reshape(byte_shuffle.WIDTH_MAX, count)
        )
        of_windows, of_misses = np.split(columns.astype(np.int32), [_WINDOW_COLUMNS * windows])
        minutes, intervals, duplicates, p50, p99 = of_windows.reshape(_WINDOW_COLUMNS, windows)
        steps, failures, details = of_misses.reshape(_MISS_COLUMNS, misses)
        rtts = np.full(int((WINDOW_S * 1_000 // intervals).sum()), least, np.int32)
        empty = np.cumsum(steps)
        _fill(rtts, empty, memoryview(data)[_HEAD.size + size :], width)
        return cls(
            minutes=minutes, interval_ms=intervals, duplicates=duplicates, error_p50_us=p50 - 1, error_p99_us=p99 - 1,
            rtt_us=rtts, failures=failures, details=details - 1,
        )  # fmt: skip


def _fill(rtts: IntColumn, empty: NDArray[np.integer], blocks: memoryview, width: int) -> None:
    """Add the planes to the least RTT, and put NONE where the misses are."""
    received = np.empty((width, len(rtts) - len(empty)), np.uint8)
    for plane in received:
        (size,) = _LENGTH.unpack_from(blocks)
        plane[:] = byte_shuffle.inflate(blocks[_LENGTH.size : _LENGTH.size + size], len(plane))
        blocks = blocks[_LENGTH.size + size :]
    above = byte_shuffle.join(received).astype(np.int32)
    if not len(empty):
        rtts += above
        return
    is_received = np.ones(len(rtts), bool)
    is_received[empty] = False
    rtts[is_received] += above
    rtts[empty] = NONE


def _ints(values: Sequence[int]) -> IntColumn:
    return np.array(values, np.int32)


def rtts(slots: list[int | None]) -> IntColumn:
    """Slots as a column; ``array`` takes a third of numpy's time for a list."""
    try:
        flat: array[int] = array("i", slots)  # type: ignore[arg-type]  # None is the TypeError below
    except TypeError:
        flat = array("i", [NONE if rtt is None else rtt for rtt in slots])
    return np.frombuffer(flat, np.int32) if slots else _ints([])
