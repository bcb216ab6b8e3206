"""Client address for failure rate limits (``auth/failure_limit.py``)."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request

#: An IPv6 customer has at least a /64, so the whole /64 counts as one client.
IPV6_PREFIX_LENGTH = 64


def get_client_network(request: Request, behind_proxy: bool) -> str:
    """Return the client's IPv4 address or IPv6 /64 network; "unknown" if the address does not parse.

    Behind a proxy, only the last entry of X-Forwarded-For is used: the proxy added it, the client sent the others.
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
