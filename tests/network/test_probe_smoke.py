"""Tests of the engine and its sockets on the loopback of a separate namespace, without the emulator."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from leadline.clock import SystemClock, make_rng
from leadline_agent.probe.engine import Prober
from leadline_agent.probe.icmp import SocketKind, open_socket
from leadline_agent.probe.results import ProbeResult
from leadline_agent.probe.transport import ProbeSocket, SocketKey, TxTimestamp
from tests.bench.report import ProbeTask, Tool, ToolReport
from tests.network.measuring import build_probe_target
from tests.network.namespaces import Namespace
from tests.support.probing import has_finished

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[2]
COOKIE = bytes(range(8))
LOOPBACKS = {4: "127.0.0.1", 6: "::1"}
#: A shared machine may delay a wake-up by this much.
REPLY_TIMEOUT_S = 20.0
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


@pytest.fixture(name="space")
def _space() -> Iterator[Namespace]:
    """Move the thread into a namespace with only a loopback and with datagram ICMP for every group."""
    space = Namespace()
    with space.enter():
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
        yield space
    space.close()


@pytest.fixture(name="echo", params=[(kind, version) for kind in SocketKind for version in LOOPBACKS], ids=str)
def _echo(space: Namespace, request: pytest.FixtureRequest) -> Iterator[tuple[ProbeSocket, str]]:
    """Yield a socket of each kind and family, and the loopback address of the family."""
    kind, version = request.param
    probe_socket = open_socket(SocketKey(ip_version=version), COOKIE, [kind])
    yield probe_socket, LOOPBACKS[version]
    probe_socket.close()


def wait_readable(echo: ProbeSocket, timeout_s: float) -> bool:
    """Return True if the socket becomes readable before the timeout."""
    poll = select.poll()
    poll.register(echo.fileno(), select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(timeout_s * 1_000))


def test_an_echo_has_both_timestamps(echo: tuple[ProbeSocket, str]) -> None:
    """One request gives one reply with the same index, TTL 64 and a send time before the receive time."""
    sock, address = echo

    assert sock.send(2**63 + 7, address, 56) == 0
    assert wait_readable(sock, REPLY_TIMEOUT_S)
    (reply,) = sock.read_replies()
    (departure,) = sock.read_error_queue()

    assert isinstance(departure, TxTimestamp)
    assert (departure.probe_index, reply.probe_index) == (2**63 + 7, 2**63 + 7)
    assert (reply.source, reply.ttl) == (address, 64)
    assert reply.received_at_ns is not None
    assert 0 < reply.received_at_ns - departure.sent_at_ns < 10**9


def test_an_echo_with_another_cookie_is_ignored(echo: tuple[ProbeSocket, str]) -> None:
    """A reply with another cookie is ignored, even with our own identifier."""
    sock, address = echo
    with socket.socket(fileno=os.dup(sock.fileno())) as duplicate:
        request_type = 8 if duplicate.family == socket.AF_INET else 128
        request = struct.pack("!BBHHH", request_type, 0, 0, 0, 1) + b"stranger" + bytes(8)
        duplicate.sendto(request, (address, 0))
    wait_readable(sock, 0.1)

    assert sock.read_replies() == []
    assert sock.read_error_queue() == []


@pytest.mark.parametrize("version", LOOPBACKS)
def test_foreign_echoes_are_filtered(space: Namespace, version: int) -> None:
    """A raw socket receives neither replies to other processes nor requests."""
    key = SocketKey(ip_version=version)
    ours, theirs = (open_socket(key, COOKIE, [SocketKind.RAW]) for _ in range(2))

    theirs.send(1, LOOPBACKS[version], 56)

    assert wait_readable(theirs, REPLY_TIMEOUT_S)
    assert not wait_readable(ours, 0.05)
    assert len(theirs.read_replies()) == 1
    ours.close()
    theirs.close()


@pytest.mark.parametrize("kind", list(SocketKind))
def test_loopback_is_the_noise_floor(space: Namespace, kind: SocketKind) -> None:
    """RTTs on both loopbacks are well below a millisecond, with kernel timestamps."""
    results: list[ProbeResult] = []
    clock = SystemClock()
    prober = Prober(
        clock=clock, rng=make_rng(1), on_result=results.append, open_socket=partial(open_socket, kinds=[kind])
    )
    prober.set_targets([build_probe_target(address, slots=50, interval_ms=20) for address in LOOPBACKS.values()])
    while not has_finished(prober):
        prober.run(clock.monotonic_ns() + 50_000_000)
    prober.close()

    rtts_ns = sorted(result.rtt_ns for result in results if result.rtt_ns is not None)
    assert len(results) == 100
    assert len(rtts_ns) >= 90
    assert {result.error_ns for result in results} == {0}
    assert 0 < rtts_ns[len(rtts_ns) // 2] < 500_000


def test_a_thousand_probes_a_second_are_measured(space: Namespace) -> None:
    """Twenty targets at 50/s for two seconds: one result per slot, no loss, no local drop."""
    results: list[ProbeResult] = []
    clock = SystemClock()
    prober = Prober(clock=clock, rng=make_rng(1), on_result=results.append)
    prober.set_targets([build_probe_target(f"127.0.1.{number}", slots=100, interval_ms=20) for number in range(20)])
    while not has_finished(prober):
        prober.run(clock.monotonic_ns() + 50_000_000)
    prober.close()

    assert len({(result.target.name, result.slot) for result in results}) == len(results) == 2_000
    assert not any(result.failure.is_loss for result in results if result.failure)
    assert prober.counters.dropped == 0


def test_the_probe_benchmark_reports_leadline(space: Namespace) -> None:
    """The measuring process of the benchmark runs and reports RTTs and counters."""
    task = ProbeTask(tool=Tool.LEADLINE, addresses=("127.0.0.1",), probes=2)
    process = subprocess.run(
        [sys.executable, "-m", "tests.bench.child"],
        input=msgspec.json.encode(task),
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=REPLY_TIMEOUT_S,
    )

    report = msgspec.json.decode(process.stdout, type=ToolReport)
    assert len(report.rtts_ns["127.0.0.1"]) == 2
    assert report.notes["sent"] == "2"
