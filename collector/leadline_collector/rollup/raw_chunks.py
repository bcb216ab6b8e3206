"""The raw round trips of an agent's hour, out of its journal: slot by slot what ``window_stat`` was computed from."""

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
from leadline.wire import batch as wire
from leadline_collector.journal import body_codec
from leadline_collector.journal import store as journal_store
from leadline_collector.rollup import chunk_store, raw_codec
from leadline_collector.rollup.raw_codec import Chunk
from leadline_collector.windows.dirty_hours import HOUR_S
from leadline_collector.windows.merge import merge_windows
from leadline_collector.windows.plausibility import has_plausible_time
from leadline_verdict.series import IntColumn


class _StoredSeries(Struct):
    """As much of a window in a journaled batch as its chunk needs. It was checked when it came in."""

    target: str
    start_s: int
    interval_ms: int
    #: JSON: turned into numbers an hour at once (``_rtts``).
    rtt_us: Raw
    misses: list[Miss] = []
    duplicates: int = 0
    error_us: ErrorBound | None = None


class _StoredBatch(Struct):
    """As much of a journaled batch."""

    epoch: str
    seq: int
    sealed_at_us: int
    series: list[_StoredSeries]


#: The order of sealing: moment, epoch, number.
_BatchOrder: TypeAlias = tuple[int, str, int]
#: By target and start of the minute: what batches say of the window. Nearly always one does: no list for each.
_VersionsByTarget: TypeAlias = defaultdict[
    str, dict[int, tuple[_BatchOrder, _StoredSeries] | list[tuple[_BatchOrder, _StoredSeries]]]
]

_batch_decoder = msgspec.json.Decoder(_StoredBatch)


def build_hour_chunks(connection: Connection, src_id: int, hour_s: int, dst_ids: Mapping[str, int]) -> dict[int, Chunk]:
    """The chunk of every path of an agent with raw windows in the hour, by number of the target."""
    claims: _VersionsByTarget = defaultdict(dict)
    gone = False
    for received_at_s, body in journal_store.read_bodies_between(connection, src_id, hour_s, hour_s + HOUR_S):
        if body:
            _add_batch_windows(claims, body, received_at_s, hour_s)
        gone = gone or not body
    if gone:
        _add_chunk_windows(claims, connection, src_id, hour_s, dst_ids)
    return {
        dst_ids[target]: _build_chunk(hour_s, [_merge_versions(of_target[t]) for t in sorted(of_target)])
        for target, of_target in claims.items()
        if target in dst_ids
    }


def _build_chunk(hour_s: int, windows: Sequence[_StoredSeries]) -> Chunk:
    return Chunk.from_windows(hour_s, windows, _parse_rtts([one.rtt_us for one in windows]))


def _parse_rtts(stored: Sequence[Raw]) -> IntColumn:
    """Lists of numbers and nulls, one after the other. numpy reads text in half of what a list of numbers takes."""
    text = b",".join([bytes(one)[1:-1] for one in stored])
    if b"." in text or b"e" in text or b"E" in text:  # JSON may write whole numbers so; no agent of ours does
        return raw_codec.to_rtt_column(
            [rtt for one in stored for rtt in msgspec.json.decode(one, type=list[int | None])]
        )
    return np.fromstring(text.replace(b"null", b"-1"), np.int32, sep=",")


def _add_batch_windows(versions: _VersionsByTarget, body: bytes, received_at_s: int, hour_s: int) -> None:
    batch = _batch_decoder.decode(body_codec.read_stored_json(body))
    order = (batch.sealed_at_us, batch.epoch, batch.seq)
    for one in batch.series:
        if hour_s <= one.start_s < hour_s + HOUR_S and has_plausible_time(one.start_s, received_at_s):
            _add_version(versions, order, one)


def _add_version(versions: _VersionsByTarget, order: _BatchOrder, series: _StoredSeries) -> None:
    of_target = versions[series.target]
    known = of_target.get(series.start_s)
    if known is None:
        of_target[series.start_s] = (order, series)
    elif isinstance(known, list):
        known.append((order, series))
    else:
        of_target[series.start_s] = [known, (order, series)]


def _add_chunk_windows(
    versions: _VersionsByTarget, connection: Connection, src_id: int, hour_s: int, dst_ids: Mapping[str, int]
) -> None:
    """What the chunks of the hour say: batches whose bodies are gone were sealed before those that are still there."""
    for name, windows in chunk_store.load_hour_windows(connection, src_id, hour_s, dst_ids):
        for window in windows:
            _add_version(versions, (0, "", 0), _to_stored_series(name, window))


def _merge_versions(
    versions: tuple[_BatchOrder, _StoredSeries] | list[tuple[_BatchOrder, _StoredSeries]],
) -> _StoredSeries:
    """As ingest merged them."""
    if isinstance(versions, tuple):
        return versions[1]
    ordered = [stored for _, stored in sorted(versions, key=itemgetter(0))]
    return _to_stored_series(
        ordered[0].target, merge_windows([wire.to_window(_to_wire_series(stored)) for stored in ordered])
    )


def _to_wire_series(stored: _StoredSeries) -> wire.TargetWindow:
    return wire.TargetWindow(
        target=stored.target,
        address=_UNKNOWN_ADDRESS,
        start_s=stored.start_s,
        interval_ms=stored.interval_ms,
        rtt_us=msgspec.json.decode(stored.rtt_us, type=list[int | None]),
        misses=stored.misses,
        duplicates=stored.duplicates,
        error_us=stored.error_us,
    )


def _to_stored_series(target: str, window: Window) -> _StoredSeries:
    series = wire.to_target_window(target, _UNKNOWN_ADDRESS, window)
    return _StoredSeries(
        target=target,
        start_s=series.start_s,
        interval_ms=series.interval_ms,
        rtt_us=Raw(msgspec.json.encode(series.rtt_us)),
        misses=series.misses,
        duplicates=series.duplicates,
        error_us=series.error_us,
    )


#: Not kept in chunks, and not asked for where windows are merged.
_UNKNOWN_ADDRESS = "unknown"
