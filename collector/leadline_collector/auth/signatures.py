"""Whether a batch is signed by who it says it is from. The only module here that imports cryptography.

Rule 1: an agent with a live signing key is taken at its signature only; what it sends otherwise is 403, which keeps the
batch where it is, and in the audit.
Rule 2: a signing key vouches for the next one. Whoever stole the bearer key alone can neither send nor change the key.
Rule 3: the first batch signed with a new key retires the one before (``rotation``, rule 1).
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
    """Return the valid signature of a batch; raise SignatureError if it has none."""
    with store.read() as reader:
        keys = signing_key_store.load_live_keys(reader.connection, agent.id)
    found = _find_signer(keys, body, header)
    if isinstance(found, str):
        record_refusal(store, refusal_limit, agent, found, now_s)
        raise SignatureError(
            f"{found}, and agent {agent.name!r} signs its batches: is another agent using its key? "
            "`leadline agent doctor` on its host, then enrol it again",
        )
    key, signed = found
    if key.used_at_s is None:
        _confirm_first_use(store, agent, key, now_s)
    return BatchSignature(key_id=key.id, signature=signed)


def is_valid_signature(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """True if ``signed`` is this key's signature of the message."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def register_rotated_key(
    writer: WriteTransaction, agent_id: int, name: str, request: control.KeyRotationRequest, now_s: int
) -> None:
    """Add the signing key that a rotation brings; SignatureError if the key before does not vouch for it."""
    if request.signing_key is None:
        return
    public = bytes.fromhex(request.signing_key)
    before = signing_key_store.load_live_keys(writer.connection, agent_id)
    endorsement = bytes.fromhex(request.endorsement or "")
    message = signing.build_key_message(name, public)
    by = next((key for key in before if is_valid_signature(key.public_key, endorsement, message)), None)
    if before and by is None:
        raise SignatureError("the signing key before does not vouch for this one: enrol the agent again")
    _add_key(writer, agent_id, public, now_s, by, endorsement)


def register_enrolled_key(
    writer: WriteTransaction, agent_id: int, name: str, signing_key: str | None, now_s: int
) -> None:
    """Add the signing key that an enrolment brings; a token vouches for it.

    422 where an agent that signs would stop to: who enrols does not decide that, ``revoke`` does.
    """
    if signing_key is not None:
        _add_key(writer, agent_id, bytes.fromhex(signing_key), now_s, None, None)
    elif signing_key_store.load_live_keys(writer.connection, agent_id):
        raise InvalidRequestError(
            f"agent {name!r} signs its batches: enrol with --sign, or let the administrator end that first "
            f"(`leadline agent revoke {name}`)",
            path="signing_key",
        )


def format_audit_detail(signing_key: str | None) -> dict[str, str]:
    """A signing key as it stands in the audit."""
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
        raise InvalidRequestError("the agent had this signing key before: make another", path="signing_key")
    by_id, given = (None, None) if endorser is None else (endorser.id, endorsement)
    signing_key_store.add_key(writer.connection, agent_id, public_key, now_s, by_id, given)


def _find_signer(keys: list[SigningKey], body: bytes, header: str) -> tuple[SigningKey, bytes] | str:
    """The key that signed and the signature, or why there is none."""
    read = signing.parse_header(header)
    if not header or read is None:
        return "no signature" if not header else "the signature header cannot be read"
    name, signed = read
    key = next((one for one in keys if signing.derive_key_id(one.public_key) == name), None)
    if key is None:
        return f"signing key {name} is none of this agent's live ones"
    if not is_valid_signature(key.public_key, signed, signing.build_batch_message(body)):
        return f"the signature is not that of key {name} over these bytes"
    return key, signed


def _confirm_first_use(store: Store, agent: NamedId, key: SigningKey, now_s: int) -> None:
    """The first use of a key: the one before it ends here."""
    with store.write() as writer:
        for public in signing_key_store.confirm_first_use(writer.connection, key, now_s):
            detail = {"key": signing.derive_key_id(public), "by": signing.derive_key_id(key.public_key)}
            audit_log.add_event(
                writer.connection, _build_agent_event(agent, now_s, AuditAction.SIGNING_KEY_REPLACED, detail)
            )


def record_refusal(store: Store, refusal_limit: FailureRateLimiter, agent: NamedId, reason: str, now_s: int) -> None:
    """Say so in the log, and in the audit as often a minute as refused enrolments are (``enrolment``)."""
    log.error("signature refused", extra={"agent": agent.name, "reason": reason})
    if not refusal_limit.retry_after_s(agent.name):
        refusal_limit.record_failure(agent.name)
        with store.write() as writer:
            audit_log.add_event(
                writer.connection, _build_agent_event(agent, now_s, AuditAction.SIGNATURE_REFUSED, {"reason": reason})
            )


def _build_agent_event(agent: NamedId, now_s: int, event: AuditAction, detail: dict[str, str]) -> AuditEvent:
    return AuditEvent(at_s=now_s, actor=f"agent {agent.name}", action=event, subject=agent.name, detail=detail)
