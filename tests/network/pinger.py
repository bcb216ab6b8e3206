"""A sender of echoes as plain as can be, for tests of the test bed; the real one is the agent's."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from leadline.clock import SystemClock
from tests.network.wan import Wan

COOKIE = 0x0123_4567_89AB_CDEF
#: Nothing over the test bed takes longer, unless it never comes.
REPLY_TIMEOUT_S = 20.0
#: How long silence must last to be believed.
SILENCE_S = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoReply:
    """An echo reply and when user space had it."""

    index: int
    received_at_ns: int


class Pinger:
    """Echoes by a plain datagram ICMP socket inside A, stamped in user space."""

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
        """Send one echo; the moment before."""
        return self.send_raw(dst, struct.pack(">BBHHHQQ", self._request, 0, 0, 0, index & 0xFFFF, COOKIE, index))

    def send_raw(self, dst: str, message: bytes) -> int:
        """Send an ICMP message as it is; the moment before."""
        at_ns = self._clock.monotonic_ns()
        self._socket.sendto(message, (dst, 0))
        return at_ns

    def receive(self, within_s: float = REPLY_TIMEOUT_S) -> EchoReply | None:
        """The next reply; None if none comes in time. OSError where an ICMP error came instead."""
        try:
            data = self.receive_raw(within_s)
        except TimeoutError:
            return None
        return EchoReply(index=struct.unpack_from(">Q", data, 16)[0], received_at_ns=self._clock.monotonic_ns())

    def receive_raw(self, within_s: float = REPLY_TIMEOUT_S) -> bytes:
        """The next ICMP message; TimeoutError if none comes in time."""
        self._socket.settimeout(within_s)
        return self._socket.recv(2_048)

    def receive_all(self) -> list[int]:
        """The indexes of all replies until there is silence, in order of receipt."""
        found: list[int] = []
        while (reply := self.receive(SILENCE_S)) is not None:
            found.append(reply.index)
        return found

    def close(self) -> None:
        self._socket.close()


@contextmanager
def open_pinger(wan: Wan, family: socket.AddressFamily = socket.AF_INET) -> Iterator[Pinger]:
    pinger = Pinger(wan, family)
    try:
        yield pinger
    finally:
        pinger.close()
