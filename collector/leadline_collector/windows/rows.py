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

#: A full row in the order of ``WINDOW_COLUMNS``.
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
    """Return the row of one window; ``batch`` is None for a simulated window."""
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
        stats.latency_p95_us,
        duplicates,
        *(stats.failures.get(failure, 0) for failure in FAILURE_COLUMNS),
        error_bound.p50_us if error_bound else None,
        error_bound.p99_us if error_bound else None,
        mesh_version,
        batch.epoch if batch else None,
        batch.seq if batch else None,
    )


def build_window_columns(target_window: TargetWindow) -> WindowRow:
    """Return the columns ``t`` to ``error_p99_us`` of a window, as ``build_window_row`` does for its window.

    Ingest spends most of its time here, so no ``Window`` is built, and a window without misses takes a short cut.
    """
    counts, loss_count = _count_misses(target_window.misses) if target_window.misses else (_ZERO_COUNTS, 0)
    bound = target_window.error_us
    return (
        target_window.start_s,
        target_window.interval_ms,
        len(target_window.rtt_us),
        *compute_rtt_stats(target_window.rtt_us, loss_count),
        target_window.duplicates,
        *counts,
        *((None, None) if bound is None else (bound.p50_us, bound.p99_us)),
    )


_ZERO_COUNTS = (0,) * len(FAILURE_COLUMNS)
_LOSS_FAILURES = [failure for failure in Failure if failure.is_loss]


def _count_misses(misses: Sequence[Miss]) -> tuple[tuple[int, ...], int]:
    """Return the count of each failure, in the order of the columns, and the number of losses."""
    counts = Counter([miss.failure for miss in misses])
    return tuple([counts[failure] for failure in FAILURE_COLUMNS]), sum([counts[failure] for failure in _LOSS_FAILURES])
