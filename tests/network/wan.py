"""Emulated WAN between two network namespaces, for tests with known delay, loss and reordering.

    with Wan() as wan:                                   # or the fixture ``wan``
        wan.add_rule("a->b", dst=B4, delay_ms=2.45)
        wan.add_rule("b->a", src=B4, delay_ms=2.45, drop=every(10))
        with wan.enter("a"):
            probe = socket.socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)
        ...                                              # measure from A to B4
        truth = compute_true_rtts(wan.read_frame_log())  # and compare with the true RTTs

A -veth- W -veth- B: A has the addresses A4 and A6, B has B4 and B6. Both see one link (10.77.0.0/16 and fd77::/64) on
their interface ``wan0``. A process in W forwards the frames by the rules (plan.py) and logs each one (truth.py).
Compare with the log, not with the configured delay: a shared machine adds milliseconds to any timer. See
docs/testbed.md.

There is no ARP and no neighbour discovery on the link (``arp off``, one hardware address for both ends): only the
frames under test are on the link, and an unused address of the link is a silent host.
"""

from __future__ import annotations

import ipaddress
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Self

import msgspec

from tests.network.namespaces import Namespace
from tests.network.plan import ALL_FRAMES, Direction, FrameRule, FrameSelector, every, indexes, ratio
from tests.network.truth import FrameAction, FrameRecord, ProbeKey, TrueRtt, compute_true_rtts, parse_log
from tests.network.wan_process import DEVICES, EmulatorCommand, EmulatorResponse

__all__ = [
    "A4",
    "A6",
    "ALL_FRAMES",
    "B4",
    "B6",
    "FrameAction",
    "FrameRecord",
    "FrameSelector",
    "ProbeKey",
    "TrueRtt",
    "Wan",
    "WanError",
    "compute_true_rtts",
    "every",
    "indexes",
    "ratio",
]

Side = Literal["a", "w", "b"]

A4, A6 = "10.77.0.1", "fd77::a:1"
B4, B6 = "10.77.1.1", "fd77::b:1"
LINKS = (ipaddress.ip_network("10.77.0.0/16"), ipaddress.ip_network("fd77::/64"))
DEVICE = "wan0"
_MAC = "02:00:00:00:00:77"
_ROOT = Path(__file__).parents[2]

#: The emulator starts in 0.1 s and responds in microseconds; this is a hundred times more, for full load.
RESPONSE_TIMEOUT_S = 10.0
#: Timeout of the commands run here.
RUN_TIMEOUT_S = 30.0
#: Time between SIGTERM and SIGKILL.
GRACE_S = 2.0


class WanError(Exception):
    """The test bed itself failed; the result of the test is invalid."""


class Wan:
    """The test bed, as a context manager; several instances can run at once. Needs root.

    ``datagram_icmp`` opens ``ping_group_range`` in A and B for every group; False keeps the kernel's default ("1 0":
    closed), so that only raw sockets work. ``seed`` is the seed of all random numbers of the rules.
    """

    def __init__(self, *, datagram_icmp: bool = True, mtu: int = 1_500, seed: int = 1) -> None:
        self._datagram_icmp = datagram_icmp
        self._mtu = mtu
        self._seed = seed
        self._cleanup = ExitStack()
        self._lock = Lock()
        self._log_start = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._spaces: dict[Side, Namespace] = {side: _open_namespace(stack) for side in ("a", "w", "b")}
            self._connect()
            self._log_fd = os.memfd_create("wan-truth")
            stack.callback(os.close, self._log_fd)
            self._process = self._start_emulator(stack)
            self._read_response()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._cleanup.close()

    @property
    def emulator_pid(self) -> int:
        """The process id of the emulator in W."""
        return self._process.pid

    def add_rule(
        self,
        direction: Direction | None = None,
        *,
        src: str | None = None,
        dst: str | None = None,
        icmp_type: int | None = None,
        delay_ms: float = 0.0,
        jitter_ms: float | Sequence[float] = (),
        drop: FrameSelector | None = None,
        duplicate: FrameSelector | None = None,
        duplicate_ms: float = 0.0,
        reorder: FrameSelector | None = None,
        reorder_ms: float = 0.0,
        late: FrameSelector | None = None,
        late_ms: float = 0.0,
        icmp_error: tuple[int, int] | None = None,
        error_from: str | None = None,
        error_mtu: int = 0,
    ) -> FrameRule:
        """Add a rule for matching frames that arrive from now on; frames in transit are not affected.

        ``direction`` None means both. ``src`` and ``dst`` are addresses or prefixes. The newest matching rule decides;
        a rule with the same direction, src, dst and icmp_type replaces the older one, so calling again changes a rule.
        ``drop``, ``duplicate``, ``reorder`` and ``late`` select frames: ``ratio(0.02)``, ``every(10)``, ``indexes(3,
        7)`` or ``ALL_FRAMES``; ``drop=ALL_FRAMES`` is a black hole. All times are one way: an RTT of 4.9 ms is 2.45 ms
        in each direction. See ``plan.FrameRule`` for the rest. Raise ValueError for an invalid rule.
        """
        jitters = jitter_ms if isinstance(jitter_ms, Sequence) else (jitter_ms,)
        rule = FrameRule(
            direction=direction,
            src=src,
            dst=dst,
            icmp_type=icmp_type,
            delay_ns=_to_ns(delay_ms),
            jitter_ns=tuple(map(_to_ns, jitters)),
            drop=drop,
            duplicate=duplicate,
            duplicate_ns=_to_ns(duplicate_ms),
            reorder=reorder,
            reorder_ns=_to_ns(reorder_ms),
            late=late,
            late_ns=_to_ns(late_ms),
            icmp_error=icmp_error,
            error_from=error_from,
            error_mtu=error_mtu,
        )
        self._send_command(EmulatorCommand(rules=(rule,)))
        return rule

    def set_rtt(self, host: str, ms: float) -> None:
        """Delay everything to and from ``host`` in B (an address or prefix) by half of ``ms`` each way."""
        self.add_rule("a->b", dst=host, delay_ms=ms / 2)
        self.add_rule("b->a", src=host, delay_ms=ms / 2)

    def set_unreachable(self, dst: str, *, icmp_error: tuple[int, int] | None = None, delay_ms: float = 0.0) -> None:
        """Reply to all frames from A to ``dst`` with an ICMP error, by default host or address unreachable."""
        default_error = (3, 1) if ipaddress.ip_network(dst).version == 4 else (1, 3)
        self.add_rule("a->b", dst=dst, icmp_error=icmp_error or default_error, delay_ms=delay_ms)

    def clear_rules(self) -> None:
        """Remove all rules: new frames pass without delay; frames in transit are not affected."""
        self._send_command(EmulatorCommand(clear=True))

    def restart_log(self) -> None:
        """Leave all frames so far out of ``read_frame_log``, for a repeated measurement."""
        self._log_start = self._send_command(EmulatorCommand(flush=True)).log_bytes

    def read_frame_log(self) -> list[FrameRecord]:
        """Return all frames sent or dropped by W so far, in that order, without frames in transit.

        Raise WanError if the emulator itself lost frames: the result of the test would be invalid.
        """
        response = self._send_command(EmulatorCommand(flush=True))
        if response.overrun:
            raise WanError(f"the emulator could not keep up and lost {response.overrun} frames: lower the test's rate")
        return parse_log(os.pread(self._log_fd, response.log_bytes - self._log_start, self._log_start))

    def add_address(self, side: Side, *addresses: str) -> None:
        """Add addresses of the link (10.77.0.0/16, fd77::/64) to a side; they are usable on return."""
        prefixed = (f"{address}/{_find_link(address).prefixlen}" for address in addresses)
        self._run_ip(side, [f"addr add {address} dev {DEVICE} nodad" for address in prefixed])

    def add_prefix(self, prefix: str) -> None:
        """Let B reply for every address of a prefix outside the link: thousands of targets with one route."""
        gateway = B4 if ipaddress.ip_network(prefix).version == 4 else B6
        self._run_ip("b", [f"route add local {prefix} dev lo"])
        self._run_ip("a", [f"route add {prefix} via {gateway} dev {DEVICE}"])

    @contextmanager
    def enter(self, side: Side) -> Iterator[None]:
        """Move the current thread into the namespace for the duration of the block; its new sockets stay there."""
        with self._spaces[side].enter():
            yield

    def popen(self, side: Side, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a process inside, with the options of Popen; the end of the test bed terminates it."""
        with self.enter(side):
            process = subprocess.Popen(argv, **options)
        self._cleanup.callback(_terminate, process)
        return process

    def run(self, side: Side, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside and capture its output as text; raise CalledProcessError unless it exits with 0."""
        options = {"capture_output": True, "check": True, "text": True, "timeout": RUN_TIMEOUT_S} | options
        with self.enter(side):
            return subprocess.run(argv, **options)

    def sysctl(self, side: Side, key: str, value: str | None = None) -> str:
        """Set ``key`` (such as net.ipv4.icmp_echo_ignore_all) inside if ``value`` is given; return its value."""
        path = Path("/proc/sys", *key.split("."))
        with self.enter(side):
            if value is not None:
                path.write_text(value)
            return path.read_text().strip()

    def block_output(self, side: Side, dst: str) -> None:
        """Add a firewall rule inside against ``dst``: the sender gets EPERM. Needs nft; see ``unblock_output``."""
        if shutil.which("nft") is None:
            raise WanError("the command nft is missing: install nftables")
        family = "ip" if ipaddress.ip_network(dst).version == 4 else "ip6"
        script = (
            "add table inet wan\n"
            "add chain inet wan output { type filter hook output priority 0; }\n"
            f"add rule inet wan output {family} daddr {dst} drop\n"
        )
        self.run(side, ["nft", "-f", "-"], input=script)

    def unblock_output(self, side: Side) -> None:
        """Remove all firewall rules of ``block_output`` inside."""
        self.run(side, ["nft", "delete", "table", "inet", "wan"])

    def _connect(self) -> None:
        for side, device in _ENDS:
            peer = f"peer name {DEVICE} mtu {self._mtu} address {_MAC} netns {self._spaces[side].path}"
            self._run_ip("w", [f"link add {device} mtu {self._mtu} type veth {peer}"])
            self.sysctl("w", f"net.ipv6.conf.{device}.disable_ipv6", "1")
            self._run_ip("w", [f"link set {device} up"])
            self._run_ip(side, ["link set lo up", f"link set {DEVICE} arp off addrgenmode none up"])
            if self._datagram_icmp:
                self.sysctl(side, "net.ipv4.ping_group_range", "0 2147483647")
        self.add_address("a", A4, A6)
        self.add_address("b", B4, B6)

    def _run_ip(self, side: Side, lines: Iterable[str]) -> None:
        self.run(side, ["ip", "-batch", "-"], input="\n".join(lines))

    def _start_emulator(self, stack: ExitStack) -> subprocess.Popen[bytes]:
        space_fds = tuple(space.fd for space in self._spaces.values())
        arguments = map(str, (self._log_fd, self._seed, *space_fds))
        with self.enter("w"):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.network.wan_process", *arguments],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=(self._log_fd, *space_fds),
                start_new_session=True,  # Ctrl-C on the terminal must reach only the test run
            )
        stack.callback(_terminate, process)
        return process

    def _send_command(self, command: EmulatorCommand) -> EmulatorResponse:
        assert self._process.stdin is not None
        with self._lock:
            try:
                self._process.stdin.write(msgspec.json.encode(command) + b"\n")
            except (BrokenPipeError, ValueError) as error:  # ValueError: we closed the pipe ourselves
                raise WanError(f"the emulator has ended with exit status {self._process.poll()}") from error
            return self._read_response()

    def _read_response(self) -> EmulatorResponse:
        stdout = self._process.stdout
        assert stdout is not None
        ready, _, _ = select.select((stdout,), (), (), RESPONSE_TIMEOUT_S)
        line = stdout.readline() if ready else b""
        if not line:
            raise WanError(f"the emulator does not respond (exit status {self._process.poll()}); see its stderr")
        response = msgspec.json.decode(line, type=EmulatorResponse)
        if response.error is not None:
            raise WanError(f"the emulator refused a command: {response.error}")
        return response


_ENDS: tuple[tuple[Side, str], ...] = tuple(zip(("a", "b"), DEVICES, strict=True))


def _open_namespace(stack: ExitStack) -> Namespace:
    space = Namespace()
    stack.callback(space.close)
    return space


def _terminate(process: subprocess.Popen[Any]) -> None:
    """Terminate a process if it still runs, kill it after ``GRACE_S``, and close its pipes."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)  # a stopped process does not handle SIGTERM
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _find_link(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    for link in LINKS:
        if ipaddress.ip_address(address) in link:
            return link
    raise ValueError(f"{address} is outside the link ({LINKS[0]}, {LINKS[1]}): choose one inside, or use add_prefix")


def _to_ns(ms: float) -> int:
    return round(ms * 1_000_000)
