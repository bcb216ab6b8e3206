"""A window as a row of ``window_stat``: one tuple in the order of the table's columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from leadline.model import ErrorBound
from leadline.stats import WindowStats
from leadline_collector.tables import FAILURE_COLUMNS, window_stat

#: A full row; ``COLUMNS`` names its places.
WindowRow: TypeAlias = tuple[int | bytes | None, ...]

COLUMNS: tuple[str, ...] = tuple(window_stat.columns.keys())


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchKey:
    """The name of a batch within its agent."""

    epoch: bytes
    seq: int


def window_row(
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
