"""The port between the prober and the network: what a socket for echoes can do, and the values that cross it.

``icmp.py`` implements it on the kernel, tests/support/fake_probe_socket.py on paper. Nothing here does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketKey:
    """What targets must have in common to share one socket: these are properties of a socket, not of a packet."""

    #: 4 or 6.
    ip_version: int
    dscp: int = 0
    dont_fragment: bool = False
    #: Local address to send from; None lets the routing decide.
    source: str | None = None


class Reply(NamedTuple):
    """An echo reply that carries our cookie; whether its index and source fit a probe is for the prober to judge."""

    probe_index: int
    source: str
    #: Wall nanoseconds of arrival by the kernel's stamp; None when it gave none.
    received_at_ns: int | None
    ttl: int | None


class TxTimestamp(NamedTuple):
    """The kernel's word on when a packet left."""

    probe_index: int
    #: Wall nanoseconds, taken by the driver as it hands the packet over.
    sent_at_ns: int


class IcmpError(NamedTuple):
    """An ICMP error about one of our requests."""

    #: None when the router quoted too little of our packet (RFC 792 asks for 8 bytes); then ``sequence`` tells.
    probe_index: int | None
    #: The low 16 bits of the index.
    sequence: int
    #: Where the request was bound for.
    destination: str
    type: int
    code: int


class ProbeSocket(Protocol):
    """Sends echo requests and collects what comes back, never blocking."""

    #: False when the kernel cannot stamp arrivals: the caller then has to wake on ``fileno`` and stamp them itself.
    has_rx_timestamps: bool

    def fileno(self) -> int:
        """For polling."""
        ...

    def send(self, index: int, address: str, payload_bytes: int) -> int:
        """Send one request; 0, or the errno with which the kernel refused it."""
        ...

    def read_replies(self) -> list[Reply]:
        """What has arrived since the last call."""
        ...

    def read_error_queue(self) -> list[TxTimestamp | IcmpError]:
        """What the kernel and the routers said about our requests since the last call."""
        ...

    def read_drop_count(self) -> int:
        """How many packets the kernel threw away because our receive queue was full, since the socket was made."""
        ...

    def close(self) -> None:
        """Give the socket back."""
        ...
