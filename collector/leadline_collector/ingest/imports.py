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

from leadline.clock import iso
from leadline.model import Failure, Window
from leadline.wire import batch as wire
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import Act, Event
from leadline_collector.db.transactions import Reader, Store, Writer
from leadline_collector.errors import ConflictError, InvalidRequestError
from leadline_collector.ingest.batch_store import US_PER_S, Prepared, prepared, store_prepared
from leadline_collector.ingest.window_versions import claims_of
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import ActiveTargetCache, Numbered
from leadline_collector.windows import store as window_store
from leadline_collector.windows.store import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
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
class _Outcome:
    batches: int
    is_new: bool
    mesh_version: int


class _CheckedError(Exception):
    """Undoes a transaction that was only tried."""

    def __init__(self, outcome: _Outcome) -> None:
        super().__init__("tried and undone")
        self.outcome = outcome


def store_import(
    store: Store,
    active_targets: ActiveTargetCache,
    received_at_us: int,
    body: bytes,
    encoding: str,
    origin: Origin,
    *,
    check: bool,
) -> StoredImport:
    """Store an imported batch, or only check it; raise a CollectorError if it is refused."""
    now_s = received_at_us // US_PER_S
    found = prepared(Numbered(id=0, name=origin.source, site=""), body, encoding, now_s)
    _check_contents(found)
    store.make_partitions({t for _, t in _minutes(found)})
    outcome = _done(store, active_targets, found, origin, now_s, check=check)
    ack = wire.Ack(
        digest=found.entry.sha256.hex(),
        duplicate=not outcome.is_new,
        mesh_version=outcome.mesh_version,
        batches=outcome.batches,
        received_at_us=received_at_us,
    )
    return StoredImport(ack=ack, windows=found.windows, samples=found.samples)


def _check_contents(found: Prepared) -> None:
    if found.quarantine is not None:
        at = iso(found.quarantine.t_first)
        raise InvalidRequestError(f"a window at {at} is before 2020 or in the future: are the times of the file right?")
    if found.gaps:
        raise InvalidRequestError("gaps: an import tells none", path="gaps")


def _minutes(found: Prepared) -> Iterator[tuple[str, int]]:
    """Target and start of every window."""
    for target, row in found.rows:
        start_s = row[0]
        assert isinstance(start_s, int)
        yield target, start_s


def _done(
    store: Store, active_targets: ActiveTargetCache, found: Prepared, origin: Origin, now_s: int, *, check: bool
) -> _Outcome:
    def work(writer: Writer) -> _Outcome:
        outcome = _stored(writer, active_targets, found, origin, now_s)
        if check:
            raise _CheckedError(outcome)
        return outcome

    try:
        return store.transact(work)
    except _CheckedError as checked:
        return checked.outcome


def _stored(writer: Writer, active_targets: ActiveTargetCache, found: Prepared, origin: Origin, now_s: int) -> _Outcome:
    mesh_store.lock_mesh(writer.connection)
    source = _source(writer, origin.source)
    _check_sites(writer, source, found)
    found = replace(found, entry=replace(found.entry, src_id=source.id))
    _, dst_ids = active_targets.load(writer.connection)
    places = {(dst_ids[target], t) for target, t in _minutes(found)}
    _refuse_measured(writer, source, places)
    before = window_store.load_window_batches(writer.connection, source.id, places)
    batches, is_new, mesh_version = store_prepared(writer, found, active_targets)
    if is_new:
        _refuse_filled(writer, source.id, before.keys(), dst_ids)
        audit_log.record(writer.connection, _act(found, origin, now_s))
    return _Outcome(batches=batches, is_new=is_new, mesh_version=mesh_version)


def _source(writer: Writer, name: str) -> Numbered:
    """The source as the database knows it from now on; 422 if it is named after nothing, or after two things."""
    known = {agent.name: agent for agent in mesh_store.load_agents(writer.connection)}
    if name not in known:
        mesh_store.register_names(
            writer.connection, (), {name: _site_of(writer, known, name.removeprefix(wire.IMPORT_PREFIX))}, {}
        )
        known = {agent.name: agent for agent in mesh_store.load_agents(writer.connection)}
    return known[name]


def _site_of(reader: Reader, agents: Mapping[str, Numbered], name: str) -> str:
    found = mesh_service.in_force(reader)
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


def _check_sites(reader: Reader, source: Numbered, found: Prepared) -> None:
    targets = {target.name: target for target in mesh_store.load_targets(reader.connection)}
    for name, index in found.targets.items():
        if name not in targets:
            raise InvalidRequestError(f"no mesh ever had a target {name!r}", path=f"series[{index}].target")
        if targets[name].site == source.site:
            raise InvalidRequestError(f"{name!r} is at site {source.site!r} too: a pair joins two sites", path="source")


def _refuse_measured(reader: Reader, source: Numbered, places: Set[Place]) -> None:
    """409 if what may be the same host has a window of one of these minutes already."""
    for rival in mesh_store.load_agents(reader.connection):
        if rival.id != source.id and _may_be_one_host(rival, source):
            taken = window_store.load_window_batches(reader.connection, rival.id, places)
            if taken:
                at = iso(min(t for _, t in taken))
                raise ConflictError(f"{rival.name!r} has measured the minute of {at} already: import the rest only")


def _may_be_one_host(one: Numbered, other: Numbered) -> bool:
    """Named alike, or one of them only by the site of both."""
    names = {each.name.removeprefix(wire.IMPORT_PREFIX) for each in (one, other)}
    return one.site == other.site and (len(names) == 1 or one.site in names)


def _refuse_filled(writer: Writer, src_id: int, places: Set[Place], dst_ids: Mapping[str, int]) -> None:
    """409 if two files of one source have both measured a slot: which of them would be right?"""
    for (_, t), claims in claims_of(writer, src_id, places, dst_ids).items():
        if not _are_apart([claim.window for claim in claims]):
            raise ConflictError(f"the minute of {iso(t)} was imported already, out of another file or otherwise read")


def _are_apart(windows: Sequence[Window]) -> bool:
    filled = [slot for window in windows for slot in _measured_slots(window)]
    return len({window.interval_ms for window in windows}) == 1 and len(filled) == len(set(filled))


def _measured_slots(window: Window) -> Iterator[int]:
    not_sent = {miss.slot for miss in window.misses if miss.failure is Failure.NOT_SENT}
    return (slot for slot in range(len(window.rtt_us)) if slot not in not_sent)


def _act(found: Prepared, origin: Origin, now_s: int) -> Act:
    entry = found.entry
    detail = {
        "file": origin.file,
        "file_sha256": origin.sha256,
        "format": origin.format,
        "resolution_us": origin.resolution_us,
        "targets": sorted(found.targets),
        "epoch": entry.key.epoch.hex(),
        "seq": entry.key.seq,
        "sha256": entry.sha256.hex(),
        "windows": found.windows,
        "from_s": entry.t_first,
        "last_s": entry.t_last,
    }
    return Act(at_s=now_s, who=audit_log.ADMIN, what=Event.DATA_IMPORTED, subject=origin.source, detail=detail)
