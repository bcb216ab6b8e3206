"""The tools as processes: their command lines, their CPU time, and the parsing of their output to a ``ToolReport``."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.report import INTERVAL_MS, TIMEOUT_MS, ProbeTask, Tool, ToolReport

#: Runs a process in a network namespace and waits for its end, like ``Wan.run`` with a fixed side.
Run = Callable[..., subprocess.CompletedProcess[Any]]

ROOT = Path(__file__).parents[2]
#: Timeout of a tool beyond the time of its probes; icmplib at 5,000 targets needs 2 s.
GRACE_S = 20
#: The share of each second in which fping sends its round. Its timers wake up to 0.1 ms late, so with a whole second it
#: is too slow: at 1,000 targets a round took 1.26 s, at 5,000 targets 1.36 s.
FPING_SHARE = 0.5
_FPING_ELAPSED = re.compile(r"([\d.]+) sec \(elapsed real time\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolMeasurement:
    """Report and CPU time of one run of a tool."""

    report: ToolReport
    #: User and system seconds of the measurement alone; for fping, of the whole process.
    cpu_s: float
    #: The same for the whole process, with the start of the interpreter.
    cpu_whole_s: float
    #: Error of the tool; empty on success.
    error_text: str


def run_tool(task: ProbeTask, run: Run) -> ToolMeasurement:
    """Run a tool in its own process; kill it and raise ``subprocess.TimeoutExpired`` after the timeout."""
    before_s = _read_children_cpu_s()
    timeout_s = task.probes * INTERVAL_MS / 1_000 + GRACE_S
    process = run(_build_command(task), input=_build_input(task), cwd=ROOT, timeout=timeout_s, check=False)
    whole_s = _read_children_cpu_s() - before_s
    report, error_text = _parse_output(task, process)
    cpu_s = whole_s if report.cpu_s is None else report.cpu_s
    return ToolMeasurement(report=report, cpu_s=cpu_s, cpu_whole_s=whole_s, error_text=error_text)


def _read_children_cpu_s() -> float:
    """Return the CPU time of all finished children; only the tool finishes while it runs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _build_command(task: ProbeTask) -> list[str]:
    if not task.is_fping:
        return [sys.executable, "-m", "tests.bench.child"]
    # -C with -q prints all RTTs of a target in one line at the end: the cheapest way to get all of them.
    gap_ms = INTERVAL_MS * FPING_SHARE / len(task.addresses) if task.tool is Tool.FPING else 0
    return ["fping", *f"-C {task.probes} -q -s -p {INTERVAL_MS} -t {TIMEOUT_MS} -i {gap_ms:.4f}".split()]


def _build_input(task: ProbeTask) -> str:
    return "\n".join(task.addresses) if task.is_fping else msgspec.json.encode(task).decode()


def _parse_output(task: ProbeTask, process: subprocess.CompletedProcess[str]) -> tuple[ToolReport, str]:
    if task.is_fping:
        # Status 1: some targets did not reply; the lines show them.
        report = parse_fping(process.stderr)
        return report, _extract_last_line(process.stderr) if process.returncode not in (0, 1) else ""
    if process.returncode:
        return ToolReport(rtts_ns={}), _extract_last_line(process.stderr)
    return msgspec.json.decode(process.stdout, type=ToolReport), ""


def _extract_last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def parse_fping(output: str) -> ToolReport:
    """Parse the output of ``fping -C N -q -s``: ``10.78.0.1 : 0.459 - 1.02`` per target, milliseconds, "-" for lost.

    fping prints three significant digits and at most three decimals: to 1 µs below 1 ms, 10 µs below 10 ms.
    """
    rtts_ns = {}
    for line in output.splitlines():
        name, colon, fields = line.partition(" : ")
        if colon:
            rtts_ns[name.strip()] = [None if field == "-" else round(float(field) * 1e6) for field in fields.split()]
    elapsed = _FPING_ELAPSED.search(output)
    return ToolReport(rtts_ns=rtts_ns, elapsed_s=float(elapsed[1]) if elapsed else None)
