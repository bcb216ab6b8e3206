"""What the kernel says beside a packet: its stamps, hop limits and ICMP errors, out of control messages.

Numbers of linux/net_tstamp.h, linux/errqueue.h and asm-generic/socket.h (as on x86, ARM, POWER, s390 and RISC-V), which
Python's socket module does not name. See timestamping.rst of the kernel's documentation, and ip(7).
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
#: Software stamps of departures and arrivals. Neither OPT_TSONLY (the returned packet names the probe) nor OPT_ID (a
#: send that a firewall refuses advances the kernel's count and shifts every later one).
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
#: Never set DF, fragment where needed.
PMTUDISC_DONT = 0
#: Always set DF and disregard what was learned of the path: with PMTUDISC_DO one "fragmentation needed" would make the
#: kernel refuse the next ten minutes of probes itself, and a path that was repaired would go on looking broken.
PMTUDISC_PROBE = 3

ICMP_FILTER = 1
ICMPV6_FILTER = 1
SOL_RAW = 255

#: Control messages, as recvmsg gives them.
Ancillary = Iterable[tuple[int, int, bytes]]

#: struct scm_timestamping: three timespecs; the first is the software stamp, the others are for hardware.
_SCM_TIMESTAMPING = struct.Struct("@ll")
#: struct sock_extended_err: errno, origin, type, code, padding, info, data.
_EXTENDED_ERROR = struct.Struct("@IBBBxII")
_INT = struct.Struct("@i")
#: struct sk_meminfo, nine words of which the last counts drops.
_MEMINFO = struct.Struct("@9I")

_ORIGIN_ICMP, _ORIGIN_ICMP6, _ORIGIN_TIMESTAMPING = 2, 3, 4


class ErrorQueueMessage(NamedTuple):
    """What stands beside a packet of the error queue."""

    #: Wall nanoseconds of departure, if it is about one.
    sent_at_ns: int | None
    #: ICMP type and code, if it is about an error that a host or router reported.
    error: tuple[int, int] | None


def parse_rx_ancillary(ancillary: Ancillary) -> tuple[int | None, int | None]:
    """The stamp of an arrival in wall nanoseconds and its time to live; None for what is not there."""
    stamp_ns = ttl = None
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING:
            stamp_ns = _parse_timestamp_ns(data)
        elif (level == socket.IPPROTO_IP and kind == IP_TTL) or (
            level == socket.IPPROTO_IPV6 and kind == IPV6_HOPLIMIT
        ):
            (ttl,) = _INT.unpack_from(data)
    return stamp_ns, ttl


def parse_error_queue_ancillary(ancillary: Ancillary) -> ErrorQueueMessage:
    """What a packet of the error queue is about. Neither: an error of the kernel itself, which the send told."""
    stamp_ns = error = None
    is_stamp = False
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING:
            stamp_ns = _parse_timestamp_ns(data)
        elif (level == socket.IPPROTO_IP and kind == IP_RECVERR) or (
            level == socket.IPPROTO_IPV6 and kind == IPV6_RECVERR
        ):
            _, origin, icmp_type, code, _, _ = _EXTENDED_ERROR.unpack_from(data)
            is_stamp = origin == _ORIGIN_TIMESTAMPING
            error = (icmp_type, code) if origin in (_ORIGIN_ICMP, _ORIGIN_ICMP6) else None
    return ErrorQueueMessage(stamp_ns if is_stamp else None, error)


def parse_drop_count(meminfo: bytes) -> int:
    """The packets a socket lost to a full queue, from SO_MEMINFO.

    Not SO_RXQ_OVFL: that count comes beside the next packet, and after the last burst there is none.
    """
    count: int = _MEMINFO.unpack_from(meminfo)[8]
    return count


def _parse_timestamp_ns(data: bytes) -> int | None:
    seconds, nanoseconds = _SCM_TIMESTAMPING.unpack_from(data)
    return seconds * 1_000_000_000 + nanoseconds or None
