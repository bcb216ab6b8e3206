"""The probe engine across the emulated WAN: everything that can happen to a probe comes out as what it was."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time  # one of these tests sets the clock of the machine
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from leadline.errors import UnavailableError
from leadline.model import Failure
from leadline_agent.probe.icmp import SocketKind, open_socket
from leadline_agent.probe.kernel_timestamps import SO_TIMESTAMPING
from leadline_agent.probe.results import ProbeResult
from leadline_agent.probe.transport import ProbeSocket, SocketKey
from tests.network.measuring import TIMEOUT_MS, GroundTruth, build_probe_target, measure_targets
from tests.network.plan import Direction
from tests.network.wan import A4, B4, B6, FrameAction, Wan, every

MS = 1_000_000
ROOT = Path(__file__).parents[2]
#: The four RTTs around the limits of 5 and 10 ms, and the limit of long-distance vMotion.
RTTS_MS = (4.9, 5.1, 9.8, 10.2, 150.0)
#: Half of the probes must be within 50 µs of the truth, the accuracy promised; a machine shared with others moves
#: single ones further, which is not the engine's doing, but never by a millisecond for one in ten.
ERROR_NS_P50, ERROR_NS_P90 = 50_000, 1_000_000
#: The emulator's stamps and ours are taken on either side of a veth; both clocks are read with this error.
CLOCK_NS = 5_000
#: What the two hops, which the log leaves out, take at most on a machine that does other things too.
HOPS_NS = 1_000_000


def count_failures(outcomes: Iterable[ProbeResult]) -> Counter[Failure | None]:
    return Counter(outcome.failure for outcome in outcomes)


def assert_true(truth: GroundTruth, outcomes: Iterable[ProbeResult]) -> None:
    """The RTTs are those of the log."""
    errors_ns = truth.compute_errors_ns(outcomes)
    assert errors_ns
    assert errors_ns[0] >= -CLOCK_NS
    assert errors_ns[len(errors_ns) // 2] <= ERROR_NS_P50
    assert errors_ns[len(errors_ns) * 9 // 10] <= ERROR_NS_P90


def assert_near(rtts_ns: Sequence[int], ms: float) -> None:
    """The RTTs are those of the path, none shorter and none longer but by what a shared machine adds to a timer."""
    assert min(rtts_ns) >= ms * MS - CLOCK_NS
    assert max(rtts_ns) <= (ms + 30) * MS


def open_small_buffer_socket(lane: SocketKey, cookie: bytes) -> ProbeSocket:
    """A socket whose receive buffer holds two or three packets, the least the kernel allows."""
    opened = open_socket(lane, cookie)
    with socket.socket(fileno=os.dup(opened.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    return opened


def open_socket_without_timestamps(lane: SocketKey, cookie: bytes) -> ProbeSocket:
    """A socket of a kernel that stamps nothing."""
    opened = open_socket(lane, cookie)
    with socket.socket(fileno=os.dup(opened.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, 0)
    opened.has_rx_timestamps = False
    return opened


@contextmanager
def step_machine_clock() -> Iterator[Callable[[int], None]]:
    """A function that steps the wall clock of this machine by milliseconds; afterwards it is put back."""
    steps_ms: list[int] = []

    def step(ms: int) -> None:
        time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() + ms * MS)
        steps_ms.append(ms)

    try:
        yield step
    finally:
        for ms in steps_ms.copy():
            step(-ms)


@pytest.mark.parametrize("kind", list(SocketKind))
@pytest.mark.parametrize("prefix", ["10.77.2.", "fd77::b:2"])
def test_rtts_are_true(wan: Wan, kind: SocketKind, prefix: str) -> None:
    """RTTs on both sides of the limits are measured to tens of microseconds, by both kinds of sockets, v4 and v6."""
    hosts = {f"{prefix}{number}": ms for number, ms in enumerate(RTTS_MS, 1)}
    wan.add_address("b", *hosts)
    for host, ms in hosts.items():
        wan.set_rtt(host, ms)

    measured = measure_targets(wan, *(build_probe_target(host) for host in hosts), kinds=[kind])

    assert count_failures(measured.results) == {None: 40 * len(hosts)}
    truth = GroundTruth(wan.read_frame_log())
    for host, ms in hosts.items():
        of_host = [outcome for outcome in measured.results if outcome.target_name == host]
        assert_true(truth, of_host)
        assert min(outcome.rtt_ns or 0 for outcome in of_host) >= ms * MS
    assert {outcome.error_ns for outcome in measured.results} == {0}
    assert {outcome.ttl for outcome in measured.results} == {64}


def test_without_kernel_stamps_the_bound_holds(wan: Wan) -> None:
    """Our own stamps give an RTT that is too long by no more than the error they admit."""
    wan.set_rtt(B4, 9.8)

    measured = measure_targets(wan, build_probe_target(B4), open_lane=open_socket_without_timestamps)

    truth = GroundTruth(wan.read_frame_log())
    assert count_failures(measured.results) == {None: 40}
    for outcome in measured.results:
        assert outcome.rtt_ns is not None
        assert outcome.error_ns > 0
        assert outcome.rtt_ns - outcome.error_ns - HOPS_NS <= truth.find_rtt_ns(outcome) <= outcome.rtt_ns + CLOCK_NS


def test_jitter_is_the_paths(wan: Wan) -> None:
    """Delays that differ from probe to probe are measured one by one."""
    wan.add_rule("a->b", dst=B4, delay_ms=10, jitter_ms=8)

    measured = measure_targets(wan, build_probe_target(B4))

    assert count_failures(measured.results) == {None: 40}
    assert_true(GroundTruth(wan.read_frame_log()), measured.results)
    assert max(measured.rtts_ns) - min(measured.rtts_ns) > 8 * MS


@pytest.mark.parametrize("direction", ["a->b", "b->a"])
def test_loss_is_counted_in_each_direction(wan: Wan, direction: Direction) -> None:
    """Every fourth probe is lost, on the way there or back: a timeout for each, and nothing else."""
    wan.add_rule(direction, drop=every(4))

    measured = measure_targets(wan, build_probe_target(B4))

    dropped = [frame for frame in wan.read_frame_log() if frame.action is FrameAction.DROP]
    assert count_failures(measured.results) == {None: 30, Failure.TIMEOUT: 10}
    assert len(dropped) == 10


def test_duplicates_are_reported_apart(wan: Wan) -> None:
    """A doubled reply changes neither RTT nor loss and is counted as a duplicate of its slot."""
    wan.add_rule("b->a", duplicate=every(5), duplicate_ms=3)

    measured = measure_targets(wan, build_probe_target(B4))

    assert count_failures(measured.results) == {None: 40}
    assert len(measured.duplicates) == 8
    assert set(measured.duplicates) <= {outcome.slot for outcome in measured.results}


def test_reordering_is_no_loss(wan: Wan) -> None:
    """Replies that overtake each other keep their own RTTs."""
    wan.add_rule("b->a", reorder=every(3), reorder_ms=120)

    measured = measure_targets(wan, build_probe_target(B4))

    assert count_failures(measured.results) == {None: 40}
    assert_true(GroundTruth(wan.read_frame_log()), measured.results)
    assert sum(rtt_ns > 120 * MS for rtt_ns in measured.rtts_ns) == 13


def test_late_replies_are_late(wan: Wan) -> None:
    """A reply after the timeout is lost and tells its RTT."""
    wan.add_rule("b->a", late=every(4), late_ms=TIMEOUT_MS + 200)

    measured = measure_targets(wan, build_probe_target(B4), waits_for_late=True)

    late = [outcome for outcome in measured.results if outcome.failure is Failure.LATE]
    truth = GroundTruth(wan.read_frame_log())
    assert count_failures(measured.results) == {None: 30, Failure.LATE: 10}
    assert sorted((outcome.detail or 0) * 1_000 - truth.find_rtt_ns(outcome) for outcome in late)[5] <= ERROR_NS_P50


@pytest.mark.parametrize("kind", list(SocketKind))
@pytest.mark.parametrize(("host", "error"), [(B4, (3, 1)), (B4, (3, 13)), (B4, (11, 0)), (B6, (1, 3)), (B6, (3, 0))])
def test_icmp_errors_are_told_with_their_code(wan: Wan, kind: SocketKind, host: str, error: tuple[int, int]) -> None:
    """An ICMP error of a router is the outcome of the probe it is about, and of no other."""
    wan.add_rule("a->b", dst=host, icmp_error=error)
    other = {B4: B6, B6: B4}[host]

    measured = measure_targets(
        wan, build_probe_target(host, slots=10), build_probe_target(other, slots=10), kinds=[kind]
    )

    said = Counter((outcome.target_name, outcome.failure, outcome.detail) for outcome in measured.results)
    assert said == {(host, Failure.UNREACHABLE, error[0] * 256 + error[1]): 10, (other, None, None): 10}


def test_errors_about_one_target_leave_the_others_alone(wan: Wan) -> None:
    """On a shared socket the error of one target's probe is not taken for the failure of another's send."""
    hosts = [f"10.77.3.{number}" for number in range(1, 21)]
    wan.add_address("b", *hosts)
    for host in hosts[::2]:
        wan.set_unreachable(host)

    measured = measure_targets(wan, *(build_probe_target(host, slots=20) for host in hosts))

    said = Counter((outcome.target_name, outcome.failure) for outcome in measured.results)
    assert said == {(host, Failure.UNREACHABLE if host in hosts[::2] else None): 20 for host in hosts}


def test_a_silent_host_is_all_loss(wan: Wan) -> None:
    """Nobody holds the address and nobody says so: timeouts."""
    measured = measure_targets(wan, build_probe_target("10.77.9.9", slots=10), build_probe_target(B4, slots=10))

    said = Counter((outcome.target_name, outcome.failure) for outcome in measured.results)
    assert said == {("10.77.9.9", Failure.TIMEOUT): 10, (B4, None): 10}


@pytest.mark.usefixtures("nft")
def test_a_local_firewall_is_not_the_path(wan: Wan) -> None:
    """What the own firewall refuses was never sent, says EPERM, and spoils nobody's stamps."""
    blocked = "10.77.4.1"
    wan.add_address("b", blocked)
    wan.block_output("a", blocked)
    wan.set_rtt(B4, 5.1)

    measured = measure_targets(wan, build_probe_target(blocked), build_probe_target(B4))

    said = Counter((outcome.target_name, outcome.failure, outcome.detail) for outcome in measured.results)
    assert said == {(blocked, Failure.SEND_ERROR, errno.EPERM): 40, (B4, None, None): 40}
    assert_true(GroundTruth(wan.read_frame_log()), measured.results)


def test_no_route_is_a_send_error(wan: Wan) -> None:
    """A destination without a route is told by its errno and does not disturb the others."""
    measured = measure_targets(
        wan,
        build_probe_target("192.0.2.1", slots=5),
        build_probe_target("2001:db8::1", slots=5),
        build_probe_target(B4, slots=5),
    )

    said = Counter((outcome.target_name, outcome.detail) for outcome in measured.results)
    assert said == {("192.0.2.1", errno.ENETUNREACH): 5, ("2001:db8::1", errno.ENETUNREACH): 5, (B4, None): 5}


@pytest.mark.parametrize("kind", list(SocketKind))
def test_size_and_df_are_on_the_wire(wan: Wan, kind: SocketKind) -> None:
    """Probes are as long as they should be, and too long ones with DF are refused here, not lost."""
    fitting = build_probe_target(B4, slots=5, payload_bytes=1_472, dscp=46, dont_fragment=True)
    too_long = build_probe_target(B6, slots=5, payload_bytes=1_453, dont_fragment=True)

    measured = measure_targets(wan, fitting, too_long, kinds=[kind])

    said = Counter((outcome.target_name, outcome.failure, outcome.detail) for outcome in measured.results)
    assert said == {(B4, None, None): 5, (B6, Failure.SEND_ERROR, errno.EMSGSIZE): 5}
    assert {frame.length_bytes for frame in wan.read_frame_log()} == {1_500}


def test_long_probes_without_df_are_fragmented(wan: Wan) -> None:
    """A probe longer than the path's packets is fragmented and measured like any other."""
    measured = measure_targets(
        wan,
        build_probe_target(B4, slots=10, payload_bytes=4_000),
        build_probe_target(B6, slots=10, payload_bytes=4_000),
    )

    assert count_failures(measured.results) == {None: 20}


def test_a_smaller_path_is_asked_every_time(wan: Wan) -> None:
    """ "Fragmentation needed" is the outcome of every probe: the kernel's memory of it must not answer for the path."""
    wan.add_rule("a->b", dst=B4, icmp_error=(3, 4), error_mtu=1_400)

    measured = measure_targets(wan, build_probe_target(B4, slots=10, payload_bytes=1_472, dont_fragment=True))

    assert [(o.failure, o.detail) for o in measured.results] == [(Failure.UNREACHABLE, 3 * 256 + 4)] * 10


def test_raw_is_the_fallback() -> None:
    """Where datagram sockets are closed, raw ones measure, undisturbed by another process that probes the same host."""
    with Wan(datagram_icmp=False) as wan:
        wan.set_rtt(B4, 4.9)
        program = [sys.executable, "-m", "tests.network.measuring", B4, "1000", "10"]
        stranger = wan.popen("a", program, stdout=subprocess.DEVNULL, cwd=ROOT)

        measured = measure_targets(wan, build_probe_target(B4))

        assert stranger.poll() is None
        assert count_failures(measured.results) == {None: 40}
        assert measured.counters.strays == 0


def test_without_permission_both_remedies_are_named() -> None:
    """Where neither kind of socket is allowed the error names the sysctl and the capability."""
    with Wan(datagram_icmp=False) as wan, pytest.raises(UnavailableError, match=r"ping_group_range.*CAP_NET_RAW"):
        measure_targets(wan, build_probe_target(B4), kinds=[SocketKind.DATAGRAM])


@pytest.mark.parametrize("step_ms", [40, -40])
def test_a_step_of_the_wall_clock_is_no_rtt(wan: Wan, step_ms: int) -> None:
    """Probes that are out when the clock of the machine is set are stalls; every RTT is still the path's."""
    wan.set_rtt(B4, 60.0)
    with step_machine_clock() as step:
        measured = measure_targets(wan, build_probe_target(B4), on_halfway=lambda: step(step_ms))

    counted = count_failures(measured.results)
    assert set(counted) <= {None, Failure.LOCAL_STALL, Failure.NOT_SENT}
    assert counted[Failure.LOCAL_STALL] >= 1
    assert counted[None] >= 30
    assert measured.counters.clock_steps == 1
    assert_near(measured.rtts_ns, 60.0)


def test_a_stopped_process_is_neither_loss_nor_delay(wan: Wan) -> None:
    """SIGSTOP for a second: slots not sent, no loss, and no RTT that is not the path's."""
    wan.set_rtt(B4, 10.2)
    program = [sys.executable, "-m", "tests.network.measuring", B4, "80", "50"]
    process = wan.popen("a", program, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(1)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(1)
    os.kill(process.pid, signal.SIGCONT)
    lines = [first, *process.stdout]

    outcomes = [line.split() for line in lines]
    slots = sorted(int(slot) for slot, _, _ in outcomes)
    counted = Counter(failure for _, _, failure in outcomes)
    assert slots == list(range(slots[0], slots[0] + 80))
    assert set(counted) <= {"None", "not_sent", "local_stall"}
    assert 18 <= counted["not_sent"] <= 24
    assert counted["local_stall"] <= 3
    assert_near([int(rtt_ns) for _, rtt_ns, _ in outcomes if rtt_ns != "None"], 10.2)


def test_a_queue_that_overflows_is_not_the_path(wan: Wan) -> None:
    """Replies that our own full receive queue throws away are local drops, not loss."""
    hosts = [f"10.77.5.{number}" for number in range(1, 101)]
    wan.add_address("b", *hosts)

    measured = measure_targets(
        wan, *(build_probe_target(host, slots=20) for host in hosts), open_lane=open_small_buffer_socket
    )

    counted = count_failures(measured.results)
    assert {None, Failure.LOCAL_DROP} <= set(counted)
    # A busy machine may stand still besides; that is no loss either.
    assert set(counted) <= {None, Failure.LOCAL_DROP, Failure.LOCAL_STALL, Failure.NOT_SENT}, counted
    assert counted[Failure.LOCAL_DROP] <= measured.counters.dropped


def test_the_source_is_the_one_asked_for(wan: Wan) -> None:
    """Probes leave from the local address of the aim."""
    wan.add_address("a", "10.77.0.99")

    measured = measure_targets(wan, replace(build_probe_target(B4, slots=3), source="10.77.0.99"))

    assert count_failures(measured.results) == {None: 3}
    assert {frame.src for frame in wan.read_frame_log() if frame.is_request} == {"10.77.0.99"} != {A4}
