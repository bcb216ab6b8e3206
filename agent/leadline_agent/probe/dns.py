"""DNS resolution of target names: one address for each name, before the prober process needs it.

Rule: the agent never waits for a name server. Background threads resolve names, and a plan is sent with the addresses
known so far. The slots of a name without an address are resolve errors until it has one.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from collections.abc import Callable, Mapping

from leadline.wire import control
from leadline_agent.probe.ipc import PlanMessage, TargetMessage

#: An unresponsive name server blocks a thread for ten seconds or more: 50 such names take a minute.
THREADS_MAX = 8


def resolve_plan(plan: control.Plan, addresses: Mapping[str, str | None]) -> PlanMessage:
    """Return the message for the prober process; ``addresses`` maps names to addresses."""
    return PlanMessage(
        plan.mesh_version, [_build_target_message(target, plan.source_address, addresses) for target in plan.targets]
    )


def _build_target_message(
    target: control.PlanTarget, source: str | None, addresses: Mapping[str, str | None]
) -> TargetMessage:
    address = target.address if _parse_ip_version(target.address) else addresses.get(target.address)
    usable = address is not None and source is not None and _parse_ip_version(address) == _parse_ip_version(source)
    return TargetMessage(name=target.name, address=address, source=source if usable else None, settings=target.settings)


def _parse_ip_version(address: str) -> int | None:
    """Return 4 or 6 for an IP literal, None for a name."""
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return None


def resolve_name(address: str) -> str | None:
    """Return the first address of a name in the host's order of preference (RFC 6724); None if it has none.

    Only one address is tried, so that it is clear which address was measured.
    """
    if _parse_ip_version(address):
        return address
    try:
        entries = socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        # UnicodeError: the name is malformed, for example has an empty label. A plan is external data.
        return None
    return str(entries[0][4][0]) if entries else None


class Resolver:
    """Resolves the names of plans in background threads and caches the addresses. One thread calls its methods."""

    def __init__(self, lookup: Callable[[str], str | None] = resolve_name) -> None:
        self._lookup = lookup
        self._condition = threading.Condition()
        self._name_queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread_count = 0
        self._pending_names: set[str] = set()
        self._addresses: dict[str, str | None] = {}
        self._has_new_addresses = False

    def start_lookups(self, plan: control.Plan) -> None:
        """Start a lookup for every name of the plan that has none in progress."""
        names = {target.address for target in plan.targets if not _parse_ip_version(target.address)}
        with self._condition:
            self._addresses = {name: address for name, address in self._addresses.items() if name in names}
            new = sorted(names - self._pending_names)
            self._pending_names.update(new)
        for name in new:
            self._name_queue.put(name)
        for _ in range(min(len(new), THREADS_MAX) - self._thread_count):
            # Daemon threads, so that an unresponsive name server does not delay the end of the agent.
            threading.Thread(target=self._run_lookups, daemon=True, name="resolve").start()
            self._thread_count += 1

    def wait(self, timeout_s: float) -> None:
        """Wait until all lookups have ended, at most ``timeout_s``."""
        with self._condition:
            self._condition.wait_for(lambda: not self._pending_names, timeout_s)

    @property
    def has_new_addresses(self) -> bool:
        """True if a lookup has ended since the last ``read_addresses``."""
        with self._condition:
            return self._has_new_addresses

    def read_addresses(self) -> dict[str, str | None]:
        """Return the latest address of each resolved name; None for a name without an address."""
        with self._condition:
            self._has_new_addresses = False
            return dict(self._addresses)

    def _run_lookups(self) -> None:
        while True:
            name = self._name_queue.get()
            address = self._lookup(name)
            with self._condition:
                self._addresses[name] = address
                self._pending_names.discard(name)
                self._has_new_addresses = True
                self._condition.notify_all()
