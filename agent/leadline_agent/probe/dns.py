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
from leadline_agent.probe.ipc import ProbePlan, ProbeTarget

#: A name server that does not answer holds a thread for ten seconds and more: 50 such names take a minute.
THREADS_MAX = 8


def resolved(plan: control.Plan, addresses: Mapping[str, str | None]) -> ProbePlan:
    """The plan as the probing process needs it; ``addresses`` has those of the names."""
    return ProbePlan(plan.mesh_version, [_probe_target(one, plan.source_address, addresses) for one in plan.targets])


def _probe_target(target: control.PlanTarget, source: str | None, addresses: Mapping[str, str | None]) -> ProbeTarget:
    address = target.address if _version(target.address) else addresses.get(target.address)
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


class Resolver:
    """Asks for the names of plans and keeps the answers. Belongs to one thread; the asking is done in others."""

    def __init__(self, resolve: Callable[[str], str | None] = resolve) -> None:
        self._resolve = resolve
        self._changed = threading.Condition()
        self._questions: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._threads = 0
        self._asked: set[str] = set()
        self._addresses: dict[str, str | None] = {}
        self._has_news = False

    def ask(self, plan: control.Plan) -> None:
        """Ask for every name of the plan, but for those that are being asked for already."""
        names = {one.address for one in plan.targets if not _version(one.address)}
        with self._changed:
            self._addresses = {name: found for name, found in self._addresses.items() if name in names}
            new = sorted(names - self._asked)
            self._asked.update(new)
        for name in new:
            self._questions.put(name)
        for _ in range(min(len(new), THREADS_MAX) - self._threads):
            # Daemons, so that a name server that does not answer does not hold up the end of the agent.
            threading.Thread(target=self._answer, daemon=True, name="resolve").start()
            self._threads += 1

    def wait(self, timeout_s: float) -> None:
        """Return when every name that was asked for has its answer, or after ``timeout_s``."""
        with self._changed:
            self._changed.wait_for(lambda: not self._asked, timeout_s)

    @property
    def has_news(self) -> bool:
        """Whether an answer came since ``known`` was called last."""
        with self._changed:
            return self._has_news

    def known(self) -> dict[str, str | None]:
        """The last answer for each name that had one; None is the answer that it has no address."""
        with self._changed:
            self._has_news = False
            return dict(self._addresses)

    def _answer(self) -> None:
        while True:
            name = self._questions.get()
            address = self._resolve(name)
            with self._changed:
                self._addresses[name] = address
                self._asked.discard(name)
                self._has_news = True
                self._changed.notify_all()
