"""Lossless codec of the window statistics of an hour of a path, some 500 bytes: column ``rollup_hour.packed``.

It outlives the rows of ``window_stat``, so that any limit can be evaluated exactly as long as rollups are kept.

A column is stored as its difference from a prediction by another column (``_PREDICTOR_COLUMN``), because the
differences are small. A missing value is a separate bit, and its difference is 0. All hours of a version have the same
layout, so that many are packed and unpacked together.

Version 1 has no column ``latency_p95_us``: it is MISSING in the decoded hour. Version 2 has all columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline_collector.rollup import byte_shuffle
from leadline_verdict.series import COLUMNS, COUNT_FIELDS, MISSING

VERSION = 2
#: Number of columns of every version, the first of ``COLUMNS``: a new column is always the last one.
_COLUMN_COUNTS = {1: COLUMNS.index("latency_p95_us"), VERSION: len(COLUMNS)}
MINUTES_PER_HOUR = 60

#: (hour, column, minute) with ``COLUMNS`` of ``leadline_verdict.series``; ``expected`` is 0 without a window.
WindowArray: TypeAlias = NDArray[np.int32]
_IntegerArray: TypeAlias = NDArray[np.integer]

_COLUMN_INDEX = {name: index for index, name in enumerate(COLUMNS)}
#: Column that predicts another one of the same minute; all others are predicted by their minute before.
_PREDICTOR_COLUMN = {
    "sent": "expected", "received": "sent", "mean_us": "min_us", "p50_us": "min_us", "p95_us": "p50_us",
    "p99_us": "p95_us", "max_us": "p99_us", "latency_p95_us": "p95_us",
}  # fmt: skip
_NULLABLE_COLUMNS = slice(len(COUNT_FIELDS), len(COLUMNS))
assert COLUMNS[: len(COUNT_FIELDS)] == COUNT_FIELDS  # the count columns come first and have no flags


def make_empty_hours(hour_count: int) -> WindowArray:
    """Return hours without windows, to be filled."""
    block = np.full((hour_count, len(COLUMNS), MINUTES_PER_HOUR), MISSING, np.int32)
    block[:, : len(COUNT_FIELDS)] = 0
    return block


def pack_hours(block: WindowArray) -> list[bytes]:
    """Encode each hour as stored."""
    if not len(block):
        return []
    residuals = _compute_residuals(block)
    zigzag = ((residuals << 1) ^ (residuals >> 31)).astype(np.uint32)
    byte_planes = zigzag.astype("<u4").view(np.uint8).reshape(*block.shape, byte_shuffle.VALUE_BYTES)
    data = np.ascontiguousarray(np.moveaxis(byte_planes, -1, 1)).reshape(len(block), -1)
    flags = np.packbits((block[:, _NULLABLE_COLUMNS] == MISSING).reshape(len(block), -1), axis=1)
    return [bytes([VERSION]) + byte_shuffle.deflate(hour) for hour in np.concatenate([data, flags], axis=1)]


def _compute_residuals(block: WindowArray) -> WindowArray:
    """Return the difference of each value from its prediction; 0 for MISSING."""
    filled, residuals = block.copy(), np.empty_like(block)
    for index, name in enumerate(COLUMNS):
        values = filled[:, index]
        if _has_predictor(name):
            prediction = _predict(filled, name)
            values[:] = np.where(values == MISSING, prediction, values)
            residuals[:, index] = values - prediction
        else:
            values[:] = values if name in COUNT_FIELDS else _carry_forward(values)
            residuals[:, index] = np.diff(values, axis=1, prepend=0)
    return residuals


def _has_predictor(name: str) -> bool:
    """Return True if other columns predict this one, False if its minute before does."""
    return name == "pdv_us" or name in _PREDICTOR_COLUMN


def _predict(block: WindowArray, name: str) -> WindowArray:
    if name == "pdv_us":
        return block[:, _COLUMN_INDEX["p95_us"]] - block[:, _COLUMN_INDEX["min_us"]]
    return block[:, _COLUMN_INDEX[_PREDICTOR_COLUMN[name]]]


def _carry_forward(column: _IntegerArray) -> _IntegerArray:
    """Replace every MISSING by the last value before it, or by 0."""
    latest = np.maximum.accumulate(np.where(column == MISSING, -1, np.arange(MINUTES_PER_HOUR)), axis=1)
    return np.where(latest < 0, 0, np.take_along_axis(column, np.maximum(latest, 0), axis=1))


def pack_latest_windows(block: WindowArray) -> list[bytes]:
    """Encode the latest window of each hour: its minute, then the columns, 32 bits each. Every hour needs a window."""
    minutes = MINUTES_PER_HOUR - 1 - (block[:, _COLUMN_INDEX["expected"], ::-1] > 0).argmax(axis=1)
    windows = np.take_along_axis(block, minutes[:, None, None], axis=2)[:, :, 0]
    return [bytes(row.data) for row in np.column_stack([minutes, windows]).astype("<i4")]


def unpack_latest_windows(packed_windows: Sequence[bytes]) -> tuple[_IntegerArray, WindowArray]:
    """Decode ``pack_latest_windows`` of any version: the minutes, and blocks of one minute."""
    minutes = np.empty(len(packed_windows), np.int32)
    windows = np.full((len(packed_windows), len(COLUMNS), 1), MISSING, np.int32)
    for size, indices in _group_indices(map(len, packed_windows)).items():
        rows = np.frombuffer(b"".join([packed_windows[index] for index in indices]), "<i4").reshape(len(indices), -1)
        minutes[indices], windows[indices, : size // 4 - 1, 0] = rows[:, 0], rows[:, 1:]
    return minutes, windows


def unpack_hours(packed_hours: Sequence[bytes]) -> WindowArray:
    """Decode ``pack_hours`` of any version; raise ValueError for bytes that are not packed hours."""
    indices_by_version = _group_indices(data[0] if data else 0 for data in packed_hours)
    if unknown := indices_by_version.keys() - _COLUMN_COUNTS.keys():
        raise ValueError(f"packed windows have version {min(unknown)}: this collector reads 1 to {VERSION}")
    if indices_by_version.keys() == {VERSION}:
        return _unpack_equal_hours(packed_hours, len(COLUMNS))
    block = make_empty_hours(len(packed_hours))
    for version, indices in indices_by_version.items():
        column_count = _COLUMN_COUNTS[version]
        block[indices, :column_count] = _unpack_equal_hours([packed_hours[index] for index in indices], column_count)
    return block


def _group_indices(keys: Iterable[int]) -> Mapping[int, list[int]]:
    indices_by_key: defaultdict[int, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        indices_by_key[key].append(index)
    return indices_by_key


def _unpack_equal_hours(packed_hours: Sequence[bytes], column_count: int) -> WindowArray:
    """Decode hours of one version, with the first ``column_count`` columns."""
    plane_bytes = byte_shuffle.VALUE_BYTES * column_count * MINUTES_PER_HOUR
    flag_count = (column_count - len(COUNT_FIELDS)) * MINUTES_PER_HOUR
    size = plane_bytes + -(-flag_count // 8)
    data = np.empty((len(packed_hours), size), np.uint8)
    for hour, packed in zip(data, packed_hours, strict=True):
        hour[:] = byte_shuffle.inflate(memoryview(packed)[1:], size)
    byte_planes = data[:, :plane_bytes].reshape(
        len(packed_hours), byte_shuffle.VALUE_BYTES, column_count, MINUTES_PER_HOUR
    )
    zigzag = np.ascontiguousarray(np.moveaxis(byte_planes, 1, -1)).view("<u4")[..., 0]
    block = (zigzag >> 1).astype(np.int32) ^ -(zigzag & 1).astype(np.int32)
    _add_predictions(block)
    flags = np.unpackbits(data[:, plane_bytes:], axis=1, count=flag_count)
    block[:, _NULLABLE_COLUMNS][flags.reshape(len(packed_hours), -1, MINUTES_PER_HOUR).view(bool)] = MISSING
    return block


def _add_predictions(block: WindowArray) -> None:
    for index, name in enumerate(COLUMNS[: block.shape[1]]):
        if _has_predictor(name):
            block[:, index] += _predict(block, name)
        else:
            np.cumsum(block[:, index], axis=1, out=block[:, index])
