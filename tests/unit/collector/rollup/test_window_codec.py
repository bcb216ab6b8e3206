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
    """It has eleven columns with noise of some 300 µs."""
    rng = np.random.default_rng(7)
    rtts = np.sort(8_000 + rng.gamma(2, 150, (1, 60, 60)).astype(np.int32), axis=2)
    block = window_codec.make_empty_hours(1)
    values = {
        "expected": 60, "sent": 60, "received": 60, "min_us": rtts[..., 0], "mean_us": rtts.sum(2) // 60,
        "p50_us": rtts[..., 29], "p95_us": rtts[..., 56], "p99_us": rtts[..., 59], "max_us": rtts[..., 59],
        "pdv_us": rtts[..., 56] - rtts[..., 0], "error_p99_us": 40 + rng.integers(0, 4, (1, 60)),
    }  # fmt: skip
    for index, name in enumerate(COLUMNS):
        block[:, index] = values[name]

    (packed,) = window_codec.pack_hours(block)

    assert len(packed) <= 9 * MINUTES_PER_HOUR


def test_another_version_is_refused() -> None:
    """The first byte is the version."""
    with pytest.raises(ValueError, match="version"):
        window_codec.unpack_hours([b"\x02"])
