"""Interface between the prober and the network: the socket protocol and its values.

``icmp.py`` implements it on the kernel, tests/support/fake_probe_socket.py in memory. This module does no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketKey:
    """Socket properties. Targets with the same key share one socket."""

    #: 4 or 6.
    ip_version: int
    dscp: int = 0
    dont_fragment: bool = False
    #: Local source address; None for the choice of the routing table.
    source: str | None = None


class Reply(NamedTuple):
    """An echo reply with our cookie. The prober checks its index and source."""

    probe_index: int
    source: str
    #: Wall nanoseconds of the kernel's receive timestamp; None if the kernel gave none.
    received_at_ns: int | None
    ttl: int | None


class TxTimestamp(NamedTuple):
    """Transmit timestamp of a packet from the kernel."""

    probe_index: int
    #: Wall nanoseconds at which the driver passed the packet to the device.
    sent_at_ns: int


class IcmpError(NamedTuple):
    """An ICMP error about one of our requests."""

    #: None if the router quoted too little of our packet (RFC 792 requires 8 bytes); then use ``sequence``.
    probe_index: int | None
    #: The low 16 bits of the index.
    sequence: int
    #: Destination address of the request.
    destination: str
    type: int
    code: int


class ProbeSocket(Protocol):
    """Sends echo requests and collects replies without blocking."""

    #: False without kernel receive timestamps: the caller must wake on ``fileno`` and take the time itself.
    has_rx_timestamps: bool

    def fileno(self) -> int:
        """Return the descriptor for poll."""
        ...

    def send(self, index: int, address: str, payload_bytes: int) -> int:
        """Send one request; return 0, or the errno of the refusal."""
        ...

    def read_replies(self) -> list[Reply]:
        """Return the replies since the last call."""
        ...

    def read_error_queue(self) -> list[TxTimestamp | IcmpError]:
        """Return the transmit timestamps and ICMP errors since the last call."""
        ...

    def read_drop_count(self) -> int:
        """Return the number of packets dropped by a full receive queue since the socket was opened."""
        ...

    def close(self) -> None:
        """Close the socket."""
        ...
