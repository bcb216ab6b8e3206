"""Benchmark of the probe engine: ``make bench-probe``, or ``python -m tests.bench.probe``. Needs root and fping.

Measures RTT error against the truth log of the emulator, false losses and CPU time of leadline, fping and icmplib at
several numbers of targets, with one probe a second to each; then the highest rate of leadline and of fping. The tools
run in turn. Prints tables and the goals, and writes JSON; docs/benchmarks.md describes the columns.
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

#: Enough for icmplib; at 5,000 targets each second of its run takes two.
ICMPLIB_PROBES_MAX = 5
#: The emulator forwards 20,000 frames a second; more targets at 1/s would measure the emulator.
TARGETS_MAX = 10_000
SECONDS_MAX = 120
ROUNDS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeBenchmarkOptions:
    """Options of a benchmark."""

    targets: tuple[int, ...]
    #: Probes per target in each run, one a second.
    seconds: int
    rounds: int
    searches: tuple[rate.RateSearch, ...]
    json: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeBenchmark:
    """All results of the benchmark; the document of the JSON file."""

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
    """Run the benchmark; return 0 after a complete run, met goals or not, and 2 if it cannot run here."""
    options = parse_options(arguments)
    reason = find_unavailable_reason() or (
        None if shutil.which("fping") else "the command fping is missing: install fping"
    )
    if reason:
        print(f"the benchmark cannot run here: {reason}", file=sys.stderr)
        return 2
    path.stay_on_one_core()
    try:
        benchmark = run_benchmark(options)
    except (BenchError, WanError, subprocess.TimeoutExpired) as error:
        print(f"the benchmark ends without a result: {error}", file=sys.stderr)
        return 2
    print(
        *format_table(benchmark.medians),
        "",
        *format_rate_table(benchmark.tries),
        "",
        *format_goals(benchmark.goals),
        sep="\n",
    )
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(benchmark)))
    print(f"\nall runs: {options.json}")
    return 0


def parse_options(arguments: Sequence[str] | None) -> ProbeBenchmarkOptions:
    """Parse the command line; exit with status 2 and a message if it is invalid."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.probe", description=__doc__)
    parser.add_argument("--targets", type=_parse_sizes, help="numbers of targets (default: 100,1000,5000)")
    parser.add_argument("--seconds", type=_WholeNumber(SECONDS_MAX), help="probes per target in each run (default: 8)")
    parser.add_argument("--rounds", type=_WholeNumber(ROUNDS_MAX), help="runs of each tool at each size (default: 3)")
    parser.add_argument("--quick", action="store_true", help="under a minute: 100 and 1,000 targets, 4 s, one round")
    parser.add_argument("--json", type=Path, default=Path("bench-probe.json"), metavar="FILE")
    namespace = parser.parse_args(arguments)
    return ProbeBenchmarkOptions(
        targets=namespace.targets or ((100, 1_000) if namespace.quick else (100, 1_000, 5_000)),
        seconds=namespace.seconds or (4 if namespace.quick else 8),
        rounds=namespace.rounds or (1 if namespace.quick else 3),
        searches=rate.SEARCHES_QUICK if namespace.quick else rate.SEARCHES,
        json=namespace.json,
    )


def _parse_sizes(text: str) -> tuple[int, ...]:
    return tuple(map(_WholeNumber(TARGETS_MAX), text.split(",")))


class _WholeNumber:
    """Parser of a whole number from 1 to a maximum."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum

    def __call__(self, text: str) -> int:
        if not (text.isdecimal() and 1 <= int(text) <= self._maximum):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {self._maximum:,}")
        return int(text)


def run_benchmark(options: ProbeBenchmarkOptions) -> ProbeBenchmark:
    """Run all tools in turn, then the searches for the highest rate."""
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
    tries = [_print_attempt(attempt) for search in options.searches for attempt in rate.search_rate(search)]
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
    """Return the tools compared at a size; fping in bursts only at the size of the CPU goal."""
    return [tool for tool in Tool if tool is not Tool.FPING_BURST or targets == GOAL_TARGETS]


def _run_tool(tool: Tool, targets: int, options: ProbeBenchmarkOptions, turn: int) -> ToolResult:
    probes = min(options.seconds, ICMPLIB_PROBES_MAX) if tool is Tool.ICMPLIB else options.seconds
    _print_progress(f"{targets:,} targets, round {turn} of {options.rounds}: {tool}")
    return path.measure_tool(tool, targets, probes, _print_progress)


def _print_attempt(attempt: RateAttempt) -> RateAttempt:
    outcome = "carried" if attempt.carried else "not carried"
    _print_progress(f"{attempt.tool} at {attempt.rate:,}/s for {attempt.probes} s: {outcome}")
    return attempt


def _print_progress(text: str) -> None:
    """Print progress to stderr; results are printed to stdout."""
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
    """Return the medians as a Markdown table, quoted in docs/benchmarks.md."""
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
    """Return the attempts of the search for the highest rate as a Markdown table."""
    return [
        "| tool | probes/s | for s | carried | not sent | void | lost | took s | CPU s/10k | |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---|",
        *(
            f"| {attempt.tool} | {attempt.rate:,} | {attempt.probes} | {'yes' if attempt.carried else 'no'} "
            f"| {attempt.unsent:,} | {attempt.void:,} | {attempt.lost:,} "
            f"| {format_number(attempt.elapsed_s, '.1f')} | {format_number(attempt.cpu_s_per_10k, '.2f')} "
            f"| {attempt.complaint} |"
            for attempt in tries
        ),
    ]


def format_goals(goals: Iterable[EngineGoal]) -> list[str]:
    """Return one line per goal."""
    labels = {True: "met", False: "NOT MET", None: "not measured"}
    return [f"{labels[goal.met]}: {goal.text}: {goal.figure}" for goal in goals]


if __name__ == "__main__":
    sys.exit(main())
