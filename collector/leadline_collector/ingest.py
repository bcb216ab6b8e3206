"""From a POST to durable rows: the journal and the window statistics of a batch, in one transaction.

Rule 1: an acknowledgement is made only after the commit. A commit that failed, or of which we do not know, is 503.
Rule 2: (agent, epoch, seq) names a batch for ever: the same bytes again are acknowledged, others are refused (409).
Rule 3: a window another batch has already spoken of is recomputed from all of them, out of the journal (``merge``).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from leadline import wire
from leadline.clock import Clock
from leadline.model import Window
from leadline.stats import window_statistics
from leadline_collector import bodies
from leadline_collector.merge import merged
from leadline_collector.problems import ProblemError
from leadline_collector.store import JournalEntry, Numbered, Store, Writer
from leadline_collector.windows import BatchKey, WindowRow, window_row

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
#: 2020-01-01: before leadline existed.
TIME_S_MIN = 1_577_836_800
#: A wall clock more than a day ahead is broken, not badly set.
AHEAD_S_MAX = 86_400

#: (dst_id, t): which window of an agent.
Place: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one batch says of one window."""

    sealed_at_us: int
    mesh_version: int
    key: BatchKey
    window: Window

    @property
    def order(self) -> tuple[int, bytes, int]:
        """The order of sealing, the same whatever the order of arrival."""
        return self.sealed_at_us, self.key.epoch, self.key.seq


def ingest(store: Store, clock: Clock, agent: Numbered, body: bytes, encoding: str) -> wire.Ack:
    """Store a batch and acknowledge it; ProblemError says why not."""
    batch = bodies.batch(body, encoding)
    if batch.agent != agent.name:
        raise ProblemError(403, f"the key belongs to agent {agent.name!r} and the batch to {batch.agent!r}")
    now_s = clock.wall_ns() // NS_PER_S
    _check_times(batch, now_s)
    entry = _journal_entry(agent, batch, body, now_s)
    store.make_partitions({series.start_s for series in batch.series})
    with store.write() as writer:
        writer.take_turn(agent.id)
        is_new = writer.add_batch(entry)
        if is_new:
            _store_windows(writer, agent.id, batch)
        elif writer.batch_sha256(agent.id, entry.key) != entry.sha256:
            raise _conflict(agent, batch)
        mesh_version = writer.mesh_version()
    log.info(
        "batch stored",
        extra={"agent": agent.name, "seq": batch.seq, "windows": len(batch.series), "duplicate": not is_new},
    )
    return wire.Ack(digest=entry.sha256.hex(), duplicate=not is_new, mesh_version=mesh_version)


def _check_times(batch: wire.Batch, now_s: int) -> None:
    for index, series in enumerate(batch.series):
        if not TIME_S_MIN <= series.start_s <= now_s + AHEAD_S_MAX:
            path = f"series[{index}].start_s"
            problem = f"{series.start_s} is before 2020 or more than a day ahead of {now_s}: the agent's clock is wrong"
            raise ProblemError(422, f"{path}: {problem}", path=path)


def _journal_entry(agent: Numbered, batch: wire.Batch, body: bytes, now_s: int) -> JournalEntry:
    times = [series.start_s for series in batch.series]
    return JournalEntry(
        src_id=agent.id,
        key=_key(batch),
        received_at_s=now_s,
        sha256=hashlib.sha256(body).digest(),
        mesh_version=batch.mesh_version,
        t_first=min(times, default=None),
        t_last=max(times, default=None),
        body=body,
    )


def _key(batch: wire.Batch) -> BatchKey:
    return BatchKey(epoch=bytes.fromhex(batch.epoch), seq=batch.seq)


def _conflict(agent: Numbered, batch: wire.Batch) -> ProblemError:
    log.error("batch name taken by other bytes", extra={"agent": agent.name, "epoch": batch.epoch, "seq": batch.seq})
    return ProblemError(
        409, f"batch {batch.seq} of this epoch is stored with other bytes: is the agent's state a copy?"
    )


def _store_windows(writer: Writer, src_id: int, batch: wire.Batch) -> None:
    dst_ids = _target_ids(writer, batch)
    claims = {place: [claim] for place, claim in _claims(batch, dst_ids)}
    taken = writer.stored_windows(src_id, claims.keys())
    if taken:
        for place, claim in _earlier_claims(writer, src_id, batch, taken, dst_ids):
            claims[place].append(claim)
        writer.remove_windows(src_id, taken)
    writer.add_windows([_row(src_id, place, found) for place, found in claims.items()])


def _target_ids(writer: Writer, batch: wire.Batch) -> dict[str, int]:
    dst_ids = writer.target_ids({series.target for series in batch.series})
    for index, series in enumerate(batch.series):
        if series.target not in dst_ids:
            path = f"series[{index}].target"
            raise ProblemError(422, f"{path}: no mesh ever had a target {series.target!r}", path=path)
    return dst_ids


def _claims(batch: wire.Batch, dst_ids: dict[str, int]) -> Iterator[tuple[Place, Claim]]:
    key = _key(batch)
    for series, window in wire.windows(batch):
        claim = Claim(sealed_at_us=batch.sealed_at_us, mesh_version=batch.mesh_version, key=key, window=window)
        yield (dst_ids[series.target], series.start_s), claim


def _earlier_claims(
    writer: Writer, src_id: int, batch: wire.Batch, taken: Set[Place], dst_ids: dict[str, int]
) -> Iterator[tuple[Place, Claim]]:
    """What the journal says of windows that are taken, other than ``batch``, which it holds already."""
    times = [t for _, t in taken]
    for key, body in writer.bodies(src_id, min(times), max(times)):
        if key == _key(batch):
            continue
        earlier = bodies.stored_batch(body)
        known = [series for series in earlier.series if series.target in dst_ids]
        for place, claim in _claims(msgspec.structs.replace(earlier, series=known), dst_ids):
            if place in taken:
                yield place, claim


def _row(src_id: int, place: Place, claims: Sequence[Claim]) -> WindowRow:
    ordered = sorted(claims, key=lambda claim: claim.order)
    window, last = merged([claim.window for claim in ordered]), ordered[-1]
    return window_row(
        src_id,
        *place,
        window.interval_ms,
        window_statistics(window),
        mesh_version=last.mesh_version,
        batch=last.key,
        duplicates=window.duplicates,
        error_bound=window.error_bound,
    )
