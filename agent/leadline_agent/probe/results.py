"""Input and output values of the prober: targets and results."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.model import Failure, ProbeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """A target with a resolved address."""

    #: Unique within a prober.
    name: str
    #: An IP literal; None if the name has no address: every slot is a RESOLVE_ERROR.
    address: str | None
    settings: ProbeSettings
    #: Local source address; None for the choice of the routing table.
    source: str | None = None
    #: Number of slots to probe; None to continue until the next ``Prober.set_targets``.
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Result of one slot of one target: an RTT or a failure, never both."""

    target: ProbeTarget
    #: Wall epoch milliseconds // interval_ms: the same slot number on every host.
    slot: int
    rtt_ns: int | None = None
    failure: Failure | None = None
    #: Number that belongs to the failure, see leadline.model.Failure.
    detail: int | None = None
    #: Timestamp uncertainty: the true RTT is in [rtt_ns - error_ns, rtt_ns]. 0 if both timestamps are the kernel's.
    error_ns: int = 0
    #: Wall nanoseconds of the send; None if the probe was not sent.
    sent_at_ns: int | None = None
    #: TTL (hop limit) of the reply; None without a reply.
    ttl: int | None = None
