"""ICMP echo sockets of the kernel, built on icmplib: the only module that imports it.

From icmplib come the sockets, the building of requests and the reading of replies; its ping functions are not used, for
they stamp in user space and match by process id (docs/decisions). One socket serves every target of a lane.

A datagram socket is tried first: it needs no capability where ``net.ipv4.ping_group_range`` allows it, the kernel
numbers it, checks it and delivers its own replies only. The raw one needs CAP_NET_RAW and gets every echo of the host,
so ICMP_FILTER and a packet filter keep foreign ones out, and on loopback our own requests.

Measured per packet: icmplib's ``_create_packet`` 4.0 µs, of which 3.4 in its checksum, which is replaced here (same
result); ``_parse_reply`` 1.2 µs. A probe costs about 35 µs, the most of it in the kernel, so both stay.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import socket
import struct
from collections.abc import Sequence
from enum import StrEnum

from icmplib import ICMPSocketError, ICMPv4Socket, ICMPv6Socket, SocketPermissionError

from leadline.errors import UnavailableError
from leadline_agent.probe import kernel_timestamps
from leadline_agent.probe.transport import IcmpError, ProbeSocket, Reply, SocketKey, TxTimestamp

COOKIE_BYTES = 8
INDEX_BYTES = 8
#: Replies that fit are 20 bytes of IPv4 (60 with options), 8 of ICMP, cookie and index; more is not looked at.
_REPLY_BYTES = 128
#: A returned request has its link header (Ethernet 14, VLAN tags 8) and IP header (IPv6 40) before that.
_ERROR_QUEUE_BYTES = 192
_ANCILLARY_BYTES = 256
#: Buffers: 4 MiB hold some 3,000 stamps or replies (about 1.3 KiB each as the kernel counts), three seconds of 1,000 a
#: second; the kernel doubles the number. More would hide a process that does not keep up.
_BUFFER_BYTES = 4 << 20
#: More packets than the doubled buffer can hold: one call empties the queue, and cannot run for ever.
_PACKETS_PER_READ_MAX = 65_536
_TTL = 64
_ECHO_REQUEST_TYPES = {4: 8, 6: 128}
_ECHO_REPLY_TYPES = {4: 0, 6: 129}
#: There is no such socket here; another kind may exist.
_NOT_SUPPORTED_ERRNOS = frozenset({errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT})

NO_PERMISSION_MESSAGE = (
    "no permission to send ICMP echoes: allow them to your group with "
    "`sysctl -w net.ipv4.ping_group_range='0 2147483647'`, or give CAP_NET_RAW "
    "(run as root, or `setcap cap_net_raw+ep` on the Python interpreter)"
)


class SocketKind(StrEnum):
    """The kinds of socket that can send echoes."""

    DATAGRAM = "datagram"
    RAW = "raw"


def open_socket(
    key: SocketKey, cookie: bytes, kinds: Sequence[SocketKind] = (SocketKind.DATAGRAM, SocketKind.RAW)
) -> ProbeSocket:
    """A socket for ``lane``, of the first kind that is allowed. ``cookie`` is 8 bytes that mark our packets.

    Raises UnavailableError when no kind is allowed, OSError when the lane cannot be had: no such source, no IPv6.
    """
    for kind in kinds:
        try:
            return KernelSocket(key, cookie, kind)
        except PermissionError:
            continue
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED_ERRNOS:
                raise
    raise UnavailableError(NO_PERMISSION_MESSAGE)


class _Icmpv4Socket(ICMPv4Socket):  # type: ignore[misc]  # icmplib has no type information
    def _checksum(self, data: bytes) -> int:
        return compute_checksum(data)


class _Icmpv6Socket(ICMPv6Socket):  # type: ignore[misc]  # icmplib has no type information
    def _checksum(self, data: bytes) -> int:
        return 0  # The kernel fills it in, on raw sockets too (RFC 3542 §3.1).


def compute_checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): the sum of 16-bit words modulo 65535 is the remainder of the whole number."""
    number = int.from_bytes(data + b"\0" if len(data) & 1 else data, "big")
    return 0xFFFF - (number % 0xFFFF or 0xFFFF) if number else 0xFFFF


class KernelSocket:
    """The ``EchoSocket`` of the Linux kernel."""

    def __init__(self, key: SocketKey, cookie: bytes, kind: SocketKind) -> None:
        assert len(cookie) == COOKIE_BYTES
        self._key = key
        self._cookie = cookie
        self._is_raw = kind is SocketKind.RAW
        self._icmplib_socket = _open_icmplib_socket(key, self._is_raw)
        self._socket: socket.socket = self._icmplib_socket.sock
        self._socket.setblocking(False)
        #: Where the ICMP header begins in what is received: only raw IPv4 sockets deliver the IP header.
        self._icmp_offset = 20 if self._is_raw and key.ip_version == 4 else 0
        # Never 0: that is what icmplib would send if it were forgotten. Datagram sockets get theirs from the kernel.
        self._identifier = secrets.randbelow(0xFFFF) + 1
        self.has_rx_timestamps = True
        try:
            self._configure()
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, index: int, address: str, payload_bytes: int) -> int:
        payload = (self._cookie + index.to_bytes(INDEX_BYTES, "big")).ljust(payload_bytes, b"\0")
        packet = self._icmplib_socket._create_packet(self._identifier, index & 0xFFFF, payload)
        try:
            self._socket.sendto(packet, (address, 0))
        except OSError:
            return self._retry_send(packet, address)
        return 0

    def _retry_send(self, packet: bytes, address: str) -> int:
        """With IP_RECVERR a send can fail once with the error of an *earlier* packet; the second answer is ours."""
        try:
            self._socket.sendto(packet, (address, 0))
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def read_replies(self) -> list[Reply]:
        replies = []
        receive = self._socket.recvmsg
        for _ in range(_PACKETS_PER_READ_MAX):
            try:
                packet, ancillary, _, sender = receive(_REPLY_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                break
            except OSError:
                continue  # The error of a request; ``notices`` has it in full, and reading it here has cleared it.
            if (reply := self._parse_packet(packet, ancillary, sender[0])) is not None:
                replies.append(reply)
        return replies

    def _parse_packet(self, packet: bytes, ancillary: kernel_timestamps.Ancillary, source: str) -> Reply | None:
        """The reply in ``packet``; None if it is none of ours."""
        stamp_ns, ttl = kernel_timestamps.parse_rx_ancillary(ancillary)
        if self._icmp_offset:
            ttl = packet[8]
            packet = packet[(packet[0] & 0xF) * 4 - 20 :]  # icmplib reckons without IP options
        reply = self._icmplib_socket._parse_reply(packet, source, 0.0)
        if reply is None or reply.type != _ECHO_REPLY_TYPES[self._key.ip_version]:
            return None
        at = self._icmp_offset + 8
        index = self._parse_probe_index(packet, at)
        return None if index is None else Reply(index, source, stamp_ns, ttl)

    def read_error_queue(self) -> list[TxTimestamp | IcmpError]:
        notices: list[TxTimestamp | IcmpError] = []
        receive = self._socket.recvmsg
        for _ in range(_PACKETS_PER_READ_MAX):
            try:
                packet, ancillary, _, destination = receive(
                    _ERROR_QUEUE_BYTES, _ANCILLARY_BYTES, kernel_timestamps.MSG_ERRQUEUE
                )
            except BlockingIOError:
                break
            notice = kernel_timestamps.parse_error_queue_ancillary(ancillary)
            # It is the whole packet with whatever link header the device has; the cookie marks the place.
            index = self._parse_probe_index(packet, packet.find(self._cookie))
            if notice.sent_at_ns is not None and index is not None:
                notices.append(TxTimestamp(index, notice.sent_at_ns))
            elif notice.error is not None:
                notices.extend(self._parse_icmp_error(packet, index, destination[0], notice.error))
        return notices

    def _parse_icmp_error(
        self, quoted: bytes, index: int | None, destination: str, error: tuple[int, int]
    ) -> list[IcmpError]:
        """The error about one of our requests, whose ICMP header and more is ``quoted``; none if it is a stranger's."""
        if len(quoted) < 8:
            return []
        kind, _, _, identifier, sequence = struct.unpack_from("!BBHHH", quoted)
        ours = index is not None or not self._is_raw or identifier == self._identifier
        if kind != _ECHO_REQUEST_TYPES[self._key.ip_version] or not ours:
            return []
        return [IcmpError(index, sequence, destination, *error)]

    def _parse_probe_index(self, packet: bytes, at: int) -> int | None:
        """The index behind the cookie at ``at``; None if there is no cookie of ours."""
        end = at + COOKIE_BYTES
        if at < 0 or packet[at:end] != self._cookie or len(packet) < end + INDEX_BYTES:
            return None
        return int.from_bytes(packet[end : end + INDEX_BYTES], "big")

    def read_drop_count(self) -> int:
        return kernel_timestamps.parse_drop_count(
            self._socket.getsockopt(socket.SOL_SOCKET, kernel_timestamps.SO_MEMINFO, 36)
        )

    def close(self) -> None:
        self._icmplib_socket.close()

    def _configure(self) -> None:
        self._icmplib_socket._set_ttl(_TTL)
        self._icmplib_socket._set_traffic_class(self._key.dscp << 2)
        set_buffer_size(self._socket, kernel_timestamps.SO_RCVBUFFORCE, socket.SO_RCVBUF)
        # Targets whose neighbour does not resolve hold three seconds of packets; they must not block the others.
        set_buffer_size(self._socket, kernel_timestamps.SO_SNDBUFFORCE, socket.SO_SNDBUF)
        if self._key.ip_version == 4:
            self._configure_ipv4()
        else:
            self._configure_ipv6()
        try:
            self._socket.setsockopt(
                socket.SOL_SOCKET, kernel_timestamps.SO_TIMESTAMPING, kernel_timestamps.TIMESTAMP_RX_TX
            )
        except OSError:
            self.has_rx_timestamps = False

    def _configure_ipv4(self) -> None:
        set_option = self._socket.setsockopt
        df = kernel_timestamps.PMTUDISC_PROBE if self._key.dont_fragment else kernel_timestamps.PMTUDISC_DONT
        set_option(socket.IPPROTO_IP, kernel_timestamps.IP_MTU_DISCOVER, df)
        set_option(socket.IPPROTO_IP, kernel_timestamps.IP_RECVERR, 1)
        if not self._is_raw:
            set_option(socket.IPPROTO_IP, kernel_timestamps.IP_RECVTTL, 1)
            return
        set_option(
            kernel_timestamps.SOL_RAW,
            kernel_timestamps.ICMP_FILTER,
            struct.pack("@I", 0xFFFFFFFF & ~(1 << _ECHO_REPLY_TYPES[4])),
        )
        # ldxb 4*([0]&0xf): the IP header's length; ldh [x+4]: the identifier behind it.
        self._attach_filter((0xB1, 0, 0, 0), (0x48, 0, 0, 4))

    def _configure_ipv6(self) -> None:
        set_option = self._socket.setsockopt
        if self._key.dont_fragment:
            set_option(socket.IPPROTO_IPV6, kernel_timestamps.IPV6_MTU_DISCOVER, kernel_timestamps.PMTUDISC_PROBE)
            set_option(socket.IPPROTO_IPV6, kernel_timestamps.IPV6_DONTFRAG, 1)
        set_option(socket.IPPROTO_IPV6, kernel_timestamps.IPV6_RECVERR, 1)
        set_option(socket.IPPROTO_IPV6, kernel_timestamps.IPV6_RECVHOPLIMIT, 1)
        if not self._is_raw:
            return
        word, bit = divmod(_ECHO_REPLY_TYPES[6], 32)
        blocked = [0xFFFFFFFF & ~(1 << bit) if at == word else 0xFFFFFFFF for at in range(8)]
        set_option(socket.IPPROTO_ICMPV6, kernel_timestamps.ICMPV6_FILTER, struct.pack("@8I", *blocked))
        self._attach_filter((0x28, 0, 0, 4))  # ldh [4]: the packet begins with the ICMPv6 header

    def _attach_filter(self, *load: tuple[int, int, int, int]) -> None:
        """Take only packets whose identifier, as ``load`` finds it, is ours (classic BPF: code, jt, jf, k)."""
        take, leave = (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0)
        program = [*load, (0x15, 0, 1, self._identifier), take, leave]
        code = ctypes.create_string_buffer(b"".join(struct.pack("@HBBI", *step) for step in program))
        self._socket.setsockopt(
            socket.SOL_SOCKET,
            kernel_timestamps.SO_ATTACH_FILTER,
            struct.pack("@HP", len(program), ctypes.addressof(code)),
        )


def set_buffer_size(sock: socket.socket, force_option: int, option: int) -> None:
    """Ask for ``_BUFFER_BYTES``, past the system's limit where CAP_NET_ADMIN allows it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force_option, _BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)


def _open_icmplib_socket(lane: SocketKey, is_raw: bool) -> ICMPv4Socket | ICMPv6Socket:
    """icmplib's socket, bound to the lane's source; OSError with its errno, which icmplib's exceptions leave out."""
    try:
        return (_Icmpv4Socket if lane.ip_version == 4 else _Icmpv6Socket)(lane.source, privileged=is_raw)
    except SocketPermissionError as error:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
    except ICMPSocketError as error:
        cause = error.__context__
        # getaddrinfo has numbers of its own, below 0: an address of the wrong family or none at all.
        number = (cause.errno or 0) if isinstance(cause, OSError) else 0
        number = number if number > 0 else errno.EADDRNOTAVAIL
        raise OSError(number, os.strerror(number)) from error
