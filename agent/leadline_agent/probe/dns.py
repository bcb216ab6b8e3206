"""From names to addresses: one address a name, asked for before the probing process needs it.

Rule: nobody waits for a name server. Names are asked for in threads of their own, and a plan is handed over with what
is known; a name without an address keeps its slots, as resolve errors, until it has one.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from collections.abc import Callable, Mapping

from leadline.wire import control
from leadline_agent.probe.ipc import PlanMessage, TargetMessage

#: A name server that does not answer holds a thread for ten seconds and more: 50 such names take a minute.
THREADS_MAX = 8


def resolve_plan(plan: control.Plan, addresses: Mapping[str, str | None]) -> PlanMessage:
    """The plan as the probing process needs it; ``addresses`` has those of the names."""
    return PlanMessage(
        plan.mesh_version, [_build_target_message(one, plan.source_address, addresses) for one in plan.targets]
    )


def _build_target_message(
    target: control.PlanTarget, source: str | None, addresses: Mapping[str, str | None]
) -> TargetMessage:
    address = target.address if _parse_ip_version(target.address) else addresses.get(target.address)
    usable = address is not None and source is not None and _parse_ip_version(address) == _parse_ip_version(source)
    return TargetMessage(
        name=target.name,
        address=address,
        source=source if usable else None,
        interval_ms=target.interval_ms,
        timeout_ms=target.timeout_ms,
        payload_bytes=target.payload_bytes,
        dscp=target.dscp,
        dont_fragment=target.dont_fragment,
    )


def _parse_ip_version(address: str) -> int | None:
    """4 or 6 for an IP literal, None for a name."""
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return None


def resolve_name(address: str) -> str | None:
    """The first address of a name, in the order the host prefers (RFC 6724); None when it has none.

    One address and no second try: who measures must know what was measured.
    """
    if _parse_ip_version(address):
        return address
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        # UnicodeError: no name at all, such as one with an empty label; a plan is data from elsewhere.
        return None
    return str(found[0][4][0]) if found else None


class Resolver:
    """Asks for the names of plans and keeps the answers. Belongs to one thread; the asking is done in others."""

    def __init__(self, lookup: Callable[[str], str | None] = resolve_name) -> None:
        self._lookup = lookup
        self._condition = threading.Condition()
        self._name_queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread_count = 0
        self._pending_names: set[str] = set()
        self._addresses: dict[str, str | None] = {}
        self._has_new_addresses = False

    def start_lookups(self, plan: control.Plan) -> None:
        """Ask for every name of the plan, but for those that are being asked for already."""
        names = {one.address for one in plan.targets if not _parse_ip_version(one.address)}
        with self._condition:
            self._addresses = {name: found for name, found in self._addresses.items() if name in names}
            new = sorted(names - self._pending_names)
            self._pending_names.update(new)
        for name in new:
            self._name_queue.put(name)
        for _ in range(min(len(new), THREADS_MAX) - self._thread_count):
            # Daemons, so that a name server that does not answer does not hold up the end of the agent.
            threading.Thread(target=self._run_lookups, daemon=True, name="resolve").start()
            self._thread_count += 1

    def wait(self, timeout_s: float) -> None:
        """Return when every name that was asked for has its answer, or after ``timeout_s``."""
        with self._condition:
            self._condition.wait_for(lambda: not self._pending_names, timeout_s)

    @property
    def has_new_addresses(self) -> bool:
        """Whether an answer came since ``known`` was called last."""
        with self._condition:
            return self._has_new_addresses

    def read_addresses(self) -> dict[str, str | None]:
        """The last answer for each name that had one; None is the answer that it has no address."""
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
