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


class Namespace:
    """One network namespace, held by a descriptor until ``close``."""

    def __init__(self) -> None:
        """Make a new one, empty but for a loopback that is down. OSError where that is not allowed."""
        home = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _raise_on_error(_libc().unshare(_CLONE_NEWNET))
            try:
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


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _raise_on_error(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
