"""``python -m tests.chaos --seconds 60 --seed 1 --database sqlite``: one run; exit status 0 if nothing is lost."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.chaos.run import ChaosOptions, run_chaos
from tests.chaos.variants import Variant


def main() -> int:
    """Run, print the report and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of the faults (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--variant", type=Variant, choices=list(Variant), default=Variant.NONE, help="deliberately broken product"
    )
    parser.add_argument("--drain", type=float, default=30.0, help="give up after this many seconds without progress")
    parser.add_argument("--keep", type=Path, help="keep logs, oracles and database in this directory")
    args = parser.parse_args()
    options = ChaosOptions(
        seconds=args.seconds,
        seed=args.seed,
        database=args.database,
        variant=args.variant,
        drain_s=args.drain,
        keep=args.keep,
    )
    report = run_chaos(options, lambda text: print(f"{text}\n", end="", flush=True))
    print(report.format_text())
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
