"""A window as a row of ``window_stat``: one tuple in the order of the table's columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from leadline.model import ErrorBound, Failure, Miss
from leadline.statistics import WindowStats, compute_rtt_stats
from leadline.wire.batch import TargetWindow
from leadline_collector.db.tables import FAILURE_COLUMNS, window_stat
from leadline_collector.journal.store import BatchKey

#: A full row; ``COLUMNS`` names its places.
WindowRow: TypeAlias = tuple[int | bytes | None, ...]

WINDOW_COLUMNS: tuple[str, ...] = tuple(window_stat.columns.keys())


def build_window_row(
    src_id: int,
    dst_id: int,
    start_s: int,
    interval_ms: int,
    stats: WindowStats,
    *,
    mesh_version: int,
    batch: BatchKey | None,
    duplicates: int = 0,
    error_bound: ErrorBound | None = None,
) -> WindowRow:
    """The row of one window; ``batch`` None says that no agent sent it: it is simulated."""
    return (
        src_id,
        dst_id,
        start_s,
        interval_ms,
        stats.expected,
        stats.sent,
        stats.received,
        stats.min_us,
        stats.mean_us,
        stats.p50_us,
        stats.p95_us,
        stats.p99_us,
        stats.max_us,
        stats.pdv_us,
        stats.mean_step_us,
        duplicates,
        *(stats.failures.get(failure, 0) for failure in FAILURE_COLUMNS),
        error_bound.p50_us if error_bound else None,
        error_bound.p99_us if error_bound else None,
        mesh_version,
        batch.epoch if batch else None,
        batch.seq if batch else None,
    )


def build_series_row(series: TargetWindow) -> WindowRow:
    """The columns ``t`` to ``error_p99_us`` of a series: what ``window_row`` says of its window, without making one.

    This is what ingest spends its time on; a window without misses, the usual one, costs no more than its figures.
    """
    counts, lost = _count_misses(series.misses) if series.misses else (_ZERO_COUNTS, 0)
    bound = series.error_us
    return (
        series.start_s,
        series.interval_ms,
        len(series.rtt_us),
        *compute_rtt_stats(series.rtt_us, lost),
        series.duplicates,
        *counts,
        *((None, None) if bound is None else (bound.p50_us, bound.p99_us)),
    )


_ZERO_COUNTS = (0,) * len(FAILURE_COLUMNS)
_LOSS_FAILURES = [failure for failure in Failure if failure.is_loss]


def _count_misses(misses: Sequence[Miss]) -> tuple[tuple[int, ...], int]:
    """How often each failure happened, in the order of the columns, and how many of them are losses."""
    counts = Counter([miss.failure for miss in misses])
    return tuple([counts[failure] for failure in FAILURE_COLUMNS]), sum([counts[failure] for failure in _LOSS_FAILURES])
