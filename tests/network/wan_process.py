"""The process in the middle of the emulated WAN, run in W: ``python -m tests.network.wan_process LOG_FD SEED NS_FD…``.

It moves every frame between the veth ends ``wa`` and ``wb``, each at the time the plan says, and logs what it did. On
stdin it reads one JSON ``Command`` a line and answers each with one JSON ``Answer`` line on stdout; the first answer,
before any command, says that it is ready. When stdin ends, the test run is dead: the process kills what still runs in
the network namespaces it holds by NS_FD and ends too, so nothing outlives a test run however that ended.

Rule 1: waiting is done on the monotonic clock, so that a step of the wall clock moves nothing.
Rule 2: no frame is lost in silence: what the kernel dropped for want of buffer is counted in every answer.
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

#: Below this the process does not sleep but polls: waking up takes 50 to 100 µs on a virtual machine.
SPIN_NS = 200_000
#: Frames taken from one side before due ones are released again; at 20 µs each they make nobody late by much.
BURST_FRAMES = 16
#: The log is written on in pieces of this size, and whole on request.
LOG_CHUNK_BYTES = 1 << 16
#: 3 million frames: two and a half minutes at 20,000 a second. The log lives in memory.
LOG_BYTES_MAX = 512 << 20

_PR_SET_TIMERSLACK = 29


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorCommand:
    """What the process is asked to do; several things in one command happen in the order of the fields."""

    clear: bool = False
    rules: tuple[FrameRule, ...] = ()
    #: Write the log to its file up to the last frame.
    flush: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorResponse:
    """What became of a command."""

    #: What was wrong with the command; None if nothing was.
    error: str | None = None
    #: Frames the kernel dropped before the process could take them, since the start.
    overrun: int = 0
    #: Size of the log file.
    log_bytes: int = 0


class ReceivedFrame(NamedTuple):
    """A frame as it came in."""

    order: int
    direction: int
    data: bytes
    flow: frames.Flow
    arrived_ns: int
    arrived_mono_ns: int


class PendingFrame(NamedTuple):
    """A frame on its way out; the heap orders by the first two."""

    due_ns: int
    #: Breaks ties in order of arrival, the original before its copy.
    tie_breaker: int
    action: FrameAction
    port: Port
    #: What goes out; an ICMP error instead of what came in, perhaps.
    data: bytes
    arrival: ReceivedFrame


class FrameLog:
    """The truth log: records in memory, written to its file in pieces."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pending = bytearray()
        self.written_bytes = 0

    def add(
        self, arrival: ReceivedFrame, action: FrameAction, due_ns: int, released_ns: int, released_mono_ns: int
    ) -> None:
        """Record what became of a frame; 0 for the release where nothing left."""
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
        """Write what is pending; ends the process when the log is full."""
        if self.written_bytes + len(self._pending) > LOG_BYTES_MAX:
            sys.exit(f"the truth log is full at {LOG_BYTES_MAX} bytes: split the test or lower its rate")
        while self._pending:
            count = os.write(self._fd, self._pending)
            del self._pending[:count]
            self.written_bytes += count


class Emulator:
    """Carries frames between its two ports by the plan."""

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
        """Carry frames until stdin ends."""
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
        """How long to wait for a frame: for ever with nothing on its way, not at all when one is nearly due."""
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
            answer = _build_error_frame(decider.rule, data, flow)
            self._enqueue(now_ns + delays_ns[0], FrameAction.ERROR, self._ports[direction], answer, arrival)
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
        """Carry out the commands that are complete; False when stdin has ended."""
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

    def _respond(self, answer: EmulatorResponse) -> None:
        os.write(sys.stdout.fileno(), msgspec.json.encode(answer) + b"\n")


def _build_error_frame(rule: FrameRule, data: bytes, flow: frames.Flow) -> bytes:
    assert rule.icmp_error is not None
    source = rule.error_from or (ROUTER if len(flow.src) == 4 else ROUTER_V6)
    return frames.build_icmp_error(data, flow, rule.icmp_error, source, rule.error_mtu)


def main() -> None:
    """Run in the current network namespace, which must hold wa and wb."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the test run; this process ends with its stdin
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # ns; the default of 50 µs would be added to every wait
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    gc.disable()  # no cycles are made here, and a collection would delay frames
    log_fd, seed, *namespace_fds = map(int, sys.argv[1:])
    run_before_others()
    Emulator(RuleTable(seed), FrameLog(log_fd), SystemClock()).run()
    _kill_processes(namespace_fds)


def _kill_processes(namespace_fds: Iterable[int]) -> None:
    """Kill the processes in these network namespaces, which only the test bed can have started."""
    namespaces = {os.fstat(fd).st_ino for fd in namespace_fds}
    spared = {os.getpid(), os.getppid()}
    for space in Path("/proc").glob("[0-9]*/ns/net"):
        pid = int(space.parts[2])
        with suppress(OSError):  # it has ended meanwhile, or cannot be looked at and so is not ours
            if pid not in spared and space.stat().st_ino in namespaces:
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
