"""Whether the journal still says what the agents sent: every body against its digest, every row against its body, every
signature against its key. docs/decisions/0007-signatures.md says what that proves.

Rule 1: it reads, in short transactions, and may run beside a collector.
Rule 2: who trusts the database's owner takes the public keys out of it; who does not brings his own (``TrustedKey``),
and then nothing unsigned counts for the agents he has keys of.
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

#: Batches of one transaction: a second or two, so that the log of SQLite does not grow meanwhile.
BATCHES_PER_TRANSACTION = 1_000
#: Faults that are listed; a journal with more was not damaged by accident, and all are counted.
FINDINGS_MAX = 1_000
#: A batch whose head came before a signing key was registered may be received this much after it (30 s for the body).
REGISTRATION_GRACE_S = 60

#: What opens a transaction (``db.reading``).
OpenTransaction = Callable[[], AbstractContextManager[Connection]]


class JournalFault(StrEnum):
    """What can be wrong with a batch of the journal. The list is closed."""

    #: The body is not what was received: other bytes than the digest's.
    BODY = "body"
    #: The body is no batch.
    UNREADABLE = "unreadable"
    #: Columns beside the body say something else than the body does.
    ROW = "row"
    #: The signature is not that of the key over this body.
    SIGNATURE = "signature"
    #: The key is none of the agent's, or none that is trusted.
    KEY = "key"
    #: Not signed, though the agent signed at that time.
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A public key that did not come out of the database. ``since_s``: what is older need not be signed."""

    public_key: bytes
    since_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationFinding:
    """What is wrong with one batch."""

    agent: str
    epoch: str
    seq: int
    received_at_s: int
    fault: JournalFault
    detail: str


@dataclass(slots=True, kw_only=True)
class VerificationCounts:
    """What was looked at so far."""

    #: Batches there were at the beginning.
    batches_total: int
    batches: int = 0
    bytes: int = 0
    #: Batches whose body retention took: nothing can be said of them but that they were there.
    without_body: int = 0
    signed_batches: int = 0
    fault_counts: Counter[JournalFault] = field(default_factory=Counter)
    #: Batches with any fault.
    faulty_batches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentKeys:
    """The keys of one agent."""

    #: Those its batches may be signed with, by number.
    accepted_by_id: Mapping[int, SigningKey]
    #: Half-open times, by the collector's clock, in which a batch must be signed.
    signing_intervals: Sequence[tuple[int, int | None]]
    #: What is newer must be signed, whatever the database says; None where the caller brought no key.
    must_sign_since_s: int | None


def verify_journal(
    open_transaction: OpenTransaction,
    name: str | None,
    trusted_keys: Mapping[str, Sequence[TrustedKey]],
    on_progress: Callable[[VerificationCounts], None],
) -> tuple[VerificationCounts, list[VerificationFinding]]:
    """Look at the journal of one agent, or of all; the count, and what is wrong, the first ``LISTED_MAX`` of it."""
    with open_transaction() as connection:
        _check_schema(connection)
        agents = {one.id: one for one in mesh_store.load_agents(connection)}
        known = signing_key_store.load_all_keys(connection)
        src_id = _find_agent_id(agents, name)
        tally, findings = (
            VerificationCounts(batches_total=journal_store.count_batches(connection, src_id)),
            list[VerificationFinding](),
        )
    keys = {number: select_agent_keys(one, known, trusted_keys.get(one.name)) for number, one in agents.items()}
    after: tuple[int, BatchKey] | None = None
    while True:
        seen = tally.batches
        with open_transaction() as connection:
            for entry in journal_store.read_entries(connection, src_id, after, BATCHES_PER_TRANSACTION):
                found = _examine_and_count(entry, agents[entry.src_id], keys[entry.src_id], tally)
                findings += found[: FINDINGS_MAX - len(findings)]
                after = (entry.src_id, entry.key)
        on_progress(tally)
        if tally.batches - seen < BATCHES_PER_TRANSACTION:
            return tally, findings


def _check_schema(connection: Connection) -> None:
    try:
        version = ReadTransaction(connection).load_schema_version()
    except (StoreUnavailableError, DatabaseError) as error:
        raise UnavailableError(f"this is no database of a collector: {error}") from error
    if version != schema.get_head_revision():
        raise UnavailableError(
            f"the database has schema version {version} and this program needs {schema.get_head_revision()}: "
            "run `leadline collector migrate`, or the program that is as new as the database"
        )


def _find_agent_id(agents: Mapping[int, NamedId], name: str | None) -> int | None:
    if name is None:
        return None
    found = next((one.id for one in agents.values() if one.name == name), None)
    if found is None:
        raise ConfigError("--agent", f"no mesh ever had an agent {name!r}; `leadline agent list` shows all")
    return found


def select_agent_keys(
    agent: NamedId, all_keys: Sequence[SigningKey], trusted_keys: Sequence[TrustedKey] | None
) -> AgentKeys:
    """Which keys of the database count for an agent: all of its own, or those that trusted ones vouch for."""
    own = [key for key in all_keys if key.agent_id == agent.id]
    signing = _merge_lifetimes([(key.created_at_s, key.retired_at_s) for key in own])
    if trusted_keys is None:
        return AgentKeys(accepted_by_id={key.id: key for key in own}, signing_intervals=signing, must_sign_since_s=None)
    anchors = {one.public_key for one in trusted_keys}
    good: dict[int, SigningKey] = {}
    for key in own:  # in the order of their making: an endorser stands before what it endorsed
        if key.public_key in anchors or _is_endorsed(agent.name, key, good):
            good[key.id] = key
    return AgentKeys(
        accepted_by_id=good, signing_intervals=signing, must_sign_since_s=min(one.since_s for one in trusted_keys)
    )


def _merge_lifetimes(lives: Sequence[tuple[int, int | None]]) -> list[tuple[int, int | None]]:
    """The times in which at least one key lived: one that replaces another leaves no hole."""
    periods: list[tuple[int, int | None]] = []
    for begin_s, end_s in sorted(lives, key=lambda life: life[0]):
        last_s = periods[-1][1] if periods else begin_s - 1
        if last_s is not None and last_s < begin_s:
            periods.append((begin_s, end_s))
        elif last_s is not None:
            periods[-1] = (periods[-1][0], None if end_s is None else max(last_s, end_s))
    return periods


def _is_endorsed(agent: str, key: SigningKey, accepted_by_id: Mapping[int, SigningKey]) -> bool:
    by = None if key.endorser_id is None else accepted_by_id.get(key.endorser_id)
    if by is None or key.endorsement is None:
        return False
    return is_valid_signature(by.public_key, key.endorsement, signing.build_key_message(agent, key.public_key))


def _examine_and_count(
    entry: JournalEntry, agent: NamedId, keys: AgentKeys, counts: VerificationCounts
) -> list[VerificationFinding]:
    found = list(examine_batch(entry, agent, keys))
    counts.batches += 1
    counts.bytes += len(entry.body)
    counts.without_body += not entry.body
    counts.signed_batches += entry.signature is not None
    counts.faulty_batches += bool(found)
    counts.fault_counts.update(fault for fault, _ in found)
    return [
        VerificationFinding(
            agent=agent.name,
            epoch=entry.key.epoch.hex(),
            seq=entry.key.seq,
            received_at_s=entry.received_at_s,
            fault=fault,
            detail=detail,
        )
        for fault, detail in found
    ]


def examine_batch(entry: JournalEntry, agent: NamedId, keys: AgentKeys) -> Iterator[tuple[JournalFault, str]]:
    """What is wrong with one batch; nothing is looked at where the body is gone."""
    if not entry.body:
        return
    if hashlib.sha256(entry.body).digest() != entry.sha256:
        yield JournalFault.BODY, "the body has another digest than the one that was acknowledged"
    batch: Batch | None = None
    try:
        batch = body_codec.decode_stored_batch(entry.body)
    except CollectorError as problem:
        yield JournalFault.UNREADABLE, f"the body is no batch: {problem.detail}"
    if batch is not None and (differing := _find_different_columns(entry, agent, batch)):
        yield JournalFault.ROW, f"the body says something else of {', '.join(differing)}"
    if entry.signature is None:
        if _must_be_signed(entry, batch, keys):
            yield JournalFault.UNSIGNED, "there is no signature, and the agent signed at that time"
    elif (key := keys.accepted_by_id.get(entry.signature.key_id)) is None:
        yield (
            JournalFault.KEY,
            f"signed with key {entry.signature.key_id}, which is none of the agent's that are trusted",
        )
    elif not is_valid_signature(key.public_key, entry.signature.signature, signing.build_batch_message(entry.body)):
        yield (
            JournalFault.SIGNATURE,
            f"the signature is not that of key {signing.derive_key_id(key.public_key)} over this body",
        )


def _find_different_columns(entry: JournalEntry, agent: NamedId, batch: Batch) -> list[str]:
    """The columns that ingest would write otherwise for this body."""
    if batch.agent != agent.name:
        return ["agent"]
    written = batch_store.build_journal_entry(agent, batch, entry.body, entry.received_at_s)
    if entry.anchors == _NO_ANCHORS:
        written = replace(written, anchors=entry.anchors)
    return [name for name in _COMPARED_FIELDS if getattr(written, name) != getattr(entry, name)]


#: Of a row that was stored before these columns were there (migration 0002).
_NO_ANCHORS = ClockAnchors(sealed_at_us=None, monotonic_us=None)
_COMPARED_FIELDS = ("key", "mesh_version", "t_first", "t_last", "anchors")


def _must_be_signed(entry: JournalEntry, batch: Batch | None, keys: AgentKeys) -> bool:
    """By the time of what it claims for keys that were brought, for the rest by the time at which it came."""
    if keys.must_sign_since_s is not None:
        return _get_latest_time_s(entry, batch) >= keys.must_sign_since_s
    return any(
        begin_s + REGISTRATION_GRACE_S < entry.received_at_s and (end_s is None or entry.received_at_s < end_s)
        for begin_s, end_s in keys.signing_intervals
    )


def _get_latest_time_s(entry: JournalEntry, batch: Batch | None) -> int:
    """The latest time a batch says something of."""
    if batch is None:
        return entry.received_at_s
    return max([one.start_s for one in batch.series], default=batch.sealed_at_us // batch_store.US_PER_S)
