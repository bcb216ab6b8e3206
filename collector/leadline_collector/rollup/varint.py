"""Variable-length integers for arrays: seven bits per byte, lowest first; the top bit is set if more bytes follow.

The format is LEB128 (DWARF 5, section 7.6), as in protocol buffers.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Int64Array: TypeAlias = NDArray[np.int64]

#: Bytes of the largest int64.
BYTES_MAX = 9
_SHIFTS = 7 * np.arange(BYTES_MAX, dtype=np.int64)


def encode(values: Int64Array) -> bytes:
    """Encode an array of non-negative integers."""
    if not len(values):
        return b""
    width = max(1, -(-int(values.max()).bit_length() // 7))
    rest = values[:, None] >> _SHIFTS[:width]
    more = np.zeros(rest.shape, bool)
    more[:, :-1] = rest[:, 1:] > 0
    data = (rest & 0x7F | more * 0x80).astype(np.uint8)
    used = rest > 0
    used[:, 0] = True
    return bytes(data[used])


def decode(data: bytes) -> Int64Array:
    """Decode the bytes of ``encode``; raise ValueError if the last number is truncated."""
    if not data:
        return np.empty(0, np.int64)
    digits = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(digits < 0x80)
    if not len(ends) or ends[-1] != len(digits) - 1:
        raise ValueError("the last number is truncated")
    starts = np.concatenate(([0], ends[:-1] + 1))
    places = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    return np.add.reduceat((digits & 0x7F).astype(np.int64) << 7 * places, starts)
