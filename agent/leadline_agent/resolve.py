"""From names to addresses: one address a name, asked for before the probing process needs it."""

from __future__ import annotations

import ipaddress
import socket

from leadline import wire
from leadline_agent.frames import ProbePlan, ProbeTarget


def resolved(plan: wire.Plan) -> ProbePlan:
    """The plan as the probing process needs it; a name without an address keeps its slots, as resolve errors."""
    return ProbePlan(plan.mesh_version, [_probe_target(target, plan.source_address) for target in plan.targets])


def _probe_target(target: wire.PlanTarget, source: str | None) -> ProbeTarget:
    address = resolve(target.address)
    usable = address is not None and source is not None and _version(address) == _version(source)
    return ProbeTarget(
        name=target.name,
        address=address,
        source=source if usable else None,
        interval_ms=target.interval_ms,
        timeout_ms=target.timeout_ms,
        payload_bytes=target.payload_bytes,
        dscp=target.dscp,
        dont_fragment=target.dont_fragment,
    )


def _version(address: str) -> int | None:
    """4 or 6 for an IP literal, None for a name."""
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return None


def resolve(address: str) -> str | None:
    """The first address of a name, in the order the host prefers (RFC 6724); None when it has none.

    One address and no second try: who measures must know what was measured.
    """
    if _version(address):
        return address
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        # UnicodeError: no name at all, such as one with an empty label; a plan is data from elsewhere.
        return None
    return str(found[0][4][0]) if found else None
