"""What the engine says about itself: a measurement without it is weak evidence."""

from __future__ import annotations

from msgspec import Struct


class ProberCounters(Struct, kw_only=True):
    """What the engine says about itself, counted up since it was made; others only read it."""

    sent: int = 0
    received: int = 0
    duplicates: int = 0
    #: Replies that carry our cookie and fit no probe that is out: too late even for "late", or from a wrong address.
    strays: int = 0
    #: Packets lost to a full receive queue of ours.
    dropped: int = 0
    #: Slots that were not sent because of the ceiling of packets a second.
    withheld: int = 0
    stalls: int = 0
    clock_steps: int = 0
    #: The longest time a send was behind its schedule, nanoseconds.
    lag_ns_max: int = 0
