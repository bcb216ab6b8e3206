"""Measurements brought in from a file by the administrator: the journal and windows of a source that is no agent.

Rule 1: the source is called ``import:`` and a site or agent, which no mesh can name and no key belongs to. Its windows
are a path of their own: what an agent measured is never changed, and what was imported is marked for ever.
Rule 2: a minute that was measured already by what may be the same host is refused, and so is a slot that another file
of the same source has filled. Files that complete each other (a log that was rotated) are merged, as batches are.
Rule 3: with ``check`` everything is done and then undone, so that a file of many batches can be tried as a whole.
Rule 4: the audit says of every batch which file it came from, in the transaction that stores it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from leadline.clock import format_iso8601
from leadline.model import Failure, Window
from leadline.wire import batch as wire
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import AuditAction, AuditEvent
from leadline_collector.db.transactions import ReadTransaction, Store, WriteTransaction
from leadline_collector.errors import ConflictError, InvalidRequestError
from leadline_collector.ingest.batch_store import US_PER_S, DecodedBatch, decode_batch, store_batch
from leadline_collector.ingest.window_versions import load_window_versions
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import ActiveTargetCache, NamedId
from leadline_collector.windows import store as window_store
from leadline_collector.windows.store import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOrigin:
    """Where a batch comes from, as the administrator's program says."""

    #: ``import:`` and the site or agent.
    source: str
    #: Name, SHA-256 and format of the file.
    file: str
    sha256: str
    format: str
    #: The step in which RTTs were printed; None if the file does not show it.
    resolution_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImport:
    """The acknowledgement of an imported batch, and how much is in it."""

    ack: wire.Ack
    windows: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoreResult:
    batches: int
    is_new: bool
    mesh_version: int


class _DryRunError(Exception):
    """Undoes a transaction that was only tried."""

    def __init__(self, result: _StoreResult) -> None:
        super().__init__("tried and undone")
        self.result = result


def store_import(
    store: Store,
    active_targets: ActiveTargetCache,
    received_at_us: int,
    body: bytes,
    encoding: str,
    origin: ImportOrigin,
    *,
    check: bool,
) -> StoredImport:
    """Store an imported batch, or only check it; raise a CollectorError if it is refused."""
    now_s = received_at_us // US_PER_S
    found = decode_batch(NamedId(id=0, name=origin.source, site=""), body, encoding, now_s)
    _check_contents(found)
    store.ensure_partitions({t for _, t in _iter_windows(found)})
    outcome = _store_or_check(store, active_targets, found, origin, now_s, dry_run=check)
    ack = wire.Ack(
        digest=found.entry.sha256.hex(),
        duplicate=not outcome.is_new,
        mesh_version=outcome.mesh_version,
        batches=outcome.batches,
        received_at_us=received_at_us,
    )
    return StoredImport(ack=ack, windows=found.window_count, samples=found.slot_count)


def _check_contents(batch: DecodedBatch) -> None:
    if batch.quarantine is not None:
        at = format_iso8601(batch.quarantine.t_first)
        raise InvalidRequestError(f"a window at {at} is before 2020 or in the future: are the times of the file right?")
    if batch.gaps:
        raise InvalidRequestError("gaps: an import tells none", path="gaps")


def _iter_windows(batch: DecodedBatch) -> Iterator[tuple[str, int]]:
    """Target and start of every window."""
    for target, row in batch.rows:
        start_s = row[0]
        assert isinstance(start_s, int)
        yield target, start_s


def _store_or_check(
    store: Store,
    active_targets: ActiveTargetCache,
    batch: DecodedBatch,
    origin: ImportOrigin,
    now_s: int,
    *,
    dry_run: bool,
) -> _StoreResult:
    def work(writer: WriteTransaction) -> _StoreResult:
        outcome = _store_import(writer, active_targets, batch, origin, now_s)
        if dry_run:
            raise _DryRunError(outcome)
        return outcome

    try:
        return store.transact(work)
    except _DryRunError as checked:
        return checked.result


def _store_import(
    writer: WriteTransaction, active_targets: ActiveTargetCache, batch: DecodedBatch, origin: ImportOrigin, now_s: int
) -> _StoreResult:
    mesh_store.lock_mesh(writer.connection)
    source = _get_or_create_source(writer, origin.source)
    _check_sites(writer, source, batch)
    batch = replace(batch, entry=replace(batch.entry, src_id=source.id))
    _, dst_ids = active_targets.load(writer.connection)
    places = {(dst_ids[target], t) for target, t in _iter_windows(batch)}
    _refuse_measured_windows(writer, source, places)
    before = window_store.load_window_batches(writer.connection, source.id, places)
    batches, is_new, mesh_version = store_batch(writer, batch, active_targets)
    if is_new:
        _refuse_overlap(writer, source.id, before.keys(), dst_ids)
        audit_log.add_event(writer.connection, _build_audit_event(batch, origin, now_s))
    return _StoreResult(batches=batches, is_new=is_new, mesh_version=mesh_version)


def _get_or_create_source(writer: WriteTransaction, name: str) -> NamedId:
    """The source as the database knows it from now on; 422 if it is named after nothing, or after two things."""
    known = {agent.name: agent for agent in mesh_store.load_agents(writer.connection)}
    if name not in known:
        mesh_store.register_names(
            writer.connection, (), {name: _find_site(writer, known, name.removeprefix(wire.IMPORT_PREFIX))}, {}
        )
        known = {agent.name: agent for agent in mesh_store.load_agents(writer.connection)}
    return known[name]


def _find_site(reader: ReadTransaction, agents: Mapping[str, NamedId], name: str) -> str:
    found = mesh_service.load_active_mesh(reader)
    sites = {site.name for site in found[1].sites} if found else set()
    at = {agents[name].site} if name in agents else set()
    at |= {name} & sites
    if len(at) == 1:
        return at.pop()
    if at:
        raise InvalidRequestError(
            f"source: {name!r} is a site, and an agent of another site: which is meant?", path="source"
        )
    named = ", ".join(sorted(sites | {one for one in agents if not wire.is_imported(one)}))
    raise InvalidRequestError(
        f"source: no mesh has a site or agent {name!r}; there are {named or 'none yet'}", path="source"
    )


def _check_sites(reader: ReadTransaction, source: NamedId, batch: DecodedBatch) -> None:
    targets = {target.name: target for target in mesh_store.load_targets(reader.connection)}
    for name, index in batch.first_index_by_target.items():
        if name not in targets:
            raise InvalidRequestError(f"no mesh ever had a target {name!r}", path=f"series[{index}].target")
        if targets[name].site == source.site:
            raise InvalidRequestError(f"{name!r} is at site {source.site!r} too: a pair joins two sites", path="source")


def _refuse_measured_windows(reader: ReadTransaction, source: NamedId, window_keys: Set[Place]) -> None:
    """409 if what may be the same host has a window of one of these minutes already."""
    for rival in mesh_store.load_agents(reader.connection):
        if rival.id != source.id and _can_be_same_host(rival, source):
            taken = window_store.load_window_batches(reader.connection, rival.id, window_keys)
            if taken:
                at = format_iso8601(min(t for _, t in taken))
                raise ConflictError(f"{rival.name!r} has measured the minute of {at} already: import the rest only")


def _can_be_same_host(first: NamedId, second: NamedId) -> bool:
    """Named alike, or one of them only by the site of both."""
    names = {each.name.removeprefix(wire.IMPORT_PREFIX) for each in (first, second)}
    return first.site == second.site and (len(names) == 1 or first.site in names)


def _refuse_overlap(writer: WriteTransaction, src_id: int, window_keys: Set[Place], dst_ids: Mapping[str, int]) -> None:
    """409 if two files of one source have both measured a slot: which of them would be right?"""
    for (_, t), claims in load_window_versions(writer, src_id, window_keys, dst_ids).items():
        if not _is_disjoint([claim.window for claim in claims]):
            raise ConflictError(
                f"the minute of {format_iso8601(t)} was imported already, out of another file or otherwise read"
            )


def _is_disjoint(windows: Sequence[Window]) -> bool:
    filled = [slot for window in windows for slot in _iter_measured_slots(window)]
    return len({window.interval_ms for window in windows}) == 1 and len(filled) == len(set(filled))


def _iter_measured_slots(window: Window) -> Iterator[int]:
    not_sent = {miss.slot for miss in window.misses if miss.failure is Failure.NOT_SENT}
    return (slot for slot in range(len(window.rtt_us)) if slot not in not_sent)


def _build_audit_event(batch: DecodedBatch, origin: ImportOrigin, now_s: int) -> AuditEvent:
    entry = batch.entry
    detail = {
        "file": origin.file,
        "file_sha256": origin.sha256,
        "format": origin.format,
        "resolution_us": origin.resolution_us,
        "targets": sorted(batch.first_index_by_target),
        "epoch": entry.key.epoch.hex(),
        "seq": entry.key.seq,
        "sha256": entry.sha256.hex(),
        "windows": batch.window_count,
        "from_s": entry.t_first,
        "last_s": entry.t_last,
    }
    return AuditEvent(
        at_s=now_s, actor=audit_log.ACTOR_ADMIN, action=AuditAction.DATA_IMPORTED, subject=origin.source, detail=detail
    )
