"""Sockets on the two ends of the emulated link, and the offset between CLOCK_REALTIME and CLOCK_MONOTONIC."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable

from leadline.clock import Clock
from tests.network.frames import FRAME_BYTES_MAX

#: Two seconds of 20,000 frames/s; the kernel accounts 1 kB per frame.
RECEIVE_BUFFER_BYTES = 40 << 20
#: Two clock readings further apart than this were interrupted and are not used for the offset.
BRACKET_NS = 2_000
BRACKET_TRIES = 5

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 263, 6, 15, 23
_SO_RCVBUFFORCE, _SO_TIMESTAMPING = 33, 37
#: TX_SOFTWARE | RX_SOFTWARE | SOFTWARE | OPT_TSONLY (linux/net_tstamp.h)
_STAMPS = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 11
_ANCILLARY_BYTES = 256


class Port:
    """One veth end; receives and sends frames with kernel timestamps."""

    def __init__(self, device: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _STAMPS)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((device, _ETH_P_ALL))
        self._buffer = bytearray(FRAME_BYTES_MAX)
        self._overrun = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> tuple[bytes, int | None] | None:
        """Return the next frame and its arrival on CLOCK_REALTIME (None without a timestamp); None without a frame."""
        try:
            size, ancillary, _, _ = self._socket.recvmsg_into((self._buffer,), _ANCILLARY_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise
            return None  # reported once when the interface goes down
        return bytes(memoryview(self._buffer)[:size]), _stamp_ns(ancillary)

    def send(self, data: bytes) -> int | None:
        """Send a frame and return its departure on CLOCK_REALTIME, None without a timestamp; raise OSError on refusal.

        The kernel takes the timestamp while it passes the frame to the veth: it is in the error queue when send
        returns.
        """
        self._socket.send(data)
        try:
            _, ancillary, _, _ = self._socket.recvmsg(0, _ANCILLARY_BYTES, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            return None
        return _stamp_ns(ancillary)

    def count_overruns(self) -> int:
        """Return the frames dropped since the start because the buffer was full. Reading resets the kernel's count."""
        _, dropped = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self._overrun += dropped
        return self._overrun


def _stamp_ns(ancillary: Iterable[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if kind == _SO_TIMESTAMPING and level == socket.SOL_SOCKET:
            seconds, ns = _TIMESPEC.unpack_from(data)
            return int(seconds * 1_000_000_000 + ns)
    return None


_TIMESPEC = struct.Struct("@ll")


class RealtimeOffset:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, sampled in every iteration of the loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ns = clock.wall_ns() - clock.monotonic_ns()
        self.sample()

    def sample(self) -> None:
        """Read both clocks until a reading is not interrupted; keep the old offset after ``BRACKET_TRIES``."""
        for _ in range(BRACKET_TRIES):
            before_ns = self._clock.monotonic_ns()
            wall_ns = self._clock.wall_ns()
            after_ns = self._clock.monotonic_ns()
            if after_ns - before_ns <= BRACKET_NS:
                self.ns = wall_ns - (before_ns + after_ns) // 2
                return
