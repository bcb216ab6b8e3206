"""What a collector and its administrator say to each other: tokens, keys, the audit. Part of the wire (``wire``), its
rules hold. No secret is in any of it: a token or key is named by the first characters of its digest.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from leadline.wire.batch import Name, UInt63
from leadline.wire.control import PublicKeyHex

#: Hex digits of a SHA-256 that name a token or key: 64 bits, for telling apart and never for proving.
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
    #: None until an agent enrolled with it.
    used_at_s: UInt63 | None = None
    #: None unless the administrator ended it.
    revoked_at_s: UInt63 | None = None


class TokenList(AdminDocument, frozen=True):
    """Enrolment tokens, newest first."""

    tokens: list[TokenEntry]


class KeyEntry(AdminDocument, frozen=True):
    """One live key of an agent."""

    id: SecretId
    created_at_s: UInt63
    #: None until the agent used it.
    used_at_s: UInt63 | None = None
    #: None for a key without an end.
    expires_at_s: UInt63 | None = None


class SigningKeyEntry(AdminDocument, frozen=True):
    """One live signing key of an agent. Nothing of it is secret."""

    id: SecretId
    public: PublicKeyHex
    created_at_s: UInt63
    #: None until a batch came that it signed.
    used_at_s: UInt63 | None = None


class AgentEntry(AdminDocument, frozen=True):
    """One agent with the keys that open for it."""

    name: Name
    site: Name
    keys: list[KeyEntry]
    #: End of the latest window it delivered; None before the first.
    latest_s: UInt63 | None = None
    #: What its batches must be signed with; empty where it does not sign.
    signing_keys: list[SigningKeyEntry] = []


class AgentList(AdminDocument, frozen=True):
    """Every agent of any version of the mesh, by name."""

    agents: list[AgentEntry]


class RevocationResult(AdminDocument, frozen=True):
    """What a revocation ended."""

    #: Tokens or keys that nobody had revoked before.
    revoked: UInt63


class AuditEntry(AdminDocument, frozen=True):
    """One thing that was done, or tried."""

    id: UInt63
    at_s: UInt63
    #: "admin", "agent fra1", "collector", or "peer 192.0.2.1" for somebody unknown.
    who: str
    what: str
    subject: str
    detail: dict[str, Any]


class AuditPage(AdminDocument, frozen=True):
    """A page of the audit, newest first."""

    entries: list[AuditEntry]
    #: ``before`` of the next page; None on the last.
    next_before: UInt63 | None = None
