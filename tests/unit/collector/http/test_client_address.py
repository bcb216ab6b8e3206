"""Client addresses for rate limits."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from leadline_collector.http.client_address import get_client_network


def request(client: str, *forwarded: str) -> Request:
    """Create a request from an address, with these X-Forwarded-For headers."""
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
def test_client_address_is_from_the_connection_or_the_proxy(
    client: str, forwarded: list[str], behind_proxy: bool, expected: str
) -> None:
    """Behind a proxy, only the entry that the proxy added counts; entries from the client are ignored."""
    assert get_client_network(request(client, *forwarded), behind_proxy) == expected
