"""Waiting for a moment or for a descriptor, whichever comes first."""

from __future__ import annotations

import select
from collections.abc import Sequence

from leadline.clock import Clock


def poll_until(clock: Clock, until_ns: int, descriptors: Sequence[int]) -> list[int]:
    """Return at monotonic ``until_ns``, or as soon as one of ``descriptors`` is readable; those that are.

    With descriptors the end is up to a millisecond late (poll(2) counts in them); nothing measured depends on it.
    """
    if not descriptors:
        clock.sleep_until(until_ns)
        return []
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    wait_ns = max(until_ns - clock.monotonic_ns(), 0)
    return [descriptor for descriptor, _ in poll.poll(-(-wait_ns // 1_000_000))]
