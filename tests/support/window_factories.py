"""Synthetic windows of a pair, for tests of verdicts."""

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
    """Build columns of complete windows: 60 replies with an RTT near ``rtt_us``."""
    columns = make_empty_columns(days * DAY)
    for name in ("expected", "sent", "received"):
        columns[name][:] = 60
    for name, offset_us in (
        ("min_us", -100),
        ("mean_us", 0),
        ("p50_us", 0),
        ("p95_us", 50),
        ("p99_us", 80),
        ("max_us", 90),
    ):
        columns[name][:] = rtt_us + offset_us
    columns["pdv_us"][:] = 150
    columns["error_p99_us"][:] = 20
    return columns


def add_delay(columns: Mapping[str, IntColumn], minutes: Iterable[int], extra_us: int = 10_000) -> None:
    """Add delay to these minutes."""
    indexes = list(minutes)
    for name in ("mean_us", "p50_us", "p95_us", "p99_us", "max_us", "pdv_us"):
        columns[name][indexes] += extra_us


def lose_probes(columns: Mapping[str, IntColumn], minutes: Iterable[int], lost: int = 60) -> None:
    """Lose ``lost`` of the 60 probes of these minutes."""
    indexes = list(minutes)
    columns["received"][indexes] -= lost
    for name in ("p95_us", "p99_us", "pdv_us"):
        columns[name][indexes] = MISSING
    if lost == 60:
        for name in ("min_us", "mean_us", "p50_us", "max_us"):
            columns[name][indexes] = MISSING


def drop_minutes(columns: Mapping[str, IntColumn], minutes: Iterable[int]) -> None:
    """Remove the windows of these minutes."""
    indexes = list(minutes)
    for name, column in make_empty_columns(1).items():
        columns[name][indexes] = column[0]


def build_pair(*paths: Mapping[str, IntColumn], floors: PropagationDelay | None = None) -> PairWindows:
    """Build a pair with these paths."""
    series = [PathSeries.from_columns(START_S, columns) for columns in paths]
    minutes = len(series[0]) if series else 28 * DAY
    no_minutes = np.zeros(minutes, dtype=np.bool_)
    return PairWindows(
        source="fra",
        destination="ams",
        start_s=START_S,
        minutes=minutes,
        paths=tuple(
            PathWindows(agent=f"fra{number}", target="ams1", series=path_series)
            for number, path_series in enumerate(series, 1)
        ),
        propagation_delay=floors,
        ambiguous_minutes=no_minutes,
        explained_minutes=no_minutes,
    )
