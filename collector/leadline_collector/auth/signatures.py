"""Verification of batch signatures. The only module of the collector that imports cryptography.

Rule 1: an agent with a live signing key must sign its batches. An unsigned batch is refused with 403, so that the agent
keeps it, and the refusal is in the audit log.
Rule 2: a signing key endorses its successor. A stolen bearer key alone can neither send batches nor change the key.
Rule 3: the first batch signed with a new key retires the previous key (``key_rotation``, rule 1).
"""

from __future__ import annotations

import logging

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from leadline.wire import control, signing
from leadline_collector.auth import signing_key_store
from leadline_collector.auth.failure_limit import FailureRateLimiter
from leadline_collector.auth.signing_key_store import SigningKey
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import AuditAction, AuditEvent
from leadline_collector.db.transactions import Store, WriteTransaction
from leadline_collector.errors import InvalidRequestError, SignatureError
from leadline_collector.journal.store import BatchSignature
from leadline_collector.mesh.store import NamedId

log = logging.getLogger(__name__)


def verify_batch_signature(
    store: Store, refusal_limit: FailureRateLimiter, agent: NamedId, body: bytes, header: str, now_s: int
) -> BatchSignature:
    """Return the signature of a batch; raise SignatureError if it is missing or invalid."""
    with store.read() as reader:
        keys = signing_key_store.load_live_keys(reader.connection, agent.id)
    signer = _find_signer(keys, body, header)
    if isinstance(signer, str):
        record_refusal(store, refusal_limit, agent, signer, now_s)
        raise SignatureError(
            f"{signer}, and agent {agent.name!r} signs its batches: is another agent using its key? "
            "Run `leadline agent doctor` on its host, then enrol it again",
        )
    key, signature = signer
    if key.used_at_s is None:
        _confirm_first_use(store, agent, key, now_s)
    return BatchSignature(key_id=key.id, signature=signature)


def is_valid_signature(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Return True if this is the key's signature of the message."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def register_rotated_key(
    writer: WriteTransaction, agent_id: int, name: str, request: control.KeyRotationRequest, now_s: int
) -> None:
    """Add the signing key of a rotation request; raise SignatureError if no live signing key endorses it."""
    if request.signing_key is None:
        return
    public_key = bytes.fromhex(request.signing_key)
    live_keys = signing_key_store.load_live_keys(writer.connection, agent_id)
    endorsement = bytes.fromhex(request.endorsement or "")
    message = signing.build_key_message(name, public_key)
    endorser = next((key for key in live_keys if is_valid_signature(key.public_key, endorsement, message)), None)
    if live_keys and endorser is None:
        raise SignatureError("the agent's previous signing key did not sign this one: enrol the agent again")
    _add_key(writer, agent_id, public_key, now_s, endorser, endorsement)


def register_enrolled_key(
    writer: WriteTransaction, agent_id: int, name: str, signing_key: str | None, now_s: int
) -> None:
    """Add the signing key of an enrolment request; the token authenticates it.

    Raise InvalidRequestError if an agent that signs would enrol without a signing key: only ``revoke`` ends signing.
    """
    if signing_key is not None:
        _add_key(writer, agent_id, bytes.fromhex(signing_key), now_s, None, None)
    elif signing_key_store.load_live_keys(writer.connection, agent_id):
        raise InvalidRequestError(
            f"agent {name!r} signs its batches: enrol with --sign, or have the administrator run "
            f"`leadline agent revoke {name}` first",
            path="signing_key",
        )


def format_audit_detail(signing_key: str | None) -> dict[str, str]:
    """Return the audit detail of a signing key; empty without one."""
    return {} if signing_key is None else {"signing_key": signing.derive_key_id(bytes.fromhex(signing_key))}


def _add_key(
    writer: WriteTransaction,
    agent_id: int,
    public_key: bytes,
    now_s: int,
    endorser: SigningKey | None,
    endorsement: bytes | None,
) -> None:
    if signing_key_store.has_key(writer.connection, agent_id, public_key):
        raise InvalidRequestError("the agent already had this signing key: create another", path="signing_key")
    endorser_id, signature = (None, None) if endorser is None else (endorser.id, endorsement)
    signing_key_store.add_key(writer.connection, agent_id, public_key, now_s, endorser_id, signature)


def _find_signer(keys: list[SigningKey], body: bytes, header: str) -> tuple[SigningKey, bytes] | str:
    """Return the signing key and the signature, or the reason why the batch is not validly signed."""
    fields = signing.parse_header(header)
    if not header or fields is None:
        return "no signature" if not header else "the signature header is malformed"
    key_id, signature = fields
    signer = next((key for key in keys if signing.derive_key_id(key.public_key) == key_id), None)
    if signer is None:
        return f"signing key {key_id} is not a live key of this agent"
    if not is_valid_signature(signer.public_key, signature, signing.build_batch_message(body)):
        return f"the signature of key {key_id} does not match the body"
    return signer, signature


def _confirm_first_use(store: Store, agent: NamedId, key: SigningKey, now_s: int) -> None:
    """Record the first use of a key and retire the agent's other keys."""
    with store.write() as writer:
        for public_key in signing_key_store.confirm_first_use(writer.connection, key, now_s):
            detail = {"key": signing.derive_key_id(public_key), "by": signing.derive_key_id(key.public_key)}
            audit_log.add_event(
                writer.connection, _build_agent_event(agent, now_s, AuditAction.SIGNING_KEY_REPLACED, detail)
            )


def record_refusal(store: Store, refusal_limit: FailureRateLimiter, agent: NamedId, reason: str, now_s: int) -> None:
    """Write a refused signature to the log and, within the limit, to the audit log."""
    log.error("signature refused", extra={"agent": agent.name, "reason": reason})
    if not refusal_limit.retry_after_s(agent.name):
        refusal_limit.record_failure(agent.name)
        with store.write() as writer:
            audit_log.add_event(
                writer.connection, _build_agent_event(agent, now_s, AuditAction.SIGNATURE_REFUSED, {"reason": reason})
            )


def _build_agent_event(agent: NamedId, now_s: int, event: AuditAction, detail: dict[str, str]) -> AuditEvent:
    return AuditEvent(at_s=now_s, actor=f"agent {agent.name}", action=event, subject=agent.name, detail=detail)
