"""Tests of the test bed: rules take effect, and the log matches the traffic."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from leadline.clock import SystemClock
from tests.network.pinger import COOKIE, REPLY_TIMEOUT_S, Pinger, open_pinger
from tests.network.plan import Direction
from tests.network.wan import (
    A4,
    A6,
    ALL_FRAMES,
    B4,
    B6,
    FrameAction,
    FrameRecord,
    ProbeKey,
    Wan,
    compute_true_rtts,
    every,
    indexes,
)

MS = 1_000_000
#: A shared machine may delay any process by this much.
STALL_NS = 100 * MS


@pytest.fixture(name="pinger")
def _pinger(wan: Wan) -> Iterator[Pinger]:
    with open_pinger(wan) as pinger:
        yield pinger


def _select_direction(log: list[FrameRecord], direction: Direction) -> list[FrameRecord]:
    return [frame for frame in log if frame.direction == direction]


def _build_probe_key(index: int, src: str = A4, dst: str = B4) -> ProbeKey:
    return ProbeKey(src, dst, COOKIE, index)


# Delay and truth


@pytest.mark.parametrize("ms", [0.0, 4.9, 20.0])
def test_the_log_matches_the_round_trip(wan: Wan, pinger: Pinger, ms: float) -> None:
    """The true RTT is at least the configured one and at most the one measured in user space."""
    wan.set_rtt(B4, ms)

    sent_ns = pinger.send(B4, 1)
    reply = pinger.receive()

    assert reply is not None
    true_ns = compute_true_rtts(wan.read_frame_log())[_build_probe_key(1)].rtt_ns
    assert ms * MS <= true_ns <= reply.received_at_ns - sent_ns < true_ns + STALL_NS


def test_the_true_rtt_is_the_sum_of_its_three_parts(wan: Wan, pinger: Pinger) -> None:
    """The true RTT is residence of the request plus turnaround of B plus residence of the reply."""
    wan.set_rtt(B4, 2.0)

    pinger.send(B4, 1)
    pinger.receive()

    truth = compute_true_rtts(wan.read_frame_log())[_build_probe_key(1)]
    assert truth.request.residence_ns is not None
    assert truth.reply.residence_ns is not None
    assert truth.request.residence_ns >= 1 * MS
    assert truth.turnaround_ns > 0
    assert truth.rtt_ns == truth.request.residence_ns + truth.turnaround_ns + truth.reply.residence_ns


def test_frames_leave_on_time(wan: Wan, pinger: Pinger) -> None:
    """Half of the frames leave within 0.1 ms of their due time, and none before it."""
    wan.set_rtt(B4, 3.0)

    for index in range(50):
        pinger.send(B4, index)
        pinger.receive()

    lateness = sorted(frame.lateness_ns or 0 for frame in wan.read_frame_log())
    assert len(lateness) == 100
    assert lateness[0] >= -2_000  # error of the clock readings
    assert lateness[50] < 100_000


def test_a_short_payload_has_no_cookie(wan: Wan, pinger: Pinger) -> None:
    """An echo with less than 16 bytes of payload is logged without cookie and index."""
    pinger.send_raw(B4, struct.pack(">BBHHH", 8, 0, 0, 0, 9) + b"short")
    pinger.receive_raw()

    assert [(frame.icmp_sequence, frame.cookie, frame.index) for frame in wan.read_frame_log()] == [(9, None, None)] * 2


def test_the_log_identifies_probes(wan: Wan, pinger: Pinger) -> None:
    """A record has addresses, type, sequence, cookie and index of its frame."""
    pinger.send(B4, 70_001)
    pinger.receive()

    request, reply = wan.read_frame_log()
    assert (request.src, request.dst, request.icmp_type, request.is_request) == (A4, B4, 8, True)
    assert (reply.src, reply.dst, reply.icmp_type, reply.is_reply) == (B4, A4, 0, True)
    assert (request.cookie, request.index, request.icmp_sequence) == (COOKIE, 70_001, 70_001 & 0xFFFF)
    assert request.icmp_id == reply.icmp_id
    assert request.length_bytes == 20 + 8 + 16


def test_the_directions_have_their_own_rules(wan: Wan, pinger: Pinger) -> None:
    """A delay from A to B does not affect the direction from B to A."""
    wan.add_rule("a->b", delay_ms=8)

    pinger.send(B4, 1)
    pinger.receive()

    there, back = wan.read_frame_log()
    assert there.due_mono_ns - there.arrived_mono_ns == 8 * MS
    assert back.due_mono_ns == back.arrived_mono_ns


def test_rules_change_while_frames_travel(wan: Wan, pinger: Pinger) -> None:
    """A rule with the same match replaces the older one for new frames; frames in transit keep their delay."""
    wan.add_rule("a->b", dst=B4, delay_ms=60)
    pinger.send(B4, 1)
    select.select((), (), (), 0.02)
    wan.add_rule("a->b", dst=B4, delay_ms=1)
    pinger.send(B4, 2)

    assert pinger.receive_all() == [2, 1]
    delays = {f.index: f.due_mono_ns - f.arrived_mono_ns for f in _select_direction(wan.read_frame_log(), "a->b")}
    assert delays == {1: 60 * MS, 2: 1 * MS}


def test_clear_rules_removes_all_rules(wan: Wan, pinger: Pinger) -> None:
    """Without rules, frames pass again."""
    wan.add_rule(drop=ALL_FRAMES)
    wan.clear_rules()

    pinger.send(B4, 1)

    assert pinger.receive() is not None


def test_ipv6_travels_as_ipv4_does(wan: Wan) -> None:
    """Echoes over IPv6 are delayed, logged and paired."""
    wan.set_rtt(B6, 4.9)

    with open_pinger(wan, socket.AF_INET6) as pinger:
        pinger.send(B6, 5)
        reply = pinger.receive()

    assert reply is not None
    assert compute_true_rtts(wan.read_frame_log())[_build_probe_key(5, A6, B6)].rtt_ns >= 4.9 * MS


# Loss, copies, disorder


def test_probes_are_dropped_by_index(wan: Wan, pinger: Pinger) -> None:
    """The log has these probes as dropped, without a release."""
    wan.add_rule("a->b", drop=indexes(2, 4))

    for index in range(1, 6):
        pinger.send(B4, index)

    assert pinger.receive_all() == [1, 3, 5]
    dropped = [frame for frame in wan.read_frame_log() if frame.action is FrameAction.DROP]
    assert [(frame.index, frame.released_ns, frame.residence_ns) for frame in dropped] == [
        (2, None, None),
        (4, None, None),
    ]


def test_loss_on_the_way_back_lets_the_request_arrive(wan: Wan, pinger: Pinger) -> None:
    """If replies are dropped, requests pass and the log has no true RTT."""
    wan.add_rule("b->a", drop=ALL_FRAMES)

    pinger.send(B4, 1)

    assert pinger.receive_all() == []
    log = wan.read_frame_log()
    assert [(frame.direction, frame.action) for frame in log] == [
        ("a->b", FrameAction.PASS),
        ("b->a", FrameAction.DROP),
    ]
    assert compute_true_rtts(log) == {}


def test_every_third_is_dropped(wan: Wan, pinger: Pinger) -> None:
    """every(3) selects the third, the sixth and so on."""
    wan.add_rule("a->b", drop=every(3))

    for index in range(1, 8):
        pinger.send(B4, index)

    assert pinger.receive_all() == [1, 2, 4, 5, 7]


def test_a_copy_follows_its_original(wan: Wan, pinger: Pinger) -> None:
    """A duplicated reply arrives twice; the log has two releases of one arrival, and the first gives the RTT."""
    wan.add_rule("b->a", duplicate=indexes(1), duplicate_ms=5)

    for index in (1, 2):
        pinger.send(B4, index)

    assert sorted(pinger.receive_all()) == [1, 1, 2]
    log = wan.read_frame_log()
    original, copy = (frame for frame in log if frame.is_reply and frame.index == 1)
    assert (original.action, copy.action, copy.order) == (FrameAction.PASS, FrameAction.DUPLICATE, original.order)
    assert compute_true_rtts(log)[_build_probe_key(1)].reply == original


def test_a_reordered_probe_is_overtaken(wan: Wan, pinger: Pinger) -> None:
    """Later probes overtake a probe with the extra delay of reorder."""
    wan.add_rule("a->b", delay_ms=1, reorder=indexes(1), reorder_ms=40)

    for index in (1, 2, 3):
        pinger.send(B4, index)

    assert pinger.receive_all() == [2, 3, 1]


def test_a_late_reply_comes_late(wan: Wan, pinger: Pinger) -> None:
    """Only the selected reply is delayed by late_ms."""
    wan.add_rule("b->a", late=indexes(1), late_ms=120)

    for index in (1, 2):
        pinger.send(B4, index)

    assert pinger.receive_all() == [2, 1]
    assert compute_true_rtts(wan.read_frame_log())[_build_probe_key(1)].rtt_ns >= 120 * MS


def test_an_unused_address_is_silent(wan: Wan, pinger: Pinger) -> None:
    """A probe to an unused address of the link leaves A and gets neither a reply nor an error."""
    pinger.send("10.77.9.9", 1)

    assert pinger.receive_all() == []
    assert [(frame.direction, frame.action) for frame in wan.read_frame_log()] == [("a->b", FrameAction.PASS)]


def wait_until_up(wan: Wan, side: Literal["a", "b"]) -> None:
    """Wait until the kernel activates the interface, with a delay after the other end of the link."""
    deadline_ns = SystemClock().monotonic_ns() + int(REPLY_TIMEOUT_S * 1_000_000_000)
    while "state UP" not in wan.run(side, ["ip", "link", "show", "wan0"]).stdout:
        assert SystemClock().monotonic_ns() < deadline_ns, "the link stays down"


def test_an_outage_of_the_link_ends(wan: Wan, pinger: Pinger) -> None:
    """There is no reply while B's end of the link is down; replies return when it is up."""
    wan.run("w", ["ip", "link", "set", "wb", "down"])
    pinger.send(B4, 1)
    during = pinger.receive_all()
    wan.run("w", ["ip", "link", "set", "wb", "up"])
    wait_until_up(wan, "b")
    pinger.send(B4, 2)

    assert during == []
    assert pinger.receive_all() == [2]
    assert [frame.action for frame in wan.read_frame_log()] == [FrameAction.REFUSED, FrameAction.PASS, FrameAction.PASS]


# Errors and firewalls


@pytest.mark.parametrize(
    ("kind", "expected"),
    [((3, 1), errno.EHOSTUNREACH), ((3, 3), errno.ECONNREFUSED), ((3, 10), errno.EHOSTUNREACH)],
)
def test_an_icmp_error_reaches_the_sender(wan: Wan, pinger: Pinger, kind: tuple[int, int], expected: int) -> None:
    """The kernel of A accepts the crafted error, and the socket gets its errno."""
    wan.set_unreachable(B4, icmp_error=kind, delay_ms=3)

    pinger.send(B4, 1)
    with pytest.raises(OSError) as caught:
        pinger.receive()

    assert caught.value.errno == expected
    (request,) = wan.read_frame_log()
    assert request.action is FrameAction.ERROR
    assert (request.residence_ns or 0) >= 3 * MS


def test_an_icmpv6_error_reaches_the_sender(wan: Wan) -> None:
    """Address unreachable over IPv6 becomes EHOSTUNREACH."""
    wan.set_unreachable(B6)

    with open_pinger(wan, socket.AF_INET6) as pinger:
        pinger.send(B6, 1)
        with pytest.raises(OSError) as caught:
            pinger.receive()

    assert caught.value.errno == errno.EHOSTUNREACH


@pytest.mark.usefixtures("nft")
def test_a_blocked_output_is_refused_with_eperm(wan: Wan, pinger: Pinger) -> None:
    """A firewall in A makes sendto fail with EPERM; after its removal frames leave again."""
    wan.block_output("a", B4)

    with pytest.raises(PermissionError):
        pinger.send(B4, 1)
    wan.unblock_output("a")
    pinger.send(B4, 2)

    assert pinger.receive_all() == [2]
    assert [frame.index for frame in _select_direction(wan.read_frame_log(), "a->b")] == [2]


def test_closed_ping_group_range_forbids_datagram_sockets() -> None:
    """Without datagram_icmp the kernel refuses the datagram socket, and a raw one still works."""
    with Wan(datagram_icmp=False) as wan, wan.enter("a"):
        with pytest.raises(PermissionError):
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


def test_a_sysctl_affects_one_side_only(wan: Wan, pinger: Pinger) -> None:
    """B ignores echoes, and the setting of A does not change."""
    assert wan.sysctl("b", "net.ipv4.icmp_echo_ignore_all", "1") == "1"

    pinger.send(B4, 1)

    assert pinger.receive_all() == []
    assert wan.sysctl("a", "net.ipv4.icmp_echo_ignore_all") == "0"


# Addresses and processes


def test_added_addresses_reply(wan: Wan, pinger: Pinger) -> None:
    """Added addresses and prefixes in B reply, each by its own rule."""
    wan.add_address("b", "10.77.1.11")
    wan.add_prefix("10.78.0.0/16")
    wan.add_rule("a->b", dst="10.78.4.0/24", drop=ALL_FRAMES)

    for index, dst in enumerate(("10.77.1.11", "10.78.3.7", "10.78.4.7")):
        pinger.send(dst, index)

    assert pinger.receive_all() == [0, 1]
    assert {key.dst for key in compute_true_rtts(wan.read_frame_log())} == {"10.77.1.11", "10.78.3.7"}


def test_an_address_outside_the_link_is_refused(wan: Wan) -> None:
    """add_address accepts only addresses of the link."""
    with pytest.raises(ValueError, match="outside the link"):
        wan.add_address("b", "192.0.2.1")


def test_tcp_data_is_intact(wan: Wan) -> None:
    """A megabyte over TCP arrives intact despite checksum and segmentation offload."""
    with wan.enter("b"):
        listener = socket.create_server((B4, 0))
    sent = os.urandom(1 << 20)
    with listener, wan.enter("a"):
        client = socket.create_connection(listener.getsockname(), timeout=REPLY_TIMEOUT_S)
        server, _ = listener.accept()
    sender = threading.Thread(target=client.sendall, args=(sent,))

    sender.start()
    with server, client, server.makefile("rb") as stream:
        received = stream.read(len(sent))
        sender.join()

    assert received == sent


def test_two_test_beds_are_isolated(wan: Wan, pinger: Pinger) -> None:
    """Two instances with the same addresses do not affect each other."""
    with Wan() as other, open_pinger(other) as elsewhere:
        other.add_rule(drop=ALL_FRAMES)
        pinger.send(B4, 1)
        elsewhere.send(B4, 1)

        assert pinger.receive() is not None
        assert elsewhere.receive_all() == []
        assert len(other.read_frame_log()) == 1


def test_a_process_runs_inside(wan: Wan) -> None:
    """run() and popen() start commands in the namespace; the thread of the test stays outside."""
    inside = wan.run("a", ["ip", "-br", "addr"]).stdout
    with wan.popen("a", ["cat", "/proc/self/net/dev"], stdout=subprocess.PIPE, text=True) as process:
        devices, _ = process.communicate()

    assert A4 in inside
    assert "wan0" in devices
    assert "wan0" not in Path("/proc/thread-self/net/dev").read_text()
