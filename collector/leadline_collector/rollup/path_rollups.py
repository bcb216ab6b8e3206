"""Rows of ``rollup_hour``: the sums of a path over an hour. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline_collector.db.tables import FAILURE_COLUMNS, rollup_hour
from leadline_collector.rollup.histogram import Histogram
from leadline_collector.rollup.raw_codec import Chunk
from leadline_verdict.series import COLUMNS, MISSING

#: A row in the order of its table's columns.
RollupRow: TypeAlias = tuple[Any, ...]
#: Counters of ``window_stat`` besides the probe counts and statistics.
COUNTER_COLUMNS = ("duplicates", *FAILURE_COLUMNS.values())

_HOUR_COLUMNS = tuple(rollup_hour.columns.keys())


@dataclass(frozen=True, slots=True, kw_only=True)
class PathHour:
    """Input of a row: the windows of a path in one hour."""

    #: (src_id, dst_id, start of the hour).
    key: tuple[int, int, int]
    #: (column, minute) as in ``window_codec``.
    windows: NDArray[np.int32]
    #: Encoded columns of the row.
    packed: bytes
    latest: bytes
    #: Sums of ``COUNTER_COLUMNS``.
    counters: Sequence[int]
    simulated: bool
    #: None if all windows are simulated.
    chunk: Chunk | None


def build_hour_row(path: PathHour) -> RollupRow:
    """Return the row of ``rollup_hour``."""
    column = dict(zip(COLUMNS, path.windows, strict=True))
    received, p95_us = int(column["received"].sum()), column["p95_us"]
    rtts = None if path.chunk is None else path.chunk.received_us
    # With simulated windows the RTTs of some replies are unknown: then the row has no sum and no histogram.
    rtts = rtts if rtts is not None and len(rtts) == received else None
    values = {
        **dict(zip(("src_id", "dst_id", "t"), path.key, strict=True)),
        "windows": int((column["expected"] > 0).sum()),
        **{name: int(column[name].sum()) for name in ("expected", "sent", "received")},
        **dict(zip(COUNTER_COLUMNS, path.counters, strict=True)),
        "min_us": _reduce_present(column["min_us"], np.min),
        "max_us": _reduce_present(column["max_us"], np.max),
        "sum_us": None if rtts is None else int(rtts.sum(dtype=np.int64)),
        "rtt_histogram": None if rtts is None else Histogram.from_values(rtts).encode(),
        "p95_histogram": Histogram.from_values(p95_us[p95_us != MISSING]).encode(),
        "p95_infinite": int(((p95_us == MISSING) & (column["sent"] > 0)).sum()),
        "simulated": path.simulated,
        "packed": path.packed,
        "latest": path.latest,
    }
    return tuple(values[name] for name in _HOUR_COLUMNS)


def _reduce_present(values_us: NDArray[np.int32], reduce: Any) -> int | None:
    present_us = values_us[values_us != MISSING]
    return int(reduce(present_us)) if len(present_us) else None
