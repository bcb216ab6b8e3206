"""Who is at the other end, and how often it may fail."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from leadline_collector.http.client_limits import FAILURES_MAX, PEERS_MAX, FailureLimit, peer_of
from tests.support.clock import FakeClock

SECOND = 1_000_000_000


def request(client: str, *forwarded: str) -> Request:
    """A request from an address, with these X-Forwarded-For lines."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return Request({"type": "http", "client": (client, 1), "headers": headers})


@pytest.mark.parametrize(
    ("client", "forwarded", "behind_proxy", "expected"),
    [
        ("192.0.2.1", [], False, "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.9"], False, "192.0.2.1"),
        ("127.0.0.1", ["198.51.100.9"], True, "198.51.100.9"),
        ("127.0.0.1", ["203.0.113.5, 198.51.100.9"], True, "198.51.100.9"),
        ("127.0.0.1", ["203.0.113.5", "198.51.100.9"], True, "198.51.100.9"),
        ("127.0.0.1", ["nonsense\x00"], True, "unknown"),
        ("2001:db8:1:2:3:4:5:6", [], False, "2001:db8:1:2::/64"),
    ],
)
def test_the_peer_is_what_somebody_we_trust_says(
    client: str, forwarded: list[str], behind_proxy: bool, expected: str
) -> None:
    """The connection's address; behind a proxy only what that proxy added, never what came with the request."""
    assert peer_of(request(client, *forwarded), behind_proxy) == expected


def test_a_peer_waits_after_too_many_failures_and_no_other_does() -> None:
    """The last allowed failure closes the door until the minute is over."""
    clock = FakeClock()
    limit = FailureLimit(clock)
    for _ in range(FAILURES_MAX):
        assert limit.wait_s("a") == 0
        limit.failed("a")

    assert (limit.wait_s("a"), limit.wait_s("b")) == (60, 0)
    clock.advance(59 * SECOND + 1)
    assert limit.wait_s("a") == 1
    clock.advance(SECOND)
    assert limit.wait_s("a") == 0


def test_memory_for_peers_is_bounded() -> None:
    """One more than there is room for: the one known longest is forgotten."""
    limit = FailureLimit(FakeClock(), failures_max=1)
    for number in range(PEERS_MAX + 1):
        limit.failed(f"peer{number}")

    assert (limit.wait_s("peer0"), limit.wait_s("peer1"), limit.wait_s(f"peer{PEERS_MAX}")) == (0, 60, 60)
