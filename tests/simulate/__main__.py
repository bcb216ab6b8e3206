"""``python -m tests.simulate --runs 400 --seed 1``: simulate all scenarios; exit status 0 if all goals are met."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.simulate.campaign import SimulationScenario, build_scenarios, simulate_scenario
from tests.simulate.changes import RHOS, measure_change_points
from tests.simulate.report import SimulationReport

#: A month of white noise takes a second; twenty of each kind are enough to detect false points.
MONTHS_MAX = 20


def build_report(
    runs: int,
    seed: int,
    scenarios: tuple[SimulationScenario, ...],
    rhos: tuple[float, ...],
    print_progress: Callable[[str], None],
) -> SimulationReport:
    """Simulate all scenarios and change points, with progress, and return the report."""
    rows = []
    for number, scenario in enumerate(scenarios, start=1):
        print_progress(f"{number} of {len(scenarios)}: {scenario.key}")
        rows.append(simulate_scenario(scenario, runs, seed))
    changes = []
    for rho in rhos:
        print_progress(f"change points in noise, rho {rho:g}")
        changes.append(measure_change_points(rho, min(runs, MONTHS_MAX), seed))
    print_progress("")
    return SimulationReport(runs=runs, seed=seed, rows=tuple(rows), changes=tuple(changes))


def show_progress(text: str) -> None:
    """Overwrite one line of progress, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Run the simulation, print the report and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="campaigns for each scenario (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    args = parser.parse_args()
    if args.runs < 1:
        parser.error(f"--runs {args.runs}: at least one campaign is needed")
    report = build_report(args.runs, args.seed, build_scenarios(), RHOS, show_progress)
    print(report.format_json() if args.json else report.format_markdown())
    return 0 if report.meets_goals else 1


if __name__ == "__main__":
    sys.exit(main())
