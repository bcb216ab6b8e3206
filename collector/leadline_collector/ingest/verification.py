"""Verification of the journal: every body against its digest, every row against its body, every signature against its
key. docs/decisions/0007-signatures.md explains what that proves.

Rule 1: it only reads, in short transactions, and may run beside a collector.
Rule 2: by default it trusts the public keys in the database. A caller who does not trust the database passes keys
(``TrustedKey``); then every batch of the agents of these keys must be signed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from leadline.errors import ConfigError, UnavailableError
from leadline.wire import signing
from leadline.wire.batch import Batch
from leadline_collector.auth import signing_key_store
from leadline_collector.auth.signatures import is_valid_signature
from leadline_collector.auth.signing_key_store import SigningKey
from leadline_collector.db import schema
from leadline_collector.db.engine import StoreUnavailableError
from leadline_collector.db.transactions import ReadTransaction
from leadline_collector.errors import CollectorError
from leadline_collector.ingest import batch_store
from leadline_collector.journal import body_codec
from leadline_collector.journal import store as journal_store
from leadline_collector.journal.store import BatchKey, ClockAnchors, JournalEntry
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import NamedId

#: Batches per transaction: a second or two, so that SQLite's write-ahead log does not grow.
BATCHES_PER_TRANSACTION = 1_000
#: Findings that are listed; all are counted.
FINDINGS_MAX = 1_000
#: An unsigned request may start before a signing key is registered and end this much later (30 s for the body).
REGISTRATION_GRACE_S = 60

#: Opens a read transaction.
OpenTransaction = Callable[[], AbstractContextManager[Connection]]


class JournalFault(StrEnum):
    """Kind of fault in a batch of the journal. The list is closed."""

    #: The body does not match its digest.
    BODY = "body"
    #: The body is not a batch.
    UNREADABLE = "unreadable"
    #: Columns of the row do not match the body.
    ROW = "row"
    #: The signature does not match the body.
    SIGNATURE = "signature"
    #: The key does not belong to the agent, or is not trusted.
    KEY = "key"
    #: Unsigned, at a time when the agent signed its batches.
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A public key from outside the database. Batches older than ``since_s`` need no signature."""

    public_key: bytes
    since_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationFinding:
    """A fault of one batch."""

    agent: str
    epoch: str
    seq: int
    received_at_s: int
    fault: JournalFault
    detail: str


@dataclass(slots=True, kw_only=True)
class VerificationCounts:
    """Progress of the verification."""

    #: Batches in the journal at the start.
    batches_total: int
    batches: int = 0
    bytes: int = 0
    #: Batches without a body, because it was deleted by retention; they are not verified.
    without_body: int = 0
    signed_batches: int = 0
    fault_counts: Counter[JournalFault] = field(default_factory=Counter)
    #: Batches with any fault.
    faulty_batches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentKeys:
    """The keys of one agent."""

    #: Keys that may have signed its batches, by key id.
    accepted_by_id: Mapping[int, SigningKey]
    #: Half-open intervals, by the collector's clock, in which a batch must be signed.
    signing_intervals: Sequence[tuple[int, int | None]]
    #: Batches from this time on must be signed; None without a trusted key of the agent.
    must_sign_since_s: int | None


def verify_journal(
    open_transaction: OpenTransaction,
    name: str | None,
    trusted_keys: Mapping[str, Sequence[TrustedKey]],
    on_progress: Callable[[VerificationCounts], None],
) -> tuple[VerificationCounts, list[VerificationFinding]]:
    """Verify the journal of one agent, or of all if ``name`` is None; return the counts and the first ``FINDINGS_MAX``
    findings.
    """
    findings: list[VerificationFinding] = []
    with open_transaction() as connection:
        _check_schema(connection)
        agents = {agent.id: agent for agent in mesh_store.load_agents(connection)}
        all_keys = signing_key_store.load_all_keys(connection)
        src_id = _find_agent_id(agents, name)
        counts = VerificationCounts(batches_total=journal_store.count_batches(connection, src_id))
    keys = {
        agent_id: select_agent_keys(agent, all_keys, trusted_keys.get(agent.name)) for agent_id, agent in agents.items()
    }
    after: tuple[int, BatchKey] | None = None
    while True:
        batches_before = counts.batches
        with open_transaction() as connection:
            for entry in journal_store.read_entries(connection, src_id, after, BATCHES_PER_TRANSACTION):
                batch_findings = _examine_and_count(entry, agents[entry.src_id], keys[entry.src_id], counts)
                findings += batch_findings[: FINDINGS_MAX - len(findings)]
                after = (entry.src_id, entry.key)
        on_progress(counts)
        if counts.batches - batches_before < BATCHES_PER_TRANSACTION:
            return counts, findings


def _check_schema(connection: Connection) -> None:
    try:
        version = ReadTransaction(connection).load_schema_version()
    except (StoreUnavailableError, DatabaseError) as error:
        raise UnavailableError(f"this is not a database of a collector: {error}") from error
    if version != schema.get_head_revision():
        raise UnavailableError(
            f"the database has schema version {version}, this program needs {schema.get_head_revision()}: "
            "run `leadline collector migrate`, or use the program version that matches the database"
        )


def _find_agent_id(agents: Mapping[int, NamedId], name: str | None) -> int | None:
    if name is None:
        return None
    agent_id = next((agent.id for agent in agents.values() if agent.name == name), None)
    if agent_id is None:
        raise ConfigError("--agent", f"no mesh ever had an agent {name!r}; `leadline agent list` shows all agents")
    return agent_id


def select_agent_keys(
    agent: NamedId, all_keys: Sequence[SigningKey], trusted_keys: Sequence[TrustedKey] | None
) -> AgentKeys:
    """Return the accepted keys of an agent: all its keys, or, with trusted keys, these and the keys they endorse."""
    agent_keys = [key for key in all_keys if key.agent_id == agent.id]
    signing_intervals = _merge_lifetimes([(key.created_at_s, key.retired_at_s) for key in agent_keys])
    if trusted_keys is None:
        return AgentKeys(
            accepted_by_id={key.id: key for key in agent_keys},
            signing_intervals=signing_intervals,
            must_sign_since_s=None,
        )
    trust_anchors = {trusted_key.public_key for trusted_key in trusted_keys}
    accepted_by_id: dict[int, SigningKey] = {}
    for key in agent_keys:  # by creation: an endorser precedes the keys that it endorsed
        if key.public_key in trust_anchors or _is_endorsed(agent.name, key, accepted_by_id):
            accepted_by_id[key.id] = key
    return AgentKeys(
        accepted_by_id=accepted_by_id,
        signing_intervals=signing_intervals,
        must_sign_since_s=min(trusted_key.since_s for trusted_key in trusted_keys),
    )


def _merge_lifetimes(lifetimes: Sequence[tuple[int, int | None]]) -> list[tuple[int, int | None]]:
    """Return the intervals in which at least one key was live; lifetimes that touch become one interval."""
    intervals: list[tuple[int, int | None]] = []
    for start_s, end_s in sorted(lifetimes, key=lambda lifetime: lifetime[0]):
        last_s = intervals[-1][1] if intervals else start_s - 1
        if last_s is not None and last_s < start_s:
            intervals.append((start_s, end_s))
        elif last_s is not None:
            intervals[-1] = (intervals[-1][0], None if end_s is None else max(last_s, end_s))
    return intervals


def _is_endorsed(agent: str, key: SigningKey, accepted_by_id: Mapping[int, SigningKey]) -> bool:
    endorser = None if key.endorser_id is None else accepted_by_id.get(key.endorser_id)
    if endorser is None or key.endorsement is None:
        return False
    return is_valid_signature(endorser.public_key, key.endorsement, signing.build_key_message(agent, key.public_key))


def _examine_and_count(
    entry: JournalEntry, agent: NamedId, keys: AgentKeys, counts: VerificationCounts
) -> list[VerificationFinding]:
    faults = list(examine_batch(entry, agent, keys))
    counts.batches += 1
    counts.bytes += len(entry.body)
    counts.without_body += not entry.body
    counts.signed_batches += entry.signature is not None
    counts.faulty_batches += bool(faults)
    counts.fault_counts.update(fault for fault, _ in faults)
    return [
        VerificationFinding(
            agent=agent.name,
            epoch=entry.key.epoch.hex(),
            seq=entry.key.seq,
            received_at_s=entry.received_at_s,
            fault=fault,
            detail=detail,
        )
        for fault, detail in faults
    ]


def examine_batch(entry: JournalEntry, agent: NamedId, keys: AgentKeys) -> Iterator[tuple[JournalFault, str]]:
    """Yield the faults of a batch; none if its body was deleted by retention."""
    if not entry.body:
        return
    if hashlib.sha256(entry.body).digest() != entry.sha256:
        yield JournalFault.BODY, "the body does not match its acknowledged digest"
    batch: Batch | None = None
    try:
        batch = body_codec.decode_stored_batch(entry.body)
    except CollectorError as error:
        yield JournalFault.UNREADABLE, f"the body is not a batch: {error.detail}"
    if batch is not None and (columns := _find_different_columns(entry, agent, batch)):
        yield JournalFault.ROW, f"columns that differ from the body: {', '.join(columns)}"
    if entry.signature is None:
        if _must_be_signed(entry, batch, keys):
            yield JournalFault.UNSIGNED, "unsigned, at a time when the agent signed its batches"
    elif (key := keys.accepted_by_id.get(entry.signature.key_id)) is None:
        yield (
            JournalFault.KEY,
            f"signed with key {entry.signature.key_id}, which is not a trusted key of the agent",
        )
    elif not is_valid_signature(key.public_key, entry.signature.signature, signing.build_batch_message(entry.body)):
        yield (
            JournalFault.SIGNATURE,
            f"the signature of key {signing.derive_key_id(key.public_key)} does not match the body",
        )


def _find_different_columns(entry: JournalEntry, agent: NamedId, batch: Batch) -> list[str]:
    """Return the columns that differ from those that ingest writes for this body."""
    if batch.agent != agent.name:
        return ["agent"]
    expected = batch_store.build_journal_entry(agent, batch, entry.body, entry.received_at_s)
    if entry.anchors == _NO_ANCHORS:
        expected = replace(expected, anchors=entry.anchors)
    return [name for name in _COMPARED_FIELDS if getattr(expected, name) != getattr(entry, name)]


#: Anchors of a row that was stored before migration 0002 added these columns.
_NO_ANCHORS = ClockAnchors(sealed_at_us=None, monotonic_us=None)
_COMPARED_FIELDS = ("key", "mesh_version", "t_first", "t_last", "anchors")


def _must_be_signed(entry: JournalEntry, batch: Batch | None, keys: AgentKeys) -> bool:
    """Return True if the batch must be signed.

    The time that counts is that of the batch's newest window for trusted keys, and that of receipt for the database's.
    """
    if keys.must_sign_since_s is not None:
        return _get_latest_time_s(entry, batch) >= keys.must_sign_since_s
    return any(
        start_s + REGISTRATION_GRACE_S < entry.received_at_s and (end_s is None or entry.received_at_s < end_s)
        for start_s, end_s in keys.signing_intervals
    )


def _get_latest_time_s(entry: JournalEntry, batch: Batch | None) -> int:
    """Return the start of the newest window of a batch, or the time of sealing if it has no windows."""
    if batch is None:
        return entry.received_at_s
    return max([window.start_s for window in batch.series], default=batch.sealed_at_us // batch_store.US_PER_S)
