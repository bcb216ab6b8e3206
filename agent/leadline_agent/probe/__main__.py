"""The probing process of an agent: it probes, builds windows, and writes them to its standard output.

    python -m leadline_agent.probe.__main__ [POLICY_FILE]

It reads plans from standard input and ends when that ends. JSON, HTTP and DNS are the other process's business, so
that nothing here ever waits for them.

Rule 1: a new plan starts at a whole UTC minute, so that every window was measured under exactly one mesh version.
Rule 2: when the wall clock goes back so far that minutes begin anew (stream.py), what was open is sealed by itself, and
the newest plan is in force from that moment on.
"""

from __future__ import annotations

import gc
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import IO

from leadline.clock import Clock, SystemClock, seeded
from leadline.errors import LeadlineError
from leadline.model import WINDOW_S, ProbeSettings, Window
from leadline.wire.batch import Series, series
from leadline_agent.probe import icmp
from leadline_agent.probe.engine import Prober
from leadline_agent.probe.in_flight import LATE_WAIT_MS
from leadline_agent.probe.ipc import ProbePlan, ProbeTarget, Sealed, read_frame, write_frame
from leadline_agent.probe.policy_file import LocalPolicy, load_policy, permitted, policy_file
from leadline_agent.probe.results import Aim, Outcome
from leadline_agent.probe.transport import EchoSocket, Lane
from leadline_agent.probe.window_builder import WindowBuilder

#: How often standard input is looked at; a plan waits for the minute anyway.
SLICE_NS = 200_000_000
#: What the last probes get to come home when the agent is told to stop.
STOP_WAIT_NS = 1_000_000_000
#: Loopback probes for the noise floor: 300 a minute give a p99 with three samples above it.
LOOPBACK_INTERVAL_MS = 200
#: A second beyond the last possible outcome, for the process to be scheduled.
SEAL_MARGIN_S = 1
#: What stands for the address of a target whose name had none.
UNRESOLVED = "unresolved"
_LOOPBACKS = {"~loopback4": "127.0.0.1", "~loopback6": "::1"}


class _Plan:
    """A plan in force from a whole minute on."""

    def __init__(self, plan: ProbePlan, start_s: int) -> None:
        self.plan, self.start_s = plan, start_s
        self.mesh_version = plan.mesh_version
        self.aims = {target.name: _aim(target) for target in plan.targets}

    def all_aims(self) -> list[Aim]:
        """Its targets, and the loopback of each family they use."""
        families = {":" in (aim.address or "") for aim in self.aims.values()}
        loopbacks = [_loopback(name) for name, address in _LOOPBACKS.items() if (":" in address) in families]
        return [*self.aims.values(), *loopbacks]


class ProbeProcess:
    """One life of the probing process, from the first plan to the end of its input."""

    def __init__(
        self,
        plans: IO[bytes],
        windows: IO[bytes],
        clock: Clock,
        local: LocalPolicy,
        open_lane: Callable[[Lane, bytes], EchoSocket] = icmp.open_socket,
        rng: Random | None = None,
    ) -> None:
        """``rng`` None: the places of probes in their slots cannot be foretold."""
        self._input, self._output, self._clock, self._local = plans, windows, clock, local
        self._builder = WindowBuilder()
        self._prober = Prober(
            clock=clock,
            rng=rng or seeded(),
            on_outcome=self._on_outcome,
            on_duplicate=self._on_duplicate,
            on_went_back=self._part,
            may_send=local.may_send,
            packets_per_s=local.packets_per_s,
            open_lane=open_lane,
        )
        self._refused = 0
        #: Plans that windows not yet sealed may belong to, in order of time.
        self._plans: list[_Plan] = []
        self._sealed_until_s = 0
        #: The plans of windows from before the wall clock went back, and when those are sealed, monotonic.
        self._parted_plans: list[_Plan] = []
        self._parted_due_ns = 0
        self._has_parted = False
        #: Wall minus monotonic at the last look, and when sealing may go on after a step forward, monotonic.
        self._offset_ns = clock.wall_ns() - clock.monotonic_ns()
        self._seal_not_before_ns = 0

    def run(self) -> None:
        """Probe until the input ends, then give the last probes a moment and seal what there is."""
        first = read_frame(self._input, ProbePlan)
        if first is not None:
            self._begin(_Plan(first, self._now_s() // WINDOW_S * WINDOW_S), self._clock.wall_ns())
            while self._read_plan():
                self._prober.run(self._clock.monotonic_ns() + SLICE_NS)
                self._begin_anew()
                if self._may_seal():
                    self._seal(self._now_s() - self._hold_s())
            self._prober.drain(self._clock.monotonic_ns() + STOP_WAIT_NS)
            # Whatever minutes the wall clock says they are of.
            self._part()
            self._seal_parted()
        self._prober.close()

    def _now_s(self) -> int:
        return self._clock.wall_ns() // 1_000_000_000

    def _read_plan(self) -> bool:
        """Take a plan if one is there; False when the input has ended."""
        if select.select([self._input], [], [], 0)[0]:
            plan = read_frame(self._input, ProbePlan)
            if plan is None:
                return False
            start_s = (self._now_s() // WINDOW_S + 1) * WINDOW_S
            self._begin(_Plan(plan, start_s), start_s * 1_000_000_000)
        return True

    def _begin(self, plan: _Plan, at_wall_ns: int) -> None:
        self._plans.append(plan)
        aims, complaints = permitted(plan.all_aims(), self._local)
        for complaint in complaints:
            _say(complaint)
        self._refused = len(complaints)
        self._prober.aim(aims, first_slot_at_ns=at_wall_ns)

    def _part(self) -> None:
        """The wall clock went back, and the prober is about to begin anew: so do the windows (rule 2)."""
        self._seal_parted()
        now_s = self._now_s() // WINDOW_S * WINDOW_S
        self._builder.part(now_s)
        self._sealed_until_s = now_s
        self._has_parted = True
        self._parted_due_ns = self._clock.monotonic_ns() + self._hold_s() * 1_000_000_000
        self._parted_plans, self._plans = self._plans, [_Plan(self._plans[-1].plan, now_s)]

    def _begin_anew(self) -> None:
        """What ``_part`` leaves to do outside of the prober: aim by the newest plan, and seal when nothing is out."""
        if self._has_parted:
            self._has_parted = False
            self._prober.aim(permitted(self._plans[-1].all_aims(), self._local)[0])
        if self._parted_plans and self._clock.monotonic_ns() >= self._parted_due_ns:
            self._seal_parted()

    def _may_seal(self) -> bool:
        """False while probes are out that left before the wall clock went forward: their minutes seem long past."""
        now_ns = self._clock.monotonic_ns()
        offset_ns = self._clock.wall_ns() - now_ns
        if offset_ns - self._offset_ns > SEAL_MARGIN_S * 1_000_000_000:
            self._seal_not_before_ns = now_ns + self._hold_s() * 1_000_000_000
        self._offset_ns = offset_ns
        return now_ns >= self._seal_not_before_ns

    def _seal_parted(self) -> None:
        self._write(self._builder.seal_parted(), self._parted_plans)
        self._parted_plans = []

    def _hold_s(self) -> int:
        """How long after its last slot a window may still get an outcome."""
        timeouts_ms = [aim.settings.timeout_ms for plan in self._plans for aim in plan.aims.values()]
        return (max(timeouts_ms, default=0) + LATE_WAIT_MS) // 1_000 + SEAL_MARGIN_S

    def _on_outcome(self, outcome: Outcome) -> None:
        if outcome.aim.name in _LOOPBACKS:
            self._builder.add_loopback(outcome)
        else:
            self._builder.add(outcome)

    def _on_duplicate(self, aim: Aim, slot: int) -> None:
        if aim.name not in _LOOPBACKS:
            self._builder.add_duplicate(aim, slot)

    def _seal(self, until_s: int) -> None:
        """Write every window that ends by ``until_s``, by mesh version."""
        until_s = until_s // WINDOW_S * WINDOW_S
        if until_s <= self._sealed_until_s:
            return
        self._sealed_until_s = until_s
        self._write(self._builder.seal(until_s), self._plans)
        in_force = _in_force(self._plans, until_s)
        self._plans = [plan for plan in self._plans if plan.start_s >= in_force.start_s]

    def _write(self, sealed: list[tuple[Aim, Window]], plans: list[_Plan]) -> None:
        by_version: dict[int, list[Series]] = {}
        for aim, window in sealed:
            version = _in_force(plans, window.start_s).mesh_version
            by_version.setdefault(version, []).append(series(aim.name, aim.address or UNRESOLVED, window))
        for version, windows in by_version.items():
            write_frame(self._output, Sealed(version, windows, self._prober.health, self._refused))


def _in_force(plans: list[_Plan], start_s: int) -> _Plan:
    """The plan in force at a minute; the oldest known for what lies before it."""
    return next((plan for plan in reversed(plans) if plan.start_s <= start_s), plans[0])


def _say(text: str) -> None:
    """One line for the log; the parent's standard error is ours."""
    print(f"leadline: {text}", file=sys.stderr, flush=True)  # noqa: T201 - this process has no logging


def _aim(target: ProbeTarget) -> Aim:
    settings = ProbeSettings(
        interval_ms=target.interval_ms,
        timeout_ms=target.timeout_ms,
        payload_bytes=target.payload_bytes,
        dscp=target.dscp,
        dont_fragment=target.dont_fragment,
    )
    return Aim(name=target.name, address=target.address, settings=settings, source=target.source)


def _loopback(name: str) -> Aim:
    settings = ProbeSettings(interval_ms=LOOPBACK_INTERVAL_MS, timeout_ms=1_000)
    return Aim(name=name, address=_LOOPBACKS[name], settings=settings)


def main() -> int:
    """The entry point of the process: exit status 0, or 2 with one line on standard error."""
    # A collection in the middle of 20,000 probes a second stands still for 200 ms, and finds nothing: a run of 360,000
    # probes left not one cycle (docs/benchmarks.md).
    gc.disable()
    try:
        # Unbuffered: select() must see every byte that has not been read.
        with open(0, "rb", buffering=0, closefd=False) as plans:
            path, required = policy_file(os.environ, Path(sys.argv[1]) if len(sys.argv) > 1 else None)
            local = load_policy(path, required=required)
            ProbeProcess(plans, sys.stdout.buffer, SystemClock(), local).run()
    except LeadlineError as error:
        _say(str(error))
        return 2
    except (BrokenPipeError, KeyboardInterrupt):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
