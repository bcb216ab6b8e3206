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
from leadline_verdict.series import COLUMNS, COUNT_FIELDS, MISSING

VERSION = 1
MINUTES_PER_HOUR = 60

#: (hour, column, minute): ``COLUMNS`` of ``leadline_verdict.series``; ``expected`` is 0 where there is no window.
WindowArray: TypeAlias = NDArray[np.int32]
_IntegerArray: TypeAlias = NDArray[np.integer]

_COLUMN_INDEX = {name: number for number, name in enumerate(COLUMNS)}
#: What a column is expected to be like; those that are not here, like the minute before.
_PREDICTOR_COLUMN = {
    "sent": "expected", "received": "sent", "mean_us": "min_us", "p50_us": "min_us", "p95_us": "p50_us",
    "p99_us": "p95_us", "max_us": "p99_us",
}  # fmt: skip
_NULLABLE_COLUMNS = slice(len(COUNT_FIELDS), len(COLUMNS))
_FLAG_BYTES = -(-(len(COLUMNS) - len(COUNT_FIELDS)) * MINUTES_PER_HOUR // 8)
_PLANE_BYTES = byte_shuffle.VALUE_BYTES * len(COLUMNS) * MINUTES_PER_HOUR
assert COLUMNS[: len(COUNT_FIELDS)] == COUNT_FIELDS  # flags follow the columns that have none


def make_empty_hours(hour_count: int) -> WindowArray:
    """Hours without a single window, to be filled."""
    block = np.full((hour_count, len(COLUMNS), MINUTES_PER_HOUR), MISSING, np.int32)
    block[:, : len(COUNT_FIELDS)] = 0
    return block


def pack_hours(block: WindowArray) -> list[bytes]:
    """Each hour as stored."""
    if not len(block):
        return []
    differences = _compute_residuals(block)
    zigzag = ((differences << 1) ^ (differences >> 31)).astype(np.uint32)
    lanes = zigzag.astype("<u4").view(np.uint8).reshape(*block.shape, byte_shuffle.VALUE_BYTES)
    data = np.ascontiguousarray(np.moveaxis(lanes, -1, 1)).reshape(len(block), -1)
    flags = np.packbits((block[:, _NULLABLE_COLUMNS] == MISSING).reshape(len(block), -1), axis=1)
    return [bytes([VERSION]) + byte_shuffle.deflate(hour) for hour in np.concatenate([data, flags], axis=1)]


def _compute_residuals(block: WindowArray) -> WindowArray:
    """How far each value is from what was expected; a None is what was expected."""
    filled, differences = block.copy(), np.empty_like(block)
    for number, name in enumerate(COLUMNS):
        values = filled[:, number]
        if _has_predictor(name):
            guess = _predict(filled, name)
            values[:] = np.where(values == MISSING, guess, values)
            differences[:, number] = values - guess
        else:
            values[:] = values if name in COUNT_FIELDS else _carry_forward(values)
            differences[:, number] = np.diff(values, axis=1, prepend=0)
    return differences


def _has_predictor(name: str) -> bool:
    """True for a column that others lead to; false for one that is like its own minute before."""
    return name == "pdv_us" or name in _PREDICTOR_COLUMN


def _predict(block: WindowArray, name: str) -> WindowArray:
    if name == "pdv_us":
        return block[:, _COLUMN_INDEX["p95_us"]] - block[:, _COLUMN_INDEX["min_us"]]
    return block[:, _COLUMN_INDEX[_PREDICTOR_COLUMN[name]]]


def _carry_forward(column: _IntegerArray) -> _IntegerArray:
    """Every None replaced by the last value before it, 0 if there is none."""
    latest = np.maximum.accumulate(np.where(column == MISSING, -1, np.arange(MINUTES_PER_HOUR)), axis=1)
    return np.where(latest < 0, 0, np.take_along_axis(column, np.maximum(latest, 0), axis=1))


def pack_latest_windows(block: WindowArray) -> list[bytes]:
    """The latest window of each hour, which has one at least: its minute, then the columns, 32 bits each."""
    minutes = MINUTES_PER_HOUR - 1 - (block[:, _COLUMN_INDEX["expected"], ::-1] > 0).argmax(axis=1)
    windows = np.take_along_axis(block, minutes[:, None, None], axis=2)[:, :, 0]
    return [bytes(row.data) for row in np.column_stack([minutes, windows]).astype("<i4")]


def unpack_latest_windows(packed_windows: Sequence[bytes]) -> tuple[_IntegerArray, WindowArray]:
    """The minutes, and blocks of that one minute, that ``pack_latest`` was given."""
    rows = (
        np.frombuffer(b"".join(packed_windows), "<i4").reshape(len(packed_windows), 1 + len(COLUMNS)).astype(np.int32)
    )
    return rows[:, 0], rows[:, 1:, None]


def unpack_hours(packed_hours: Sequence[bytes]) -> WindowArray:
    """The hours ``pack`` was given; ValueError for bytes that are none."""
    if any(data[:1] != bytes([VERSION]) for data in packed_hours):
        raise ValueError(f"packed windows of another version than {VERSION}")
    if not packed_hours:
        return make_empty_hours(0)
    size = _PLANE_BYTES + _FLAG_BYTES
    data = np.empty((len(packed_hours), size), np.uint8)
    for hour, packed in zip(data, packed_hours, strict=True):
        hour[:] = byte_shuffle.inflate(memoryview(packed)[1:], size)
    lanes = data[:, :_PLANE_BYTES].reshape(len(packed_hours), byte_shuffle.VALUE_BYTES, len(COLUMNS), MINUTES_PER_HOUR)
    zigzag = np.ascontiguousarray(np.moveaxis(lanes, 1, -1)).view("<u4")[..., 0]
    block = (zigzag >> 1).astype(np.int32) ^ -(zigzag & 1).astype(np.int32)
    _add_predictions(block)
    flags = np.unpackbits(data[:, _PLANE_BYTES:], axis=1, count=(len(COLUMNS) - len(COUNT_FIELDS)) * MINUTES_PER_HOUR)
    block[:, _NULLABLE_COLUMNS][flags.reshape(len(packed_hours), -1, MINUTES_PER_HOUR).view(bool)] = MISSING
    return block


def _add_predictions(block: WindowArray) -> None:
    for number, name in enumerate(COLUMNS):
        if _has_predictor(name):
            block[:, number] += _predict(block, name)
        else:
            np.cumsum(block[:, number], axis=1, out=block[:, number])
