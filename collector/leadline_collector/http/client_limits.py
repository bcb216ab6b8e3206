"""Who is at the other end of a connection, and how often a stranger may fail: bounded memory, one process's view."""

from __future__ import annotations

import ipaddress
import threading

from starlette.requests import Request

from leadline.clock import Clock

#: A person who mistypes needs a few; whoever guesses 256 bits needs more than there are.
FAILURES_MAX = 20
PERIOD_S = 60
#: Peers remembered at once; the longest known is forgotten for the next.
PEERS_MAX = 4_096
#: An IPv6 customer has a /64 at least: one peer.
IPV6_PREFIX = 64
NS_PER_S = 1_000_000_000


def peer_of(request: Request, behind_proxy: bool) -> str:
    """The address of whoever asks.

    Behind a proxy it is what that proxy added, the last of the list: anything before it came with the request.
    """
    forwarded = request.headers.getlist("x-forwarded-for") if behind_proxy else []
    if forwarded:
        return _network(forwarded[-1].rpartition(",")[2].strip())
    return _network(request.client.host if request.client else "")


def _network(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "unknown"
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)


class FailureLimit:
    """Counts failures of each peer in periods that begin with its first one."""

    def __init__(self, clock: Clock, failures_max: int = FAILURES_MAX) -> None:
        self._clock = clock
        self._failures_max = failures_max
        #: Peer: end of its period (monotonic) and failures in it, oldest period first.
        self._periods: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def wait_s(self, peer: str) -> int:
        """Whole seconds until ``peer`` may try again; 0 at once."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            end_ns, failures = self._periods.get(peer, (0, 0))
        if failures < self._failures_max or end_ns <= now_ns:
            return 0
        return -((now_ns - end_ns) // NS_PER_S)

    def failed(self, peer: str) -> None:
        """Note a failure."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            end_ns, failures = self._periods.get(peer, (0, 0))
            if end_ns > now_ns:
                self._periods[peer] = (end_ns, failures + 1)
                return
            self._periods.pop(peer, None)
            if len(self._periods) >= PEERS_MAX:
                self._periods.pop(next(iter(self._periods)))
            self._periods[peer] = (now_ns + PERIOD_S * NS_PER_S, 1)
