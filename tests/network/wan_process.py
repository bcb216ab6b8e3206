"""Emulator process of the WAN, run in W: ``python -m tests.network.wan_process LOG_FD SEED NS_FD…``.

It forwards every frame between the veth ends ``wa`` and ``wb`` at the time given by the rules and logs it. It reads one
JSON ``EmulatorCommand`` per line on stdin and writes one JSON ``EmulatorResponse`` line to stdout for each; the first
response, before any command, means ready. The end of stdin means the end of the test run: the process kills all
processes in the network namespaces of the descriptors NS_FD and exits, so that nothing is left even after SIGKILL.

Rule 1: the process waits on the monotonic clock; a step of the wall clock does not move frames.
Rule 2: every response has the number of frames that the kernel dropped because of a full buffer.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import NamedTuple

import msgspec

from leadline.clock import Clock, SystemClock
from tests.network import frames
from tests.network.frames import HEADER_BYTES_MAX, IP_OFFSET
from tests.network.plan import DIRECTIONS, FrameRule, RuleTable
from tests.network.ports import Port, RealtimeOffset
from tests.network.priority import run_before_others
from tests.network.truth import RECORD_FORMAT, FrameAction

DEVICES = ("wa", "wb")
ROUTER, ROUTER_V6 = "10.77.255.254", "fd77::ffff:fffe"

#: The process polls instead of sleeping for waits below this: a wake-up takes 50 to 100 µs on a virtual machine.
SPIN_NS = 200_000
#: Frames received from one side before due ones are released; 20 µs each.
BURST_FRAMES = 16
#: The log is written in chunks of this size, and completely on request.
LOG_CHUNK_BYTES = 1 << 16
#: 3 million frames: two and a half minutes at 20,000 a second. The log is in memory.
LOG_BYTES_MAX = 512 << 20

_PR_SET_TIMERSLACK = 29


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorCommand:
    """A command to the emulator; several actions in one command run in the order of the fields."""

    clear: bool = False
    rules: tuple[FrameRule, ...] = ()
    #: Write the log to its file, up to the last frame.
    flush: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorResponse:
    """Response to a command."""

    #: Error of the command; None on success.
    error: str | None = None
    #: Frames dropped by the kernel since the start, before the process received them.
    overrun: int = 0
    #: Size of the log file.
    log_bytes: int = 0


class ReceivedFrame(NamedTuple):
    """A frame as received."""

    order: int
    direction: int
    data: bytes
    flow: frames.Flow
    arrived_ns: int
    arrived_mono_ns: int


class PendingFrame(NamedTuple):
    """A frame to send; the heap orders by the first two fields."""

    due_ns: int
    #: Breaks ties in order of arrival, the original before its copy.
    tie_breaker: int
    action: FrameAction
    port: Port
    #: The bytes to send: the received frame or an ICMP error.
    data: bytes
    arrival: ReceivedFrame


class FrameLog:
    """The truth log: records in memory, written to its file in chunks."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pending = bytearray()
        self.written_bytes = 0

    def add(
        self, arrival: ReceivedFrame, action: FrameAction, due_ns: int, released_ns: int, released_mono_ns: int
    ) -> None:
        """Record the treatment of a frame; the release times are 0 for a frame that was not sent."""
        self._pending += RECORD_FORMAT.pack(
            arrival.order,
            arrival.direction,
            action,
            len(arrival.data) - IP_OFFSET,
            arrival.arrived_ns,
            released_ns,
            due_ns,
            arrival.arrived_mono_ns,
            released_mono_ns,
            arrival.data[:HEADER_BYTES_MAX],
        )
        if len(self._pending) >= LOG_CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write pending records; exit the process if the log is full."""
        if self.written_bytes + len(self._pending) > LOG_BYTES_MAX:
            sys.exit(f"the truth log is full at {LOG_BYTES_MAX} bytes: split the test or lower its rate")
        while self._pending:
            count = os.write(self._fd, self._pending)
            del self._pending[:count]
            self.written_bytes += count


class Emulator:
    """Forwards frames between its two ports by the rules."""

    def __init__(self, plan: RuleTable, log: FrameLog, clock: Clock) -> None:
        self._plan = plan
        self._log = log
        self._clock = clock
        self._offset = RealtimeOffset(clock)
        self._ports = tuple(Port(device) for device in DEVICES)
        self._heap: list[PendingFrame] = []
        self._order = 0
        self._next_tie_breaker = 0
        self._commands = b""

    def run(self) -> None:
        """Forward frames until stdin ends."""
        self._respond(EmulatorResponse())
        stdin = sys.stdin.fileno()
        while True:
            ready, _, _ = select.select((*self._ports, stdin), (), (), self._poll_timeout_s())
            self._offset.sample()
            for direction, port in enumerate(self._ports):
                if port in ready:
                    self._receive_frames(direction, port)
            self._release_due()
            if stdin in ready and not self._read_commands(os.read(stdin, 1 << 16)):
                return

    def _poll_timeout_s(self) -> float | None:
        """Return the wait for a frame: None without pending frames, 0 if the next one is nearly due."""
        if not self._heap:
            return None
        return max(0, self._heap[0].due_ns - self._clock.monotonic_ns() - SPIN_NS) / 1e9

    def _receive_frames(self, direction: int, port: Port) -> None:
        for _ in range(BURST_FRAMES):
            received = port.receive()
            if received is None:
                return
            data, stamp_ns = received
            arrived_ns = self._clock.wall_ns() if stamp_ns is None else stamp_ns
            self._order += 1
            flow = frames.parse_flow(data)
            self._apply_rules(
                ReceivedFrame(self._order, direction, data, flow, arrived_ns, arrived_ns - self._offset.ns)
            )

    def _apply_rules(self, arrival: ReceivedFrame) -> None:
        _, direction, data, flow, _, now_ns = arrival
        icmp_type = data[flow.icmp_offset] if flow.icmp_offset else None
        decider = self._plan.find_decider(DIRECTIONS[direction], flow, icmp_type)
        probe = frames.parse_probe(data, flow) if decider.needs_index else None
        delays_ns = decider.decide_delays_ns(probe[1] if probe else None)
        if not delays_ns:
            self._log.add(arrival, FrameAction.DROP, now_ns, 0, 0)
        elif decider.rule.icmp_error is not None and flow.src:
            error_frame = _build_error_frame(decider.rule, data, flow)
            self._enqueue(now_ns + delays_ns[0], FrameAction.ERROR, self._ports[direction], error_frame, arrival)
        else:
            for action, delay_ns in zip((FrameAction.PASS, FrameAction.DUPLICATE), delays_ns, strict=False):
                self._enqueue(now_ns + delay_ns, action, self._ports[1 - direction], data, arrival)

    def _enqueue(self, due_ns: int, action: FrameAction, port: Port, data: bytes, arrival: ReceivedFrame) -> None:
        self._next_tie_breaker += 1
        heappush(self._heap, PendingFrame(due_ns, self._next_tie_breaker, action, port, data, arrival))

    def _release_due(self) -> None:
        heap = self._heap
        while heap and heap[0].due_ns <= self._clock.monotonic_ns():
            self._release(heappop(heap))

    def _release(self, frame: PendingFrame) -> None:
        before_ns = self._clock.monotonic_ns() + self._offset.ns
        try:
            stamp_ns = frame.port.send(frame.data)
        except OSError:
            self._log.add(frame.arrival, FrameAction.REFUSED, frame.due_ns, 0, 0)
            return
        released_ns = before_ns if stamp_ns is None else stamp_ns
        self._log.add(frame.arrival, frame.action, frame.due_ns, released_ns, released_ns - self._offset.ns)

    def _read_commands(self, data: bytes) -> bool:
        """Execute the complete commands; return False at the end of stdin."""
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            self._respond(self._execute(line))
        return bool(data)

    def _execute(self, line: bytes) -> EmulatorResponse:
        try:
            command = msgspec.json.decode(line, type=EmulatorCommand)
        except msgspec.DecodeError as error:
            return EmulatorResponse(error=str(error))
        if command.clear:
            self._plan.clear()
        for rule in command.rules:
            self._plan.add(rule)
        if command.flush:
            self._log.flush()
        return EmulatorResponse(
            overrun=sum(port.count_overruns() for port in self._ports), log_bytes=self._log.written_bytes
        )

    def _respond(self, response: EmulatorResponse) -> None:
        os.write(sys.stdout.fileno(), msgspec.json.encode(response) + b"\n")


def _build_error_frame(rule: FrameRule, data: bytes, flow: frames.Flow) -> bytes:
    assert rule.icmp_error is not None
    source = rule.error_from or (ROUTER if len(flow.src) == 4 else ROUTER_V6)
    return frames.build_icmp_error(data, flow, rule.icmp_error, source, rule.error_mtu)


def main() -> None:
    """Run in the current network namespace, which must contain wa and wb."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # this process ends with its stdin, not with Ctrl-C
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # ns; the default of 50 µs would be added to every wait
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    gc.disable()  # there are no reference cycles here, and a collection would delay frames
    log_fd, seed, *namespace_fds = map(int, sys.argv[1:])
    run_before_others()
    Emulator(RuleTable(seed), FrameLog(log_fd), SystemClock()).run()
    _kill_processes(namespace_fds)


def _kill_processes(namespace_fds: Iterable[int]) -> None:
    """Kill the processes in these network namespaces; only the test bed starts processes there."""
    namespaces = {os.fstat(fd).st_ino for fd in namespace_fds}
    excluded = {os.getpid(), os.getppid()}
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        pid = int(path.parts[2])
        with suppress(OSError):  # it has ended, or it is not readable and so is not ours
            if pid not in excluded and path.stat().st_ino in namespaces:
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
