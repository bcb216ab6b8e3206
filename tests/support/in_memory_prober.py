"""Prober process with an in-memory network: ``python -m tests.support.in_memory_prober START_S [RTT_US]``.

It is the product's process except for sockets and clock: every probe has the same RTT, and a minute takes less than
half a second.
"""

from __future__ import annotations

import sys

from leadline.clock import SystemClock
from leadline_agent.probe.__main__ import ProberLoop
from leadline_agent.probe.policy_file import LocalPolicy
from tests.support.clock import FakeClock
from tests.support.fake_probe_socket import FakeNetwork, Fate

NS_PER_S = 1_000_000_000
#: Simulated seconds per real second.
SPEED = 200
RTT_US = 5_000


class PacedClock(FakeClock):
    """A fake clock that limits its speed to ``SPEED``."""

    def __init__(self, start_s: int) -> None:
        super().__init__(start_s * NS_PER_S)
        self._real = SystemClock()
        self._start_ns = self._real.monotonic_ns()

    def sleep_until(self, monotonic_ns: int) -> None:
        super().sleep_until(monotonic_ns)
        self._real.sleep_until(self._start_ns + self.monotonic_ns() // SPEED)


def main() -> int:
    """Probe until standard input ends."""
    clock = PacedClock(int(sys.argv[1]))
    rtt_us = int(sys.argv[2]) if len(sys.argv) > 2 else RTT_US
    network = FakeNetwork(clock, lambda _: Fate(replies_ns=(rtt_us * 1_000,)))
    with open(0, "rb", buffering=0, closefd=False) as plans:
        ProberLoop(plans, sys.stdout.buffer, clock, LocalPolicy(), open_socket=network.open).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
