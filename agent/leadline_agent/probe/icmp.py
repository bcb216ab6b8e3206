"""ICMP echo sockets of the kernel, built on icmplib. Only this module imports icmplib.

icmplib opens the sockets, builds requests and parses replies. Its ping functions are not used: they take timestamps in
user space and match replies by process id (docs/decisions). One socket serves all targets with the same SocketKey.

A datagram socket is the first choice. It needs no capability if ``net.ipv4.ping_group_range`` allows it, and the kernel
sets its identifier, checks its packets and delivers only its own replies. A raw socket needs CAP_NET_RAW and receives
every echo of the host. ICMP_FILTER and a packet filter exclude foreign replies, and our own requests on loopback.

Cost for each packet: icmplib's ``_create_packet`` takes 4.0 µs, 3.4 µs of it for the checksum, which this module
replaces (same result). ``_parse_reply`` takes 1.2 µs. A probe takes about 35 µs in total, mostly in the kernel.
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
#: A valid reply starts with 20 bytes of IPv4 (60 with options), 8 of ICMP, cookie and index. The rest is not needed.
_REPLY_BYTES = 128
#: A returned request has a link header (Ethernet 14, VLAN tags 8) and an IP header (IPv6 40) in front.
_ERROR_QUEUE_BYTES = 192
_ANCILLARY_BYTES = 256
#: Buffer size: 4 MiB have room for about 3,000 timestamps or replies (1.3 KiB each as the kernel counts), three seconds
#: at 1,000 a second. The kernel doubles the value. A larger buffer would hide a process that does not keep up.
_BUFFER_BYTES = 4 << 20
#: More packets than fit in the doubled buffer: one call empties the queue and still ends.
_PACKETS_PER_READ_MAX = 65_536
_TTL = 64
_ECHO_REQUEST_TYPES = {4: 8, 6: 128}
_ECHO_REPLY_TYPES = {4: 0, 6: 129}
#: This kind of socket does not exist on this host; another kind may.
_NOT_SUPPORTED_ERRNOS = frozenset({errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT})

NO_PERMISSION_MESSAGE = (
    "no permission to send ICMP echo requests: allow them for your group with "
    "`sysctl -w net.ipv4.ping_group_range='0 2147483647'`, or grant CAP_NET_RAW "
    "(run as root, or `setcap cap_net_raw+ep` on the Python interpreter)"
)


class SocketKind(StrEnum):
    """Kinds of sockets that can send echo requests."""

    DATAGRAM = "datagram"
    RAW = "raw"


def open_socket(
    key: SocketKey, cookie: bytes, kinds: Sequence[SocketKind] = (SocketKind.DATAGRAM, SocketKind.RAW)
) -> ProbeSocket:
    """Open a socket of the first permitted kind. ``cookie`` is 8 bytes that identify our packets.

    Raise UnavailableError if no kind is permitted, OSError if the kernel refuses the key (no such source, no IPv6).
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
        return 0  # The kernel computes it, also on raw sockets (RFC 3542 §3.1).


def compute_checksum(data: bytes) -> int:
    """Compute the Internet checksum (RFC 1071).

    The sum of the 16-bit words modulo 65535 equals the remainder of the whole data as one number.
    """
    number = int.from_bytes(data + b"\0" if len(data) & 1 else data, "big")
    return 0xFFFF - (number % 0xFFFF or 0xFFFF) if number else 0xFFFF


class KernelSocket:
    """``ProbeSocket`` on the Linux kernel."""

    def __init__(self, key: SocketKey, cookie: bytes, kind: SocketKind) -> None:
        assert len(cookie) == COOKIE_BYTES
        self._key = key
        self._cookie = cookie
        self._is_raw = kind is SocketKind.RAW
        self._icmplib_socket = _open_icmplib_socket(key, self._is_raw)
        self._socket: socket.socket = self._icmplib_socket.sock
        self._socket.setblocking(False)
        #: Offset of the ICMP header in a received packet. Only raw IPv4 sockets deliver the IP header.
        self._icmp_offset = 20 if self._is_raw and key.ip_version == 4 else 0
        # Never 0, the default of icmplib. The kernel sets the identifier of datagram sockets.
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
        """Send again: with IP_RECVERR, the first failure can be the error of an *earlier* packet."""
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
                continue  # The error of a request; this call clears it, and read_error_queue returns it in full.
            if (reply := self._parse_packet(packet, ancillary, sender[0])) is not None:
                replies.append(reply)
        return replies

    def _parse_packet(self, packet: bytes, ancillary: kernel_timestamps.Ancillary, source: str) -> Reply | None:
        """Return the reply in ``packet``; None if it does not belong to this socket."""
        timestamp_ns, ttl = kernel_timestamps.parse_rx_ancillary(ancillary)
        if self._icmp_offset:
            ttl = packet[8]
            packet = packet[(packet[0] & 0xF) * 4 - 20 :]  # icmplib ignores IP options
        reply = self._icmplib_socket._parse_reply(packet, source, 0.0)
        if reply is None or reply.type != _ECHO_REPLY_TYPES[self._key.ip_version]:
            return None
        at = self._icmp_offset + 8
        index = self._parse_probe_index(packet, at)
        return None if index is None else Reply(index, source, timestamp_ns, ttl)

    def read_error_queue(self) -> list[TxTimestamp | IcmpError]:
        messages: list[TxTimestamp | IcmpError] = []
        receive = self._socket.recvmsg
        for _ in range(_PACKETS_PER_READ_MAX):
            try:
                packet, ancillary, _, destination = receive(
                    _ERROR_QUEUE_BYTES, _ANCILLARY_BYTES, kernel_timestamps.MSG_ERRQUEUE
                )
            except BlockingIOError:
                break
            message = kernel_timestamps.parse_error_queue_ancillary(ancillary)
            # The packet includes the link header of the device, so search for the cookie.
            index = self._parse_probe_index(packet, packet.find(self._cookie))
            if message.sent_at_ns is not None and index is not None:
                messages.append(TxTimestamp(index, message.sent_at_ns))
            elif message.error is not None:
                messages.extend(self._parse_icmp_error(packet, index, destination[0], message.error))
        return messages

    def _parse_icmp_error(
        self, quoted: bytes, index: int | None, destination: str, error: tuple[int, int]
    ) -> list[IcmpError]:
        """Return the error if it belongs to one of our requests, else an empty list.

        ``quoted`` starts with the ICMP header of the request.
        """
        if len(quoted) < 8:
            return []
        kind, _, _, identifier, sequence = struct.unpack_from("!BBHHH", quoted)
        is_ours = index is not None or not self._is_raw or identifier == self._identifier
        if kind != _ECHO_REQUEST_TYPES[self._key.ip_version] or not is_ours:
            return []
        return [IcmpError(index, sequence, destination, *error)]

    def _parse_probe_index(self, packet: bytes, at: int) -> int | None:
        """Return the index after the cookie at offset ``at``; None if our cookie is not there."""
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
        # Targets with an unresolved neighbour queue three seconds of packets. They must not block the other targets.
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
        # ldxb 4*([0]&0xf): length of the IP header; ldh [x+4]: the identifier after it.
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
        self._attach_filter((0x28, 0, 0, 4))  # ldh [4]: the packet starts with the ICMPv6 header

    def _attach_filter(self, *load: tuple[int, int, int, int]) -> None:
        """Accept only packets with our identifier, which ``load`` reads (classic BPF: code, jt, jf, k)."""
        accept, drop = (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0)
        program = [*load, (0x15, 0, 1, self._identifier), accept, drop]
        code = ctypes.create_string_buffer(b"".join(struct.pack("@HBBI", *step) for step in program))
        self._socket.setsockopt(
            socket.SOL_SOCKET,
            kernel_timestamps.SO_ATTACH_FILTER,
            struct.pack("@HP", len(program), ctypes.addressof(code)),
        )


def set_buffer_size(sock: socket.socket, force_option: int, option: int) -> None:
    """Set a buffer to ``_BUFFER_BYTES``, above the system limit if CAP_NET_ADMIN permits it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force_option, _BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)


def _open_icmplib_socket(key: SocketKey, is_raw: bool) -> ICMPv4Socket | ICMPv6Socket:
    """Open icmplib's socket, bound to the source of the key; raise OSError with the errno that icmplib omits."""
    try:
        return (_Icmpv4Socket if key.ip_version == 4 else _Icmpv6Socket)(key.source, privileged=is_raw)
    except SocketPermissionError as error:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
    except ICMPSocketError as error:
        cause = error.__context__
        # getaddrinfo uses its own negative error numbers: no address, or an address of the wrong family.
        number = (cause.errno or 0) if isinstance(cause, OSError) else 0
        number = number if number > 0 else errno.EADDRNOTAVAIL
        raise OSError(number, os.strerror(number)) from error
