"""Chunks of raw RTTs of an agent's hour, built from its journal: the slots that ``window_stat`` was computed from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec import Raw, Struct
from sqlalchemy import Connection

from leadline.model import ErrorBound, Miss, Window
from leadline.wire.batch import TargetWindow, to_target_window, to_window
from leadline_collector.journal import body_codec
from leadline_collector.journal import store as journal_store
from leadline_collector.rollup import chunk_store, raw_codec
from leadline_collector.rollup.raw_codec import Chunk
from leadline_collector.windows.dirty_hours import HOUR_S
from leadline_collector.windows.merge import merge_windows
from leadline_collector.windows.plausibility import has_plausible_time
from leadline_verdict.series import IntColumn


class _StoredWindow(Struct):
    """The fields of a journaled window that its chunk needs. Ingest has validated it."""

    target: str
    start_s: int
    interval_ms: int
    #: JSON, parsed for a whole hour at once (``_parse_rtts``).
    rtt_us: Raw
    misses: list[Miss] = []
    duplicates: int = 0
    error_us: ErrorBound | None = None


class _StoredBatch(Struct):
    """The fields of a journaled batch that its chunks need."""

    epoch: str
    seq: int
    sealed_at_us: int
    series: list[_StoredWindow]


#: Order of sealing: time, epoch, sequence number.
_BatchOrder: TypeAlias = tuple[int, str, int]
#: By target and start of the minute: the versions of the window. Nearly all have one version, so there is no list.
_VersionsByTarget: TypeAlias = defaultdict[
    str, dict[int, tuple[_BatchOrder, _StoredWindow] | list[tuple[_BatchOrder, _StoredWindow]]]
]

_batch_decoder = msgspec.json.Decoder(_StoredBatch)


def build_hour_chunks(connection: Connection, src_id: int, hour_s: int, dst_ids: Mapping[str, int]) -> dict[int, Chunk]:
    """Return the chunk of every path of an agent with windows in the hour, by target id."""
    versions: _VersionsByTarget = defaultdict(dict)
    has_expired_bodies = False
    for received_at_s, body in journal_store.read_bodies_between(connection, src_id, hour_s, hour_s + HOUR_S):
        if body:
            _add_batch_windows(versions, body, received_at_s, hour_s)
        has_expired_bodies = has_expired_bodies or not body
    if has_expired_bodies:
        _add_chunk_windows(versions, connection, src_id, hour_s, dst_ids)
    return {
        dst_ids[target]: _build_chunk(hour_s, [_merge_versions(by_minute[t]) for t in sorted(by_minute)])
        for target, by_minute in versions.items()
        if target in dst_ids
    }


def _build_chunk(hour_s: int, windows: Sequence[_StoredWindow]) -> Chunk:
    return Chunk.from_windows(hour_s, windows, _parse_rtts([window.rtt_us for window in windows]))


def _parse_rtts(json_lists: Sequence[Raw]) -> IntColumn:
    """Parse JSON lists of integers and nulls into one column. numpy parses text twice as fast as a list of numbers."""
    text = b",".join([bytes(json_list)[1:-1] for json_list in json_lists])
    # JSON allows 1e3 and 1.0 for integers; leadline's agents do not send that.
    if b"." in text or b"e" in text or b"E" in text:
        return raw_codec.to_rtt_column(
            [rtt for json_list in json_lists for rtt in msgspec.json.decode(json_list, type=list[int | None])]
        )
    return np.fromstring(text.replace(b"null", b"-1"), np.int32, sep=",")


def _add_batch_windows(versions: _VersionsByTarget, body: bytes, received_at_s: int, hour_s: int) -> None:
    batch = _batch_decoder.decode(body_codec.read_stored_json(body))
    order = (batch.sealed_at_us, batch.epoch, batch.seq)
    for window in batch.series:
        if hour_s <= window.start_s < hour_s + HOUR_S and has_plausible_time(window.start_s, received_at_s):
            _add_version(versions, order, window)


def _add_version(versions: _VersionsByTarget, order: _BatchOrder, window: _StoredWindow) -> None:
    by_minute = versions[window.target]
    earlier = by_minute.get(window.start_s)
    if earlier is None:
        by_minute[window.start_s] = (order, window)
    elif isinstance(earlier, list):
        earlier.append((order, window))
    else:
        by_minute[window.start_s] = [earlier, (order, window)]


def _add_chunk_windows(
    versions: _VersionsByTarget, connection: Connection, src_id: int, hour_s: int, dst_ids: Mapping[str, int]
) -> None:
    """Add the windows of the stored chunks as the first versions: batches with expired bodies were sealed earlier."""
    for name, windows in chunk_store.load_hour_windows(connection, src_id, hour_s, dst_ids):
        for window in windows:
            _add_version(versions, (0, "", 0), _to_stored_window(name, window))


def _merge_versions(
    versions: tuple[_BatchOrder, _StoredWindow] | list[tuple[_BatchOrder, _StoredWindow]],
) -> _StoredWindow:
    """Merge the versions of a window as ingest did."""
    if isinstance(versions, tuple):
        return versions[1]
    ordered = [stored for _, stored in sorted(versions, key=itemgetter(0))]
    return _to_stored_window(
        ordered[0].target, merge_windows([to_window(_to_target_window(stored)) for stored in ordered])
    )


def _to_target_window(stored: _StoredWindow) -> TargetWindow:
    return TargetWindow(
        target=stored.target,
        address=_UNKNOWN_ADDRESS,
        start_s=stored.start_s,
        interval_ms=stored.interval_ms,
        rtt_us=msgspec.json.decode(stored.rtt_us, type=list[int | None]),
        misses=stored.misses,
        duplicates=stored.duplicates,
        error_us=stored.error_us,
    )


def _to_stored_window(target: str, window: Window) -> _StoredWindow:
    target_window = to_target_window(target, _UNKNOWN_ADDRESS, window)
    return _StoredWindow(
        target=target,
        start_s=target_window.start_s,
        interval_ms=target_window.interval_ms,
        rtt_us=Raw(msgspec.json.encode(target_window.rtt_us)),
        misses=target_window.misses,
        duplicates=target_window.duplicates,
        error_us=target_window.error_us,
    )


#: Chunks have no address, and merging does not use it.
_UNKNOWN_ADDRESS = "unknown"
