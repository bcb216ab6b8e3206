"""Fixtures of the network tests: tests here that use the fixture ``wan`` or have the mark ``network``.

Without network namespaces they are skipped with the reason; on CI (the variable CI is set) they fail.
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
    """Keep a socket with timestamps open: the kernel enables them with a delay and disables them with the last one."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TIMESTAMP_RX_TX)
        deadline_ns = SystemClock().monotonic_ns() + TIMESTAMPING_TIMEOUT_NS
        while not _is_stamped(sock):
            assert SystemClock().monotonic_ns() < deadline_ns, "the kernel does not timestamp received packets"
        yield


def _is_stamped(sock: socket.socket) -> bool:
    sock.sendto(b"", sock.getsockname())
    return any(kind == SO_TIMESTAMPING for _, kind, _ in sock.recvmsg(0, 1_024)[1])


@pytest.fixture(autouse=True)
def _before_others(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run network tests at realtime priority, so that other load does not delay probes."""
    if request.node.get_closest_marker("network") is None:
        yield
        return
    run_before_others()
    yield
    run_as_others()


@pytest.fixture(name="wan")
def _wan() -> Iterator[Wan]:
    """Yield an emulated WAN without rules: all frames pass without delay."""
    with Wan() as wan:
        yield wan


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use the test bed, so that ``-m network`` selects them."""
    for item in items:
        if item.path.is_relative_to(_HERE) and "wan" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.network)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a network test, or fail it on CI, if the machine has no network namespaces."""
    if item.get_closest_marker("network") is None:
        return
    reason = _unavailable_reason()
    if reason is None:
        return
    _skip_or_fail(reason)


@pytest.fixture(name="nft")
def _nft() -> None:
    """Require nftables, for tests of a local firewall."""
    if shutil.which("nft") is None:
        _skip_or_fail("the command nft is missing: install nftables")


def _skip_or_fail(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"network tests must run on CI: {reason}", pytrace=False)
    pytest.skip(reason)
