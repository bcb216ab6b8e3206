"""Unit tests need no network, no database, no other process and no real time: a test that reaches for one fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

#: Audit events (docs.python.org/3/library/audit_events.html) and the resource behind each.
FORBIDDEN = {
    "os.exec": "another process",
    "os.fork": "another process",
    "os.posix_spawn": "another process",
    "os.system": "another process",
    "socket.bind": "the network",
    "socket.connect": "the network",
    "socket.getaddrinfo": "the network",
    "socket.gethostbyname": "the network",
    "socket.sendmsg": "the network",
    "socket.sendto": "the network",
    "sqlite3.connect": "a database",
    "subprocess.Popen": "another process",
    "time.sleep": "real time: use tests/support/clock.py",
}


class _Guard:
    """An audit hook that can be switched off: Python cannot remove one."""

    is_on = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on or event not in FORBIDDEN:
            return
        if event == "socket.getaddrinfo" and not arguments[0]:
            return  # The empty name needs no name server.
        pytest.fail(f"a unit test needs {FORBIDDEN[event]} ({event}): move it to tests/integration")


@pytest.fixture(scope="session", name="guard")
def _guard() -> _Guard:
    guard = _Guard()
    sys.addaudithook(guard)
    return guard


@pytest.fixture(autouse=True)
def _isolated(guard: _Guard) -> Iterator[None]:
    guard.is_on = True
    yield
    guard.is_on = False
