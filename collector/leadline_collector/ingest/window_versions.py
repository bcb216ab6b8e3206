"""Versions of a window in several batches: collected from the journal and from raw chunks, then merged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from leadline.model import Window
from leadline.statistics import compute_window_stats
from leadline.wire.batch import Batch, iter_windows
from leadline_collector.db.transactions import WriteTransaction
from leadline_collector.journal import body_codec
from leadline_collector.journal import store as journal_store
from leadline_collector.journal.store import BatchKey
from leadline_collector.rollup import chunk_store
from leadline_collector.windows import store as window_store
from leadline_collector.windows.dirty_hours import HOUR_S
from leadline_collector.windows.merge import merge_windows
from leadline_collector.windows.plausibility import has_plausible_time
from leadline_collector.windows.rows import WindowRow, build_window_row
from leadline_collector.windows.store import WindowKey


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowVersion:
    """One batch's version of a window."""

    sealed_at_us: int
    mesh_version: int
    key: BatchKey
    window: Window

    @property
    def sort_key(self) -> tuple[int, bytes, int]:
        """Key for the order of sealing, which does not depend on the order of arrival."""
        return self.sealed_at_us, self.key.epoch, self.key.seq


def load_window_versions(
    writer: WriteTransaction, src_id: int, window_keys: Set[WindowKey], dst_ids: Mapping[str, int]
) -> Mapping[WindowKey, Sequence[WindowVersion]]:
    """Load every version of these windows, that of the batch being stored included."""
    versions: defaultdict[WindowKey, list[WindowVersion]] = defaultdict(list)
    read_keys: set[BatchKey] = set()
    for t in sorted({t for _, t in window_keys}):
        for key, received_at_s, body in journal_store.read_bodies(writer.connection, src_id, t):
            if key not in read_keys:
                read_keys.add(key)
                for window_key, version in _iter_versions(body_codec.decode_stored_batch(body), received_at_s, dst_ids):
                    if window_key in window_keys:
                        versions[window_key].append(version)
    _add_chunk_versions(writer, src_id, window_keys, dst_ids, versions)
    return versions


def _add_chunk_versions(
    writer: WriteTransaction,
    src_id: int,
    window_keys: Set[WindowKey],
    dst_ids: Mapping[str, int],
    versions: Mapping[WindowKey, list[WindowVersion]],
) -> None:
    """Add the versions of batches without a body, because it was deleted by retention.

    Their windows are in raw chunks and were sealed before all others.
    """
    batch_keys = window_store.load_window_batches(writer.connection, src_id, window_keys)
    missing = {
        window_key: key
        for window_key, key in batch_keys.items()
        if key and key not in [version.key for version in versions[window_key]]
    }
    for hour_s in sorted({t - t % HOUR_S for _, t in missing}):
        for target, windows in chunk_store.load_hour_windows(writer.connection, src_id, hour_s, dst_ids):
            for window in windows:
                window_key = (dst_ids[target], window.start_s)
                if window_key in missing:
                    versions[window_key].append(
                        WindowVersion(sealed_at_us=0, mesh_version=0, key=missing[window_key], window=window)
                    )


def _iter_versions(
    batch: Batch, received_at_s: int, dst_ids: Mapping[str, int]
) -> Iterator[tuple[WindowKey, WindowVersion]]:
    key = BatchKey(epoch=bytes.fromhex(batch.epoch), seq=batch.seq)
    for series, window in iter_windows(batch):
        if series.target in dst_ids and has_plausible_time(series.start_s, received_at_s):
            version = WindowVersion(
                sealed_at_us=batch.sealed_at_us, mesh_version=batch.mesh_version, key=key, window=window
            )
            yield (dst_ids[series.target], series.start_s), version


def build_merged_row(src_id: int, window_key: WindowKey, versions: Sequence[WindowVersion]) -> WindowRow:
    """Build the row of a window from all its versions; the batch is the one sealed last."""
    versions = sorted(versions, key=lambda version: version.sort_key)
    window, last = merge_windows([version.window for version in versions]), versions[-1]
    return build_window_row(
        src_id,
        *window_key,
        window.interval_ms,
        compute_window_stats(window),
        mesh_version=last.mesh_version,
        batch=last.key,
        duplicates=window.duplicates,
        error_bound=window.error_bound,
    )
