"""Host checks of ``leadline agent doctor``: permissions, kernel settings, timestamps, policy, disk, clock.

No check changes anything.
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
#: 200 targets use 30 MB a day.
FREE_BYTES_MIN = 256 << 20
DAYS_LEFT_MIN = 2.0
#: Windows of two sites are hard to compare with a clock error above a second.
CLOCK_ERROR_US_MAX = 1_000_000
_LOOPBACK_ADDRESSES = {4: "127.0.0.1", 6: "::1"}
_ECHO_TIMEOUT_NS = 500_000_000
_POLL_NS = 2_000_000


def check_icmp(clock: Clock) -> Iterator[Diagnostic]:
    """Check the permitted kinds of sockets, and the kernel timestamps of the kind in use."""
    allowed = [kind for kind in SocketKind if _can_open(kind)]
    if not allowed:
        yield fail("ICMP permission", "neither datagram nor raw ICMP sockets are permitted", NO_PERMISSION_MESSAGE)
        return
    yield ok("ICMP permission", f"{' and '.join(allowed)} sockets are permitted; the agent uses {allowed[0]} sockets")
    for version in _LOOPBACK_ADDRESSES:
        yield from _check_timestamps(version, clock)


def _can_open(kind: SocketKind) -> bool:
    try:
        open_socket(SocketKey(ip_version=4), bytes(COOKIE_BYTES), (kind,)).close()
    except (UnavailableError, OSError):
        return False
    return True


def _check_timestamps(version: int, clock: Clock) -> Iterator[Diagnostic]:
    subject = f"kernel stamps, IPv{version}"
    try:
        sock = open_socket(SocketKey(ip_version=version), os.urandom(COOKIE_BYTES))
    except (UnavailableError, OSError) as error:
        yield warn(
            subject, f"cannot open a socket: {error}", f"the agent cannot probe targets with IPv{version} addresses"
        )
        return
    try:
        yield evaluate_echo(subject, _send_echo(sock, _LOOPBACK_ADDRESSES[version], clock))
    finally:
        sock.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopbackEcho:
    """Result of one echo request to the loopback address."""

    #: Errno of the send; 0 on success.
    send_errno: int = 0
    has_reply: bool = False
    has_tx_timestamp: bool = False
    has_rx_timestamp: bool = False


def _send_echo(sock: ProbeSocket, address: str, clock: Clock) -> LoopbackEcho:
    send_errno = sock.send(1, address, PAYLOAD_BYTES_DEFAULT)
    if send_errno:
        return LoopbackEcho(send_errno=send_errno)
    has_tx_timestamp, end_ns = False, clock.monotonic_ns() + _ECHO_TIMEOUT_NS
    while clock.monotonic_ns() < end_ns:
        has_tx_timestamp = has_tx_timestamp or any(
            isinstance(message, TxTimestamp) for message in sock.read_error_queue()
        )
        for reply in sock.read_replies():
            has_tx_timestamp = has_tx_timestamp or any(
                isinstance(message, TxTimestamp) for message in sock.read_error_queue()
            )
            return LoopbackEcho(
                has_reply=True, has_tx_timestamp=has_tx_timestamp, has_rx_timestamp=reply.received_at_ns is not None
            )
        clock.sleep_until(clock.monotonic_ns() + _POLL_NS)
    return LoopbackEcho(has_tx_timestamp=has_tx_timestamp)


def evaluate_echo(subject: str, echo: LoopbackEcho) -> Diagnostic:
    """Return the diagnostic of a loopback echo."""
    if echo.send_errno:
        return warn(
            subject, f"cannot send to the loopback address: {os.strerror(echo.send_errno)}", "check the firewall"
        )
    if not echo.has_reply:
        return warn(
            subject, "no reply from the loopback address", "check icmp_echo_ignore_all and the firewall; without the "
            "noise floor of this host, RTTs have no error bound",
        )  # fmt: skip
    missing = [
        name
        for name, is_present in (("transmit", echo.has_tx_timestamp), ("receive", echo.has_rx_timestamp))
        if not is_present
    ]
    if missing:
        return warn(
            subject, f"the kernel gives no {' and '.join(missing)} timestamps",
            "RTTs have a larger error bound; use a newer kernel or another sandbox",
        )  # fmt: skip
    return ok(subject, "transmit and receive timestamps work")


def check_sysctls(directory: Path = SYSCTL_DIR) -> Iterator[Diagnostic]:
    """Check the kernel settings for sending and answering echo requests."""
    group_range = _read_sysctl(directory / "ping_group_range")
    if group_range is not None:
        yield _check_ping_group_range(group_range)
    if _read_sysctl(directory / "icmp_echo_ignore_all") not in {None, "0"}:
        yield warn(
            "icmp_echo_ignore_all", "this host answers no echo requests: other agents report a dead path",
            "sysctl -w net.ipv4.icmp_echo_ignore_all=0",
        )  # fmt: skip
    mask = _read_sysctl(directory / "icmp_ratemask")
    if mask is not None and int(mask) & _ECHO_REPLY_BIT:
        yield warn(
            "icmp_ratemask", "the kernel limits the rate of echo replies: other agents report false loss",
            f"sysctl -w net.ipv4.icmp_ratemask={int(mask) & ~_ECHO_REPLY_BIT}",
        )  # fmt: skip


def _check_ping_group_range(text: str) -> Diagnostic:
    first, last = map(int, text.split())
    groups = {os.getegid(), *os.getgroups()}
    if any(first <= group <= last for group in groups):
        return ok("ping_group_range", f"{first} to {last} includes a group of this user")
    detail = f"{first} to {last} includes no group of this user: datagram sockets are not permitted"
    if os.geteuid() == 0:
        return ok("ping_group_range", f"{detail}; raw sockets are (root)")
    return warn("ping_group_range", detail, "sysctl -w net.ipv4.ping_group_range='0 2147483647', or CAP_NET_RAW")


def _read_sysctl(path: Path) -> str | None:
    """Return None if the setting does not exist or is not readable."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def check_local_policy(path: Path, required: bool) -> tuple[Diagnostic, LocalPolicy | None]:
    """Check the local policy; return it, or None if it is invalid."""
    try:
        policy = load_policy(path, required=required)
    except ConfigError as error:
        return fail("local policy", str(error), "correct the file: the agent does not start with it"), None
    if not path.exists():
        detail = f"{path} does not exist: only the compiled limits apply"
        return warn("local policy", detail, "create it and set allowed_networks"), policy
    networks = "every host address" if policy.allowed_networks is None else f"{len(policy.allowed_networks)} networks"
    detail = (
        f"{path}: {networks}, {policy.packets_per_s:,} packets a second, payload up to {policy.payload_bytes_max:,} B"
    )
    return ok("local policy", detail), policy


def check_state_directory(directory: Path) -> Iterator[Diagnostic]:
    """Check write access to the state directory and its free space."""
    subject = "state directory"
    if not directory.is_dir():
        yield fail(subject, f"{directory} does not exist", "run `leadline agent enroll`, or pass --state-dir")
        return
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        owner = directory.stat().st_uid
        yield fail(subject, f"{directory} is not writable", f"run as user {owner}, or chown it to this user")
        return
    file_system = os.statvfs(directory)
    free_bytes = file_system.f_bavail * file_system.f_frsize
    detail = f"{directory} is writable, {free_bytes / 1e9:.1f} GB free"
    if free_bytes < FREE_BYTES_MIN:
        yield warn(
            subject, detail, "free disk space: the spool loses batches on a full disk while the collector is down"
        )
    else:
        yield ok(subject, detail)


def check_running_agent(status: AgentStatus | None, now_s: int) -> Iterator[Diagnostic]:
    """Check the status file of the agent on this host."""
    if status is None or is_stale(status, now_s):
        yield warn("agent", "the status file is missing or too old", "start the agent: leadline agent run")
        return
    yield ok("agent", f"process {status.process_id} is running with {status.targets} targets")
    spool = status.spool
    if spool.degraded is not None:
        yield fail("spool", f"batches are in memory only: {spool.degraded}", "check the disk of the state directory")
        return
    days = "unknown" if spool.days_left is None else f"{spool.days_left:.1f}"
    detail = f"{spool.unacked} batches to send, {spool.dead} refused; days left: {days}"
    if spool.days_left is not None and spool.days_left < DAYS_LEFT_MIN and spool.unacked > 1:
        yield warn("spool", detail, "restore the collector, otherwise the spool drops the oldest batches")
    else:
        yield ok("spool", detail)


def check_host_clock(state: wire.ClockState | None) -> Diagnostic:
    """Check that NTP synchronises the wall clock."""
    subject = "clock"
    if state is None:
        return warn(subject, "the kernel does not report the synchronisation state", "permit the system call adjtimex")
    if not state.synchronised:
        return warn(
            subject, "not synchronised: windows can have the wrong minute (RTTs are not affected)",
            "start chrony, ntpd or systemd-timesyncd (on the host of a container)",
        )  # fmt: skip
    detail = f"synchronised, maximum error {state.max_error_us / 1e3:.1f} ms"
    if state.max_error_us > CLOCK_ERROR_US_MAX:
        return warn(subject, detail, "check the time servers of this host: chronyc sources")
    return ok(subject, detail)
