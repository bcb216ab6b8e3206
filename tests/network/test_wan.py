"""The test bed itself: what it is told is what happens, and what happened is what its log says."""

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
#: A shared machine may hold up any process for this long without meaning anything.
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
def test_a_round_trip_takes_what_the_log_says(wan: Wan, pinger: Pinger, ms: float) -> None:
    """The true RTT is at least the configured one and at most what user space saw around it."""
    wan.set_rtt(B4, ms)

    sent_ns = pinger.send(B4, 1)
    reply = pinger.receive()

    assert reply is not None
    true_ns = compute_true_rtts(wan.read_frame_log())[_build_probe_key(1)].rtt_ns
    assert ms * MS <= true_ns <= reply.received_at_ns - sent_ns < true_ns + STALL_NS


def test_the_true_rtt_is_the_sum_of_its_three_parts(wan: Wan, pinger: Pinger) -> None:
    """Residence of the request, turnaround of B and residence of the reply make up the true RTT."""
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
    """Half of the frames leave within 0.1 ms of the plan, and none before it."""
    wan.set_rtt(B4, 3.0)

    for index in range(50):
        pinger.send(B4, index)
        pinger.receive()

    lateness = sorted(frame.lateness_ns or 0 for frame in wan.read_frame_log())
    assert len(lateness) == 100
    assert lateness[0] >= -2_000  # both clocks are read with that error
    assert lateness[50] < 100_000


def test_a_short_payload_has_no_cookie(wan: Wan, pinger: Pinger) -> None:
    """An echo with less than 16 bytes of payload is logged without cookie and index."""
    pinger.send_raw(B4, struct.pack(">BBHHH", 8, 0, 0, 0, 9) + b"short")
    pinger.receive_raw()

    assert [(frame.icmp_sequence, frame.cookie, frame.index) for frame in wan.read_frame_log()] == [(9, None, None)] * 2


def test_the_log_tells_probes_apart(wan: Wan, pinger: Pinger) -> None:
    """A record names ends, type, sequence, cookie and index of its frame."""
    pinger.send(B4, 70_001)
    pinger.receive()

    request, reply = wan.read_frame_log()
    assert (request.src, request.dst, request.icmp_type, request.is_request) == (A4, B4, 8, True)
    assert (reply.src, reply.dst, reply.icmp_type, reply.is_reply) == (B4, A4, 0, True)
    assert (request.cookie, request.index, request.icmp_sequence) == (COOKIE, 70_001, 70_001 & 0xFFFF)
    assert request.icmp_id == reply.icmp_id
    assert request.length_bytes == 20 + 8 + 16


def test_the_directions_have_their_own_rules(wan: Wan, pinger: Pinger) -> None:
    """A delay from A to B leaves the way back alone."""
    wan.add_rule("a->b", delay_ms=8)

    pinger.send(B4, 1)
    pinger.receive()

    there, back = wan.read_frame_log()
    assert there.due_mono_ns - there.arrived_mono_ns == 8 * MS
    assert back.due_mono_ns == back.arrived_mono_ns


def test_rules_change_while_frames_travel(wan: Wan, pinger: Pinger) -> None:
    """A rule of the same match replaces the older for frames to come; those under way keep their delay."""
    wan.add_rule("a->b", dst=B4, delay_ms=60)
    pinger.send(B4, 1)
    select.select((), (), (), 0.02)
    wan.add_rule("a->b", dst=B4, delay_ms=1)
    pinger.send(B4, 2)

    assert pinger.receive_all() == [2, 1]
    delays = {f.index: f.due_mono_ns - f.arrived_mono_ns for f in _select_direction(wan.read_frame_log(), "a->b")}
    assert delays == {1: 60 * MS, 2: 1 * MS}


def test_clear_lets_everything_pass(wan: Wan, pinger: Pinger) -> None:
    """After clear the default holds again."""
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


def test_chosen_probes_are_dropped(wan: Wan, pinger: Pinger) -> None:
    """A drop by index swallows these probes and logs them as dropped, without a release."""
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
    """With replies dropped, requests pass and no RTT is true."""
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
    """every(3) takes the third, the sixth and so on."""
    wan.add_rule("a->b", drop=every(3))

    for index in range(1, 8):
        pinger.send(B4, index)

    assert pinger.receive_all() == [1, 2, 4, 5, 7]


def test_a_copy_follows_its_original(wan: Wan, pinger: Pinger) -> None:
    """A duplicated reply arrives twice; the log has two releases of one arrival, and the first makes the RTT."""
    wan.add_rule("b->a", duplicate=indexes(1), duplicate_ms=5)

    for index in (1, 2):
        pinger.send(B4, index)

    assert sorted(pinger.receive_all()) == [1, 1, 2]
    log = wan.read_frame_log()
    original, copy = (frame for frame in log if frame.is_reply and frame.index == 1)
    assert (original.action, copy.action, copy.order) == (FrameAction.PASS, FrameAction.DUPLICATE, original.order)
    assert compute_true_rtts(log)[_build_probe_key(1)].reply == original


def test_a_reordered_probe_is_overtaken(wan: Wan, pinger: Pinger) -> None:
    """The extra delay of reorder lets later probes pass."""
    wan.add_rule("a->b", delay_ms=1, reorder=indexes(1), reorder_ms=40)

    for index in (1, 2, 3):
        pinger.send(B4, index)

    assert pinger.receive_all() == [2, 3, 1]


def test_a_late_reply_comes_late(wan: Wan, pinger: Pinger) -> None:
    """The chosen reply is held back by late_ms; the others are not."""
    wan.add_rule("b->a", late=indexes(1), late_ms=120)

    for index in (1, 2):
        pinger.send(B4, index)

    assert pinger.receive_all() == [2, 1]
    assert compute_true_rtts(wan.read_frame_log())[_build_probe_key(1)].rtt_ns >= 120 * MS


def test_an_address_nobody_holds_is_silent(wan: Wan, pinger: Pinger) -> None:
    """A probe to a free address of the link goes out and nothing comes back: no reply, no error."""
    pinger.send("10.77.9.9", 1)

    assert pinger.receive_all() == []
    assert [(frame.direction, frame.action) for frame in wan.read_frame_log()] == [("a->b", FrameAction.PASS)]


def until_up(wan: Wan, side: Literal["a", "b"]) -> None:
    """Wait for the kernel: it activates an interface a moment after the other end of the link is up."""
    deadline_ns = SystemClock().monotonic_ns() + int(REPLY_TIMEOUT_S * 1_000_000_000)
    while "state UP" not in wan.run(side, ["ip", "link", "show", "wan0"]).stdout:
        assert SystemClock().monotonic_ns() < deadline_ns, "the link stays down"


def test_an_outage_of_the_link_ends(wan: Wan, pinger: Pinger) -> None:
    """With B's end of the link down nothing comes back; when it is up again, echoes do."""
    wan.run("w", ["ip", "link", "set", "wb", "down"])
    pinger.send(B4, 1)
    during = pinger.receive_all()
    wan.run("w", ["ip", "link", "set", "wb", "up"])
    until_up(wan, "b")
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
    """The kernel of A takes the crafted error for real and hands the socket the errno that belongs to it."""
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
    """A firewall in A makes sendto fail with EPERM, nothing leaves, and lifting it heals."""
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


def test_a_sysctl_holds_inside_only(wan: Wan, pinger: Pinger) -> None:
    """Echo ignored in B is silence for A, and A's own setting is untouched."""
    assert wan.sysctl("b", "net.ipv4.icmp_echo_ignore_all", "1") == "1"

    pinger.send(B4, 1)

    assert pinger.receive_all() == []
    assert wan.sysctl("a", "net.ipv4.icmp_echo_ignore_all") == "0"


# Addresses and processes


def test_more_addresses_answer(wan: Wan, pinger: Pinger) -> None:
    """Added addresses and whole prefixes in B answer for themselves, each by its own rule."""
    wan.add_address("b", "10.77.1.11")
    wan.add_prefix("10.78.0.0/16")
    wan.add_rule("a->b", dst="10.78.4.0/24", drop=ALL_FRAMES)

    for index, dst in enumerate(("10.77.1.11", "10.78.3.7", "10.78.4.7")):
        pinger.send(dst, index)

    assert pinger.receive_all() == [0, 1]
    assert {key.dst for key in compute_true_rtts(wan.read_frame_log())} == {"10.77.1.11", "10.78.3.7"}


def test_an_address_outside_the_link_is_refused(wan: Wan) -> None:
    """add_address takes only what both sides can reach."""
    with pytest.raises(ValueError, match="outside the link"):
        wan.add_address("b", "192.0.2.1")


def test_tcp_crosses_unharmed(wan: Wan) -> None:
    """A megabyte over TCP arrives as it was sent: checksums and segments left to the network card are made good."""
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


def test_two_beds_do_not_meet(wan: Wan, pinger: Pinger) -> None:
    """Two instances use the same addresses at once and keep apart."""
    with Wan() as other, open_pinger(other) as elsewhere:
        other.add_rule(drop=ALL_FRAMES)
        pinger.send(B4, 1)
        elsewhere.send(B4, 1)

        assert pinger.receive() is not None
        assert elsewhere.receive_all() == []
        assert len(other.read_frame_log()) == 1


def test_a_process_runs_inside(wan: Wan) -> None:
    """run() and popen() start commands in the namespace; the test's own thread stays outside."""
    inside = wan.run("a", ["ip", "-br", "addr"]).stdout
    with wan.popen("a", ["cat", "/proc/self/net/dev"], stdout=subprocess.PIPE, text=True) as process:
        devices, _ = process.communicate()

    assert A4 in inside
    assert "wan0" in devices
    assert "wan0" not in Path("/proc/thread-self/net/dev").read_text()
