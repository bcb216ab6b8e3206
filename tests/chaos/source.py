"""Replacement for the prober process: generates windows at high speed, each a function of agent, target and time.

The time of a window is a function of the real time, so that a restarted source is consistent with its predecessor. At
its start, it repeats one minute that the predecessor may have sent: two batches then contain the same window.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from leadline.clock import SystemClock, make_rng
from leadline.model import WINDOW_S, ErrorBound, Failure, Miss, Window, build_window
from leadline.wire.batch import to_target_window
from leadline_agent.probe.ipc import PlanMessage, WindowsMessage, read_message, write_message

NS_PER_S = 1_000_000_000
#: Generated minutes per real second.
MINUTES_PER_S = 20
#: While the quiet file exists, only one of this many minutes is generated.
QUIET_EVERY = 10
#: Age of the first minute: far from the current time, also from that of the fast clocks.
HISTORY_S = 60 * 86_400
MISS_SHARE = 0.06
_FAILURES = (Failure.TIMEOUT, Failure.LATE, Failure.NOT_SENT, Failure.LOCAL_STALL, Failure.SEND_ERROR)


def compute_base_s(origin_ns: int) -> int:
    """Return the first minute of a run, epoch seconds."""
    return (origin_ns // NS_PER_S - HISTORY_S) // WINDOW_S * WINDOW_S


def generate_window(agent: str, target: str, start_s: int, interval_ms: int) -> Window:
    """Return the window of ``agent`` and ``target`` in that minute; equal arguments give equal windows."""
    rng = make_rng(f"{agent} {target} {start_s}")
    slots = range(WINDOW_S * 1_000 // interval_ms)
    misses = [_build_miss(slot, rng.randrange(len(_FAILURES))) for slot in slots if rng.random() < MISS_SHARE]
    missed_slots = {miss.slot for miss in misses}
    rtts = {slot: 1_000 + rng.randrange(9_000) for slot in slots if slot not in missed_slots}
    bound = ErrorBound(p50_us=rng.randrange(50), p99_us=50 + rng.randrange(50))
    return build_window(start_s, interval_ms, rtts, misses, error_bound=bound)


def _build_miss(slot: int, index: int) -> Miss:
    failure = _FAILURES[index]
    return Miss(slot, failure, 7 + slot if failure in {Failure.LATE, Failure.SEND_ERROR} else None)


def build_windows_message(agent: str, plan: PlanMessage, start_s: int) -> WindowsMessage:
    """Return the windows of all targets of the plan in that minute."""
    series = [
        to_target_window(
            target.name,
            target.address or "192.0.2.1",
            generate_window(agent, target.name, start_s, target.settings.interval_ms),
        )
        for target in plan.targets
    ]
    return WindowsMessage(plan.mesh_version, series)


def main() -> int:
    """Read the plan, then write a minute every 1 / MINUTES_PER_S seconds until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", required=True)
    parser.add_argument("--origin-ns", type=int, required=True)
    parser.add_argument("--quiet-file", type=Path, required=True)
    args = parser.parse_args()
    plan = read_message(sys.stdin.buffer, PlanMessage)
    if plan is None:
        return 0
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    try:
        _run(args, plan, ended)
    except BrokenPipeError:
        sys.stdout = None  # The reader was killed: prevent a flush at exit.
    return 0


def _wait_for_end(ended: threading.Event) -> None:
    while sys.stdin.buffer.read(1 << 16):
        pass
    ended.set()


def _run(args: argparse.Namespace, plan: PlanMessage, ended: threading.Event) -> None:
    clock, first_s = SystemClock(), compute_base_s(args.origin_ns)
    # The last multiple of MINUTES_PER_S: the predecessor sent it within the last second.
    index = _compute_minute(clock, args.origin_ns) // MINUTES_PER_S * MINUTES_PER_S
    while not ended.is_set():
        if not (args.quiet_file.exists() and index % QUIET_EVERY):
            write_message(sys.stdout.buffer, build_windows_message(args.agent, plan, first_s + index * WINDOW_S))
        index = max(index + 1, _compute_minute(clock, args.origin_ns))
        due_ns = args.origin_ns + index * NS_PER_S // MINUTES_PER_S
        clock.sleep_until(clock.monotonic_ns() + max(0, due_ns - clock.wall_ns()))


def _compute_minute(clock: SystemClock, origin_ns: int) -> int:
    """Return the index of the minute that is due now."""
    return (clock.wall_ns() - origin_ns) * MINUTES_PER_S // NS_PER_S


if __name__ == "__main__":
    sys.exit(main())
