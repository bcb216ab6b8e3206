"""One run of one tool over the emulated WAN, its RTTs compared with the truth log."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from tests.bench import peers
from tests.bench.cable import TARGETS, address
from tests.bench.measurements import BenchError, Row, compare, row, true_trips
from tests.bench.report import TIMEOUT_MS, Task, Tool
from tests.network.wan import Wan, WanError

#: Each way. The round trip stays below 1 ms as long as the emulator is in time, and there fping prints whole µs.
DELAY_MS = 0.2
#: The emulator refuses to answer when it lost frames itself; a busy machine gets a second chance.
ATTEMPTS = 2


def measured_row(tool: Tool, targets: int, probes: int, say: Callable[[str], None]) -> Row:
    """The figures of one run. WanError when the emulator could not keep up, several times."""
    task = Task(tool=tool, addresses=tuple(map(address, range(targets))), probes=probes)
    for _ in range(ATTEMPTS - 1):
        try:
            return _measure(task)
        except WanError as error:
            say(f"again: {error}")
    return _measure(task)


def _measure(task: Task) -> Row:
    with Wan() as wan:
        _keep_apart(wan.emulator_pid)
        wan.answer_for(TARGETS)
        wan.rule(delay_ms=DELAY_MS)
        measured = peers.measure(task, partial(wan.run, "a"))
        log = wan.truth()
    if measured.complaint:
        raise BenchError(f"{task.tool} at {len(task.addresses):,} targets: {measured.complaint}")
    comparison = compare(measured.report, true_trips(log), TIMEOUT_MS * 1_000_000)
    return row(task.tool, len(task.addresses), comparison, measured.cpu_s, measured.cpu_whole_s)


def stay_on_one_core() -> None:
    """Keep this process and the tools it starts on one core, so that the emulator can have another to itself."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _keep_apart(emulator_pid: int) -> None:
    """Give the emulator the other cores, where there are any."""
    others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
    if others:
        os.sched_setaffinity(emulator_pid, others)
