"""Import of measurements from files, under a source that is not an agent.

Rule 1: the name of the source is ``import:`` and a site or agent. No mesh can contain that name and no key belongs to
it. The windows are a separate path, so an import never changes an agent's data and stays recognisable as an import.
Rule 2: a minute is refused if a source that may be the same host has measured it, and so is a slot that another file of
the same source has filled. Files that complete each other (a rotated log) are merged like batches.
Rule 3: a check runs the whole transaction and rolls it back, so that a file of many batches can be tried as a whole.
Rule 4: the transaction that stores a batch writes its file to the audit log.
Rule 5: a file that another version of ``leadline import`` read differently is refused. Its stored windows stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from leadline.clock import format_iso8601
from leadline.model import Failure, Window
from leadline.wire.batch import IMPORT_PREFIX, Ack, is_imported
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import AuditAction, AuditEvent
from leadline_collector.db.transactions import ReadTransaction, Store, WriteTransaction
from leadline_collector.errors import BatchConflictError, ConflictError, InvalidRequestError
from leadline_collector.ingest.batch_store import US_PER_S, PreparedBatch, prepare_batch, store_batch
from leadline_collector.ingest.window_versions import load_window_versions
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import ActiveTargetCache, NamedId
from leadline_collector.windows import store as window_store
from leadline_collector.windows.store import WindowKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOrigin:
    """Origin of an imported batch, as the importing program reports it."""

    #: ``import:`` and a site or agent.
    source: str
    #: Name of the file.
    file: str
    sha256: str
    format: str
    #: Resolution of the RTTs in the file, in microseconds; None if unknown.
    resolution_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImport:
    """Acknowledgement of an imported batch, and its counts."""

    ack: Ack
    windows: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoreResult:
    batches: int
    is_new: bool
    mesh_version: int


class _DryRunError(Exception):
    """Rolls back the transaction of a check."""

    def __init__(self, result: _StoreResult) -> None:
        super().__init__("rolled back after a check")
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
    prepared = prepare_batch(NamedId(id=0, name=origin.source, site=""), body, encoding, now_s)
    _check_contents(prepared)
    store.ensure_partitions({t for _, t in _iter_windows(prepared)})
    result = _store_or_check(store, active_targets, prepared, origin, now_s, dry_run=check)
    ack = Ack(
        digest=prepared.entry.sha256.hex(),
        duplicate=not result.is_new,
        mesh_version=result.mesh_version,
        batches=result.batches,
        received_at_us=received_at_us,
    )
    return StoredImport(ack=ack, windows=prepared.window_count, samples=prepared.slot_count)


def _check_contents(batch: PreparedBatch) -> None:
    if batch.quarantine is not None:
        at = format_iso8601(batch.quarantine.t_first)
        raise InvalidRequestError(f"a window at {at} is before 2020 or in the future: check the times in the file")
    if batch.gaps:
        raise InvalidRequestError("gaps: an imported batch cannot report gaps", path="gaps")


def _iter_windows(batch: PreparedBatch) -> Iterator[tuple[str, int]]:
    """Yield target and start of every window."""
    for target, row in batch.rows:
        start_s = row[0]
        assert isinstance(start_s, int)
        yield target, start_s


def _store_or_check(
    store: Store,
    active_targets: ActiveTargetCache,
    batch: PreparedBatch,
    origin: ImportOrigin,
    now_s: int,
    *,
    dry_run: bool,
) -> _StoreResult:
    def run(writer: WriteTransaction) -> _StoreResult:
        result = _store_import(writer, active_targets, batch, origin, now_s)
        if dry_run:
            raise _DryRunError(result)
        return result

    try:
        return store.transact(run)
    except _DryRunError as error:
        return error.result


def _store_import(
    writer: WriteTransaction, active_targets: ActiveTargetCache, batch: PreparedBatch, origin: ImportOrigin, now_s: int
) -> _StoreResult:
    mesh_store.lock_mesh(writer.connection)
    source = _get_or_create_source(writer, origin.source)
    _check_sites(writer, source, batch)
    batch = replace(batch, entry=replace(batch.entry, src_id=source.id))
    _, dst_ids = active_targets.load(writer.connection)
    window_keys = {(dst_ids[target], t) for target, t in _iter_windows(batch)}
    _refuse_measured_windows(writer, source, window_keys)
    existing = window_store.load_window_batches(writer.connection, source.id, window_keys)
    try:
        batches, is_new, mesh_version = store_batch(writer, batch, active_targets)
    except BatchConflictError as error:
        # The name of a batch contains the digest of the file and the options, so only the reader can differ.
        raise BatchConflictError(
            "the file was already imported by another version of leadline, which read its RTTs or their error "
            "differently; nothing is changed: keep the stored windows, or import the file into a new database",
            **error.members,
        ) from error
    if is_new:
        _refuse_overlap(writer, source.id, existing.keys(), dst_ids)
        audit_log.add_event(writer.connection, _build_audit_event(batch, origin, now_s))
    return _StoreResult(batches=batches, is_new=is_new, mesh_version=mesh_version)


def _get_or_create_source(writer: WriteTransaction, name: str) -> NamedId:
    """Return the source, registered if it is new; raise InvalidRequestError if its name is unknown or ambiguous."""
    agents = {agent.name: agent for agent in mesh_store.load_agents(writer.connection)}
    if name not in agents:
        site = _find_site(writer, agents, name.removeprefix(IMPORT_PREFIX))
        mesh_store.register_names(writer.connection, (), {name: site}, {})
        agents = {agent.name: agent for agent in mesh_store.load_agents(writer.connection)}
    return agents[name]


def _find_site(reader: ReadTransaction, agents: Mapping[str, NamedId], name: str) -> str:
    active_mesh = mesh_service.load_active_mesh(reader)
    sites = {site.name for site in active_mesh[1].sites} if active_mesh else set()
    candidates = {agents[name].site} if name in agents else set()
    candidates |= {name} & sites
    if len(candidates) == 1:
        return candidates.pop()
    if candidates:
        raise InvalidRequestError(
            f"source: {name!r} is ambiguous: it is a site, and an agent of another site", path="source"
        )
    names = ", ".join(sorted(sites | {agent for agent in agents if not is_imported(agent)}))
    raise InvalidRequestError(
        f"source: no mesh has a site or agent {name!r}; there are {names or 'none yet'}", path="source"
    )


def _check_sites(reader: ReadTransaction, source: NamedId, batch: PreparedBatch) -> None:
    targets = {target.name: target for target in mesh_store.load_targets(reader.connection)}
    for name, index in batch.first_index_by_target.items():
        if name not in targets:
            raise InvalidRequestError(f"no mesh ever had a target {name!r}", path=f"series[{index}].target")
        if targets[name].site == source.site:
            raise InvalidRequestError(
                f"{name!r} is also at site {source.site!r}: a pair joins two sites", path="source"
            )


def _refuse_measured_windows(reader: ReadTransaction, source: NamedId, window_keys: Set[WindowKey]) -> None:
    """Raise ConflictError if a source that may be the same host already has one of these windows."""
    for agent in mesh_store.load_agents(reader.connection):
        if agent.id != source.id and _can_be_same_host(agent, source):
            existing = window_store.load_window_batches(reader.connection, agent.id, window_keys)
            if existing:
                at = format_iso8601(min(t for _, t in existing))
                raise ConflictError(f"{agent.name!r} already measured the minute of {at}: import only the rest")


def _can_be_same_host(first: NamedId, second: NamedId) -> bool:
    """Return True if both are of one site and have the same name, or one has only the name of the site."""
    names = {agent.name.removeprefix(IMPORT_PREFIX) for agent in (first, second)}
    return first.site == second.site and (len(names) == 1 or first.site in names)


def _refuse_overlap(
    writer: WriteTransaction, src_id: int, window_keys: Set[WindowKey], dst_ids: Mapping[str, int]
) -> None:
    """Raise ConflictError if two files of one source both measured a slot: neither is known to be the right one."""
    for (_, t), versions in load_window_versions(writer, src_id, window_keys, dst_ids).items():
        if not _is_disjoint([version.window for version in versions]):
            raise ConflictError(
                f"the minute of {format_iso8601(t)} was already imported, from another file or with other options"
            )


def _is_disjoint(windows: Sequence[Window]) -> bool:
    slots = [slot for window in windows for slot in _iter_measured_slots(window)]
    return len({window.interval_ms for window in windows}) == 1 and len(slots) == len(set(slots))


def _iter_measured_slots(window: Window) -> Iterator[int]:
    not_sent = {miss.slot for miss in window.misses if miss.failure is Failure.NOT_SENT}
    return (slot for slot in range(len(window.rtt_us)) if slot not in not_sent)


def _build_audit_event(batch: PreparedBatch, origin: ImportOrigin, now_s: int) -> AuditEvent:
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
