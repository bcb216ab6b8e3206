"""Network namespaces without names: the kernel removes one when its last descriptor and its last process are gone.

A thread enters one with setns(2); its new sockets and processes stay inside. (``ip netns add`` would leave a mount in
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
#: A new namespace inherits interface settings of the host, which a container engine or an administrator may have
#: changed. These are the kernel's defaults, without redirects and router advertisements.
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
    # These come first: they change other keys.
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
    """One network namespace, kept alive by a descriptor until ``close``."""

    def __init__(self) -> None:
        """Create a namespace with only a loopback, which is down; raise OSError without permission."""
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
        """The inode of /proc/PID/ns/net of every process inside."""
        return os.fstat(self.fd).st_ino

    @property
    def path(self) -> str:
        """A path for other processes while this process runs: ``nsenter --net=PATH``."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Move the current thread inside for the duration of the block; other threads do not move."""
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
        """Close the descriptor; the kernel removes the namespace when no process and no socket is left inside."""
        os.close(self.fd)


def find_unavailable_reason() -> str | None:
    """Return why network namespaces cannot be used here; None if they can."""
    if shutil.which("ip") is None:
        return "the command ip is missing: install iproute2"
    try:
        Namespace().close()
    except OSError as error:
        return f"network namespaces are not allowed here ({error.strerror}): run as root, a container as privileged"
    return None


def _set_sysctls() -> None:
    """Write ``SYSCTLS`` in the namespace of the current thread, so that settings of the host do not matter."""
    for key, value in SYSCTLS.items():
        path = _SYSCTLS / key
        if path.exists():  # the IPv6 keys do not exist without IPv6
            path.write_text(value)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _raise_on_error(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
