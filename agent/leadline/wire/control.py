"""Documents of plans, enrolment, key rotation, tokens and meshes. ``wire.batch`` has the rules and the version."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Annotated

from msgspec import Meta, Struct

from leadline.model import ProbeSettings, Target
from leadline.wire.batch import Address, Name, StrictDocument, UInt63

#: Targets in one plan.
TARGETS_MAX = 10_000
#: An Ed25519 public key and a signature (``wire.signing``).
PublicKeyHex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
SignatureHex = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]
_PROBE_SETTINGS = tuple(field.name for field in fields(ProbeSettings))


class PlanTarget(Struct, frozen=True, kw_only=True):
    """One target of an agent's plan; the keys after name, site and address are the fields of ProbeSettings."""

    name: Name
    site: Name
    address: Address
    interval_ms: int
    timeout_ms: int
    payload_bytes: int
    dscp: int
    dont_fragment: bool

    @classmethod
    def from_target(cls, target: Target) -> PlanTarget:
        """Return the wire form of a target."""
        return cls(name=target.name, site=target.site, address=target.address, **asdict(target.settings))

    @property
    def settings(self) -> ProbeSettings:
        """Probe settings; ValueError if one is out of range."""
        return ProbeSettings(**{name: getattr(self, name) for name in _PROBE_SETTINGS})

    def to_target(self) -> Target:
        """Return the target of the model; raise ValueError if a value is out of range."""
        return Target(name=self.name, site=self.site, address=self.address, settings=self.settings)


class Plan(Struct, frozen=True, kw_only=True):
    """Targets of one agent. Unknown keys are ignored."""

    mesh_version: UInt63
    agent: Name
    site: Name
    #: Source address of the probes; None lets the host choose.
    source_address: Address | None = None
    targets: Annotated[list[PlanTarget], Meta(max_length=TARGETS_MAX)] = []


class EnrolRequest(StrictDocument, frozen=True, omit_defaults=True):
    """Request to exchange a one-time token for a key."""

    token: Annotated[str, Meta(min_length=16, max_length=128)]
    #: Agent of the token's site; optional if the site has only one agent.
    agent: Name | None = None
    #: If set, the agent signs all batches with this key and the collector refuses unsigned ones; None: no signatures.
    signing_key: PublicKeyHex | None = None


class KeyRotationRequest(StrictDocument, frozen=True, omit_defaults=True):
    """Request for a new key; an empty body requests one without a new signing key."""

    #: New signing key; the previous one stays valid until the first use of the new one.
    signing_key: PublicKeyHex | None = None
    #: Signature of the new key (``signing.build_key_message``) by the previous one; None if there is no previous one.
    endorsement: SignatureHex | None = None


class EnrolResponse(Struct, frozen=True, kw_only=True):
    """Identity of an agent. The key appears only here; the collector stores its SHA-256."""

    agent: Name
    site: Name
    key: Annotated[str, Meta(min_length=16, max_length=128)]
    #: Expiry of the key; None for a key that does not expire.
    expires_at_s: UInt63 | None = None
    #: Creation time of the key by the collector's clock; None from a collector that does not send it.
    issued_at_s: UInt63 | None = None
    #: Signing key registered with the key; None if there was none, or from a collector without signatures.
    signing_key: PublicKeyHex | None = None


class TokenRequest(StrictDocument, frozen=True):
    """Request for a one-time enrolment token."""

    site: Name
    ttl_s: Annotated[int, Meta(ge=60, le=30 * 86_400)] = 86_400


class TokenResponse(Struct, frozen=True, kw_only=True):
    """A one-time enrolment token; it appears only here."""

    token: str
    site: Name
    expires_at_s: UInt63


class MeshResponse(Struct, frozen=True, kw_only=True):
    """Result of applying a mesh file."""

    version: UInt63
    #: False if the file is equivalent to the active version.
    changed: bool
    sites: UInt63
    agents: UInt63
    pairs: UInt63
