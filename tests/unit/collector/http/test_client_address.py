"""The address of a client."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from leadline_collector.http.client_address import get_client_network


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
    assert get_client_network(request(client, *forwarded), behind_proxy) == expected
