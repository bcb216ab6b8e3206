"""Entry point of the prober process: it probes, builds windows and writes them to standard output.

    python -m leadline_agent.probe.__main__ [POLICY_FILE]

It reads plans from standard input and exits at end of input. The parent process does JSON, HTTP and DNS, so they never
delay a probe.

Rule 1: a new plan starts at a whole UTC minute. Every window is measured under exactly one mesh version.
Rule 2: a large step back of the wall clock starts a new epoch of slots (send_queue.py). The open windows are flushed
separately, and the newest plan applies from that moment.
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

#: Poll interval of standard input. A plan starts at the next minute in any case.
INPUT_POLL_NS = 200_000_000
#: Wait for outstanding replies after a stop request.
DRAIN_TIMEOUT_NS = 1_000_000_000
#: Interval of the loopback probes for the noise floor: 300 probes a minute leave three samples above the p99.
LOOPBACK_INTERVAL_MS = 200
#: Margin after the last possible result, for scheduling delay of this process.
FLUSH_MARGIN_S = 1
#: Address in the windows of a target without an address.
UNRESOLVED_ADDRESS = "unresolved"
_LOOPBACK_ADDRESSES = {"~loopback4": "127.0.0.1", "~loopback6": "::1"}


class _ActivePlan:
    """A plan and the whole minute at which it starts."""

    def __init__(self, plan: PlanMessage, start_s: int) -> None:
        self.plan, self.start_s = plan, start_s
        self.mesh_version = plan.mesh_version
        self.targets = {target.name: _build_target(target) for target in plan.targets}

    def list_targets_with_loopback(self) -> list[ProbeTarget]:
        """Return the targets and one loopback target for each address family in use."""
        families = {":" in (target.address or "") for target in self.targets.values()}
        loopbacks = [
            _build_loopback_target(name)
            for name, address in _LOOPBACK_ADDRESSES.items()
            if (":" in address) in families
        ]
        return [*self.targets.values(), *loopbacks]


class ProberLoop:
    """Main loop of the process, from the first plan to the end of the input."""

    def __init__(
        self,
        plan_input: IO[bytes],
        window_output: IO[bytes],
        clock: Clock,
        local_policy: LocalPolicy,
        open_socket: Callable[[SocketKey, bytes], ProbeSocket] = icmp.open_socket,
        rng: Random | None = None,
    ) -> None:
        """Create the loop. ``rng`` None draws unpredictable send times within the slots."""
        self._input, self._output, self._clock, self._local_policy = plan_input, window_output, clock, local_policy
        self._window_builder = WindowBuilder()
        self._prober = Prober(
            clock=clock,
            rng=rng or make_rng(),
            on_result=self._on_result,
            on_duplicate=self._on_duplicate,
            on_clock_stepped_back=self._split_at_clock_step,
            is_address_allowed=local_policy.is_address_allowed,
            packets_per_s=local_policy.packets_per_s,
            open_socket=open_socket,
        )
        self._targets_refused = 0
        #: Plans of the windows that are not flushed yet, oldest first.
        self._plans: list[_ActivePlan] = []
        self._flushed_until_s = 0
        #: Plans of the windows from before a step back of the wall clock, and the monotonic time to flush them.
        self._plans_before_step: list[_ActivePlan] = []
        self._flush_due_ns = 0
        self._has_split = False
        #: Wall minus monotonic time at the last check; monotonic time to resume flushing after a step forward.
        self._wall_offset_ns = clock.wall_ns() - clock.monotonic_ns()
        self._flush_not_before_ns = 0

    def run(self) -> None:
        """Probe until the input ends, then wait for outstanding replies and flush the open windows."""
        first = read_message(self._input, PlanMessage)
        if first is not None:
            self._activate_plan(_ActivePlan(first, self._now_s() // WINDOW_S * WINDOW_S), self._clock.wall_ns())
            while self._read_plan():
                self._prober.run(self._clock.monotonic_ns() + INPUT_POLL_NS)
                self._finish_split()
                if self._can_flush():
                    self._flush_windows(self._now_s() - self._compute_flush_delay_s())
            self._prober.drain(self._clock.monotonic_ns() + DRAIN_TIMEOUT_NS)
            # Flush every open window, also minutes that the wall clock has not reached.
            self._split_at_clock_step()
            self._flush_before_clock_step()
        self._prober.close()

    def _now_s(self) -> int:
        return self._clock.wall_ns() // 1_000_000_000

    def _read_plan(self) -> bool:
        """Read a plan if one is available; return False at the end of the input."""
        if select.select([self._input], [], [], 0)[0]:
            plan = read_message(self._input, PlanMessage)
            if plan is None:
                return False
            start_s = (self._now_s() // WINDOW_S + 1) * WINDOW_S
            self._activate_plan(_ActivePlan(plan, start_s), start_s * 1_000_000_000)
        return True

    def _activate_plan(self, plan: _ActivePlan, at_wall_ns: int) -> None:
        self._plans.append(plan)
        allowed_targets, refusals = filter_targets(plan.list_targets_with_loopback(), self._local_policy)
        for refusal in refusals:
            _log(refusal)
        self._targets_refused = len(refusals)
        self._prober.set_targets(allowed_targets, first_slot_at_ns=at_wall_ns)

    def _split_at_clock_step(self) -> None:
        """Start new windows after the wall clock stepped back (rule 2)."""
        self._flush_before_clock_step()
        now_s = self._now_s() // WINDOW_S * WINDOW_S
        self._window_builder.split_at_clock_step(now_s)
        self._flushed_until_s = now_s
        self._has_split = True
        self._flush_due_ns = self._clock.monotonic_ns() + self._compute_flush_delay_s() * 1_000_000_000
        self._plans_before_step, self._plans = self._plans, [_ActivePlan(self._plans[-1].plan, now_s)]

    def _finish_split(self) -> None:
        """Apply the newest plan after a split, and flush the windows from before the clock step when they are due."""
        if self._has_split:
            self._has_split = False
            self._prober.set_targets(
                filter_targets(self._plans[-1].list_targets_with_loopback(), self._local_policy)[0]
            )
        if self._plans_before_step and self._clock.monotonic_ns() >= self._flush_due_ns:
            self._flush_before_clock_step()

    def _can_flush(self) -> bool:
        """Return False while probes from before a forward step of the wall clock may be outstanding.

        Their minutes look complete by the stepped clock.
        """
        now_ns = self._clock.monotonic_ns()
        offset_ns = self._clock.wall_ns() - now_ns
        if offset_ns - self._wall_offset_ns > FLUSH_MARGIN_S * 1_000_000_000:
            self._flush_not_before_ns = now_ns + self._compute_flush_delay_s() * 1_000_000_000
        self._wall_offset_ns = offset_ns
        return now_ns >= self._flush_not_before_ns

    def _flush_before_clock_step(self) -> None:
        self._write_windows(self._window_builder.flush_before_clock_step(), self._plans_before_step)
        self._plans_before_step = []

    def _compute_flush_delay_s(self) -> int:
        """Return the time after the last slot of a window in which a result can still arrive, in seconds."""
        timeouts_ms = [target.settings.timeout_ms for plan in self._plans for target in plan.targets.values()]
        return (max(timeouts_ms, default=0) + LATE_WAIT_MS) // 1_000 + FLUSH_MARGIN_S

    def _on_result(self, result: ProbeResult) -> None:
        if result.target.name in _LOOPBACK_ADDRESSES:
            self._window_builder.add_loopback(result)
        else:
            self._window_builder.add(result)

    def _on_duplicate(self, target: ProbeTarget, slot: int) -> None:
        if target.name not in _LOOPBACK_ADDRESSES:
            self._window_builder.add_duplicate(target, slot)

    def _flush_windows(self, until_s: int) -> None:
        """Write all windows that end by ``until_s``, one message for each mesh version."""
        until_s = until_s // WINDOW_S * WINDOW_S
        if until_s <= self._flushed_until_s:
            return
        self._flushed_until_s = until_s
        self._write_windows(self._window_builder.flush(until_s), self._plans)
        active_plan = _find_active_plan(self._plans, until_s)
        self._plans = [plan for plan in self._plans if plan.start_s >= active_plan.start_s]

    def _write_windows(self, windows: list[tuple[ProbeTarget, Window]], plans: list[_ActivePlan]) -> None:
        by_version: dict[int, list[TargetWindow]] = {}
        for target, window in windows:
            version = _find_active_plan(plans, window.start_s).mesh_version
            by_version.setdefault(version, []).append(
                to_target_window(target.name, target.address or UNRESOLVED_ADDRESS, window)
            )
        for version, series in by_version.items():
            write_message(self._output, WindowsMessage(version, series, self._prober.counters, self._targets_refused))


def _find_active_plan(plans: list[_ActivePlan], start_s: int) -> _ActivePlan:
    """Return the plan that applies at a minute; the oldest plan for earlier minutes."""
    return next((plan for plan in reversed(plans) if plan.start_s <= start_s), plans[0])


def _log(text: str) -> None:
    """Write one log line to standard error, which the parent process shares."""
    sys.stderr.write(f"leadline: {text}\n")
    sys.stderr.flush()


def _build_target(target: TargetMessage) -> ProbeTarget:
    return ProbeTarget(name=target.name, address=target.address, settings=target.settings, source=target.source)


def _build_loopback_target(name: str) -> ProbeTarget:
    settings = ProbeSettings(interval_ms=LOOPBACK_INTERVAL_MS, timeout_ms=1_000)
    return ProbeTarget(name=name, address=_LOOPBACK_ADDRESSES[name], settings=settings)


def main() -> int:
    """Run the process; return exit status 0, or 2 with one line on standard error."""
    # A garbage collection at 20,000 probes a second takes 200 ms and frees nothing: 360,000 probes left no reference
    # cycle (docs/benchmarks.md).
    gc.disable()
    try:
        # Unbuffered, so that select() reports every unread byte.
        with open(0, "rb", buffering=0, closefd=False) as plans:
            path, required = locate_policy_file(os.environ, Path(sys.argv[1]) if len(sys.argv) > 1 else None)
            local_policy = load_policy(path, required=required)
            ProberLoop(plans, sys.stdout.buffer, SystemClock(), local_policy).run()
    except LeadlineError as error:
        _log(str(error))
        return 2
    except (BrokenPipeError, KeyboardInterrupt):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
