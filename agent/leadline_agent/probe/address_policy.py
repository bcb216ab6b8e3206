"""What an agent may send to, and how much: ceilings compiled in, which no file and no server can lift.

Rule: the check is made on the resolved address, by the prober, before the first packet of a target. A local policy may
narrow it (pass another predicate), never widen it: ``may_send`` is always asked as well.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from leadline.errors import ConfigError
from leadline_agent.probe.results import ProbeTarget

#: Packets a second of one prober. 50,000 targets at 1/s are ten times the largest mesh this is made for; 98 bytes of
#: frame times 50,000 is 39 Mb/s, which no link between data centres notices and no host is hurt by.
PACKETS_PER_S_MAX = 50_000

#: Metadata services of clouds outside of the link-local ranges: they hand out credentials, nobody's RTT lies there.
_METADATA_ADDRESSES = frozenset({"fd00:ec2::254", "100.100.100.200", "192.0.0.192"})
#: RFC 1122 §3.2.1.3: "this network", and the limited broadcast.
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_BROADCAST = ipaddress.ip_address("255.255.255.255")


def is_address_allowed(address: str) -> bool:
    """False for what is no single host's own address: multicast, broadcast, link-local, unspecified, metadata.

    ``address`` is an IP literal; ValueError if it is not. A subnet's own broadcast address cannot be known here; the
    kernel refuses it (EACCES), because SO_BROADCAST is never set.
    """
    ip = parse_address(address)
    if ip.is_multicast or ip.is_link_local or ip.is_unspecified or str(ip) in _METADATA_ADDRESSES:
        return False
    return ip.version == 6 or (ip != _BROADCAST and ip not in _THIS_NETWORK)


def parse_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address as what goes on the wire: an IPv4-mapped IPv6 address is an IPv4 address. ValueError if none."""
    ip = ipaddress.ip_address(address)
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def check_targets(targets: Sequence[ProbeTarget], is_allowed_locally: Callable[[str], bool]) -> None:
    """Raise ConfigError unless every one of these may be probed, and all of them together.

    ``narrower`` is the local policy: it can forbid more, never allow more.
    """
    names: set[str] = set()
    for aim in targets:
        if aim.name in names:
            raise ConfigError(f"target {aim.name}", "is given twice")
        names.add(aim.name)
        if aim.address is not None:
            _check_addresses(aim, aim.address, is_allowed_locally)
    rate = sum(1_000 / aim.settings.interval_ms for aim in targets)
    if rate > PACKETS_PER_S_MAX:
        raise ConfigError(
            "targets", f"{rate:,.0f} packets a second are asked for, at most {PACKETS_PER_S_MAX:,} are sent"
        )


def _check_addresses(aim: ProbeTarget, address: str, narrower: Callable[[str], bool]) -> None:
    key = f"target {aim.name}"
    try:
        ip = parse_address(address)
        source = ip if aim.source is None else ipaddress.ip_address(aim.source)
    except ValueError as error:
        raise ConfigError(key, str(error)) from None
    if not (is_address_allowed(address) and narrower(address)):
        raise ConfigError(key, f"{address} may not be probed, by the policy of this agent")
    if source.version != ip.version:
        raise ConfigError(key, f"source {source} and address {address} are of different families")
