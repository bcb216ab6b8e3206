"""Documents of plans, enrolment, key rotation, tokens and meshes. ``batch`` has the rules and the version."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Annotated

from msgspec import Meta, Struct

from leadline.model import ProbeSettings, Target
from leadline.wire.batch import Address, Name, StrictDocument, UInt63

#: Targets in one plan.
TARGETS_MAX = 10_000
#: An Ed25519 public key, and a signature (``signature``).
PublicKeyHex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
SignatureHex = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]
_PROBE_SETTINGS = tuple(field.name for field in fields(ProbeSettings))


class PlanTarget(Struct, frozen=True, kw_only=True):
    """One target of an agent's plan; its keys beside name, site and address are the fields of ProbeSettings."""

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
    """What one agent has to measure. Data, never code: unknown keys are passed over."""

    mesh_version: UInt63
    agent: Name
    site: Name
    #: The address probes leave from; None lets the host choose.
    source_address: Address | None = None
    targets: Annotated[list[PlanTarget], Meta(max_length=TARGETS_MAX)] = []


class EnrolRequest(StrictDocument, frozen=True, omit_defaults=True):
    """A one-time token in exchange for a key."""

    token: Annotated[str, Meta(min_length=16, max_length=128)]
    #: Which agent of the token's site; may be left out where the mesh has only one.
    agent: Name | None = None
    #: With it the agent signs every batch from now on, and the collector takes no other; None: it does not sign.
    signing_key: PublicKeyHex | None = None


class KeyRotationRequest(StrictDocument, frozen=True, omit_defaults=True):
    """Asks for a new key; the body may be left out where nothing is said in it."""

    #: A new signing key beside the one before, which is good until the new one was used.
    signing_key: PublicKeyHex | None = None
    #: Signature of it (``signature.key_message``) by the signing key before; None where the agent has none yet.
    endorsement: SignatureHex | None = None


class EnrolResponse(Struct, frozen=True, kw_only=True):
    """The agent's identity. The key is shown this once; the collector keeps its SHA-256."""

    agent: Name
    site: Name
    key: Annotated[str, Meta(min_length=16, max_length=128)]
    #: When the key stops being good unless it is rotated before; None for a key without an end.
    expires_at_s: UInt63 | None = None
    #: When it was made, by the collector's clock as the end is; None from a collector that does not say.
    issued_at_s: UInt63 | None = None
    #: The signing key that was registered with it; None if there was none, or from a collector that knows of none.
    signing_key: PublicKeyHex | None = None


class TokenRequest(StrictDocument, frozen=True):
    """Asks for a one-time enrolment token."""

    site: Name
    ttl_s: Annotated[int, Meta(ge=60, le=30 * 86_400)] = 86_400


class TokenResponse(Struct, frozen=True, kw_only=True):
    """A one-time enrolment token, shown this once."""

    token: str
    site: Name
    expires_at_s: UInt63


class MeshResponse(Struct, frozen=True, kw_only=True):
    """What became of a mesh file."""

    version: UInt63
    #: False when the file says what the version in force already says.
    changed: bool
    sites: UInt63
    agents: UInt63
    pairs: UInt63
