"""``python -m tests.simulate --runs 400 --seed 1``: paths of known truth; exit status 0 if every goal is met."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.simulate.campaign import Scenario, scenarios, simulate
from tests.simulate.changes import RHOS, change_row
from tests.simulate.report import Report

#: A month of white noise takes a second, and twenty of each kind are enough to see a false point.
MONTHS_MAX = 20


def report(
    runs: int, seed: int, chosen: tuple[Scenario, ...], rhos: tuple[float, ...], say: Callable[[str], None]
) -> Report:
    """Simulate all of it, and say what is being done."""
    rows = []
    for number, scenario in enumerate(chosen, start=1):
        say(f"{number} of {len(chosen)}: {scenario.key}")
        rows.append(simulate(scenario, runs, seed))
    changes = []
    for rho in rhos:
        say(f"change points in noise, rho {rho:g}")
        changes.append(change_row(rho, min(runs, MONTHS_MAX), seed))
    say("")
    return Report(runs=runs, seed=seed, rows=tuple(rows), changes=tuple(changes))


def progress(text: str) -> None:
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
    found = report(args.runs, args.seed, scenarios(), RHOS, progress)
    print(found.json() if args.json else found.text())
    return 0 if found.good else 1


if __name__ == "__main__":
    sys.exit(main())
