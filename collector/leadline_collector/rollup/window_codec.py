"""The window statistics of one hour of a path in some 500 bytes, with nothing lost: what is left of ``window_stat``
when its rows are gone, so that any limit can be judged exactly for as long as rollups are kept.

Each column is kept as its difference from what another one leads to expect (``_EXPECTED``), because those are small.
None is a bit of its own, its place in the column taken by what was expected. All hours have the same layout, so that
many are packed and unpacked together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline_collector.rollup import byte_shuffle
from leadline_verdict.series import COLUMNS, COUNTS, NONE

VERSION = 1
MINUTES = 60

#: (hour, column, minute): ``COLUMNS`` of ``leadline_verdict.series``; ``expected`` is 0 where there is no window.
Block: TypeAlias = NDArray[np.int32]
_Integers: TypeAlias = NDArray[np.integer]

_OF = {name: number for number, name in enumerate(COLUMNS)}
#: What a column is expected to be like; those that are not here, like the minute before.
_EXPECTED = {
    "sent": "expected", "received": "sent", "mean_us": "min_us", "p50_us": "min_us", "p95_us": "p50_us",
    "p99_us": "p95_us", "max_us": "p99_us",
}  # fmt: skip
_NULLABLE = slice(len(COUNTS), len(COLUMNS))
_FLAG_BYTES = -(-(len(COLUMNS) - len(COUNTS)) * MINUTES // 8)
_PLANE_BYTES = byte_shuffle.WIDTH_MAX * len(COLUMNS) * MINUTES
assert COLUMNS[: len(COUNTS)] == COUNTS  # flags follow the columns that have none


def empty(hours: int) -> Block:
    """Hours without a single window, to be filled."""
    block = np.full((hours, len(COLUMNS), MINUTES), NONE, np.int32)
    block[:, : len(COUNTS)] = 0
    return block


def pack(block: Block) -> list[bytes]:
    """Each hour as stored."""
    if not len(block):
        return []
    differences = _differences(block)
    zigzag = ((differences << 1) ^ (differences >> 31)).astype(np.uint32)
    lanes = zigzag.astype("<u4").view(np.uint8).reshape(*block.shape, byte_shuffle.WIDTH_MAX)
    data = np.ascontiguousarray(np.moveaxis(lanes, -1, 1)).reshape(len(block), -1)
    flags = np.packbits((block[:, _NULLABLE] == NONE).reshape(len(block), -1), axis=1)
    return [bytes([VERSION]) + byte_shuffle.deflate(hour) for hour in np.concatenate([data, flags], axis=1)]


def _differences(block: Block) -> Block:
    """How far each value is from what was expected; a None is what was expected."""
    filled, differences = block.copy(), np.empty_like(block)
    for number, name in enumerate(COLUMNS):
        values = filled[:, number]
        if _is_guessed(name):
            guess = _guess(filled, name)
            values[:] = np.where(values == NONE, guess, values)
            differences[:, number] = values - guess
        else:
            values[:] = values if name in COUNTS else _carried(values)
            differences[:, number] = np.diff(values, axis=1, prepend=0)
    return differences


def _is_guessed(name: str) -> bool:
    """True for a column that others lead to; false for one that is like its own minute before."""
    return name == "pdv_us" or name in _EXPECTED


def _guess(filled: Block, name: str) -> Block:
    if name == "pdv_us":
        return filled[:, _OF["p95_us"]] - filled[:, _OF["min_us"]]
    return filled[:, _OF[_EXPECTED[name]]]


def _carried(column: _Integers) -> _Integers:
    """Every None replaced by the last value before it, 0 if there is none."""
    latest = np.maximum.accumulate(np.where(column == NONE, -1, np.arange(MINUTES)), axis=1)
    return np.where(latest < 0, 0, np.take_along_axis(column, np.maximum(latest, 0), axis=1))


def pack_latest(block: Block) -> list[bytes]:
    """The latest window of each hour, which has one at least: its minute, then the columns, 32 bits each."""
    minutes = MINUTES - 1 - (block[:, _OF["expected"], ::-1] > 0).argmax(axis=1)
    windows = np.take_along_axis(block, minutes[:, None, None], axis=2)[:, :, 0]
    return [bytes(row.data) for row in np.column_stack([minutes, windows]).astype("<i4")]


def unpack_latest(stored: Sequence[bytes]) -> tuple[_Integers, Block]:
    """The minutes, and blocks of that one minute, that ``pack_latest`` was given."""
    rows = np.frombuffer(b"".join(stored), "<i4").reshape(len(stored), 1 + len(COLUMNS)).astype(np.int32)
    return rows[:, 0], rows[:, 1:, None]


def unpack(stored: Sequence[bytes]) -> Block:
    """The hours ``pack`` was given; ValueError for bytes that are none."""
    if any(data[:1] != bytes([VERSION]) for data in stored):
        raise ValueError(f"packed windows of another version than {VERSION}")
    if not stored:
        return empty(0)
    size = _PLANE_BYTES + _FLAG_BYTES
    data = np.empty((len(stored), size), np.uint8)
    for hour, packed in zip(data, stored, strict=True):
        hour[:] = byte_shuffle.inflate(memoryview(packed)[1:], size)
    lanes = data[:, :_PLANE_BYTES].reshape(len(stored), byte_shuffle.WIDTH_MAX, len(COLUMNS), MINUTES)
    zigzag = np.ascontiguousarray(np.moveaxis(lanes, 1, -1)).view("<u4")[..., 0]
    block = (zigzag >> 1).astype(np.int32) ^ -(zigzag & 1).astype(np.int32)
    _add_guesses(block)
    flags = np.unpackbits(data[:, _PLANE_BYTES:], axis=1, count=(len(COLUMNS) - len(COUNTS)) * MINUTES)
    block[:, _NULLABLE][flags.reshape(len(stored), -1, MINUTES).view(bool)] = NONE
    return block


def _add_guesses(block: Block) -> None:
    for number, name in enumerate(COLUMNS):
        if _is_guessed(name):
            block[:, number] += _guess(block, name)
        else:
            np.cumsum(block[:, number], axis=1, out=block[:, number])
