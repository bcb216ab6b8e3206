"""``leadline collector simulate``: history to look at, in a collector that has nothing else."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from leadline.durations import parse_duration_ms
from leadline.errors import ConfigError
from leadline_cli.commands.agent_keys import format_time
from leadline_cli.commands.demo import SEED, build_mesh_toml
from leadline_cli.database_options import read_collector_config

DAYS_MAX = 400
_MS_PER_S = 1_000


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``simulate``; it still needs the options that name a database."""
    parser = actions.add_parser(
        "simulate",
        help="fill an empty collector with simulated history",
        description="Simulate the pairs of sites that the mesh marks as simulated, from a midnight on, and bring the "
        "rollups up to date. Asked for again it goes on where it ended. A database that holds measurements and no "
        "simulated history is refused. The data is marked as simulated wherever it is shown.",
        epilog="example: leadline collector simulate --days 28 --mesh deploy/compose/mesh.toml",
    )
    parser.add_argument("--days", type=int, default=28, metavar="N", help="whole days before today (default 28)")
    parser.add_argument(
        "--ahead", default="12h", metavar="DURATION",
        help="how far into the future; it shows as time comes to it (default 12h)",
    )  # fmt: skip
    parser.add_argument(
        "--mesh", type=Path, metavar="FILE",
        help="mesh file to put in force where none is (default: the mesh of `leadline demo`)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print what was added as JSON")
    parser.set_defaults(run=run_simulate)
    return parser


def run_simulate(args: argparse.Namespace) -> int:
    """Fill, compact, and say how much that was; 1 if something could not be compacted."""
    if not 1 <= args.days <= DAYS_MAX:
        raise ConfigError("--days", f"{args.days} is outside 1..{DAYS_MAX}")
    config, ahead_s, mesh = read_collector_config(args), _parse_ahead_s(args.ahead), _read_mesh(args.mesh)
    from leadline.clock import SystemClock
    from leadline_collector.demo import history
    from leadline_collector.rollup.worker import run_compaction
    from leadline_collector.server.serve import open_store

    clock = SystemClock()
    with open_store(config) as store:
        filled = history.fill_history(
            store,
            clock,
            mesh,
            days=args.days,
            ahead_s=ahead_s,
            seed=SEED,
            on_progress=_create_progress_counter("simulating"),
        )
        done = run_compaction(
            store, clock, on_progress=lambda number, count: _show_status(f"compacting: {number:,} of {count:,}")
        )
    _show_status("")
    if args.json:
        said = {"windows": filled.window_count, "start_s": filled.start_s, "end_s": filled.end_s, "failed": done.failed}
        print(json.dumps(said))
    elif filled.window_count:
        print(
            f"simulated {filled.window_count:,} windows, {format_time(filled.start_s)} to {format_time(filled.end_s)}"
        )
    else:
        print(f"simulated history is there until {format_time(filled.end_s)}: nothing to add")
    return 1 if done.failed else 0


def _parse_ahead_s(text: str) -> int:
    try:
        return parse_duration_ms(text) // _MS_PER_S
    except ValueError as error:
        raise ConfigError("--ahead", str(error)) from error


def _read_mesh(file: Path | None) -> str:
    try:
        return build_mesh_toml() if file is None else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--mesh", f"cannot read {file}: {error}") from error


def _create_progress_counter(what: str) -> Callable[[int], None]:
    """Shows how much was done so far, on a terminal."""
    total = 0

    def count(more: int) -> None:
        nonlocal total
        total += more
        _show_status(f"{what}: {total:,} minutes")

    return count


def _show_status(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
