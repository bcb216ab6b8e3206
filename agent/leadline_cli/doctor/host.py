"""What ``leadline agent doctor`` finds on this host: permissions, kernel settings, stamps, policy, disk, clock.

Each check is a function of what it looks at and gives findings; none changes anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from leadline.clock import Clock
from leadline.errors import ConfigError, UnavailableError
from leadline.model import PAYLOAD_BYTES_DEFAULT
from leadline.wire import batch as wire
from leadline_agent.probe.icmp import COOKIE_BYTES, NO_PERMISSION_MESSAGE, SocketKind, open_socket
from leadline_agent.probe.policy_file import LocalPolicy, load_policy
from leadline_agent.probe.transport import ProbeSocket, SocketKey, TxTimestamp
from leadline_agent.status import AgentStatus, is_stale
from leadline_cli.doctor.report import Diagnostic, fail, ok, warn

SYSCTL_DIR = Path("/proc/sys/net/ipv4")
#: Bit 0 of icmp_ratemask: echo replies.
_ECHO_REPLY_BIT = 1
#: A day of 200 targets is 30 MB.
FREE_BYTES_MIN = 256 << 20
DAYS_LEFT_MIN = 2.0
#: An error above a second makes windows of two sites hard to compare.
CLOCK_ERROR_US_MAX = 1_000_000
_LOOPBACK_ADDRESSES = {4: "127.0.0.1", 6: "::1"}
_ECHO_TIMEOUT_NS = 500_000_000
_POLL_NS = 2_000_000


def check_icmp(clock: Clock) -> Iterator[Diagnostic]:
    """Which kinds of socket are allowed, and whether the kernel stamps what passes through the one that is used."""
    allowed = [kind for kind in SocketKind if _can_open(kind)]
    if not allowed:
        yield fail("ICMP permission", "neither datagram nor raw sockets are allowed", NO_PERMISSION_MESSAGE)
        return
    yield ok("ICMP permission", f"{' and '.join(allowed)} sockets are allowed; {allowed[0]} ones are used")
    for version in _LOOPBACK_ADDRESSES:
        yield from _check_timestamps(version, clock)


def _can_open(kind: SocketKind) -> bool:
    try:
        open_socket(SocketKey(ip_version=4), bytes(COOKIE_BYTES), (kind,)).close()
    except (UnavailableError, OSError):
        return False
    return True


def _check_timestamps(version: int, clock: Clock) -> Iterator[Diagnostic]:
    what = f"kernel stamps, IPv{version}"
    try:
        sock = open_socket(SocketKey(ip_version=version), os.urandom(COOKIE_BYTES))
    except (UnavailableError, OSError) as error:
        yield warn(what, f"no socket: {error}", f"targets with IPv{version} addresses cannot be probed")
        return
    try:
        yield evaluate_echo(what, _send_echo(sock, _LOOPBACK_ADDRESSES[version], clock))
    finally:
        sock.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopbackEcho:
    """What came of one echo to the own loopback."""

    #: The kernel's refusal; 0 when it was sent.
    send_errno: int = 0
    has_reply: bool = False
    has_tx_timestamp: bool = False
    has_rx_timestamp: bool = False


def _send_echo(sock: ProbeSocket, address: str, clock: Clock) -> LoopbackEcho:
    refused = sock.send(1, address, PAYLOAD_BYTES_DEFAULT)
    if refused:
        return LoopbackEcho(send_errno=refused)
    stamped_out, end_ns = False, clock.monotonic_ns() + _ECHO_TIMEOUT_NS
    while clock.monotonic_ns() < end_ns:
        stamped_out = stamped_out or any(isinstance(notice, TxTimestamp) for notice in sock.read_error_queue())
        for reply in sock.read_replies():
            stamped_out = stamped_out or any(isinstance(notice, TxTimestamp) for notice in sock.read_error_queue())
            return LoopbackEcho(
                has_reply=True, has_tx_timestamp=stamped_out, has_rx_timestamp=reply.received_at_ns is not None
            )
        clock.sleep_until(clock.monotonic_ns() + _POLL_NS)
    return LoopbackEcho(has_tx_timestamp=stamped_out)


def evaluate_echo(subject: str, echo: LoopbackEcho) -> Diagnostic:
    """What the echo says about the stamps."""
    if echo.send_errno:
        return warn(
            subject, f"an echo to the own loopback is refused: {os.strerror(echo.send_errno)}", "look at the firewall"
        )
    if not echo.has_reply:
        return warn(
            subject, "no reply from the own loopback", "see icmp_echo_ignore_all and the firewall; the noise floor of "
            "this host cannot be measured, and an RTT without it has no error bound",
        )  # fmt: skip
    missing = [
        name
        for name, there in (("departures", echo.has_tx_timestamp), ("arrivals", echo.has_rx_timestamp))
        if not there
    ]
    if missing:
        return warn(
            subject, f"the kernel does not stamp {' and '.join(missing)}",
            "RTTs get an error bound of what this process was late; a newer kernel or another sandbox would stamp",
        )  # fmt: skip
    return ok(subject, "departures and arrivals are stamped")


def check_sysctls(directory: Path = SYSCTL_DIR) -> Iterator[Diagnostic]:
    """The settings of the kernel that decide whether echoes are sent and answered here."""
    group_range = _read_sysctl(directory / "ping_group_range")
    if group_range is not None:
        yield _check_ping_group_range(group_range)
    if _read_sysctl(directory / "icmp_echo_ignore_all") not in {None, "0"}:
        yield warn(
            "icmp_echo_ignore_all", "this host answers no echo: to the others it looks like a dead path",
            "sysctl -w net.ipv4.icmp_echo_ignore_all=0",
        )  # fmt: skip
    mask = _read_sysctl(directory / "icmp_ratemask")
    if mask is not None and int(mask) & _ECHO_REPLY_BIT:
        yield warn(
            "icmp_ratemask", "echo replies of this host are rate-limited: the others see loss that is none",
            f"sysctl -w net.ipv4.icmp_ratemask={int(mask) & ~_ECHO_REPLY_BIT}",
        )  # fmt: skip


def _check_ping_group_range(text: str) -> Diagnostic:
    first, last = map(int, text.split())
    groups = {os.getegid(), *os.getgroups()}
    if any(first <= group <= last for group in groups):
        return ok("ping_group_range", f"{first} to {last} holds a group of this user")
    detail = f"{first} to {last} holds no group of this user: datagram sockets are not allowed"
    if os.geteuid() == 0:
        return ok("ping_group_range", f"{detail}, raw ones are (root)")
    return warn("ping_group_range", detail, "sysctl -w net.ipv4.ping_group_range='0 2147483647', or CAP_NET_RAW")


def _read_sysctl(path: Path) -> str | None:
    """None where the kernel has no such setting, or does not show it."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def check_local_policy(path: Path, required: bool) -> tuple[Diagnostic, LocalPolicy | None]:
    """The policy of this host, and what it says; None when it is not to be believed."""
    try:
        found = load_policy(path, required=required)
    except ConfigError as error:
        return fail("local policy", str(error), "put the file right: the agent does not start with it"), None
    if not path.exists():
        detail = f"{path} is not there: only the compiled limits hold"
        return warn("local policy", detail, "name the networks this agent may probe there: allowed_networks"), found
    networks = "every host address" if found.allowed_networks is None else f"{len(found.allowed_networks)} networks"
    detail = f"{path}: {networks}, {found.packets_per_s:,} packets a second, {found.payload_bytes_max:,} B at most"
    return ok("local policy", detail), found


def check_state_directory(directory: Path) -> Iterator[Diagnostic]:
    """Whether the agent can write there, and how much room there is."""
    what = "state directory"
    if not directory.is_dir():
        yield fail(what, f"{directory} is not there", "run `leadline agent enroll`, or name it with --state-dir")
        return
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        owner = directory.stat().st_uid
        yield fail(what, f"{directory} cannot be written", f"run as user {owner}, or chown it to this user")
        return
    room = os.statvfs(directory)
    free_bytes = room.f_bavail * room.f_frsize
    detail = f"{directory} can be written, {free_bytes / 1e9:.1f} GB are free"
    if free_bytes < FREE_BYTES_MIN:
        yield warn(what, detail, "make room: a full disk costs batches while the collector is away")
    else:
        yield ok(what, detail)


def check_running_agent(status: AgentStatus | None, now_s: int) -> Iterator[Diagnostic]:
    """What the agent that runs here says of its spool; None when none wrote anything."""
    if status is None or is_stale(status, now_s):
        yield warn("agent", "no agent has written its status lately", "start it: leadline agent run")
        return
    yield ok("agent", f"process {status.process_id} runs and measures {status.targets} targets")
    spool = status.spool
    if spool.degraded is not None:
        yield fail("spool", f"batches are in memory only: {spool.degraded}", "see to the disk of the state directory")
        return
    days = "unknown" if spool.days_left is None else f"{spool.days_left:.1f}"
    detail = f"{spool.unacked} batches wait, {spool.dead} were refused; days left: {days}"
    if spool.days_left is not None and spool.days_left < DAYS_LEFT_MIN and spool.unacked > 1:
        yield warn("spool", detail, "bring the collector back, or the oldest batches go")
    else:
        yield ok("spool", detail)


def check_host_clock(state: wire.ClockState | None) -> Diagnostic:
    """Whether NTP keeps the wall clock."""
    what = "clock"
    if state is None:
        return warn(what, "the kernel does not say whether it is synchronised", "allow the system call adjtimex")
    if not state.synchronised:
        return warn(
            what, "not synchronised: windows get the wrong minute (RTTs are right all the same)",
            "start chrony, ntpd or systemd-timesyncd; in a container, on its host",
        )  # fmt: skip
    detail = f"synchronised, error at most {state.max_error_us / 1e3:.1f} ms"
    if state.max_error_us > CLOCK_ERROR_US_MAX:
        return warn(what, detail, "look at the time servers of this host: chronyc sources")
    return ok(what, detail)
