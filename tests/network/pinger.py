"""Minimal sender of echoes, for tests of the test bed; it shares no code with the agent's prober."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from leadline.clock import SystemClock
from tests.network.wan import Wan

COOKIE = 0x0123_4567_89AB_CDEF
#: Longer than any round trip over the test bed.
REPLY_TIMEOUT_S = 20.0
#: ``receive_all`` ends after this time without a reply.
SILENCE_S = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoReply:
    """An echo reply and the time at which user space received it."""

    index: int
    received_at_ns: int


class Pinger:
    """Sends echoes from a datagram ICMP socket inside A, with timestamps of user space."""

    def __init__(self, wan: Wan, family: socket.AddressFamily = socket.AF_INET) -> None:
        self._clock = SystemClock()
        self._request, protocol = (8, 1) if family == socket.AF_INET else (128, 58)
        with wan.enter("a"):
            self._socket = socket.socket(family, socket.SOCK_DGRAM, protocol)
        if family == socket.AF_INET:
            self._socket.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: ICMP errors become errors of the socket
        else:
            self._socket.setsockopt(socket.IPPROTO_IPV6, 25, 1)  # IPV6_RECVERR

    def send(self, dst: str, index: int) -> int:
        """Send one echo and return the monotonic time before it."""
        return self.send_raw(dst, struct.pack(">BBHHHQQ", self._request, 0, 0, 0, index & 0xFFFF, COOKIE, index))

    def send_raw(self, dst: str, message: bytes) -> int:
        """Send an ICMP message unchanged and return the monotonic time before it."""
        at_ns = self._clock.monotonic_ns()
        self._socket.sendto(message, (dst, 0))
        return at_ns

    def receive(self, timeout_s: float = REPLY_TIMEOUT_S) -> EchoReply | None:
        """Return the next reply, None after the timeout; raise OSError for an ICMP error."""
        try:
            data = self.receive_raw(timeout_s)
        except TimeoutError:
            return None
        return EchoReply(index=struct.unpack_from(">Q", data, 16)[0], received_at_ns=self._clock.monotonic_ns())

    def receive_raw(self, timeout_s: float = REPLY_TIMEOUT_S) -> bytes:
        """Return the next ICMP message; raise TimeoutError after the timeout."""
        self._socket.settimeout(timeout_s)
        return self._socket.recv(2_048)

    def receive_all(self) -> list[int]:
        """Return the indexes of all replies in order of receipt, until none arrives for ``SILENCE_S``."""
        reply_indexes: list[int] = []
        while (reply := self.receive(SILENCE_S)) is not None:
            reply_indexes.append(reply.index)
        return reply_indexes

    def close(self) -> None:
        self._socket.close()


@contextmanager
def open_pinger(wan: Wan, family: socket.AddressFamily = socket.AF_INET) -> Iterator[Pinger]:
    pinger = Pinger(wan, family)
    try:
        yield pinger
    finally:
        pinger.close()
