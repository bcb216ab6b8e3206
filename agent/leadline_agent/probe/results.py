"""What the prober is told to probe, and what it answers for every slot: the values on its two borders."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.model import Failure, ProbeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """A target with its name resolved, ready to be probed."""

    #: Unique among the aims of a prober.
    name: str
    #: An IP literal; None when the name had no address, so that every slot is a RESOLVE_ERROR.
    address: str | None
    settings: ProbeSettings
    #: Local address to send from; None lets the routing decide.
    source: str | None = None
    #: End after so many slots; None goes on until the next ``Prober.aim``.
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What became of one slot of one target: an RTT or a failure, never both."""

    target: ProbeTarget
    #: Wall epoch milliseconds // interval_ms of the slot: the same number on every host.
    slot: int
    rtt_ns: int | None = None
    failure: Failure | None = None
    #: The number that goes with the failure, see leadline.model.Failure.
    detail: int | None = None
    #: Uncertainty of the stamps: the true RTT lies in [rtt_ns - error_ns, rtt_ns]. 0 when both are the kernel's.
    error_ns: int = 0
    #: Wall nanoseconds at which it left; None when it was not sent.
    sent_at_ns: int | None = None
    #: Time to live (hop limit) of the reply; None without a reply.
    ttl: int | None = None

    @property
    def target_name(self) -> str:
        """The name of the target."""
        return self.target.name
