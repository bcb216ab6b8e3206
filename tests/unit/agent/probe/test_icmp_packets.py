"""Packets and control messages, without a socket."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from icmplib import ICMPv4Socket

from leadline_agent.probe import kernel_timestamps
from leadline_agent.probe.icmp import compute_checksum

SOL_SOCKET, SOL_IP, SOL_IPV6 = 1, 0, 41


class _Reference(ICMPv4Socket):  # type: ignore[misc]
    """icmplib's own arithmetic, without opening a socket."""

    def __init__(self) -> None:
        self._sock = None


@given(st.binary(max_size=200))
def test_checksum_is_icmplibs(data: bytes) -> None:
    """The fast checksum gives what icmplib's gives, for odd and empty data too."""
    assert _Reference()._checksum(data) == compute_checksum(data)


@given(st.binary(min_size=1, max_size=100).map(lambda data: b"\x08\0\0\0" + data + b"\0" * (len(data) % 2)))
def test_a_packet_with_its_checksum_sums_to_zero(packet: bytes) -> None:
    """RFC 1071: over a packet that holds its own checksum the sum is zero."""
    whole = packet[:2] + compute_checksum(packet).to_bytes(2, "big") + packet[4:]

    assert compute_checksum(whole) == 0


def extended_error(origin: int, icmp_type: int = 0, code: int = 0) -> bytes:
    """struct sock_extended_err and the address behind it."""
    return struct.pack("@IBBBxII", 113, origin, icmp_type, code, 0, 0) + bytes(16)


STAMP = struct.pack("@llllll", 1_700_000_000, 123_456_789, 0, 0, 0, 0)
STAMP_NS = 1_700_000_000_123_456_789


def test_an_arrival_has_its_stamp_and_hop_limit() -> None:
    """The stamp is read to the nanosecond, the hop limit from either family's message."""
    hops = struct.pack("@i", 57)

    assert kernel_timestamps.parse_rx_ancillary([(SOL_SOCKET, 37, STAMP), (SOL_IP, 2, hops)]) == (STAMP_NS, 57)
    assert kernel_timestamps.parse_rx_ancillary([(SOL_IPV6, 52, hops)]) == (None, 57)


def test_an_empty_stamp_is_none() -> None:
    """A stamp of zero, as the kernel gives while it is still switching stamps on, is no stamp."""
    assert kernel_timestamps.parse_rx_ancillary([(SOL_SOCKET, 37, bytes(48))]) == (None, None)


def test_a_departure_is_told_from_an_error() -> None:
    """Stamps and ICMP errors come through one queue and are told apart by their origin."""
    departure = kernel_timestamps.parse_error_queue_ancillary(
        [(SOL_SOCKET, 37, STAMP), (SOL_IP, 11, extended_error(4))]
    )
    error = kernel_timestamps.parse_error_queue_ancillary(
        [(SOL_SOCKET, 37, STAMP), (SOL_IPV6, 25, extended_error(3, 1, 4))]
    )

    assert departure == (STAMP_NS, None)
    assert error == (None, (1, 4))


def test_an_error_of_the_kernel_itself_is_neither() -> None:
    """What the kernel reports of its own accord, the send has said already."""
    assert kernel_timestamps.parse_error_queue_ancillary([(SOL_IP, 11, extended_error(1))]) == (None, None)


def test_drops_are_the_last_word_of_meminfo() -> None:
    """SO_MEMINFO counts drops in its ninth word."""
    assert kernel_timestamps.parse_drop_count(struct.pack("@9I", 1, 2, 3, 4, 5, 6, 7, 8, 99)) == 99
