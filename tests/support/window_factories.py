"""Made-up windows of a pair for tests of verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from leadline.propagation import PropagationDelay
from leadline_verdict.pair import PairWindows, PathWindows
from leadline_verdict.series import MISSING, IntColumn, PathSeries, make_empty_columns

DAY = 1_440
#: A Monday, 00:00 UTC.
START_S = 1_788_739_200


def build_columns(days: int, rtt_us: int = 4_000) -> dict[str, IntColumn]:
    """Whole windows of 60 replies of nearly ``rtt_us``."""
    found = make_empty_columns(days * DAY)
    for name in ("expected", "sent", "received"):
        found[name][:] = 60
    for name, more in (("min_us", -100), ("mean_us", 0), ("p50_us", 0), ("p95_us", 50), ("p99_us", 80), ("max_us", 90)):
        found[name][:] = rtt_us + more
    found["pdv_us"][:] = 150
    found["error_p99_us"][:] = 20
    return found


def add_delay(columns: Mapping[str, IntColumn], minutes: Iterable[int], extra_us: int = 10_000) -> None:
    """Make these minutes slower."""
    places = list(minutes)
    for name in ("mean_us", "p50_us", "p95_us", "p99_us", "max_us"):
        columns[name][places] += extra_us


def lose_probes(columns: Mapping[str, IntColumn], minutes: Iterable[int], lost: int = 60) -> None:
    """Lose so many of the 60 probes of these minutes."""
    places = list(minutes)
    columns["received"][places] -= lost
    for name in ("p95_us", "p99_us", "pdv_us"):
        columns[name][places] = MISSING
    if lost == 60:
        for name in ("min_us", "mean_us", "p50_us", "max_us"):
            columns[name][places] = MISSING


def drop_minutes(columns: Mapping[str, IntColumn], minutes: Iterable[int]) -> None:
    """Leave these minutes out."""
    places = list(minutes)
    for name, column in make_empty_columns(1).items():
        columns[name][places] = column[0]


def build_pair(*paths: Mapping[str, IntColumn], floors: PropagationDelay | None = None) -> PairWindows:
    """A pair with these paths."""
    series = [PathSeries.from_columns(START_S, one) for one in paths]
    minutes = len(series[0]) if series else 28 * DAY
    nothing = np.zeros(minutes, dtype=np.bool_)
    return PairWindows(
        source="fra",
        destination="ams",
        start_s=START_S,
        minutes=minutes,
        paths=tuple(
            PathWindows(agent=f"fra{number}", target="ams1", series=one) for number, one in enumerate(series, 1)
        ),
        propagation_delay=floors,
        ambiguous_minutes=nothing,
        explained_minutes=nothing,
    )
