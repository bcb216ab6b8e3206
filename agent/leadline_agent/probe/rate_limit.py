"""The ceiling of packets a second at the one place that sends: a token bucket, the last word after every other check.

A plan that asks for too much is narrowed before it begins (``local_policy``); this holds even if that, or the schedule,
is wrong. It costs 0.2 µs a packet, of about 35.
"""

from __future__ import annotations

#: A prober that stood still for a moment sends what is not yet too late, half an interval of everything, at once; and
#: random places in slots bunch up. Two seconds' worth holds both at the default interval.
BURST_S = 2


class TokenBucket:
    """Lets ``packets_per_s`` through, and after silence ``BURST_S`` times as many at once."""

    def __init__(self, packets_per_s: int, now_ns: int) -> None:
        assert packets_per_s >= 1
        self._token_ns = 1_000_000_000 // packets_per_s
        self._burst_ns = BURST_S * 1_000_000_000 - self._token_ns
        #: When everything let through so far would have been sent at an even pace, monotonic nanoseconds.
        self._theoretical_arrival_ns = now_ns

    def try_consume(self, now_ns: int) -> bool:
        """True when a packet may leave at monotonic ``now_ns``; it is counted then."""
        paid_until_ns = self._theoretical_arrival_ns
        if paid_until_ns - now_ns > self._burst_ns:
            return False
        self._theoretical_arrival_ns = max(paid_until_ns, now_ns) + self._token_ns
        return True
