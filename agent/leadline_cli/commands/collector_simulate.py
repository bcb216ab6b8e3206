"""``leadline collector simulate``: fill an empty collector with simulated history."""

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
    """Add ``simulate``. The caller adds the database options."""
    parser = actions.add_parser(
        "simulate",
        help="fill an empty collector with simulated history",
        description="Simulate the site pairs that the mesh marks as simulated, starting at midnight UTC, and build the "
        "rollups. A second run continues at the end of the first one. A database with measurements and without "
        "simulated history is refused. Every page marks the data as simulated.",
        epilog="example: leadline collector simulate --days 28 --mesh deploy/compose/mesh.toml",
    )
    parser.add_argument("--days", type=int, default=28, metavar="N", help="whole days before today (default 28)")
    parser.add_argument(
        "--ahead", default="12h", metavar="DURATION",
        help="how far to simulate into the future; the data appears as time passes (default 12h)",
    )  # fmt: skip
    parser.add_argument(
        "--mesh", type=Path, metavar="FILE",
        help="mesh file to apply if the collector has no mesh (default: the mesh of `leadline demo`)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run_simulate)
    return parser


def run_simulate(args: argparse.Namespace) -> int:
    """Simulate, build rollups and print the result; return 1 if a rollup failed."""
    if not 1 <= args.days <= DAYS_MAX:
        raise ConfigError("--days", f"{args.days} is outside 1..{DAYS_MAX}")
    config, ahead_s, mesh = read_collector_config(args), _parse_ahead_s(args.ahead), _read_mesh(args.mesh)
    from leadline.clock import SystemClock
    from leadline_collector.demo import history
    from leadline_collector.rollup.worker import run_compaction
    from leadline_collector.server.serve import open_store

    clock = SystemClock()
    with open_store(config) as store:
        history_range = history.fill_history(
            store,
            clock,
            mesh,
            days=args.days,
            ahead_s=ahead_s,
            seed=SEED,
            on_progress=_create_progress_counter("simulating"),
        )
        compaction = run_compaction(
            store, clock, on_progress=lambda number, count: _show_status(f"compacting: {number:,} of {count:,}")
        )
    _show_status("")
    if args.json:
        document = {
            "windows": history_range.window_count,
            "start_s": history_range.start_s,
            "end_s": history_range.end_s,
            "failed": compaction.failed,
        }
        print(json.dumps(document))
    elif history_range.window_count:
        period = f"{format_time(history_range.start_s)} to {format_time(history_range.end_s)}"
        print(f"simulated {history_range.window_count:,} windows, {period}")
    else:
        print(f"simulated history already reaches {format_time(history_range.end_s)}: nothing added")
    return 1 if compaction.failed else 0


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


def _create_progress_counter(label: str) -> Callable[[int], None]:
    """Return a function that adds to a counter and shows it on a terminal."""
    total = 0

    def count(minutes: int) -> None:
        nonlocal total
        total += minutes
        _show_status(f"{label}: {total:,} minutes")

    return count


def _show_status(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
