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
from leadline_collector.auth.failure_limit import FailureLimit
from leadline_collector.auth.signing_key_store import SigningKey
from leadline_collector.db import audit_log
from leadline_collector.db.audit_log import Act, Event
from leadline_collector.db.transactions import Store, Writer
from leadline_collector.errors import InvalidRequestError, SignatureError
from leadline_collector.journal.store import BatchSignature
from leadline_collector.mesh.store import Numbered

log = logging.getLogger(__name__)


def check(
    store: Store, refusal_limit: FailureLimit, agent: Numbered, body: bytes, header: str, now_s: int
) -> BatchSignature:
    """Return the valid signature of a batch; raise SignatureError if it has none."""
    with store.read() as reader:
        keys = signing_key_store.live(reader.connection, agent.id)
    found = _judged(keys, body, header)
    if isinstance(found, str):
        record_refusal(store, refusal_limit, agent, found, now_s)
        raise SignatureError(
            f"{found}, and agent {agent.name!r} signs its batches: is another agent using its key? "
            "`leadline agent doctor` on its host, then enrol it again",
        )
    key, signed = found
    if key.used_at_s is None:
        _confirm(store, agent, key, now_s)
    return BatchSignature(key_id=key.id, signature=signed)


def is_signed_by(public: bytes, signed: bytes, message: bytes) -> bool:
    """True if ``signed`` is this key's signature of the message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signed, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def register(writer: Writer, agent_id: int, name: str, request: control.RotateRequest, now_s: int) -> None:
    """Add the signing key that a rotation brings; SignatureError if the key before does not vouch for it."""
    if request.signing_key is None:
        return
    public = bytes.fromhex(request.signing_key)
    before = signing_key_store.live(writer.connection, agent_id)
    endorsement = bytes.fromhex(request.endorsement or "")
    message = signing.key_message(name, public)
    by = next((key for key in before if is_signed_by(key.public, endorsement, message)), None)
    if before and by is None:
        raise SignatureError("the signing key before does not vouch for this one: enrol the agent again")
    _add(writer, agent_id, public, now_s, by, endorsement)


def register_first(writer: Writer, agent_id: int, name: str, signing_key: str | None, now_s: int) -> None:
    """Add the signing key that an enrolment brings; a token vouches for it.

    422 where an agent that signs would stop to: who enrols does not decide that, ``revoke`` does.
    """
    if signing_key is not None:
        _add(writer, agent_id, bytes.fromhex(signing_key), now_s, None, None)
    elif signing_key_store.live(writer.connection, agent_id):
        raise InvalidRequestError(
            f"agent {name!r} signs its batches: enrol with --sign, or let the administrator end that first "
            f"(`leadline agent revoke {name}`)",
            path="signing_key",
        )


def named(signing_key: str | None) -> dict[str, str]:
    """A signing key as it stands in the audit."""
    return {} if signing_key is None else {"signing_key": signing.key_id(bytes.fromhex(signing_key))}


def _add(
    writer: Writer, agent_id: int, public: bytes, now_s: int, by: SigningKey | None, endorsement: bytes | None
) -> None:
    if signing_key_store.is_known(writer.connection, agent_id, public):
        raise InvalidRequestError("the agent had this signing key before: make another", path="signing_key")
    by_id, given = (None, None) if by is None else (by.id, endorsement)
    signing_key_store.add(writer.connection, agent_id, public, now_s, by_id, given)


def _judged(keys: list[SigningKey], body: bytes, header: str) -> tuple[SigningKey, bytes] | str:
    """The key that signed and the signature, or why there is none."""
    read = signing.read_header(header)
    if not header or read is None:
        return "no signature" if not header else "the signature header cannot be read"
    name, signed = read
    key = next((one for one in keys if signing.key_id(one.public) == name), None)
    if key is None:
        return f"signing key {name} is none of this agent's live ones"
    if not is_signed_by(key.public, signed, signing.batch_message(body)):
        return f"the signature is not that of key {name} over these bytes"
    return key, signed


def _confirm(store: Store, agent: Numbered, key: SigningKey, now_s: int) -> None:
    """The first use of a key: the one before it ends here."""
    with store.write() as writer:
        for public in signing_key_store.use(writer.connection, key, now_s):
            detail = {"key": signing.key_id(public), "by": signing.key_id(key.public)}
            audit_log.record(writer.connection, _act(agent, now_s, Event.SIGNING_KEY_REPLACED, detail))


def record_refusal(store: Store, refusal_limit: FailureLimit, agent: Numbered, reason: str, now_s: int) -> None:
    """Say so in the log, and in the audit as often a minute as refused enrolments are (``enrolment``)."""
    log.error("signature refused", extra={"agent": agent.name, "reason": reason})
    if not refusal_limit.wait_s(agent.name):
        refusal_limit.failed(agent.name)
        with store.write() as writer:
            audit_log.record(writer.connection, _act(agent, now_s, Event.SIGNATURE_REFUSED, {"reason": reason}))


def _act(agent: Numbered, now_s: int, event: Event, detail: dict[str, str]) -> Act:
    return Act(at_s=now_s, who=f"agent {agent.name}", what=event, subject=agent.name, detail=detail)
