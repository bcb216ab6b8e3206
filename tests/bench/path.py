"""One run of one tool over the emulated WAN, its RTTs compared with the truth log."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from tests.bench import peers
from tests.bench.cable import TARGETS, compute_address
from tests.bench.measurements import BenchError, ToolResult, build_result, compare_with_truth, compute_true_rtts
from tests.bench.report import TIMEOUT_MS, ProbeTask, Tool
from tests.network.wan import Wan, WanError

#: Each way. The round trip stays below 1 ms as long as the emulator is in time, and there fping prints whole µs.
DELAY_MS = 0.2
#: The emulator refuses to answer when it lost frames itself; a busy machine gets a second chance.
ATTEMPTS = 2


def measure_tool(tool: Tool, targets: int, probes: int, say: Callable[[str], None]) -> ToolResult:
    """The figures of one run. WanError when the emulator could not keep up, several times."""
    task = ProbeTask(tool=tool, addresses=tuple(map(compute_address, range(targets))), probes=probes)
    for _ in range(ATTEMPTS - 1):
        try:
            return _measure_once(task)
        except WanError as error:
            say(f"again: {error}")
    return _measure_once(task)


def _measure_once(task: ProbeTask) -> ToolResult:
    with Wan() as wan:
        _pin_emulator(wan.emulator_pid)
        wan.add_prefix(TARGETS)
        wan.add_rule(delay_ms=DELAY_MS)
        measured = peers.run_tool(task, partial(wan.run, "a"))
        log = wan.read_frame_log()
    if measured.error_text:
        raise BenchError(f"{task.tool} at {len(task.addresses):,} targets: {measured.error_text}")
    comparison = compare_with_truth(measured.report, compute_true_rtts(log), TIMEOUT_MS * 1_000_000)
    return build_result(task.tool, len(task.addresses), comparison, measured.cpu_s, measured.cpu_whole_s)


def stay_on_one_core() -> None:
    """Keep this process and the tools it starts on one core, so that the emulator can have another to itself."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _pin_emulator(emulator_pid: int) -> None:
    """Give the emulator the other cores, where there are any."""
    others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
    if others:
        os.sched_setaffinity(emulator_pid, others)
