"""What an hour or a day of a path comes to: the rows of ``rollup_hour`` and ``rollup_day``. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from leadline_collector.months.chunks import Chunk
from leadline_collector.months.histogram import Histogram
from leadline_collector.tables import FAILURE_COLUMNS, rollup_day, rollup_hour
from leadline_verdict.series import COLUMNS, NONE

#: A row in the order of its table's columns.
Row: TypeAlias = tuple[Any, ...]
#: Columns that are added up.
SUMS = ("windows", "expected", "sent", "received", "duplicates", *FAILURE_COLUMNS.values(), "p95_infinite")
#: What ``window_stat`` counts beside the figures.
COUNTERS = ("duplicates", *FAILURE_COLUMNS.values())

_HOUR = tuple(rollup_hour.columns.keys())
_DAY = tuple(rollup_day.columns.keys())
assert (*_DAY, "packed", "latest") == _HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class PathHour:
    """What is known of a path in one hour."""

    key: tuple[int, int, int]
    #: (column, minute), as in ``hour_windows``.
    windows: NDArray[np.int32]
    #: As stored.
    packed: bytes
    latest: bytes
    #: ``COUNTERS`` of its windows.
    counters: Sequence[int]
    simulated: bool
    #: None if no agent sent its windows.
    chunk: Chunk | None


def hour_row(path: PathHour) -> Row:
    """The row of ``rollup_hour``."""
    column = dict(zip(COLUMNS, path.windows, strict=True))
    received, p95_us = int(column["received"].sum()), column["p95_us"]
    rtts = None if path.chunk is None else path.chunk.received_us
    # Not every reply's round trip is known where windows were simulated: then none is counted.
    rtts = rtts if rtts is not None and len(rtts) == received else None
    values = {
        **dict(zip(("src_id", "dst_id", "t"), path.key, strict=True)),
        "windows": int((column["expected"] > 0).sum()),
        **{name: int(column[name].sum()) for name in ("expected", "sent", "received")},
        **dict(zip(COUNTERS, path.counters, strict=True)),
        "min_us": _extreme(column["min_us"], np.min),
        "max_us": _extreme(column["max_us"], np.max),
        "sum_us": None if rtts is None else int(rtts.sum(dtype=np.int64)),
        "rtt_histogram": None if rtts is None else Histogram.of(rtts).encode(),
        "p95_histogram": Histogram.of(p95_us[p95_us != NONE]).encode(),
        "p95_infinite": int(((p95_us == NONE) & (column["sent"] > 0)).sum()),
        "simulated": path.simulated,
        "packed": path.packed,
        "latest": path.latest,
    }
    return tuple(values[name] for name in _HOUR)


def _extreme(values_us: NDArray[np.int32], of: Any) -> int | None:
    known = values_us[values_us != NONE]
    return int(of(known)) if len(known) else None


def day_row(day_s: int, hours: Sequence[Mapping[str, Any]]) -> Row:
    """The row of ``rollup_day`` from those of its hours, one at least, by name of column."""
    first = hours[0]
    values = {
        "src_id": first["src_id"],
        "dst_id": first["dst_id"],
        "t": day_s,
        **{name: sum(hour[name] for hour in hours) for name in SUMS},
        "min_us": min((hour["min_us"] for hour in hours if hour["min_us"] is not None), default=None),
        "max_us": max((hour["max_us"] for hour in hours if hour["max_us"] is not None), default=None),
        "sum_us": _sum_or_none([hour["sum_us"] for hour in hours]),
        "rtt_histogram": _merged([hour["rtt_histogram"] for hour in hours]),
        "p95_histogram": _merged([hour["p95_histogram"] for hour in hours]),
        "simulated": any(hour["simulated"] for hour in hours),
    }
    return tuple(values[name] for name in _DAY)


def _sum_or_none(sums: Sequence[int | None]) -> int | None:
    """None if any is: a sum over some of the replies says nothing."""
    return None if None in sums else sum(one for one in sums if one is not None)


def _merged(stored: Sequence[bytes | None]) -> bytes | None:
    known = [one for one in stored if one is not None]
    if len(known) < len(stored):
        return None
    return Histogram.merged(Histogram.decode(one) for one in known).encode()
