"""Rate limit for failed attempts of each client: per process, in bounded memory."""

from __future__ import annotations

import threading

from leadline.clock import Clock

#: Enough for a person who mistypes; far too few to guess 256 random bits.
FAILURES_PER_PERIOD_MAX = 20
FAILURE_PERIOD_S = 60
#: Clients tracked at once; a new one replaces the oldest.
CLIENTS_MAX = 4_096
NS_PER_S = 1_000_000_000


class FailureRateLimiter:
    """Counts failures of each client in periods that begin with its first failure."""

    def __init__(self, clock: Clock, failures_max: int = FAILURES_PER_PERIOD_MAX) -> None:
        self._clock = clock
        self._failures_max = failures_max
        #: By client: end of its period (monotonic ns) and failures in it; oldest period first.
        self._periods: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def retry_after_s(self, client: str) -> int:
        """Return whole seconds until the client may try again; 0 if it may try now."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            end_ns, failures = self._periods.get(client, (0, 0))
        if failures < self._failures_max or end_ns <= now_ns:
            return 0
        return -((now_ns - end_ns) // NS_PER_S)

    def record_failure(self, client: str) -> None:
        """Count one failure of the client."""
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
