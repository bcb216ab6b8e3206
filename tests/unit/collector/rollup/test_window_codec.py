"""Codec of packed hours: every statistic of every window is unchanged, missing values included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leadline.model import RTT_US_MAX
from leadline_collector.rollup import window_codec
from leadline_collector.rollup.window_codec import MINUTES_PER_HOUR, WindowArray
from leadline_verdict.series import COLUMNS, COUNT_FIELDS, MISSING


def blocks() -> st.SearchStrategy[WindowArray]:
    """Draw hours with any values that the table can store."""
    return st.integers(0, 3).flatmap(
        lambda hours: arrays(np.int32, (hours, len(COLUMNS), MINUTES_PER_HOUR), elements=st.integers(0, RTT_US_MAX))
    )


@given(blocks(), st.integers(0, (1 << 32) - 1))
def test_packing_is_lossless(block: WindowArray, seed: int) -> None:
    """Any value may be missing or far from its prediction."""
    is_missing = np.random.default_rng(seed).random(block.shape) < 0.3
    is_missing[:, : len(COUNT_FIELDS)] = False
    block[is_missing] = MISSING

    after = window_codec.unpack_hours(window_codec.pack_hours(block))

    assert np.array_equal(after, block)


def test_an_hour_without_windows_is_small() -> None:
    """It takes a few dozen bytes."""
    (packed,) = window_codec.pack_hours(window_codec.make_empty_hours(1))

    assert len(packed) < 40
    assert np.array_equal(window_codec.unpack_hours([packed]), window_codec.make_empty_hours(1))


def test_an_hour_of_a_busy_path_takes_nine_bytes_per_window() -> None:
    """It has ten columns with noise of some 300 µs, and no loss."""
    rng = np.random.default_rng(7)
    rtts = np.sort(8_000 + rng.gamma(2, 150, (1, 60, 60)).astype(np.int32), axis=2)
    block = window_codec.make_empty_hours(1)
    values = {
        "expected": 60, "sent": 60, "received": 60, "min_us": rtts[..., 0], "mean_us": rtts.sum(2) // 60,
        "p50_us": rtts[..., 29], "p95_us": rtts[..., 56], "p99_us": rtts[..., 59], "max_us": rtts[..., 59],
        "pdv_us": rtts[..., 56] - rtts[..., 0], "error_p99_us": 40 + rng.integers(0, 4, (1, 60)),
        "latency_p95_us": MISSING,
    }  # fmt: skip
    for index, name in enumerate(COLUMNS):
        block[:, index] = values[name]

    (packed,) = window_codec.pack_hours(block)

    assert len(packed) <= 9 * MINUTES_PER_HOUR


#: An hour with one window, and its latest window, as version 1 packed them.
PACKED_V1 = bytes.fromhex(
    "01edc1b10d80400c03402324d6406292df0ac660acdf261bc44849451b8a14f80ee93ad16245dd40dd8dba89ba811e13"
    "3d0efccb8eba053d368888887ce44cc6e04cc617637026637800"
)
LATEST_V1 = bytes.fromhex(
    "070000003c0000003c0000003a000000a00f0000681000000410000024130000ffffffff881300008403000011000000"
)
WINDOW_V1 = {
    "expected": 60, "sent": 60, "received": 58, "min_us": 4_000, "mean_us": 4_200, "p50_us": 4_100, "p95_us": 4_900,
    "p99_us": MISSING, "max_us": 5_000, "pdv_us": 900, "error_p99_us": 17, "latency_p95_us": MISSING,
}  # fmt: skip


def test_hours_of_version_1_have_no_latency_p95() -> None:
    """Hours of both versions are decoded together; the column that version 1 does not have is MISSING."""
    block = window_codec.make_empty_hours(1)
    block[0, :, 7] = list(WINDOW_V1.values())
    newer = block.copy()
    newer[0, COLUMNS.index("latency_p95_us"), 7] = 4_800

    after = window_codec.unpack_hours([*window_codec.pack_hours(newer), PACKED_V1, *window_codec.pack_hours(newer)])
    minutes, windows = window_codec.unpack_latest_windows([LATEST_V1, *window_codec.pack_latest_windows(newer)])

    assert tuple(WINDOW_V1) == COLUMNS
    assert np.array_equal(after, np.concatenate([newer, block, newer]))
    assert minutes.tolist() == [7, 7]
    assert np.array_equal(windows[:, :, 0], np.stack([block[0, :, 7], newer[0, :, 7]]))


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x03"])
def test_another_version_is_refused(data: bytes) -> None:
    """The first byte is the version."""
    with pytest.raises(ValueError, match="version"):
        window_codec.unpack_hours([data])
