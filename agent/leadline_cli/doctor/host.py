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
from leadline_agent.probe.icmp import COOKIE_BYTES, NO_PERMISSION, Kind, open_socket
from leadline_agent.probe.policy_file import LocalPolicy, load_policy
from leadline_agent.probe.transport import Departure, EchoSocket, Lane
from leadline_agent.status import AgentStatus, is_stale
from leadline_cli.doctor.report import Finding, fail, ok, warn

SYSCTLS = Path("/proc/sys/net/ipv4")
#: Bit 0 of icmp_ratemask: echo replies.
_ECHO_REPLY_BIT = 1
#: A day of 200 targets is 30 MB.
FREE_BYTES_MIN = 256 << 20
DAYS_LEFT_MIN = 2.0
#: An error above a second makes windows of two sites hard to compare.
CLOCK_ERROR_US_MAX = 1_000_000
_LOOPBACKS = {4: "127.0.0.1", 6: "::1"}
_ECHO_WAIT_NS = 500_000_000
_POLL_NS = 2_000_000


def icmp(clock: Clock) -> Iterator[Finding]:
    """Which kinds of socket are allowed, and whether the kernel stamps what passes through the one that is used."""
    allowed = [kind for kind in Kind if _opens(kind)]
    if not allowed:
        yield fail("ICMP permission", "neither datagram nor raw sockets are allowed", NO_PERMISSION)
        return
    yield ok("ICMP permission", f"{' and '.join(allowed)} sockets are allowed; {allowed[0]} ones are used")
    for version in _LOOPBACKS:
        yield from _stamps(version, clock)


def _opens(kind: Kind) -> bool:
    try:
        open_socket(Lane(ip_version=4), bytes(COOKIE_BYTES), (kind,)).close()
    except (UnavailableError, OSError):
        return False
    return True


def _stamps(version: int, clock: Clock) -> Iterator[Finding]:
    what = f"kernel stamps, IPv{version}"
    try:
        sock = open_socket(Lane(ip_version=version), os.urandom(COOKIE_BYTES))
    except (UnavailableError, OSError) as error:
        yield warn(what, f"no socket: {error}", f"targets with IPv{version} addresses cannot be probed")
        return
    try:
        yield judged_echo(what, _echo(sock, _LOOPBACKS[version], clock))
    finally:
        sock.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """What came of one echo to the own loopback."""

    #: The kernel's refusal; 0 when it was sent.
    errno: int = 0
    answered: bool = False
    stamped_out: bool = False
    stamped_in: bool = False


def _echo(sock: EchoSocket, address: str, clock: Clock) -> Echo:
    refused = sock.send(1, address, PAYLOAD_BYTES_DEFAULT)
    if refused:
        return Echo(errno=refused)
    stamped_out, end_ns = False, clock.monotonic_ns() + _ECHO_WAIT_NS
    while clock.monotonic_ns() < end_ns:
        stamped_out = stamped_out or any(isinstance(notice, Departure) for notice in sock.notices())
        for reply in sock.replies():
            stamped_out = stamped_out or any(isinstance(notice, Departure) for notice in sock.notices())
            return Echo(answered=True, stamped_out=stamped_out, stamped_in=reply.received_at_ns is not None)
        clock.sleep_until(clock.monotonic_ns() + _POLL_NS)
    return Echo(stamped_out=stamped_out)


def judged_echo(what: str, echo: Echo) -> Finding:
    """What the echo says about the stamps."""
    if echo.errno:
        return warn(what, f"an echo to the own loopback is refused: {os.strerror(echo.errno)}", "look at the firewall")
    if not echo.answered:
        return warn(
            what, "no reply from the own loopback", "see icmp_echo_ignore_all and the firewall; the noise floor of "
            "this host cannot be measured, and an RTT without it has no error bound",
        )  # fmt: skip
    missing = [name for name, there in (("departures", echo.stamped_out), ("arrivals", echo.stamped_in)) if not there]
    if missing:
        return warn(
            what, f"the kernel does not stamp {' and '.join(missing)}",
            "RTTs get an error bound of what this process was late; a newer kernel or another sandbox would stamp",
        )  # fmt: skip
    return ok(what, "departures and arrivals are stamped")


def sysctls(directory: Path = SYSCTLS) -> Iterator[Finding]:
    """The settings of the kernel that decide whether echoes are sent and answered here."""
    group_range = _read(directory / "ping_group_range")
    if group_range is not None:
        yield _ping_group_range(group_range)
    if _read(directory / "icmp_echo_ignore_all") not in {None, "0"}:
        yield warn(
            "icmp_echo_ignore_all", "this host answers no echo: to the others it looks like a dead path",
            "sysctl -w net.ipv4.icmp_echo_ignore_all=0",
        )  # fmt: skip
    mask = _read(directory / "icmp_ratemask")
    if mask is not None and int(mask) & _ECHO_REPLY_BIT:
        yield warn(
            "icmp_ratemask", "echo replies of this host are rate-limited: the others see loss that is none",
            f"sysctl -w net.ipv4.icmp_ratemask={int(mask) & ~_ECHO_REPLY_BIT}",
        )  # fmt: skip


def _ping_group_range(text: str) -> Finding:
    first, last = map(int, text.split())
    groups = {os.getegid(), *os.getgroups()}
    if any(first <= group <= last for group in groups):
        return ok("ping_group_range", f"{first} to {last} holds a group of this user")
    detail = f"{first} to {last} holds no group of this user: datagram sockets are not allowed"
    if os.geteuid() == 0:
        return ok("ping_group_range", f"{detail}, raw ones are (root)")
    return warn("ping_group_range", detail, "sysctl -w net.ipv4.ping_group_range='0 2147483647', or CAP_NET_RAW")


def _read(path: Path) -> str | None:
    """None where the kernel has no such setting, or does not show it."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def local_policy(path: Path, required: bool) -> tuple[Finding, LocalPolicy | None]:
    """The policy of this host, and what it says; None when it is not to be believed."""
    try:
        found = load_policy(path, required=required)
    except ConfigError as error:
        return fail("local policy", str(error), "put the file right: the agent does not start with it"), None
    if not path.exists():
        detail = f"{path} is not there: only the compiled limits hold"
        return warn("local policy", detail, "name the networks this agent may probe there: allowed_networks"), found
    networks = "every host address" if found.allowed is None else f"{len(found.allowed)} networks"
    detail = f"{path}: {networks}, {found.packets_per_s:,} packets a second, {found.payload_bytes_max:,} B at most"
    return ok("local policy", detail), found


def state_directory(directory: Path) -> Iterator[Finding]:
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


def running_agent(status: AgentStatus | None, now_s: int) -> Iterator[Finding]:
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


def host_clock(state: wire.ClockState | None) -> Finding:
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
