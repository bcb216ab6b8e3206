"""One run of one tool over the emulated WAN, compared with the truth log."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from tests.bench import peers
from tests.bench.cable import TARGETS, compute_address
from tests.bench.measurements import BenchError, ToolResult, build_result, compare_with_truth, compute_true_rtts
from tests.bench.report import TIMEOUT_MS, ProbeTask, Tool
from tests.network.wan import Wan, WanError

#: One way. It keeps the round trip below 1 ms, where fping prints whole µs.
DELAY_MS = 0.2
#: A run is repeated if the emulator lost frames, for example on a busy machine.
ATTEMPTS = 2


def measure_tool(tool: Tool, targets: int, probes: int, print_progress: Callable[[str], None]) -> ToolResult:
    """Return the result of one run; raise WanError if the emulator could not keep up in ``ATTEMPTS`` runs."""
    task = ProbeTask(tool=tool, addresses=tuple(map(compute_address, range(targets))), probes=probes)
    for _ in range(ATTEMPTS - 1):
        try:
            return _measure_once(task)
        except WanError as error:
            print_progress(f"repeating the run: {error}")
    return _measure_once(task)


def _measure_once(task: ProbeTask) -> ToolResult:
    with Wan() as wan:
        _pin_emulator(wan.emulator_pid)
        wan.add_prefix(TARGETS)
        wan.add_rule(delay_ms=DELAY_MS)
        measurement = peers.run_tool(task, partial(wan.run, "a"))
        log = wan.read_frame_log()
    if measurement.error_text:
        raise BenchError(f"{task.tool} at {len(task.addresses):,} targets: {measurement.error_text}")
    comparison = compare_with_truth(measurement.report, compute_true_rtts(log), TIMEOUT_MS * 1_000_000)
    return build_result(task.tool, len(task.addresses), comparison, measurement.cpu_s, measurement.cpu_whole_s)


def stay_on_one_core() -> None:
    """Pin this process and its tools to one core, so that the emulator has the others."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _pin_emulator(emulator_pid: int) -> None:
    """Pin the emulator to the other cores, if there are any."""
    others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
    if others:
        os.sched_setaffinity(emulator_pid, others)
