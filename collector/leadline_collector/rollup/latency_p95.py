"""Fills ``latency_p95_us`` of windows that were stored before the column existed, from the single RTTs. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leadline.evaluation import TOLERATED_LOSS_DENOMINATOR
from leadline_collector.rollup.raw_codec import Chunk
from leadline_verdict.series import COLUMNS, MISSING

_SENT, _RECEIVED, _LATENCY_P95 = map(COLUMNS.index, ("sent", "received", "latency_p95_us"))


def fill_latency_p95(windows: NDArray[np.int32], chunk: Chunk) -> None:
    """Set the missing values of one hour of a path, (column, minute) as in ``window_codec``, in place.

    A minute whose RTTs are not those of its window stays MISSING.
    """
    sent, received = windows[_SENT], windows[_RECEIVED]
    lost, tolerated = sent - received, sent // TOLERATED_LOSS_DENOMINATOR
    needs_value = (windows[_LATENCY_P95] == MISSING) & (lost > 0) & (lost <= tolerated)
    indices = np.flatnonzero(needs_value[chunk.minutes])
    if not len(indices):
        return
    ends = np.cumsum(chunk.slot_counts)
    for index in indices.tolist():
        minute, end = int(chunk.minutes[index]), int(ends[index])
        slots = chunk.rtt_us[end - int(chunk.slot_counts[index]) : end]
        rtts_us = np.sort(slots[slots != MISSING])
        if len(rtts_us) == received[minute]:
            windows[_LATENCY_P95, minute] = rtts_us[len(rtts_us) - 1 - int(tolerated[minute])]
