"""Stands in for the probing process: whole minutes at high speed, each a function of its own name.

Which minute comes is a function of the real time, so that a restarted source never contradicts the one before. At its
start it gives one minute again that its predecessor may have given: two batches then speak of one window.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from leadline.clock import SystemClock, make_rng
from leadline.model import WINDOW_S, ErrorBound, Failure, Miss, Window, build_window
from leadline.wire import batch as wire
from leadline_agent.probe.ipc import PlanMessage, WindowsMessage, read_message, write_message

NS_PER_S = 1_000_000_000
#: Minutes a real second.
MINUTES_PER_S = 20
#: Of so many minutes one is sealed while the source is to be quiet.
QUIET_EVERY = 10
#: The first minute lies so long before the run: far from every present, also that of the fast clocks.
HISTORY_S = 60 * 86_400
MISS_SHARE = 0.06
_FAILURES = (Failure.TIMEOUT, Failure.LATE, Failure.NOT_SENT, Failure.LOCAL_STALL, Failure.SEND_ERROR)


def compute_base_s(origin_ns: int) -> int:
    """The first minute of a run."""
    return (origin_ns // NS_PER_S - HISTORY_S) // WINDOW_S * WINDOW_S


def generate_window(agent: str, target: str, start_s: int, interval_ms: int) -> Window:
    """What ``agent`` measures of ``target`` in that minute, whoever asks."""
    rng = make_rng(f"{agent} {target} {start_s}")
    slots = range(WINDOW_S * 1_000 // interval_ms)
    misses = [_build_miss(slot, rng.randrange(len(_FAILURES))) for slot in slots if rng.random() < MISS_SHARE]
    missed = {miss.slot for miss in misses}
    rtts = {slot: 1_000 + rng.randrange(9_000) for slot in slots if slot not in missed}
    bound = ErrorBound(p50_us=rng.randrange(50), p99_us=50 + rng.randrange(50))
    return build_window(start_s, interval_ms, rtts, misses, error_bound=bound)


def _build_miss(slot: int, which: int) -> Miss:
    failure = _FAILURES[which]
    return Miss(slot, failure, 7 + slot if failure in {Failure.LATE, Failure.SEND_ERROR} else None)


def build_windows_message(agent: str, plan: PlanMessage, start_s: int) -> WindowsMessage:
    """That minute of all targets of the plan."""
    series = [
        wire.to_target_window(
            one.name, one.address or "192.0.2.1", generate_window(agent, one.name, start_s, one.interval_ms)
        )
        for one in plan.targets
    ]
    return WindowsMessage(plan.mesh_version, series)


def main() -> int:
    """Read the plan, then write a minute every 1/RATE s until standard input ends."""
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
        sys.stdout = None  # the reader was killed: nothing is left to flush
    return 0


def _wait_for_end(ended: threading.Event) -> None:
    while sys.stdin.buffer.read(1 << 16):
        pass
    ended.set()


def _run(args: argparse.Namespace, plan: PlanMessage, ended: threading.Event) -> None:
    clock, first_s = SystemClock(), compute_base_s(args.origin_ns)
    # The last multiple of RATE: the predecessor gave it within the last second.
    index = _compute_minute(clock, args.origin_ns) // MINUTES_PER_S * MINUTES_PER_S
    while not ended.is_set():
        if not (args.quiet_file.exists() and index % QUIET_EVERY):
            write_message(sys.stdout.buffer, build_windows_message(args.agent, plan, first_s + index * WINDOW_S))
        index = max(index + 1, _compute_minute(clock, args.origin_ns))
        due_ns = args.origin_ns + index * NS_PER_S // MINUTES_PER_S
        clock.sleep_until(clock.monotonic_ns() + max(0, due_ns - clock.wall_ns()))


def _compute_minute(clock: SystemClock, origin_ns: int) -> int:
    """The number of the minute that is due now."""
    return (clock.wall_ns() - origin_ns) * MINUTES_PER_S // NS_PER_S


if __name__ == "__main__":
    sys.exit(main())
