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
    """icmplib's checksum, without a socket."""

    def __init__(self) -> None:
        self._sock = None


@given(st.binary(max_size=200))
def test_checksum_equals_icmplibs(data: bytes) -> None:
    """The fast checksum equals icmplib's, also for odd and empty data."""
    assert _Reference()._checksum(data) == compute_checksum(data)


@given(st.binary(min_size=1, max_size=100).map(lambda data: b"\x08\0\0\0" + data + b"\0" * (len(data) % 2)))
def test_packet_with_its_checksum_sums_to_zero(packet: bytes) -> None:
    """RFC 1071: the sum over a packet that includes its checksum is zero."""
    complete = packet[:2] + compute_checksum(packet).to_bytes(2, "big") + packet[4:]

    assert compute_checksum(complete) == 0


def extended_error(origin: int, icmp_type: int = 0, code: int = 0) -> bytes:
    """Pack struct sock_extended_err and the address after it."""
    return struct.pack("@IBBBxII", 113, origin, icmp_type, code, 0, 0) + bytes(16)


TIMESTAMP = struct.pack("@llllll", 1_700_000_000, 123_456_789, 0, 0, 0, 0)
TIMESTAMP_NS = 1_700_000_000_123_456_789


def test_receive_timestamp_and_hop_limit_are_parsed() -> None:
    """The timestamp is exact to the nanosecond. The hop limit comes from the message of either family."""
    hops = struct.pack("@i", 57)

    assert kernel_timestamps.parse_rx_ancillary([(SOL_SOCKET, 37, TIMESTAMP), (SOL_IP, 2, hops)]) == (TIMESTAMP_NS, 57)
    assert kernel_timestamps.parse_rx_ancillary([(SOL_IPV6, 52, hops)]) == (None, 57)


def test_zero_timestamp_is_none() -> None:
    """The kernel gives a zero timestamp before timestamps are fully enabled. It counts as none."""
    assert kernel_timestamps.parse_rx_ancillary([(SOL_SOCKET, 37, bytes(48))]) == (None, None)


def test_transmit_timestamp_and_icmp_error_are_distinguished() -> None:
    """Timestamps and ICMP errors share one queue and differ by their origin."""
    timestamp = kernel_timestamps.parse_error_queue_ancillary(
        [(SOL_SOCKET, 37, TIMESTAMP), (SOL_IP, 11, extended_error(4))]
    )
    error = kernel_timestamps.parse_error_queue_ancillary(
        [(SOL_SOCKET, 37, TIMESTAMP), (SOL_IPV6, 25, extended_error(3, 1, 4))]
    )

    assert timestamp == (TIMESTAMP_NS, None)
    assert error == (None, (1, 4))


def test_local_kernel_error_is_ignored() -> None:
    """The send call has already reported an error of the kernel itself."""
    assert kernel_timestamps.parse_error_queue_ancillary([(SOL_IP, 11, extended_error(1))]) == (None, None)


def test_drop_count_is_the_last_word_of_meminfo() -> None:
    """SO_MEMINFO has the drop count in its ninth word."""
    assert kernel_timestamps.parse_drop_count(struct.pack("@9I", 1, 2, 3, 4, 5, 6, 7, 8, 99)) == 99
