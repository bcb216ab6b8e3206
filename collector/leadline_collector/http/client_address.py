"""The address of a client, as failures are counted by it (``auth/failure_limit.py``)."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request

#: An IPv6 customer has a /64 at least: one peer.
IPV6_PREFIX_LENGTH = 64


def get_client_network(request: Request, behind_proxy: bool) -> str:
    """The address of whoever asks.

    Behind a proxy it is what that proxy added, the last of the list: anything before it came with the request.
    """
    forwarded = request.headers.getlist("x-forwarded-for") if behind_proxy else []
    if forwarded:
        return _to_client_network(forwarded[-1].rpartition(",")[2].strip())
    return _to_client_network(request.client.host if request.client else "")


def _to_client_network(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "unknown"
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, IPV6_PREFIX_LENGTH), strict=False))
    return str(address)
