"""Layout of a frame in the emulator: virtio_net_hdr (10 bytes), Ethernet (14), IPv4 or IPv6.

PACKET_VNET_HDR puts the virtio_net_hdr before each frame. It has the checksum and segmentation offload of the sender;
the emulator sends it back unchanged, so that the receiver gets the same. Pure functions of bytes, without sockets.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

VNET_BYTES = 10
IP_OFFSET = VNET_BYTES + 14
#: virtio_net_hdr, Ethernet, the longest IPv4 header, ICMP echo header, cookie and index.
HEADER_BYTES_MAX = IP_OFFSET + 60 + 8 + 16
#: The largest frame of a veth: a TCP super-segment of 64 KiB.
FRAME_BYTES_MAX = IP_OFFSET + 65_536

ICMP, ICMPV6 = 1, 58
ECHO_REQUEST, ECHO_REPLY = 8, 0
ECHO_REQUEST_V6, ECHO_REPLY_V6 = 128, 129
#: RFC 1812 §4.3.2.3 and RFC 4443 §2.4(c): an error message quotes as many bytes as fit into the minimum MTU.
ERROR_BYTES_MAX, ERROR_BYTES_MAX_V6 = 576, 1_280

_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_VNET_NONE = bytes(VNET_BYTES)


class Flow(NamedTuple):
    """Fields that rules match. Addresses are packed, empty for non-IP frames; ``icmp_offset`` is 0 without ICMP."""

    src: bytes
    dst: bytes
    protocol: int
    icmp_offset: int


NOT_IP = Flow(b"", b"", -1, 0)


def parse_flow(data: bytes) -> Flow:
    """Return the flow of a frame; fragments and IPv6 packets with extension headers count as IP without ICMP."""
    kind = data[IP_OFFSET - 2 : IP_OFFSET]
    if kind == _IPV4 and len(data) >= IP_OFFSET + 20:
        protocol, at = data[IP_OFFSET + 9], IP_OFFSET + (data[IP_OFFSET] & 15) * 4
        whole = not (data[IP_OFFSET + 6] & 0x3F or data[IP_OFFSET + 7])
        has_icmp = protocol == ICMP and whole and len(data) >= at + 8
        return Flow(
            data[IP_OFFSET + 12 : IP_OFFSET + 16],
            data[IP_OFFSET + 16 : IP_OFFSET + 20],
            protocol,
            at if has_icmp else 0,
        )
    if kind == _IPV6 and len(data) >= IP_OFFSET + 40:
        protocol, at = data[IP_OFFSET + 6], IP_OFFSET + 40
        has_icmp = protocol == ICMPV6 and len(data) >= at + 8
        return Flow(
            data[IP_OFFSET + 8 : IP_OFFSET + 24], data[IP_OFFSET + 24 : IP_OFFSET + 40], protocol, at if has_icmp else 0
        )
    return NOT_IP


def parse_probe(data: bytes, flow: Flow) -> tuple[int, int] | None:
    """Return cookie and index, the first 16 bytes of an echo's payload; None for other frames or a shorter payload."""
    if not is_echo(data, flow) or len(data) < flow.icmp_offset + 24:
        return None
    cookie, index = struct.unpack_from(">QQ", data, flow.icmp_offset + 8)
    return cookie, index


def is_echo(data: bytes, flow: Flow) -> bool:
    """Return True for an echo request or an echo reply."""
    return flow.icmp_offset > 0 and data[flow.icmp_offset] in _ECHO_TYPES[flow.protocol]


_ECHO_TYPES = {ICMP: (ECHO_REQUEST, ECHO_REPLY), ICMPV6: (ECHO_REQUEST_V6, ECHO_REPLY_V6)}


def compute_checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of ``data``, as a 16-bit number in network order."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def build_icmp_error(data: bytes, flow: Flow, kind: tuple[int, int], source: str, value: int = 0) -> bytes:
    """Return the frame of an ICMP error ``kind`` (type, code) from ``source`` to the sender of ``data``.

    ``value`` fills the 32 bits after the checksum: the next-hop MTU for a packet that is too big, else 0.
    """
    sender, router = flow.src, ipaddress.ip_address(source).packed
    body_bytes_max = ERROR_BYTES_MAX - 28 if len(sender) == 4 else ERROR_BYTES_MAX_V6 - 48
    quoted = data[IP_OFFSET : IP_OFFSET + body_bytes_max]
    build = _build_icmpv4_error if len(sender) == 4 else _build_icmpv6_error
    macs = data[VNET_BYTES + 6 : VNET_BYTES + 12] + data[VNET_BYTES : VNET_BYTES + 6]
    return _VNET_NONE + macs + data[IP_OFFSET - 2 : IP_OFFSET] + build(router, sender, kind, value, quoted)


def _build_icmpv4_error(src: bytes, dst: bytes, kind: tuple[int, int], value: int, quoted: bytes) -> bytes:
    message = struct.pack(">BBHI", *kind, 0, value) + quoted
    message = message[:2] + compute_checksum(message).to_bytes(2, "big") + message[4:]
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(message), 0, 0, 64, ICMP, 0, src, dst)
    return header[:10] + compute_checksum(header).to_bytes(2, "big") + header[12:] + message


def _build_icmpv6_error(src: bytes, dst: bytes, kind: tuple[int, int], value: int, quoted: bytes) -> bytes:
    message = struct.pack(">BBHI", *kind, 0, value) + quoted
    pseudo = src + dst + struct.pack(">II", len(message), ICMPV6)
    message = message[:2] + compute_checksum(pseudo + message).to_bytes(2, "big") + message[4:]
    return struct.pack(">IHBB16s16s", 6 << 28, len(message), ICMPV6, 64, src, dst) + message
