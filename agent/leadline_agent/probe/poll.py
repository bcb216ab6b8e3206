"""Wait for a deadline or a readable descriptor."""

from __future__ import annotations

import select
from collections.abc import Sequence

from leadline.clock import Clock


def poll_until(clock: Clock, until_ns: int, descriptors: Sequence[int]) -> list[int]:
    """Wait until monotonic ``until_ns`` or until a descriptor is readable; return the readable descriptors.

    With descriptors, the wait can end up to a millisecond late (resolution of poll(2)). This does not affect results.
    """
    if not descriptors:
        clock.sleep_until(until_ns)
        return []
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    wait_ns = max(until_ns - clock.monotonic_ns(), 0)
    return [descriptor for descriptor, _ in poll.poll(-(-wait_ns // 1_000_000))]
