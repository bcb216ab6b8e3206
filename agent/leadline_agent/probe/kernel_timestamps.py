"""Timestamps, hop limits and ICMP errors from the control messages of the Linux kernel.

The constants come from linux/net_tstamp.h, linux/errqueue.h and asm-generic/socket.h (valid on x86, ARM, POWER, s390
and RISC-V). Python's socket module does not define them. See timestamping.rst in the kernel documentation, and ip(7).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

SO_TIMESTAMPING = 37
SO_MEMINFO = 55
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SO_ATTACH_FILTER = 26
MSG_ERRQUEUE = 0x2000

_TX_SOFTWARE = 1 << 1
_RX_SOFTWARE = 1 << 3
_REPORT_SOFTWARE = 1 << 4
#: Software timestamps of transmit and receive. OPT_TSONLY is off, because the returned packet identifies the probe.
#: OPT_ID is off, because a send that a firewall refuses advances the kernel's counter and shifts all later ids.
TIMESTAMP_RX_TX = _TX_SOFTWARE | _RX_SOFTWARE | _REPORT_SOFTWARE

IP_TTL = 2
IP_MTU_DISCOVER = 10
IP_RECVERR = 11
IP_RECVTTL = 12
IPV6_MTU_DISCOVER = 23
IPV6_RECVERR = 25
IPV6_RECVHOPLIMIT = 51
IPV6_HOPLIMIT = 52
IPV6_DONTFRAG = 62
#: Never set DF; fragment if needed.
PMTUDISC_DONT = 0
#: Always set DF and ignore the cached path MTU. With PMTUDISC_DO, one "fragmentation needed" makes the kernel refuse
#: probes for ten minutes, and a repaired path still looks broken.
PMTUDISC_PROBE = 3

ICMP_FILTER = 1
ICMPV6_FILTER = 1
SOL_RAW = 255

#: Control messages as returned by recvmsg.
Ancillary = Iterable[tuple[int, int, bytes]]

#: struct scm_timestamping: three timespecs. The first is the software timestamp, the others are for hardware.
_SCM_TIMESTAMPING = struct.Struct("@ll")
#: struct sock_extended_err: errno, origin, type, code, padding, info, data.
_EXTENDED_ERROR = struct.Struct("@IBBBxII")
_INT = struct.Struct("@i")
#: struct sk_meminfo: nine words; the last one counts drops.
_MEMINFO = struct.Struct("@9I")

_ORIGIN_ICMP, _ORIGIN_ICMP6, _ORIGIN_TIMESTAMPING = 2, 3, 4


class ErrorQueueMessage(NamedTuple):
    """Control data of a packet in the error queue."""

    #: Wall nanoseconds of the transmit timestamp; None if the message has none.
    sent_at_ns: int | None
    #: ICMP type and code of an error from a host or router; None if the message has none.
    error: tuple[int, int] | None


def parse_rx_ancillary(ancillary: Ancillary) -> tuple[int | None, int | None]:
    """Return the receive timestamp in wall nanoseconds and the TTL; None for a missing value."""
    timestamp_ns = ttl = None
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING:
            timestamp_ns = _parse_timestamp_ns(data)
        elif (level == socket.IPPROTO_IP and kind == IP_TTL) or (
            level == socket.IPPROTO_IPV6 and kind == IPV6_HOPLIMIT
        ):
            (ttl,) = _INT.unpack_from(data)
    return timestamp_ns, ttl


def parse_error_queue_ancillary(ancillary: Ancillary) -> ErrorQueueMessage:
    """Parse the control data of a packet in the error queue.

    Both values are None for an error of the kernel itself, which the send call has reported.
    """
    timestamp_ns = error = None
    is_timestamp = False
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING:
            timestamp_ns = _parse_timestamp_ns(data)
        elif (level == socket.IPPROTO_IP and kind == IP_RECVERR) or (
            level == socket.IPPROTO_IPV6 and kind == IPV6_RECVERR
        ):
            _, origin, icmp_type, code, _, _ = _EXTENDED_ERROR.unpack_from(data)
            is_timestamp = origin == _ORIGIN_TIMESTAMPING
            error = (icmp_type, code) if origin in (_ORIGIN_ICMP, _ORIGIN_ICMP6) else None
    return ErrorQueueMessage(timestamp_ns if is_timestamp else None, error)


def parse_drop_count(meminfo: bytes) -> int:
    """Return the number of packets that a socket dropped because its queue was full, from SO_MEMINFO.

    SO_RXQ_OVFL delivers its count with the next packet, and no packet follows the last burst.
    """
    count: int = _MEMINFO.unpack_from(meminfo)[8]
    return count


def _parse_timestamp_ns(data: bytes) -> int | None:
    seconds, nanoseconds = _SCM_TIMESTAMPING.unpack_from(data)
    return seconds * 1_000_000_000 + nanoseconds or None
