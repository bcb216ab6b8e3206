"""``python -m tests.simulate --runs 400 --seed 1``: simulate all scenarios; exit status 0 if all goals are met."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.simulate.campaign import simulate_scenario
from tests.simulate.changes import RHOS, measure_change_points
from tests.simulate.monotony import PATHS, measure_monotony, merge_results
from tests.simulate.report import SimulationReport
from tests.simulate.scenarios import SimulationScenario, build_scenarios
from tests.simulate.tables import format_markdown, write_pages

#: A month of white noise takes a second; twenty of each kind are enough to detect false points.
MONTHS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationPlan:
    """What to simulate."""

    runs: int
    seed: int
    scenarios: tuple[SimulationScenario, ...]
    #: Correlations of the noise for the change points.
    rhos: tuple[float, ...] = ()
    #: Random paths for the monotony.
    monotony_paths: int = 0


def build_report(plan: SimulationPlan, print_progress: Callable[[str], None], processes: int = 1) -> SimulationReport:
    """Simulate the plan, with progress, and return the report, which does not depend on the number of processes."""
    tasks: list[tuple[str, Callable[[], Any]]] = [
        *((s.key, partial(simulate_scenario, s, plan.runs, plan.seed)) for s in plan.scenarios),
        *((f"noise, rho {rho:g}", partial(measure_change_points, rho, min(plan.runs, MONTHS_MAX), plan.seed))
          for rho in plan.rhos),
        *((f"monotony, path {number}", partial(measure_monotony, number, plan.seed))
          for number in range(plan.monotony_paths)),
    ]  # fmt: skip
    results: list[Any] = [None] * len(tasks)
    with _start_tasks([run for _, run in tasks], processes) as finished:
        for done, (index, result) in enumerate(finished, start=1):
            results[index] = result
            print_progress(f"{done} of {len(tasks)}: {tasks[index][0]}")
    print_progress("")
    rows, rest = results[: len(plan.scenarios)], results[len(plan.scenarios) :]
    changes, monotony = rest[: len(plan.rhos)], rest[len(plan.rhos) :]
    return SimulationReport(
        runs=plan.runs,
        seed=plan.seed,
        rows=tuple(rows),
        changes=tuple(changes),
        monotony=merge_results(result for path in monotony for result in path),
    )


@contextmanager
def _start_tasks(tasks: list[Callable[[], Any]], processes: int) -> Iterator[Iterator[tuple[int, Any]]]:
    """Run the tasks here, or in other processes, and give the index and the result of each that has finished."""
    if processes == 1:
        yield ((index, task()) for index, task in enumerate(tasks))
        return
    with ProcessPoolExecutor(processes) as executor:
        indices: dict[Future[Any], int] = {executor.submit(task): index for index, task in enumerate(tasks)}
        yield ((indices[future], future.result()) for future in as_completed(indices))


def show_progress(text: str) -> None:
    """Overwrite one line of progress, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Run the simulation, print the report and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="campaigns for each scenario (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--paths", type=int, default=PATHS, help="random paths for the monotony (default %(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="processes to use (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument(
        "--write-pages", type=Path, metavar="DOCS", help="write the tables into the pages of this folder"
    )
    args = parser.parse_args()
    for name in ("runs", "processes"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)}: use at least 1")
    if args.paths < 0:
        parser.error(f"--paths {args.paths}: use 0 or more")
    plan = SimulationPlan(
        runs=args.runs, seed=args.seed, scenarios=build_scenarios(), rhos=RHOS, monotony_paths=args.paths
    )
    report = build_report(plan, show_progress, args.processes)
    if args.write_pages:
        write_pages(report, args.write_pages)
    print(report.format_json() if args.json else format_markdown(report))
    return 0 if report.meets_goals else 1


if __name__ == "__main__":
    sys.exit(main())
