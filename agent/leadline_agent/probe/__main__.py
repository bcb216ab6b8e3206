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

from leadline.clock import Clock, SystemClock, make_rng
from leadline.errors import LeadlineError
from leadline.model import WINDOW_S, ProbeSettings, Window
from leadline.wire.batch import TargetWindow, to_target_window
from leadline_agent.probe import icmp
from leadline_agent.probe.engine import Prober
from leadline_agent.probe.in_flight import LATE_WAIT_MS
from leadline_agent.probe.ipc import PlanMessage, TargetMessage, WindowsMessage, read_message, write_message
from leadline_agent.probe.policy_file import LocalPolicy, filter_targets, load_policy, locate_policy_file
from leadline_agent.probe.results import ProbeResult, ProbeTarget
from leadline_agent.probe.transport import ProbeSocket, SocketKey
from leadline_agent.probe.window_builder import WindowBuilder

#: How often standard input is looked at; a plan waits for the minute anyway.
INPUT_POLL_NS = 200_000_000
#: What the last probes get to come home when the agent is told to stop.
DRAIN_TIMEOUT_NS = 1_000_000_000
#: Loopback probes for the noise floor: 300 a minute give a p99 with three samples above it.
LOOPBACK_INTERVAL_MS = 200
#: A second beyond the last possible outcome, for the process to be scheduled.
FLUSH_MARGIN_S = 1
#: What stands for the address of a target whose name had none.
UNRESOLVED_ADDRESS = "unresolved"
_LOOPBACK_ADDRESSES = {"~loopback4": "127.0.0.1", "~loopback6": "::1"}


class _ActivePlan:
    """A plan in force from a whole minute on."""

    def __init__(self, plan: PlanMessage, start_s: int) -> None:
        self.plan, self.start_s = plan, start_s
        self.mesh_version = plan.mesh_version
        self.targets = {target.name: _build_target(target) for target in plan.targets}

    def list_targets_with_loopback(self) -> list[ProbeTarget]:
        """Its targets, and the loopback of each family they use."""
        families = {":" in (aim.address or "") for aim in self.targets.values()}
        loopbacks = [
            _build_loopback_target(name)
            for name, address in _LOOPBACK_ADDRESSES.items()
            if (":" in address) in families
        ]
        return [*self.targets.values(), *loopbacks]


class ProberLoop:
    """One life of the probing process, from the first plan to the end of its input."""

    def __init__(
        self,
        plan_input: IO[bytes],
        window_output: IO[bytes],
        clock: Clock,
        local_policy: LocalPolicy,
        open_socket: Callable[[SocketKey, bytes], ProbeSocket] = icmp.open_socket,
        rng: Random | None = None,
    ) -> None:
        """``rng`` None: the places of probes in their slots cannot be foretold."""
        self._input, self._output, self._clock, self._local_policy = plan_input, window_output, clock, local_policy
        self._window_builder = WindowBuilder()
        self._prober = Prober(
            clock=clock,
            rng=rng or make_rng(),
            on_result=self._on_result,
            on_duplicate=self._on_duplicate,
            on_clock_stepped_back=self._split_epoch,
            is_address_allowed=local_policy.is_address_allowed,
            packets_per_s=local_policy.packets_per_s,
            open_socket=open_socket,
        )
        self._targets_refused = 0
        #: Plans that windows not yet sealed may belong to, in order of time.
        self._plans: list[_ActivePlan] = []
        self._flushed_until_s = 0
        #: The plans of windows from before the wall clock went back, and when those are sealed, monotonic.
        self._previous_epoch_plans: list[_ActivePlan] = []
        self._previous_epoch_due_ns = 0
        self._has_split_epoch = False
        #: Wall minus monotonic at the last look, and when sealing may go on after a step forward, monotonic.
        self._wall_offset_ns = clock.wall_ns() - clock.monotonic_ns()
        self._flush_not_before_ns = 0

    def run(self) -> None:
        """Probe until the input ends, then give the last probes a moment and seal what there is."""
        first = read_message(self._input, PlanMessage)
        if first is not None:
            self._activate_plan(_ActivePlan(first, self._now_s() // WINDOW_S * WINDOW_S), self._clock.wall_ns())
            while self._read_plan():
                self._prober.run(self._clock.monotonic_ns() + INPUT_POLL_NS)
                self._finish_epoch_split()
                if self._can_flush():
                    self._flush_windows(self._now_s() - self._compute_flush_delay_s())
            self._prober.drain(self._clock.monotonic_ns() + DRAIN_TIMEOUT_NS)
            # Whatever minutes the wall clock says they are of.
            self._split_epoch()
            self._flush_previous_epoch()
        self._prober.close()

    def _now_s(self) -> int:
        return self._clock.wall_ns() // 1_000_000_000

    def _read_plan(self) -> bool:
        """Take a plan if one is there; False when the input has ended."""
        if select.select([self._input], [], [], 0)[0]:
            plan = read_message(self._input, PlanMessage)
            if plan is None:
                return False
            start_s = (self._now_s() // WINDOW_S + 1) * WINDOW_S
            self._activate_plan(_ActivePlan(plan, start_s), start_s * 1_000_000_000)
        return True

    def _activate_plan(self, plan: _ActivePlan, at_wall_ns: int) -> None:
        self._plans.append(plan)
        aims, complaints = filter_targets(plan.list_targets_with_loopback(), self._local_policy)
        for complaint in complaints:
            _log(complaint)
        self._targets_refused = len(complaints)
        self._prober.set_targets(aims, first_slot_at_ns=at_wall_ns)

    def _split_epoch(self) -> None:
        """The wall clock went back, and the prober is about to begin anew: so do the windows (rule 2)."""
        self._flush_previous_epoch()
        now_s = self._now_s() // WINDOW_S * WINDOW_S
        self._window_builder.split_epoch(now_s)
        self._flushed_until_s = now_s
        self._has_split_epoch = True
        self._previous_epoch_due_ns = self._clock.monotonic_ns() + self._compute_flush_delay_s() * 1_000_000_000
        self._previous_epoch_plans, self._plans = self._plans, [_ActivePlan(self._plans[-1].plan, now_s)]

    def _finish_epoch_split(self) -> None:
        """What ``_part`` leaves to do outside of the prober: aim by the newest plan, and seal when nothing is out."""
        if self._has_split_epoch:
            self._has_split_epoch = False
            self._prober.set_targets(
                filter_targets(self._plans[-1].list_targets_with_loopback(), self._local_policy)[0]
            )
        if self._previous_epoch_plans and self._clock.monotonic_ns() >= self._previous_epoch_due_ns:
            self._flush_previous_epoch()

    def _can_flush(self) -> bool:
        """False while probes are out that left before the wall clock went forward: their minutes seem long past."""
        now_ns = self._clock.monotonic_ns()
        offset_ns = self._clock.wall_ns() - now_ns
        if offset_ns - self._wall_offset_ns > FLUSH_MARGIN_S * 1_000_000_000:
            self._flush_not_before_ns = now_ns + self._compute_flush_delay_s() * 1_000_000_000
        self._wall_offset_ns = offset_ns
        return now_ns >= self._flush_not_before_ns

    def _flush_previous_epoch(self) -> None:
        self._write_windows(self._window_builder.flush_previous_epoch(), self._previous_epoch_plans)
        self._previous_epoch_plans = []

    def _compute_flush_delay_s(self) -> int:
        """How long after its last slot a window may still get an outcome."""
        timeouts_ms = [aim.settings.timeout_ms for plan in self._plans for aim in plan.targets.values()]
        return (max(timeouts_ms, default=0) + LATE_WAIT_MS) // 1_000 + FLUSH_MARGIN_S

    def _on_result(self, outcome: ProbeResult) -> None:
        if outcome.target.name in _LOOPBACK_ADDRESSES:
            self._window_builder.add_loopback(outcome)
        else:
            self._window_builder.add(outcome)

    def _on_duplicate(self, aim: ProbeTarget, slot: int) -> None:
        if aim.name not in _LOOPBACK_ADDRESSES:
            self._window_builder.add_duplicate(aim, slot)

    def _flush_windows(self, until_s: int) -> None:
        """Write every window that ends by ``until_s``, by mesh version."""
        until_s = until_s // WINDOW_S * WINDOW_S
        if until_s <= self._flushed_until_s:
            return
        self._flushed_until_s = until_s
        self._write_windows(self._window_builder.flush(until_s), self._plans)
        in_force = _find_active_plan(self._plans, until_s)
        self._plans = [plan for plan in self._plans if plan.start_s >= in_force.start_s]

    def _write_windows(self, sealed: list[tuple[ProbeTarget, Window]], plans: list[_ActivePlan]) -> None:
        by_version: dict[int, list[TargetWindow]] = {}
        for aim, window in sealed:
            version = _find_active_plan(plans, window.start_s).mesh_version
            by_version.setdefault(version, []).append(
                to_target_window(aim.name, aim.address or UNRESOLVED_ADDRESS, window)
            )
        for version, windows in by_version.items():
            write_message(self._output, WindowsMessage(version, windows, self._prober.counters, self._targets_refused))


def _find_active_plan(plans: list[_ActivePlan], start_s: int) -> _ActivePlan:
    """The plan in force at a minute; the oldest known for what lies before it."""
    return next((plan for plan in reversed(plans) if plan.start_s <= start_s), plans[0])


def _log(text: str) -> None:
    """One line for the log; the parent's standard error is ours."""
    print(f"leadline: {text}", file=sys.stderr, flush=True)


def _build_target(target: TargetMessage) -> ProbeTarget:
    return ProbeTarget(name=target.name, address=target.address, settings=target.settings, source=target.source)


def _build_loopback_target(name: str) -> ProbeTarget:
    settings = ProbeSettings(interval_ms=LOOPBACK_INTERVAL_MS, timeout_ms=1_000)
    return ProbeTarget(name=name, address=_LOOPBACK_ADDRESSES[name], settings=settings)


def main() -> int:
    """The entry point of the process: exit status 0, or 2 with one line on standard error."""
    # A collection in the middle of 20,000 probes a second stands still for 200 ms, and finds nothing: a run of 360,000
    # probes left not one cycle (docs/benchmarks.md).
    gc.disable()
    try:
        # Unbuffered: select() must see every byte that has not been read.
        with open(0, "rb", buffering=0, closefd=False) as plans:
            path, required = locate_policy_file(os.environ, Path(sys.argv[1]) if len(sys.argv) > 1 else None)
            local = load_policy(path, required=required)
            ProberLoop(plans, sys.stdout.buffer, SystemClock(), local).run()
    except LeadlineError as error:
        _log(str(error))
        return 2
    except (BrokenPipeError, KeyboardInterrupt):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
