"""Documents of the admin API: tokens, keys, audit log. The rules of ``wire.batch`` apply.

They contain no secrets: the id of a token or key is the beginning of its digest.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from leadline.wire.batch import Name, UInt63
from leadline.wire.control import PublicKeyHex

#: Hex digits of a SHA-256 digest in the id of a token or key: 64 bits, for identification, not for authentication.
SECRET_ID_LENGTH = 16

SecretId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]


class AdminDocument(Struct, frozen=True, kw_only=True):
    """A document of this module; times are epoch seconds."""


class TokenEntry(AdminDocument, frozen=True):
    """One enrolment token."""

    id: SecretId
    site: Name
    created_at_s: UInt63
    expires_at_s: UInt63
    #: None until an agent enrols with it.
    used_at_s: UInt63 | None = None
    #: None unless the administrator revoked it.
    revoked_at_s: UInt63 | None = None


class TokenList(AdminDocument, frozen=True):
    """Enrolment tokens, newest first."""

    tokens: list[TokenEntry]


class KeyEntry(AdminDocument, frozen=True):
    """One valid key of an agent."""

    id: SecretId
    created_at_s: UInt63
    #: None until the agent uses it.
    used_at_s: UInt63 | None = None
    #: None for a key that does not expire.
    expires_at_s: UInt63 | None = None


class SigningKeyEntry(AdminDocument, frozen=True):
    """One valid signing key of an agent; the public half only."""

    id: SecretId
    public: PublicKeyHex
    created_at_s: UInt63
    #: None until a batch signed with it arrives.
    used_at_s: UInt63 | None = None


class AgentEntry(AdminDocument, frozen=True):
    """One agent with its valid keys."""

    name: Name
    site: Name
    keys: list[KeyEntry]
    #: End of the latest window received from it; None before the first.
    latest_s: UInt63 | None = None
    #: Its batches must be signed with one of these; empty if the agent does not sign.
    signing_keys: list[SigningKeyEntry] = []


class AgentList(AdminDocument, frozen=True):
    """All agents of all versions of the mesh, sorted by name."""

    agents: list[AgentEntry]


class RevocationResult(AdminDocument, frozen=True):
    """Result of a revocation."""

    #: Number of tokens or keys revoked by this request.
    revoked: UInt63


class AuditEntry(AdminDocument, frozen=True):
    """One entry of the audit log: an action or an attempt."""

    id: UInt63
    at_s: UInt63
    #: "admin", "agent fra1", "collector", or "peer 192.0.2.1" for an unauthenticated client.
    who: str
    what: str
    subject: str
    detail: dict[str, Any]


class AuditPage(AdminDocument, frozen=True):
    """A page of the audit log, newest entry first."""

    entries: list[AuditEntry]
    #: Parameter ``before`` of the next page; None on the last page.
    next_before: UInt63 | None = None
