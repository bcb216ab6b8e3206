"""Limits failed attempts of each client: bounded memory, per process."""

from __future__ import annotations

import threading

from leadline.clock import Clock

#: A person who mistypes needs a few attempts; guessing 256 random bits needs far more.
FAILURES_PER_PERIOD_MAX = 20
FAILURE_PERIOD_S = 60
#: Peers remembered at once; the oldest is forgotten for the next.
CLIENTS_MAX = 4_096
NS_PER_S = 1_000_000_000


class FailureRateLimiter:
    """Counts failures of each peer in periods that begin with its first one."""

    def __init__(self, clock: Clock, failures_max: int = FAILURES_PER_PERIOD_MAX) -> None:
        self._clock = clock
        self._failures_max = failures_max
        #: Peer: end of its period (monotonic) and failures in it, oldest period first.
        self._periods: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def retry_after_s(self, client: str) -> int:
        """Whole seconds until ``peer`` may try again; 0 at once."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            end_ns, failures = self._periods.get(client, (0, 0))
        if failures < self._failures_max or end_ns <= now_ns:
            return 0
        return -((now_ns - end_ns) // NS_PER_S)

    def record_failure(self, client: str) -> None:
        """Note a failure."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            end_ns, failures = self._periods.get(client, (0, 0))
            if end_ns > now_ns:
                self._periods[client] = (end_ns, failures + 1)
                return
            self._periods.pop(client, None)
            if len(self._periods) >= CLIENTS_MAX:
                self._periods.pop(next(iter(self._periods)))
            self._periods[client] = (now_ns + FAILURE_PERIOD_S * NS_PER_S, 1)
