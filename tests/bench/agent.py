"""Benchmark of the agent: ``make bench-agent``, or ``python -m tests.bench.agent``. Needs root.

Measures memory and CPU of both processes of an agent at several numbers of targets, with one probe a second to each and
a real collector on SQLite; the time from the start to the first probe; the bytes of a sample on the wire and in the
spool. Everything runs on loopback, with the installed programs. Prints a table and the goals, and writes JSON.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from leadline.model import build_window
from leadline.wire.batch import WIRE_VERSION, Batch, ClockState, to_target_window
from leadline_agent.delivery.batch_builder import pack_batch
from leadline_agent.spool.record_format import HEADER_BYTES
from tests.bench.agent_process import (
    AgentBenchError,
    BenchmarkCollector,
    ProcessUsage,
    find_child,
    measure_seconds_to_first_probe,
    read_usage,
    run_agent,
    run_collector,
)

#: Time for imports, the first plan and the first probes.
SETTLE_S = 5
RSS_KB_MAX = 35 << 10
CPU_RATIO_MAX = 0.02
START_S_MAX = 0.4
BYTES_MAX = 8.0
#: The goals for memory and CPU are set for this number of targets.
GOAL_TARGETS = 50
FIRST_ADDRESS = "127.0.1.1"
#: Name: base RTT and mean of the exponential jitter on top, microseconds.
PATHS = {
    "loopback": (14, 3.0),
    "metro, 1 ms": (1_000, 15.0),
    "region, 10 ms": (9_800, 40.0),
    "continent, 80 ms": (80_000, 400.0),
    "world, 250 ms": (250_000, 5_000.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRun:
    """Resources of an agent at a number of targets."""

    targets: int
    seconds: float
    #: The process that sends batches and the prober process; CPU time is that of the measured period.
    loop: ProcessUsage
    prober: ProcessUsage

    @property
    def cpu_ratio(self) -> float:
        return (self.loop.cpu_s + self.prober.cpu_s) / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSize:
    """Bytes of a sample in a batch of one minute and ``GOAL_TARGETS`` targets."""

    path: str
    on_the_wire: float
    in_the_spool: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentGoal:
    """A goal with its measured value."""

    text: str
    figure: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentBenchmark:
    """All results; the document of the JSON file."""

    version: int
    machine: dict[str, str]
    runs: list[AgentRun]
    starts_s: list[float]
    bytes_per_sample: list[SampleSize]
    goals: list[AgentGoal]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 after a complete run, met goals or not, and 2 if it cannot run here."""
    options = _parse_options(arguments)
    if os.geteuid() != 0:
        print("the benchmark cannot run here: it needs root to capture the first probe", file=sys.stderr)
        return 2
    try:
        with (
            tempfile.TemporaryDirectory(prefix="leadline-bench-") as directory,
            run_collector(Path(directory)) as server,
        ):
            runs = [_run_agent(server, targets, options.seconds) for targets in options.targets]
            starts_s = list(_measure_starts(server, options.starts))
    except AgentBenchError as error:
        print(f"the benchmark ends without a result: {error}", file=sys.stderr)
        return 2
    sample_sizes = measure_bytes_per_sample()
    benchmark = AgentBenchmark(
        version=1,
        machine={"cores": str(os.cpu_count()), "kernel": platform.release(), "python": platform.python_version()},
        runs=runs,
        starts_s=starts_s,
        bytes_per_sample=sample_sizes,
        goals=evaluate_goals(runs, starts_s, sample_sizes),
    )
    print(*format_table(benchmark), sep="\n")
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(benchmark)))
    print(f"\nall results: {options.json}")
    return 0


def _parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.agent", description=__doc__)
    parser.add_argument("--targets", type=_parse_numbers, default=[10, 50, 200], help="default: 10,50,200")
    parser.add_argument(
        "--seconds",
        type=int,
        default=60,
        help="seconds of each run; a whole minute includes the building of one batch (default: 60)",
    )
    parser.add_argument("--starts", type=int, default=5, help="number of timed starts (default: 5)")
    parser.add_argument("--json", type=Path, default=Path("bench-agent.json"), metavar="FILE")
    return parser.parse_args(arguments)


def _parse_numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def build_mesh(targets: int, interval: str) -> str:
    """Return a mesh of one agent and a number of loopback addresses as hosts of another site."""
    site = '[[site]]\nname = "{}"\nlatitude = 50.0\nlongitude = 8.0\nuncertainty_km = 100\n'
    hosts = (
        f'[[host]]\nname = "h{number}"\nsite = "far"\naddress = "127.0.{1 + number // 256}.{number % 256}"\n'
        for number in range(1, targets + 1)
    )
    return "\n".join(
        [
            'profiles = ["vcf9-stretched-cluster"]',
            site.format("near"),
            site.format("far"),
            '[[agent]]\nname = "near-a1"\nsite = "near"\naddress = "127.0.0.1"\n',
            *hosts,
            '[[group]]\nname = "all"\nkind = "full-mesh"\nsites = ["near", "far"]\n',
            f'[group.probe]\ninterval = "{interval}"\ntimeout = "1s"\n',
        ]
    )


def _run_agent(server: BenchmarkCollector, targets: int, seconds: int) -> AgentRun:
    _print_progress(f"{targets} targets, {seconds} s")
    with run_agent(server.enrol_agent(build_mesh(targets, "1s"))) as loop_id:
        prober_id = find_child(loop_id)
        time.sleep(SETTLE_S)
        start_s, before = time.monotonic(), [read_usage(loop_id), read_usage(prober_id)]
        time.sleep(seconds)
        elapsed_s, after = time.monotonic() - start_s, [read_usage(loop_id), read_usage(prober_id)]
    loop, prober = (_subtract_usage(first, last) for first, last in zip(before, after, strict=True))
    return AgentRun(targets=targets, seconds=elapsed_s, loop=loop, prober=prober)


def _subtract_usage(before: ProcessUsage, after: ProcessUsage) -> ProcessUsage:
    return ProcessUsage(
        rss_kb=after.rss_kb,
        rss_peak_kb=after.rss_peak_kb,
        pss_kb=after.pss_kb,
        private_kb=after.private_kb,
        cpu_s=after.cpu_s - before.cpu_s,
    )


def _measure_starts(server: BenchmarkCollector, count: int) -> Iterator[float]:
    """Yield the seconds to the first probe of each start.

    Slots of 10 ms keep the wait for the first slot short. The first start is not counted: it fetches the plan and warms
    the page cache.
    """
    state = server.enrol_agent(build_mesh(1, "10ms"))
    for number in range(count + 1):
        _print_progress(f"start {number} of {count}")
        elapsed_s = measure_seconds_to_first_probe(state, FIRST_ADDRESS)
        if number:
            yield elapsed_s


def measure_bytes_per_sample() -> list[SampleSize]:
    """Return the sizes for generated minutes: RTTs on loopback are short and compress too well."""
    return [_measure_path(path, base_us, jitter_us) for path, (base_us, jitter_us) in PATHS.items()]


def _measure_path(path: str, base_us: int, jitter_us: float) -> SampleSize:
    rng = random.Random(1)
    windows = [
        build_window(
            1_795_327_200, 1_000, {slot: base_us + int(rng.expovariate(1 / jitter_us)) for slot in range(60)}, []
        )
        for _ in range(GOAL_TARGETS)
    ]
    batch = Batch(
        v=WIRE_VERSION, agent="fra-a1", epoch=f"{rng.getrandbits(128):032x}", seq=12_345, mesh_version=3,
        sealed_at_us=1_795_327_269_123_456, monotonic_us=123_456_789_012, boottime_us=123_456_789_012,
        boot_id="0a8e2d2a-6c62-4bb1-a43f-1c57f1b5dd1b", clock_offset_us=-1_234, clock_offset_error_us=456,
        clock=ClockState(synchronised=True, offset_us=12, max_error_us=16_000, estimated_error_us=345),
        series=[
            to_target_window(f"site{nth:02}-a1", f"192.0.2.{nth}", window) for nth, window in enumerate(windows)
        ],
    )  # fmt: skip
    size, samples = len(pack_batch(batch)), GOAL_TARGETS * 60
    return SampleSize(path=path, on_the_wire=size / samples, in_the_spool=(size + HEADER_BYTES) / samples)


def evaluate_goals(
    runs: Iterable[AgentRun], starts_s: Sequence[float], sample_sizes: Sequence[SampleSize]
) -> list[AgentGoal]:
    """Return all goals. Memory has three, the strictest first, because the two processes share pages."""
    at_goal = next((run for run in runs if run.targets == GOAL_TARGETS), None)
    goals = [] if at_goal is None else [*_evaluate_memory(at_goal), _evaluate_cpu(at_goal)]
    if starts_s:
        median_s = median(starts_s)
        goals.append(
            AgentGoal(
                text=f"start to first probe <= {START_S_MAX} s", figure=f"{median_s:.2f} s", met=median_s <= START_S_MAX
            )
        )
    worst = max(size.in_the_spool for size in sample_sizes)
    goals.append(
        AgentGoal(text=f"bytes a sample <= {BYTES_MAX:.0f}", figure=f"{worst:.2f} at worst", met=worst <= BYTES_MAX)
    )
    return goals


def _evaluate_memory(run: AgentRun) -> Iterator[AgentGoal]:
    for text, kb in (
        ("RSS of both processes added, shared pages counted twice", run.loop.rss_kb + run.prober.rss_kb),
        ("PSS of both processes added", run.loop.pss_kb + run.prober.pss_kb),
        ("RSS of the larger process", max(run.loop.rss_kb, run.prober.rss_kb)),
    ):
        yield AgentGoal(
            text=f"{text} <= {_format_mb(RSS_KB_MAX)} MB", figure=f"{_format_mb(kb)} MB", met=kb <= RSS_KB_MAX
        )


def _evaluate_cpu(run: AgentRun) -> AgentGoal:
    text = f"CPU at {run.targets} targets/s <= {CPU_RATIO_MAX:.0%} of a core"
    return AgentGoal(text=text, figure=f"{run.cpu_ratio:.1%}", met=run.cpu_ratio <= CPU_RATIO_MAX)


def format_table(benchmark: AgentBenchmark) -> Iterator[str]:
    """Yield the results as Markdown and one line per goal."""
    yield "| targets | process | RSS MB | peak | PSS | private | CPU of a core |"
    yield "|---:|---|---:|---:|---:|---:|---:|"
    for run in benchmark.runs:
        for name, usage in (("loop", run.loop), ("prober", run.prober)):
            memory = " | ".join(map(_format_mb, (usage.rss_kb, usage.rss_peak_kb, usage.pss_kb, usage.private_kb)))
            yield f"| {run.targets} | {name} | {memory} | {usage.cpu_s / run.seconds:.2%} |"
    yield ""
    yield "| path | bytes a sample on the wire | in the spool |"
    yield "|---|---:|---:|"
    for size in benchmark.bytes_per_sample:
        yield f"| {size.path} | {size.on_the_wire:.2f} | {size.in_the_spool:.2f} |"
    yield ""
    yield "start to first probe, s: " + ", ".join(f"{elapsed_s:.3f}" for elapsed_s in benchmark.starts_s)
    for goal in benchmark.goals:
        yield f"{'met' if goal.met else 'NOT MET'}: {goal.text}: {goal.figure}"


def _format_mb(kb: int) -> str:
    return f"{kb / 1_024:.1f}"


def _print_progress(text: str) -> None:
    """Print progress to stderr; results are printed to stdout."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
