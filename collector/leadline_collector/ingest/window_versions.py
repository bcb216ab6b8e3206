"""The versions of a window that several batches have: collected from the journal and from chunks, then merged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from leadline.model import Window
from leadline.statistics import compute_window_stats
from leadline.wire import batch as wire
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
from leadline_collector.windows.store import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowVersion:
    """What one batch says of one window."""

    sealed_at_us: int
    mesh_version: int
    key: BatchKey
    window: Window

    @property
    def sort_key(self) -> tuple[int, bytes, int]:
        """The order of sealing, the same whatever the order of arrival."""
        return self.sealed_at_us, self.key.epoch, self.key.seq


def load_window_versions(
    writer: WriteTransaction, src_id: int, window_keys: Set[Place], dst_ids: Mapping[str, int]
) -> Mapping[Place, Sequence[WindowVersion]]:
    """What the journal says of these windows, the batch that is being stored included."""
    claims: defaultdict[Place, list[WindowVersion]] = defaultdict(list)
    read: set[BatchKey] = set()
    for t in sorted({t for _, t in window_keys}):
        for key, received_at_s, body in journal_store.read_bodies(writer.connection, src_id, t):
            if key not in read:
                read.add(key)
                for place, claim in _iter_versions(body_codec.decode_stored_batch(body), received_at_s, dst_ids):
                    if place in window_keys:
                        claims[place].append(claim)
    _add_chunk_versions(writer, src_id, window_keys, dst_ids, claims)
    return claims


def _add_chunk_versions(
    writer: WriteTransaction,
    src_id: int,
    window_keys: Set[Place],
    dst_ids: Mapping[str, int],
    versions: Mapping[Place, list[WindowVersion]],
) -> None:
    """What batches said whose bodies retention took: their windows are in chunks, and were sealed before the others."""
    rows = window_store.load_window_batches(writer.connection, src_id, window_keys)
    gone = {place: key for place, key in rows.items() if key and key not in [claim.key for claim in versions[place]]}
    for hour_s in sorted({t - t % HOUR_S for _, t in gone}):
        for target, windows in chunk_store.load_hour_windows(writer.connection, src_id, hour_s, dst_ids):
            for window in windows:
                place = (dst_ids[target], window.start_s)
                if place in gone:
                    versions[place].append(
                        WindowVersion(sealed_at_us=0, mesh_version=0, key=gone[place], window=window)
                    )


def _iter_versions(
    batch: wire.Batch, received_at_s: int, dst_ids: Mapping[str, int]
) -> Iterator[tuple[Place, WindowVersion]]:
    key = BatchKey(epoch=bytes.fromhex(batch.epoch), seq=batch.seq)
    for series, window in wire.iter_windows(batch):
        if series.target in dst_ids and has_plausible_time(series.start_s, received_at_s):
            claim = WindowVersion(
                sealed_at_us=batch.sealed_at_us, mesh_version=batch.mesh_version, key=key, window=window
            )
            yield (dst_ids[series.target], series.start_s), claim


def merged_row(src_id: int, place: Place, claims: Sequence[WindowVersion]) -> WindowRow:
    ordered = sorted(claims, key=lambda claim: claim.sort_key)
    window, last = merge_windows([claim.window for claim in ordered]), ordered[-1]
    return build_window_row(
        src_id,
        *place,
        window.interval_ms,
        compute_window_stats(window),
        mesh_version=last.mesh_version,
        batch=last.key,
        duplicates=window.duplicates,
        error_bound=window.error_bound,
    )
