"""``leadline collector compact`` and ``retain``: by hand what a running collector does by itself."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from leadline_cli.commands.agent_keys import format_time
from leadline_cli.database_options import add_retention_options, read_collector_config


def add_parsers(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    """Add both commands; they still need the options that name a database."""
    compact = actions.add_parser(
        "compact",
        help="make rollups of everything that waits for it",
        description="Make chunks, rollups and tallies of every hour that has new windows. A running collector does it "
        "every minute; on SQLite it has to be stopped for this command.",
        epilog="example: leadline collector compact --all",
    )
    compact.add_argument("--all", action="store_true", help="make them anew for every hour that still has windows")
    compact.add_argument("--json", action="store_true", help="print the counts as JSON")
    compact.set_defaults(run=run_compact)
    retain = actions.add_parser(
        "retain",
        help="remove what is past its time",
        description="Remove what is past its time and compacted. A running collector does it every hour, by the same "
        "--keep options; on SQLite it has to be stopped for this command.",
        epilog="example: leadline collector retain --keep-raw 730d --dry-run",
    )
    add_retention_options(retain)
    retain.add_argument("--dry-run", action="store_true", help="only say what would go")
    retain.add_argument("--json", action="store_true", help="print it as JSON")
    retain.set_defaults(run=run_retain)
    return [compact, retain]


def run_compact(args: argparse.Namespace) -> int:
    """Compact until nothing is due; 1 if something failed."""
    config = read_collector_config(args)
    from leadline.clock import SystemClock
    from leadline_collector.rollup.worker import run_compaction
    from leadline_collector.server.serve import open_store
    from leadline_collector.windows import dirty_hours

    with open_store(config) as store:
        if args.all:
            with store.write() as writer:
                dirty_hours.mark_all_dirty(writer.connection)
        done = run_compaction(store, SystemClock(), on_progress=_show_progress)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if args.json:
        print(json.dumps(asdict(done)))
    else:
        print(f"{done.hours} days of sites brought up to date, {done.days} compacted as a whole; "
              f"{done.left} left, {done.failed} failed")  # fmt: skip
    return 1 if done.failed else 0


def _show_progress(done: int, count: int) -> None:
    if sys.stderr.isatty():
        print(f"\rcompacting: {done:,} of {count:,} days of sites", end="", file=sys.stderr, flush=True)


def run_retain(args: argparse.Namespace) -> int:
    """Remove, or say what would go."""
    config = read_collector_config(args)
    from leadline.clock import SystemClock
    from leadline_collector.rollup.retention import apply_retention
    from leadline_collector.server.serve import open_store

    with open_store(config) as store:
        removed = apply_retention(
            store, config.retention, SystemClock().wall_ns() // 1_000_000_000, dry_run=args.dry_run
        )
    if args.json:
        print(json.dumps([asdict(one) for one in removed]))
        return 0
    for one in removed:
        print(
            f"{one.table:12} before {format_time(one.before_s)}: {one.rows:,} {'would go' if args.dry_run else 'removed'}"
        )
    return 0
