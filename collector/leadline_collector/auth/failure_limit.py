"""Limits failed attempts of each client: bounded memory, per process."""

from __future__ import annotations

import threading

from leadline.clock import Clock

#: A person who mistypes needs a few attempts; guessing 256 random bits needs far more.
FAILURES_MAX = 20
PERIOD_S = 60
#: Peers remembered at once; the oldest is forgotten for the next.
PEERS_MAX = 4_096
NS_PER_S = 1_000_000_000


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
