"""Who may run network tests: every test here that uses the fixture ``wan`` or carries the mark ``network`` is one.

Without network namespaces they are skipped and say why; on CI (the variable CI is set) that is a failure.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from leadline.clock import SystemClock
from leadline_agent.probe.kernel_timestamps import SO_TIMESTAMPING, TIMESTAMP_RX_TX
from tests.network.namespaces import find_unavailable_reason
from tests.network.priority import run_as_others, run_before_others
from tests.network.wan import Wan

_HERE = Path(__file__).parent
_unavailable_reason = cache(find_unavailable_reason)
TIMESTAMPING_TIMEOUT_NS = 5_000_000_000


@pytest.fixture(scope="session", autouse=True)
def _stamping() -> Iterator[None]:
    """The kernel stamps arrivals: it begins a moment after a first socket asks for it, and stops with the last."""
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        asking.bind(("127.0.0.1", 0))
        asking.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TIMESTAMP_RX_TX)
        deadline_ns = SystemClock().monotonic_ns() + TIMESTAMPING_TIMEOUT_NS
        while not _is_stamped(asking):
            assert SystemClock().monotonic_ns() < deadline_ns, "the kernel stamps no arrivals"
        yield


def _is_stamped(sock: socket.socket) -> bool:
    sock.sendto(b"", sock.getsockname())
    return any(kind == SO_TIMESTAMPING for _, kind, _ in sock.recvmsg(0, 1_024)[1])


@pytest.fixture(autouse=True)
def _before_others(request: pytest.FixtureRequest) -> Iterator[None]:
    """A busy machine delays no probe of the tests here."""
    if request.node.get_closest_marker("network") is None:
        yield
        return
    run_before_others()
    yield
    run_as_others()


@pytest.fixture(name="wan")
def _wan() -> Iterator[Wan]:
    """An emulated WAN without rules: everything passes at once."""
    with Wan() as wan:
        yield wan


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the test bed, so that ``-m network`` finds it."""
    for item in items:
        if item.path.is_relative_to(_HERE) and "wan" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.network)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail on CI, where the machine cannot do it."""
    if item.get_closest_marker("network") is None:
        return
    reason = _unavailable_reason()
    if reason is None:
        return
    _skip_or_fail(reason)


@pytest.fixture(name="nft")
def _nft() -> None:
    """For tests of a local firewall."""
    if shutil.which("nft") is None:
        _skip_or_fail("the command nft is missing: install nftables")


def _skip_or_fail(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"network tests must run on CI: {reason}", pytrace=False)
    pytest.skip(reason)
