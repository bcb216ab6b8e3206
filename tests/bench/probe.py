"""The benchmark of the probe engine: ``make bench-probe``, or ``python -m tests.bench.probe``. Needs root and fping.

RTT error against the emulator's truth log, false losses and CPU time of leadline, fping and icmplib at several numbers
of targets, one probe a second to each, taking turns; then the highest rate of leadline and of fping. It prints tables,
says which goals are met, and writes JSON. docs/benchmarks.md says how to read it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.bench import path, rate
from tests.bench.measurements import (
    GOAL_TARGETS,
    BenchError,
    EngineGoal,
    ToolResult,
    compute_median_result,
    evaluate_goals,
    format_number,
    format_us,
)
from tests.bench.rate import RateAttempt
from tests.bench.report import INTERVAL_MS, Tool
from tests.network.namespaces import find_unavailable_reason
from tests.network.wan import WanError

#: icmplib needs no more to show what it does, and at 5,000 targets each second of it costs the benchmark two.
ICMPLIB_PROBES_MAX = 5
#: The emulator carries 20,000 frames a second; more targets at 1/s would measure it and not the tools.
TARGETS_MAX = 10_000
SECONDS_MAX = 120
ROUNDS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeBenchmarkOptions:
    """What to run."""

    targets: tuple[int, ...]
    #: Probes per target in each run, one a second.
    seconds: int
    rounds: int
    searches: tuple[rate.RateSearch, ...]
    json: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeBenchmark:
    """All figures of the benchmark, as the JSON file has them; every name with its unit."""

    version: int
    machine: dict[str, str]
    delay_ms_one_way: float
    interval_ms: int
    seconds: int
    runs: list[ToolResult]
    medians: list[ToolResult]
    tries: list[RateAttempt]
    goals: list[EngineGoal]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 when it ran, whatever it found, 2 when it cannot run here."""
    options = parse_options(arguments)
    reason = find_unavailable_reason() or (
        None if shutil.which("fping") else "the command fping is missing: install fping"
    )
    if reason:
        print(f"the benchmark cannot run here: {reason}", file=sys.stderr)
        return 2
    path.stay_on_one_core()
    try:
        findings = run_benchmark(options)
    except (BenchError, WanError, subprocess.TimeoutExpired) as error:
        print(f"the benchmark ends without a result: {error}", file=sys.stderr)
        return 2
    print(
        *format_table(findings.medians),
        "",
        *format_rate_table(findings.tries),
        "",
        *format_goals(findings.goals),
        sep="\n",
    )
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(findings)))
    print(f"\nall runs: {options.json}")
    return 0


def parse_options(arguments: Sequence[str] | None) -> ProbeBenchmarkOptions:
    """The options of the command line; exits 2 with a message where they are wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.probe", description=__doc__)
    parser.add_argument("--targets", type=_parse_sizes, help="numbers of targets (default: 100,1000,5000)")
    parser.add_argument("--seconds", type=_WholeNumber(SECONDS_MAX), help="probes per target in each run (default: 8)")
    parser.add_argument("--rounds", type=_WholeNumber(ROUNDS_MAX), help="runs of each tool at each size (default: 3)")
    parser.add_argument("--quick", action="store_true", help="under a minute: 100 and 1,000 targets, 4 s, one round")
    parser.add_argument("--json", type=Path, default=Path("bench-probe.json"), metavar="FILE")
    given = parser.parse_args(arguments)
    return ProbeBenchmarkOptions(
        targets=given.targets or ((100, 1_000) if given.quick else (100, 1_000, 5_000)),
        seconds=given.seconds or (4 if given.quick else 8),
        rounds=given.rounds or (1 if given.quick else 3),
        searches=rate.SEARCHES_QUICK if given.quick else rate.SEARCHES,
        json=given.json,
    )


def _parse_sizes(text: str) -> tuple[int, ...]:
    return tuple(map(_WholeNumber(TARGETS_MAX), text.split(",")))


class _WholeNumber:
    """Reads a whole number from 1 to a maximum."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum

    def __call__(self, text: str) -> int:
        if not (text.isdecimal() and 1 <= int(text) <= self._maximum):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {self._maximum:,}")
        return int(text)


def run_benchmark(options: ProbeBenchmarkOptions) -> ProbeBenchmark:
    """Run everything, the tools taking turns."""
    runs = [
        _run_tool(tool, targets, options, turn)
        for targets in options.targets
        for turn in range(1, options.rounds + 1)
        for tool in select_tools(targets)
    ]
    medians = [
        compute_median_result([run for run in runs if (run.targets, run.tool) == (targets, tool)])
        for targets in options.targets
        for tool in select_tools(targets)
    ]
    tries = [_print_attempt(tried) for wanted in options.searches for tried in rate.search_rate(wanted)]
    return ProbeBenchmark(
        version=1,
        machine=_describe_machine(),
        delay_ms_one_way=path.DELAY_MS,
        interval_ms=INTERVAL_MS,
        seconds=options.seconds,
        runs=runs,
        medians=medians,
        tries=tries,
        goals=evaluate_goals(medians, rate.find_sustained_rate(tries, Tool.LEADLINE)),
    )


def select_tools(targets: int) -> list[Tool]:
    """The tools compared at a size; fping in bursts only where the CPU has its goal, for it shows another bound."""
    return [tool for tool in Tool if tool is not Tool.FPING_BURST or targets == GOAL_TARGETS]


def _run_tool(tool: Tool, targets: int, options: ProbeBenchmarkOptions, turn: int) -> ToolResult:
    probes = min(options.seconds, ICMPLIB_PROBES_MAX) if tool is Tool.ICMPLIB else options.seconds
    _print_progress(f"{targets:,} targets, round {turn} of {options.rounds}: {tool}")
    return path.measure_tool(tool, targets, probes, _print_progress)


def _print_attempt(tried: RateAttempt) -> RateAttempt:
    _print_progress(
        f"{tried.tool} at {tried.rate:,}/s for {tried.probes} s: {'carried' if tried.carried else 'not carried'}"
    )
    return tried


def _print_progress(text: str) -> None:
    """Progress goes to stderr, results to stdout."""
    print(text, file=sys.stderr, flush=True)


def _describe_machine() -> dict[str, str]:
    fping = subprocess.run(["fping", "-v"], capture_output=True, text=True, timeout=10, check=False).stdout
    return {
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "fping": fping.partition("\n")[0].rpartition(" ")[2],
    }


def format_table(rows: Iterable[ToolResult]) -> list[str]:
    """The medians as a Markdown table, which docs/benchmarks.md quotes."""
    return [
        "| targets | tool | probes | false loss | void | error p50 µs | p99 µs | max µs | CPU s/10k | with start |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {row.targets:,} | {row.tool} | {row.sent:,} | {row.false_losses:,} | {row.void:,} "
            f"| {format_us(row.p50_ns)} | {format_us(row.p99_ns)} | {format_us(row.max_ns)} "
            f"| {row.cpu_s_per_10k:.2f} | {row.cpu_whole_s_per_10k:.2f} |"
            for row in rows
        ),
    ]


def format_rate_table(tries: Iterable[RateAttempt]) -> list[str]:
    """The tries of the search for the highest rate, as a Markdown table."""
    return [
        "| tool | probes/s | for s | carried | not sent | void | lost | took s | CPU s/10k | |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---|",
        *(
            f"| {tried.tool} | {tried.rate:,} | {tried.probes} | {'yes' if tried.carried else 'no'} "
            f"| {tried.unsent:,} | {tried.void:,} | {tried.lost:,} "
            f"| {format_number(tried.elapsed_s, '.1f')} | {format_number(tried.cpu_s_per_10k, '.2f')} | {tried.complaint} |"
            for tried in tries
        ),
    ]


def format_goals(found: Iterable[EngineGoal]) -> list[str]:
    """One line per goal."""
    words = {True: "met", False: "NOT MET", None: "not measured"}
    return [f"{words[goal.met]}: {goal.text}: {goal.figure}" for goal in found]


if __name__ == "__main__":
    sys.exit(main())
