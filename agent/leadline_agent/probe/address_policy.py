"""Compiled limits on the addresses and the packet rate of an agent. No file and no server can lift them.

Rule: the prober checks the resolved address before the first packet to a target. A local policy can only add
restrictions: ``is_address_allowed`` applies in every case.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from leadline.errors import ConfigError
from leadline_agent.probe.results import ProbeTarget

#: Packets a second of one prober. 50,000 targets at 1/s are ten times the largest supported mesh. At 98 bytes a frame
#: this is 39 Mb/s, a negligible load for hosts and for links between data centres.
PACKETS_PER_S_MAX = 50_000

#: Cloud metadata services outside the link-local ranges. They issue credentials and are no measurement targets.
_METADATA_ADDRESSES = frozenset({"fd00:ec2::254", "100.100.100.200", "192.0.0.192"})
#: RFC 1122 §3.2.1.3: "this network", and the limited broadcast.
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_BROADCAST = ipaddress.ip_address("255.255.255.255")


def is_address_allowed(address: str) -> bool:
    """Return False for multicast, broadcast, link-local, unspecified and metadata addresses.

    ``address`` must be an IP literal, otherwise ValueError. This check cannot recognise a subnet's broadcast address;
    the kernel refuses it (EACCES), because SO_BROADCAST is never set.
    """
    ip = parse_address(address)
    if ip.is_multicast or ip.is_link_local or ip.is_unspecified or str(ip) in _METADATA_ADDRESSES:
        return False
    return ip.version == 6 or (ip != _BROADCAST and ip not in _THIS_NETWORK)


def parse_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Parse an IP literal; an IPv4-mapped IPv6 address becomes IPv4, as on the wire. ValueError if it is not one."""
    ip = ipaddress.ip_address(address)
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def check_targets(targets: Sequence[ProbeTarget], is_allowed_locally: Callable[[str], bool]) -> None:
    """Raise ConfigError if a target is not allowed or the targets exceed the packet rate together.

    ``is_allowed_locally`` is the local policy; it can only add restrictions.
    """
    names: set[str] = set()
    for target in targets:
        if target.name in names:
            raise ConfigError(f"target {target.name}", "appears twice; target names must be unique")
        names.add(target.name)
        if target.address is not None:
            _check_addresses(target, target.address, is_allowed_locally)
    rate = sum(1_000 / target.settings.interval_ms for target in targets)
    if rate > PACKETS_PER_S_MAX:
        raise ConfigError("targets", f"need {rate:,.0f} packets a second; the maximum is {PACKETS_PER_S_MAX:,}")


def _check_addresses(target: ProbeTarget, address: str, is_allowed_locally: Callable[[str], bool]) -> None:
    key = f"target {target.name}"
    try:
        ip = parse_address(address)
        source = ip if target.source is None else ipaddress.ip_address(target.source)
    except ValueError as error:
        raise ConfigError(key, str(error)) from None
    if not (is_address_allowed(address) and is_allowed_locally(address)):
        raise ConfigError(key, f"the policy of this agent forbids probing {address}")
    if source.version != ip.version:
        raise ConfigError(key, f"source {source} and address {address} belong to different address families")
