"""The raw round trips of an agent's hour, out of its journal: slot by slot what ``window_stat`` was computed from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from sqlalchemy import Connection

from leadline import wire
from leadline.wire import Series
from leadline_collector import bodies, journal, stored_chunks
from leadline_collector.chunks import Chunk
from leadline_collector.ingest import is_believable
from leadline_collector.marks import HOUR_S
from leadline_collector.merge import merged

#: Address of a window that comes from a chunk, which does not keep it.
_UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing listens here


#: (target, start of the minute): what batches say of the window, each with the moment and name of its sealing.
_Claims: TypeAlias = defaultdict[tuple[str, int], list[tuple[tuple[int, str, int], Series]]]


def chunks_of(connection: Connection, src_id: int, hour_s: int, dst_ids: Mapping[str, int]) -> dict[int, Chunk]:
    """The chunk of every path of an agent with raw windows in the hour, by number of the target."""
    claims: _Claims = defaultdict(list)
    gone = False
    for received_at_s, body in journal.bodies_between(connection, src_id, hour_s, hour_s + HOUR_S):
        if body:
            _collect(claims, bodies.stored_batch(body), received_at_s, hour_s)
        gone = gone or not body
    if gone:
        _collect_stored(claims, connection, src_id, hour_s, dst_ids)
    series: defaultdict[str, list[Series]] = defaultdict(list)
    for target, t in sorted(claims):
        series[target].append(_window(claims[target, t]))
    return {dst_ids[target]: Chunk.of(hour_s, of_target) for target, of_target in series.items() if target in dst_ids}


def _collect(claims: _Claims, batch: wire.Batch, received_at_s: int, hour_s: int) -> None:
    order = (batch.sealed_at_us, batch.epoch, batch.seq)
    for one in batch.series:
        if hour_s <= one.start_s < hour_s + HOUR_S and is_believable(one.start_s, received_at_s):
            claims[one.target, one.start_s].append((order, one))


def _collect_stored(
    claims: _Claims, connection: Connection, src_id: int, hour_s: int, dst_ids: Mapping[str, int]
) -> None:
    """What the chunks of the hour say: batches whose bodies are gone were sealed before those that are still there."""
    for name, windows in stored_chunks.windows_of_hour(connection, src_id, hour_s, dst_ids):
        for window in windows:
            claims[name, window.start_s].append(((0, "", 0), wire.series(name, _UNKNOWN_ADDRESS, window)))


def _window(claims: Sequence[tuple[tuple[int, str, int], Series]]) -> Series:
    """As ingest merged them."""
    if len(claims) == 1:
        return claims[0][1]
    ordered = [series for _, series in sorted(claims, key=lambda claim: claim[0])]
    return wire.series(ordered[0].target, ordered[0].address, merged([wire.window(series) for series in ordered]))
