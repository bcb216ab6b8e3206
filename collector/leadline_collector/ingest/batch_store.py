"""From a POST to durable rows: the journal and the window statistics of a batch, in one transaction.

Rule 1: an acknowledgement is made only after the commit. A commit that failed, or of which we do not know, is 503.
Rule 2: (agent, epoch, seq) names a batch for ever: the same bytes again are acknowledged, others are refused (409).
Rule 3: a window another batch has already spoken of is recomputed from all of them, out of the journal (``merge``).
Rule 4: everything that needs no database is done before the transaction (``prepared``): on SQLite all share one.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from leadline.wire import batch as wire
from leadline_collector.db.transactions import Store, WriteTransaction
from leadline_collector.errors import CollectorError, ConflictError, ForbiddenError, InvalidRequestError, TryLaterError
from leadline_collector.gaps import store as gap_store
from leadline_collector.gaps.store import Quarantine, ReportedGap
from leadline_collector.ingest.rtt_counters import WindowCounts, count_window
from leadline_collector.ingest.window_versions import load_window_versions, merged_row
from leadline_collector.journal import body_codec
from leadline_collector.journal import store as journal_store
from leadline_collector.journal.store import BatchKey, BatchSignature, ClockAnchors, JournalEntry
from leadline_collector.mesh.store import ActiveTargetCache, NamedId
from leadline_collector.windows import store as window_store
from leadline_collector.windows.plausibility import has_plausible_time
from leadline_collector.windows.rows import WindowRow, build_series_row

log = logging.getLogger(__name__)

US_PER_S = 1_000_000
#: A person has to apply a mesh: seconds would not do.
MESH_RETRY_S = 60
#: Bodies that are inflated and decoded at once: a hostile one takes 70 MB, and the interpreter decodes one at a time
#: anyway. In threads of their own, because the allocator keeps for every thread what one such body took.
DECODER_THREADS = 2
_decoder_pool = ThreadPoolExecutor(DECODER_THREADS, "decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedBatch:
    """A batch, ready to be stored. It does not hold on to the decoded document: many may wait for one writer."""

    entry: JournalEntry
    #: The place in the batch where each target stands first, those of quarantined windows too.
    first_index_by_target: Mapping[str, int]
    #: Target and columns of every window that is believed (``windows.series_row``).
    rows: Sequence[tuple[str, WindowRow]]
    quarantine: Quarantine | None
    gaps: Sequence[ReportedGap]
    #: Slots of the windows, for the figures.
    slot_count: int
    #: Of ``rows``, where they are counted.
    counts: Sequence[WindowCounts] = ()

    @property
    def window_count(self) -> int:
        """Windows in it, quarantined ones too."""
        return len(self.rows) + (self.quarantine.windows if self.quarantine else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """What became of a POST."""

    ack: wire.Ack
    window_count: int
    slot_count: int
    #: Of the windows that are believed, where they are counted.
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
    """Store a batch and acknowledge it; CollectorError says why not. ``received_at_us`` is when the body was there.

    ``edges_us`` of the histograms its windows are counted for; None where they are not.
    """
    found = decode_batch(agent, body, encoding, received_at_us // US_PER_S, signature, edges_us)
    store.ensure_partitions({row[0] for _, row in found.rows})  # type: ignore[misc]  # the first column is the time
    targets = active_targets or ActiveTargetCache()
    batches, is_new, mesh_version = store.transact(lambda writer: store_batch(writer, found, targets))
    log.info(
        "batch stored",
        extra={"agent": agent.name, "seq": found.entry.key.seq, "windows": found.window_count, "duplicate": not is_new},
    )
    ack = wire.Ack(
        digest=found.entry.sha256.hex(),
        duplicate=not is_new,
        mesh_version=mesh_version,
        batches=batches,
        received_at_us=received_at_us,
    )
    return IngestResult(ack=ack, window_count=found.window_count, slot_count=found.slot_count, counts=found.counts)


def decode_batch(
    agent: NamedId,
    body: bytes,
    encoding: str,
    now_s: int,
    signature: BatchSignature | None = None,
    edges_us: Sequence[int] | None = None,
) -> DecodedBatch:
    """Everything about a body that no database is needed for; CollectorError if it is not to be stored."""
    found = _decoder_pool.submit(_decode_or_refuse, agent, body, encoding, now_s, edges_us).result()
    if isinstance(found, CollectorError):
        raise found
    return found if signature is None else replace(found, entry=replace(found.entry, signature=signature))


def _decode_or_refuse(
    agent: NamedId, body: bytes, encoding: str, now_s: int, edges_us: Sequence[int] | None
) -> DecodedBatch | CollectorError:
    """A refusal as a value: its traceback would hold the decoded document until the answer is out (60 MB of a bomb)."""
    try:
        return _build_decoded_batch(agent, body_codec.decode_batch(body, encoding), body, now_s, edges_us)
    except CollectorError as refusal:
        refusal.__cause__ = refusal.__context__ = None
        return refusal.with_traceback(None)


def _build_decoded_batch(
    agent: NamedId, batch: wire.Batch, body: bytes, now_s: int, edges_us: Sequence[int] | None
) -> DecodedBatch:
    if batch.agent != agent.name:
        raise ForbiddenError(f"the key belongs to agent {agent.name!r} and the batch to {batch.agent!r}")
    believed = [one for one in batch.series if has_plausible_time(one.start_s, now_s)]
    targets: dict[str, int] = {}
    for index, one in enumerate(batch.series):
        targets.setdefault(one.target, index)
    rows = [build_series_row(one) for one in believed]
    return DecodedBatch(
        entry=build_journal_entry(agent, batch, body, now_s),
        first_index_by_target=targets,
        rows=[(one.target, row) for one, row in zip(believed, rows, strict=True)],
        quarantine=None if len(believed) == len(batch.series) else _build_quarantine(batch, now_s),
        gaps=[_to_reported_gap(gap, now_s) for gap in batch.gaps],
        slot_count=sum([len(one.rtt_us) for one in batch.series]),
        counts=() if edges_us is None else [count_window(*one, edges_us) for one in zip(believed, rows, strict=True)],
    )


def _build_quarantine(batch: wire.Batch, now_s: int) -> Quarantine:
    absurd = [index for index, one in enumerate(batch.series) if not has_plausible_time(one.start_s, now_s)]
    times = [batch.series[index].start_s for index in absurd]
    log.warning("windows in quarantine", extra={"agent": batch.agent, "seq": batch.seq, "windows": len(absurd)})
    return Quarantine(
        reason=wire.GapReason.CLOCK_UNSYNC,
        path=f"series[{absurd[0]}].start_s",
        windows=len(absurd),
        t_first=min(times),
        t_last=max(times),
    )


def _to_reported_gap(gap: wire.Gap, now_s: int) -> ReportedGap:
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


def build_journal_entry(agent: NamedId, batch: wire.Batch, body: bytes, received_at_s: int) -> JournalEntry:
    """The row of the journal for a body, without its signature."""
    times = [one.start_s for one in batch.series if has_plausible_time(one.start_s, received_at_s)]
    return JournalEntry(
        src_id=agent.id,
        key=_to_batch_key(batch),
        received_at_s=received_at_s,
        sha256=hashlib.sha256(body).digest(),
        mesh_version=batch.mesh_version,
        t_first=min(times, default=None),
        t_last=max(times, default=None),
        body=body,
        anchors=_read_anchors(batch),
    )


def _read_anchors(batch: wire.Batch) -> ClockAnchors:
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


def _to_batch_key(batch: wire.Batch) -> BatchKey:
    return BatchKey(epoch=bytes.fromhex(batch.epoch), seq=batch.seq)


def store_batch(writer: WriteTransaction, batch: DecodedBatch, targets: ActiveTargetCache) -> tuple[int, bool, int]:
    """Store a batch: batches of its epoch afterwards, whether this one is new, and the mesh in force."""
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
    """Batches of the epoch; 409 if the one of this name has other bytes."""
    sha256, batches = journal_store.load_batch_digest(writer.connection, entry.src_id, entry.key)
    if sha256 == entry.sha256:
        return batches
    log.error(
        "batch name taken by other bytes",
        extra={"src_id": entry.src_id, "epoch": entry.key.epoch.hex(), "seq": entry.key.seq},
    )
    raise ConflictError(
        f"batch {entry.key.seq} of this epoch is stored with other bytes: is the agent's state a copy?",
        epoch=entry.key.epoch.hex(),
        seq=entry.key.seq,
    )


def _check_targets(batch: DecodedBatch, dst_ids: Mapping[str, int], mesh_version: int) -> None:
    for target, index in batch.first_index_by_target.items():
        if target in dst_ids:
            continue
        path = f"series[{index}].target"
        if batch.entry.mesh_version > mesh_version:
            # The database was restored from before that mesh: the agent must keep what it measured until it is back.
            raise TryLaterError(
                f"{path}: {target!r} is of mesh version {batch.entry.mesh_version}, and {mesh_version} is in force: "
                "was the database restored? Apply the mesh file again",
                retry_after_s=MESH_RETRY_S,
                path=path,
            )
        raise InvalidRequestError(f"{path}: no mesh ever had a target {target!r}", path=path)


def _store_windows(writer: WriteTransaction, batch: DecodedBatch, dst_ids: Mapping[str, int]) -> None:
    entry = batch.entry
    last = (entry.mesh_version, entry.key.epoch, entry.key.seq)
    rows = [(entry.src_id, dst_ids[target], *columns, *last) for target, columns in batch.rows]
    taken = window_store.add_missing_windows(writer.connection, entry.src_id, entry.key, rows)
    if taken:
        claims = load_window_versions(writer, entry.src_id, taken, dst_ids)
        window_store.delete_windows(writer.connection, entry.src_id, taken)
        window_store.add_windows(
            writer.connection,
            entry.src_id,
            [merged_row(entry.src_id, place, of_place) for place, of_place in claims.items()],
        )
