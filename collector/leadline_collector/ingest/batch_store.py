"""Decoding and storage of batches: journal row and window statistics of a batch in one transaction.

Rule 1: a batch is acknowledged only after the commit. A commit that failed or has an unknown result is 503.
Rule 2: (agent, epoch, seq) identifies a batch permanently: the same bytes are acknowledged again, others are refused
with 409.
Rule 3: a window that several batches contain is recomputed from all of them, from the journal (``windows.merge``).
Rule 4: work without the database is done before the transaction (``prepare_batch``): SQLite has only one writer.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from leadline.wire.batch import Ack, Batch, Gap, GapReason
from leadline_collector.db.transactions import Store, WriteTransaction
from leadline_collector.errors import (
    BatchConflictError,
    CollectorError,
    ForbiddenError,
    InvalidRequestError,
    TryLaterError,
)
from leadline_collector.gaps import store as gap_store
from leadline_collector.gaps.store import Quarantine, ReportedGap
from leadline_collector.ingest.rtt_counters import WindowCounts, count_window
from leadline_collector.ingest.window_versions import build_merged_row, load_window_versions
from leadline_collector.journal import body_codec
from leadline_collector.journal import store as journal_store
from leadline_collector.journal.store import BatchKey, BatchSignature, ClockAnchors, JournalEntry
from leadline_collector.mesh.store import ActiveTargetCache, NamedId
from leadline_collector.windows import store as window_store
from leadline_collector.windows.plausibility import has_plausible_time
from leadline_collector.windows.rows import WindowRow, build_window_columns

log = logging.getLogger(__name__)

US_PER_S = 1_000_000
#: Long, because an administrator has to apply the mesh first.
MESH_RETRY_S = 60
#: Bodies that are decompressed and decoded at once: a hostile body takes 70 MB, and the GIL serialises decoding anyway.
#: Dedicated threads, because the allocator keeps the memory of such a body for every thread that decoded one.
DECODER_THREADS = 2
_decoder_pool = ThreadPoolExecutor(DECODER_THREADS, "decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedBatch:
    """A batch that is ready to be stored. It does not reference the decoded document: many may wait for one writer."""

    entry: JournalEntry
    #: Index of the first window of each target in the batch, quarantined windows included.
    first_index_by_target: Mapping[str, int]
    #: Target and columns of every window with a plausible time (``windows.rows.build_window_columns``).
    rows: Sequence[tuple[str, WindowRow]]
    quarantine: Quarantine | None
    gaps: Sequence[ReportedGap]
    #: Probe slots of all windows, for metrics.
    slot_count: int
    #: RTT counts of ``rows``; empty if they are not counted.
    counts: Sequence[WindowCounts] = ()

    @property
    def window_count(self) -> int:
        """Number of windows, quarantined windows included."""
        return len(self.rows) + (self.quarantine.windows if self.quarantine else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """Acknowledgement of a stored batch, and its counts."""

    ack: Ack
    window_count: int
    slot_count: int
    #: RTT counts of the windows with a plausible time; empty if they are not counted.
    counts: Sequence[WindowCounts]


def ingest_batch(
    store: Store,
    agent: NamedId,
    body: bytes,
    encoding: str,
    received_at_us: int,
    signature: BatchSignature | None = None,
    edges_us: Sequence[int] | None = None,
    *,
    active_targets: ActiveTargetCache | None = None,
) -> IngestResult:
    """Store a batch and return its acknowledgement; raise a CollectorError if it is refused.

    ``received_at_us`` is when the last byte of the body arrived. ``edges_us`` are the bucket edges by which windows are
    counted; None if they are not counted.
    """
    prepared = prepare_batch(agent, body, encoding, received_at_us // US_PER_S, signature, edges_us)
    store.ensure_partitions({row[0] for _, row in prepared.rows})  # type: ignore[misc]  # the first column is the time
    targets = active_targets or ActiveTargetCache()
    batches, is_new, mesh_version = store.transact(lambda writer: store_batch(writer, prepared, targets))
    log.info(
        "batch stored",
        extra={
            "agent": agent.name,
            "seq": prepared.entry.key.seq,
            "windows": prepared.window_count,
            "duplicate": not is_new,
        },
    )
    ack = Ack(
        digest=prepared.entry.sha256.hex(),
        duplicate=not is_new,
        mesh_version=mesh_version,
        batches=batches,
        received_at_us=received_at_us,
    )
    return IngestResult(
        ack=ack, window_count=prepared.window_count, slot_count=prepared.slot_count, counts=prepared.counts
    )


def prepare_batch(
    agent: NamedId,
    body: bytes,
    encoding: str,
    now_s: int,
    signature: BatchSignature | None = None,
    edges_us: Sequence[int] | None = None,
) -> PreparedBatch:
    """Decode and check a body as far as possible without the database; raise a CollectorError if it is refused."""
    result = _decoder_pool.submit(_prepare_or_refuse, agent, body, encoding, now_s, edges_us).result()
    if isinstance(result, CollectorError):
        raise result
    return result if signature is None else replace(result, entry=replace(result.entry, signature=signature))


def _prepare_or_refuse(
    agent: NamedId, body: bytes, encoding: str, now_s: int, edges_us: Sequence[int] | None
) -> PreparedBatch | CollectorError:
    """Decode a body; return the error if it is refused.

    The traceback of a raised error would keep the decoded document in memory until the response is sent (60 MB for a
    decompression bomb).
    """
    try:
        return _build_prepared_batch(agent, body_codec.decode_batch(body, encoding), body, now_s, edges_us)
    except CollectorError as error:
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)


def _build_prepared_batch(
    agent: NamedId, batch: Batch, body: bytes, now_s: int, edges_us: Sequence[int] | None
) -> PreparedBatch:
    if batch.agent != agent.name:
        raise ForbiddenError(f"the key belongs to agent {agent.name!r}, but the batch is from {batch.agent!r}")
    plausible = [window for window in batch.series if has_plausible_time(window.start_s, now_s)]
    first_index_by_target: dict[str, int] = {}
    for index, window in enumerate(batch.series):
        first_index_by_target.setdefault(window.target, index)
    rows = [build_window_columns(window) for window in plausible]
    return PreparedBatch(
        entry=build_journal_entry(agent, batch, body, now_s),
        first_index_by_target=first_index_by_target,
        rows=[(window.target, row) for window, row in zip(plausible, rows, strict=True)],
        quarantine=None if len(plausible) == len(batch.series) else _build_quarantine(batch, now_s),
        gaps=[_to_reported_gap(gap, now_s) for gap in batch.gaps],
        slot_count=sum([len(window.rtt_us) for window in batch.series]),
        counts=()
        if edges_us is None
        else [count_window(window, row, edges_us) for window, row in zip(plausible, rows, strict=True)],
    )


def _build_quarantine(batch: Batch, now_s: int) -> Quarantine:
    indexes = [index for index, window in enumerate(batch.series) if not has_plausible_time(window.start_s, now_s)]
    times = [batch.series[index].start_s for index in indexes]
    log.warning("windows in quarantine", extra={"agent": batch.agent, "seq": batch.seq, "windows": len(indexes)})
    return Quarantine(
        reason=GapReason.CLOCK_UNSYNC,
        path=f"series[{indexes[0]}].start_s",
        windows=len(indexes),
        t_first=min(times),
        t_last=max(times),
    )


def _to_reported_gap(gap: Gap, now_s: int) -> ReportedGap:
    return ReportedGap(
        reason=gap.reason,
        from_s=gap.from_s,
        to_s=gap.to_s,
        windows=gap.windows,
        first_seq=gap.first_seq,
        last_seq=gap.last_seq,
        epoch=None if gap.epoch is None else bytes.fromhex(gap.epoch),
        recorded_at_s=now_s,
    )


def build_journal_entry(agent: NamedId, batch: Batch, body: bytes, received_at_s: int) -> JournalEntry:
    """Build the journal row of a batch, without its signature."""
    times = [window.start_s for window in batch.series if has_plausible_time(window.start_s, received_at_s)]
    return JournalEntry(
        src_id=agent.id,
        key=BatchKey(epoch=bytes.fromhex(batch.epoch), seq=batch.seq),
        received_at_s=received_at_s,
        sha256=hashlib.sha256(body).digest(),
        mesh_version=batch.mesh_version,
        t_first=min(times, default=None),
        t_last=max(times, default=None),
        body=body,
        anchors=_read_anchors(batch),
    )


def _read_anchors(batch: Batch) -> ClockAnchors:
    clock = batch.clock
    return ClockAnchors(
        sealed_at_us=batch.sealed_at_us,
        monotonic_us=batch.monotonic_us,
        boottime_us=batch.boottime_us,
        boot_id=batch.boot_id,
        ntp_synchronised=clock.synchronised if clock else None,
        ntp_offset_us=clock.offset_us if clock else None,
        ntp_max_error_us=clock.max_error_us if clock else None,
        ntp_estimated_error_us=clock.estimated_error_us if clock else None,
        clock_offset_us=batch.clock_offset_us,
        clock_offset_error_us=batch.clock_offset_error_us,
    )


def store_batch(writer: WriteTransaction, batch: PreparedBatch, targets: ActiveTargetCache) -> tuple[int, bool, int]:
    """Store a batch; return the number of batches of its epoch, whether it is new, and the active mesh version."""
    entry = batch.entry
    window_store.lock_agent(writer.connection, entry.src_id)
    mesh_version, dst_ids = targets.load(writer.connection)
    batches = journal_store.add_batch(writer.connection, entry)
    if batches is None:
        return _check_duplicate(writer, entry), False, mesh_version
    _check_targets(batch, dst_ids, mesh_version)
    if batch.quarantine is not None:
        gap_store.add_quarantine(writer.connection, entry, batch.quarantine)
    gap_store.add_gaps(writer.connection, entry.src_id, entry.key, batch.gaps)
    _store_windows(writer, batch, dst_ids)
    return batches, True, mesh_version


def _check_duplicate(writer: WriteTransaction, entry: JournalEntry) -> int:
    """Return the number of batches of the epoch; raise BatchConflictError if the stored batch has different bytes."""
    sha256, batches = journal_store.load_batch_digest(writer.connection, entry.src_id, entry.key)
    if sha256 == entry.sha256:
        return batches
    log.error(
        "batch conflicts with a stored batch",
        extra={"src_id": entry.src_id, "epoch": entry.key.epoch.hex(), "seq": entry.key.seq},
    )
    raise BatchConflictError(
        f"batch {entry.key.seq} of this epoch is stored with different bytes: was the agent's state directory copied?",
        epoch=entry.key.epoch.hex(),
        seq=entry.key.seq,
    )


def _check_targets(batch: PreparedBatch, dst_ids: Mapping[str, int], mesh_version: int) -> None:
    for target, index in batch.first_index_by_target.items():
        if target in dst_ids:
            continue
        path = f"series[{index}].target"
        if batch.entry.mesh_version > mesh_version:
            # The database was restored from a backup older than that mesh: the agent must keep its data until the mesh
            # is applied again.
            raise TryLaterError(
                f"{path}: target {target!r} is from mesh version {batch.entry.mesh_version}, but the active version is "
                f"{mesh_version}: was the database restored? Apply the mesh file again",
                retry_after_s=MESH_RETRY_S,
                path=path,
            )
        raise InvalidRequestError(f"{path}: no mesh ever had a target {target!r}", path=path)


def _store_windows(writer: WriteTransaction, batch: PreparedBatch, dst_ids: Mapping[str, int]) -> None:
    entry = batch.entry
    batch_columns = (entry.mesh_version, entry.key.epoch, entry.key.seq)
    rows = [(entry.src_id, dst_ids[target], *columns, *batch_columns) for target, columns in batch.rows]
    existing = window_store.add_missing_windows(writer.connection, entry.src_id, entry.key, rows)
    if existing:
        versions_by_key = load_window_versions(writer, entry.src_id, existing, dst_ids)
        window_store.delete_windows(writer.connection, entry.src_id, existing)
        window_store.add_windows(
            writer.connection,
            entry.src_id,
            [build_merged_row(entry.src_id, window_key, versions) for window_key, versions in versions_by_key.items()],
        )
