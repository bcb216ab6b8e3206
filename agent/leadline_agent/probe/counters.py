"""Counters of the prober. They show whether this host distorted a measurement."""

from __future__ import annotations

from msgspec import Struct


class ProberCounters(Struct, kw_only=True):
    """Totals since the prober started. Only the prober changes them."""

    sent: int = 0
    received: int = 0
    duplicates: int = 0
    #: Replies with our cookie that match no probe in flight: after the late wait, or from another address.
    strays: int = 0
    #: Packets lost because a receive queue of this process was full.
    dropped: int = 0
    #: Slots not sent because of the packet rate limit.
    withheld: int = 0
    stalls: int = 0
    clock_steps: int = 0
    #: Longest delay of a send behind its schedule, nanoseconds.
    lag_ns_max: int = 0
