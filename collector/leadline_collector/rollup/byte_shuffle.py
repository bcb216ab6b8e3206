"""Arrays of small numbers in few bytes: all lowest bytes first, then all of the next higher ones, each plane deflated.

The lowest plane of round trips is noise, which nothing makes smaller than its entropy; the higher ones hardly change.
``Z_RLE`` looks for runs only: as small as level 6 on such planes, in a quarter of the time.
"""

from __future__ import annotations

import zlib
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

UnsignedArray: TypeAlias = NDArray[np.uint32]
BytePlanes: TypeAlias = NDArray[np.uint8]

#: Bytes of a number.
VALUE_BYTES = 4
#: deflate without a wrapper (zlib.h, deflateInit2): checksums are the database's business.
_RAW_DEFLATE_WBITS = -zlib.MAX_WBITS


def count_planes(values: UnsignedArray) -> int:
    """How many planes hold every value; 0 if all are 0."""
    return -(-int(values.max()).bit_length() // 8) if len(values) else 0


def split_planes(values: UnsignedArray, plane_count: int) -> BytePlanes:
    """The ``planes`` lowest bytes of each value: one row a plane."""
    return np.ascontiguousarray(values.astype("<u4").view(np.uint8).reshape(-1, VALUE_BYTES).T[:plane_count])


def join_planes(planes: BytePlanes) -> UnsignedArray:
    """The values ``split`` was given."""
    data = np.zeros((planes.shape[1], VALUE_BYTES), np.uint8)
    data[:, : len(planes)] = planes.T
    return data.view("<u4")[:, 0]


def deflate(data: BytePlanes) -> bytes:
    """Compressed; an object for each call, because they may not be shared between threads."""
    deflater = zlib.compressobj(1, zlib.DEFLATED, _RAW_DEFLATE_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return deflater.compress(data.data) + deflater.flush()


def inflate(data: bytes | memoryview, size: int) -> BytePlanes:
    """What ``deflate`` was given, of ``size`` bytes; ValueError if it is not."""
    try:
        found = np.frombuffer(zlib.decompress(data, _RAW_DEFLATE_WBITS, size), np.uint8)
    except zlib.error as error:
        raise ValueError(f"damaged planes: {error}") from error
    if len(found) != size:
        raise ValueError(f"planes of {len(found)} bytes instead of {size}")
    return found
