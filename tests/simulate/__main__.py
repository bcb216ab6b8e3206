"""``python -m tests.simulate --runs 400 --seed 1``: paths of known truth; exit status 0 if every goal is met."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.simulate.campaign import SimulationScenario, build_scenarios, simulate_scenario
from tests.simulate.changes import RHOS, measure_change_points
from tests.simulate.report import SimulationReport

#: A month of white noise takes a second, and twenty of each kind are enough to see a false point.
MONTHS_MAX = 20


def build_report(
    runs: int, seed: int, chosen: tuple[SimulationScenario, ...], rhos: tuple[float, ...], say: Callable[[str], None]
) -> SimulationReport:
    """Simulate all of it, and say what is being done."""
    rows = []
    for number, scenario in enumerate(chosen, start=1):
        say(f"{number} of {len(chosen)}: {scenario.key}")
        rows.append(simulate_scenario(scenario, runs, seed))
    changes = []
    for rho in rhos:
        say(f"change points in noise, rho {rho:g}")
        changes.append(measure_change_points(rho, min(runs, MONTHS_MAX), seed))
    say("")
    return SimulationReport(runs=runs, seed=seed, rows=tuple(rows), changes=tuple(changes))


def show_progress(text: str) -> None:
    """One line that is written over, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="campaigns for each scenario (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    args = parser.parse_args()
    if args.runs < 1:
        parser.error(f"--runs {args.runs}: at least one campaign is needed")
    found = build_report(args.runs, args.seed, build_scenarios(), RHOS, show_progress)
    print(found.format_json() if args.json else found.format_markdown())
    return 0 if found.meets_goals else 1


if __name__ == "__main__":
    sys.exit(main())
