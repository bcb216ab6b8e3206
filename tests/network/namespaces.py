"""Network namespaces without names: each lives as long as a descriptor or a process holds it, so none is left behind.

A thread enters one by setns(2); what it opens or starts inside stays there. (``ip netns add`` would leave a mount in
/run/netns when the test run is killed.)
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x4000_0000
_OWN_NAMESPACE = Path("/proc/thread-self/ns/net")
_SYSCTLS = Path("/proc/sys/net")
#: A new namespace takes settings of interfaces from the host, where a container engine or an administrator changed
#: them. These are the kernel's own, without redirects and router advertisements.
_PER_DEVICE = {
    "ipv4": {
        "accept_local": 0,
        "accept_redirects": 0,
        "accept_source_route": 0,
        "arp_announce": 0,
        "arp_filter": 0,
        "arp_ignore": 0,
        "ignore_routes_with_linkdown": 0,
        "route_localnet": 0,
        "rp_filter": 0,
        "secure_redirects": 0,
        "send_redirects": 0,
    },
    "ipv6": {
        "accept_dad": 0,
        "accept_ra": 0,
        "accept_redirects": 0,
        "accept_source_route": 0,
        "autoconf": 0,
        "disable_ipv6": 0,
        "hop_limit": 64,
        "ignore_routes_with_linkdown": 0,
    },
}
SYSCTLS = {
    # The first ones: they set other keys.
    "ipv4/ip_forward": "0",
    "ipv6/conf/all/forwarding": "0",
    "ipv6/conf/default/forwarding": "0",
    "ipv4/icmp_echo_ignore_all": "0",
    "ipv4/icmp_ratelimit": "1000",
    "ipv4/icmp_ratemask": "6168",
    "ipv4/ip_default_ttl": "64",
    "ipv4/ip_no_pmtu_disc": "0",
    "ipv4/ip_nonlocal_bind": "0",
    "ipv4/ping_group_range": "1\t0",
    "ipv6/icmp/echo_ignore_all": "0",
    "ipv6/icmp/ratelimit": "1000",
    "ipv6/ip_nonlocal_bind": "0",
} | {
    f"{family}/conf/{device}/{key}": str(value)
    for family, settings in _PER_DEVICE.items()
    for device in ("all", "default", "lo")
    for key, value in settings.items()
}


class Namespace:
    """One network namespace, held by a descriptor until ``close``."""

    def __init__(self) -> None:
        """Make a new one, empty but for a loopback that is down. OSError where that is not allowed."""
        home = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _raise_on_error(_libc().unshare(_CLONE_NEWNET))
            try:
                _set_sysctls()
                self.fd = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
            finally:
                _raise_on_error(_libc().setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)

    @property
    def inode(self) -> int:
        """What stat(2) of a process's /proc/PID/ns/net says where the process is inside."""
        return os.fstat(self.fd).st_ino

    @property
    def path(self) -> str:
        """A name other processes can use while this one lives: ``nsenter --net=PATH``."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextmanager
    def enter(self) -> Iterator[None]:
        """The current thread is inside; other threads stay where they are."""
        home = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _raise_on_error(_libc().setns(self.fd, _CLONE_NEWNET))
            try:
                yield
            finally:
                _raise_on_error(_libc().setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)

    def close(self) -> None:
        """Let go of it; the kernel removes it with its interfaces when no process and no socket is left inside."""
        os.close(self.fd)


def find_unavailable_reason() -> str | None:
    """Why network namespaces cannot be used here; None if they can."""
    if shutil.which("ip") is None:
        return "the command ip is missing: install iproute2"
    try:
        Namespace().close()
    except OSError as error:
        return f"network namespaces are not allowed here ({error.strerror}): run as root, a container as privileged"
    return None


def _set_sysctls() -> None:
    """Give the current thread's namespace the settings of ``SYSCTLS``, whatever the settings of the host."""
    for key, value in SYSCTLS.items():
        path = _SYSCTLS / key
        if path.exists():  # not without IPv6
            path.write_text(value)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _raise_on_error(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
