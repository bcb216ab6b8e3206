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

from leadline.model import Window
from leadline.wire import batch as wire
from leadline.wire.batch import Bound, MissEntry
from leadline_collector.journal import body_codec
from leadline_collector.journal import store as journal_store
from leadline_collector.rollup import chunk_store, raw_codec
from leadline_collector.rollup.raw_codec import Chunk
from leadline_collector.windows.dirty_hours import HOUR_S
from leadline_collector.windows.merge import merged
from leadline_collector.windows.plausibility import has_plausible_time
from leadline_verdict.series import IntColumn


class _Stored(Struct):
    """As much of a window in a journaled batch as its chunk needs. It was checked when it came in."""

    target: str
    start_s: int
    interval_ms: int
    #: JSON: turned into numbers an hour at once (``_rtts``).
    rtt_us: Raw
    misses: list[MissEntry] = []
    duplicates: int = 0
    error_us: Bound | None = None


class _StoredBatch(Struct):
    """As much of a journaled batch."""

    epoch: str
    seq: int
    sealed_at_us: int
    series: list[_Stored]


#: The order of sealing: moment, epoch, number.
_Order: TypeAlias = tuple[int, str, int]
#: By target and start of the minute: what batches say of the window. Nearly always one does: no list for each.
_Claims: TypeAlias = defaultdict[str, dict[int, tuple[_Order, _Stored] | list[tuple[_Order, _Stored]]]]

_decoder = msgspec.json.Decoder(_StoredBatch)


def chunks_of(connection: Connection, src_id: int, hour_s: int, dst_ids: Mapping[str, int]) -> dict[int, Chunk]:
    """The chunk of every path of an agent with raw windows in the hour, by number of the target."""
    claims: _Claims = defaultdict(dict)
    gone = False
    for received_at_s, body in journal_store.bodies_between(connection, src_id, hour_s, hour_s + HOUR_S):
        if body:
            _collect(claims, body, received_at_s, hour_s)
        gone = gone or not body
    if gone:
        _collect_stored(claims, connection, src_id, hour_s, dst_ids)
    return {
        dst_ids[target]: _chunk(hour_s, [_window(of_target[t]) for t in sorted(of_target)])
        for target, of_target in claims.items()
        if target in dst_ids
    }


def _chunk(hour_s: int, windows: Sequence[_Stored]) -> Chunk:
    return Chunk.of(hour_s, windows, _rtts([one.rtt_us for one in windows]))


def _rtts(stored: Sequence[Raw]) -> IntColumn:
    """Lists of numbers and nulls, one after the other. numpy reads text in half of what a list of numbers takes."""
    text = b",".join([bytes(one)[1:-1] for one in stored])
    if b"." in text or b"e" in text or b"E" in text:  # JSON may write whole numbers so; no agent of ours does
        return raw_codec.rtts([rtt for one in stored for rtt in msgspec.json.decode(one, type=list[int | None])])
    return np.fromstring(text.replace(b"null", b"-1"), np.int32, sep=",")


def _collect(claims: _Claims, body: bytes, received_at_s: int, hour_s: int) -> None:
    batch = _decoder.decode(body_codec.read_stored_json(body))
    order = (batch.sealed_at_us, batch.epoch, batch.seq)
    for one in batch.series:
        if hour_s <= one.start_s < hour_s + HOUR_S and has_plausible_time(one.start_s, received_at_s):
            _add(claims, order, one)


def _add(claims: _Claims, order: _Order, one: _Stored) -> None:
    of_target = claims[one.target]
    known = of_target.get(one.start_s)
    if known is None:
        of_target[one.start_s] = (order, one)
    elif isinstance(known, list):
        known.append((order, one))
    else:
        of_target[one.start_s] = [known, (order, one)]


def _collect_stored(
    claims: _Claims, connection: Connection, src_id: int, hour_s: int, dst_ids: Mapping[str, int]
) -> None:
    """What the chunks of the hour say: batches whose bodies are gone were sealed before those that are still there."""
    for name, windows in chunk_store.windows_of_hour(connection, src_id, hour_s, dst_ids):
        for window in windows:
            _add(claims, (0, "", 0), _stored(name, window))


def _window(claims: tuple[_Order, _Stored] | list[tuple[_Order, _Stored]]) -> _Stored:
    """As ingest merged them."""
    if isinstance(claims, tuple):
        return claims[1]
    ordered = [stored for _, stored in sorted(claims, key=itemgetter(0))]
    return _stored(ordered[0].target, merged([wire.window(_series(stored)) for stored in ordered]))


def _series(stored: _Stored) -> wire.Series:
    return wire.Series(
        target=stored.target,
        address=_UNKNOWN_ADDRESS,
        start_s=stored.start_s,
        interval_ms=stored.interval_ms,
        rtt_us=msgspec.json.decode(stored.rtt_us, type=list[int | None]),
        misses=stored.misses,
        duplicates=stored.duplicates,
        error_us=stored.error_us,
    )


def _stored(target: str, window: Window) -> _Stored:
    series = wire.series(target, _UNKNOWN_ADDRESS, window)
    return _Stored(
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
