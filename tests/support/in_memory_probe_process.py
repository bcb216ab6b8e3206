"""The prober process in memory: a fake clock, a fake network, and a script of plans and clock steps."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from functools import partial

from leadline.clock import make_rng
from leadline.model import ProbeSettings
from leadline.wire import batch as wire
from leadline_agent.probe.__main__ import ProberLoop
from leadline_agent.probe.ipc import PlanMessage, TargetMessage, WindowsMessage, read_message, write_message
from leadline_agent.probe.policy_file import LocalPolicy
from tests.support.clock import FakeClock
from tests.support.fake_probe_socket import FakeNetwork, Fate

NS_PER_S = 1_000_000_000
#: A whole UTC minute.
START_S = 1_700_000_040
REPLY_FATE = Fate(replies_ns=(5_000_000,))


class ScriptedClock(FakeClock):
    """A fake clock that runs scheduled actions when it reaches their time."""

    def __init__(self, start_s: int = START_S) -> None:
        super().__init__(wall_ns=start_s * NS_PER_S)
        self.script: list[tuple[int, Callable[[], None]]] = []

    def schedule(self, at_s: float, action: Callable[[], None]) -> None:
        """Run ``action`` ``at_s`` seconds after the start."""
        self.script.append((int(at_s * NS_PER_S), action))
        self.script.sort(key=lambda line: line[0])

    def sleep_until(self, monotonic_ns: int) -> None:
        super().sleep_until(monotonic_ns)
        while self.script and self.script[0][0] <= self.monotonic_ns():
            self.script.pop(0)[1]()


def build_target(name: str = "zrh-a1", address: str | None = "192.0.2.1", dscp: int = 0) -> TargetMessage:
    return TargetMessage(name, address, None, ProbeSettings(dscp=dscp))


def run_process(
    *plans: tuple[int, PlanMessage],
    end_s: int,
    fate: Callable[[int], Fate] = lambda _: REPLY_FATE,
    start_s: int = START_S,
    steps: Sequence[tuple[float, float]] = (),
    seed: int = 1,
) -> list[WindowsMessage]:
    """Run a process with these plans until ``end_s``; return the messages that it writes.

    ``plans`` are (seconds after the start, plan), ``steps`` (seconds after the start, seconds of the wall-clock step).
    """
    reading, writing = os.pipe()
    clock, written = ScriptedClock(start_s), io.BytesIO()
    with os.fdopen(reading, "rb", buffering=0) as plans_in, os.fdopen(writing, "wb") as plans_out:
        write_message(plans_out, plans[0][1])
        for at_s, plan in plans[1:]:
            clock.schedule(at_s, partial(write_message, plans_out, plan))
        for step_at_s, step_s in steps:
            clock.schedule(step_at_s, partial(clock.step, int(step_s * NS_PER_S)))
        clock.schedule(end_s, plans_out.close)
        network, rng = FakeNetwork(clock, fate), make_rng(seed)
        ProberLoop(plans_in, written, clock, LocalPolicy(), open_socket=network.open, rng=rng).run()
    written.seek(0)
    messages = []
    while (message := read_message(written, WindowsMessage)) is not None:
        messages.append(message)
    return messages


def decode_windows(messages: list[WindowsMessage], start_s: int = START_S) -> list[tuple[int, int, wire.TargetWindow]]:
    """Return (minute, mesh version, window) of every window; minutes count from the start."""
    return [
        ((window.start_s - start_s) // 60, message.mesh_version, window)
        for message in messages
        for window in message.windows
    ]
