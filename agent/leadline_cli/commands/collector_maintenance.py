"""``leadline collector compact`` and ``retain``: manual runs of the collector's periodic work."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from leadline_cli.commands.agent_keys import format_time
from leadline_cli.database_options import add_retention_options, read_collector_config


def add_parsers(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    """Add both commands. The caller adds the database options."""
    compact = actions.add_parser(
        "compact",
        help="build all pending rollups",
        description="Build chunks, rollups and state counts for every hour with new windows. A running collector does "
        "this every minute. With SQLite, stop the collector first.",
        epilog="example: leadline collector compact --all",
    )
    compact.add_argument("--all", action="store_true", help="rebuild them for every hour that still has windows")
    compact.add_argument("--json", action="store_true", help="print the counts as JSON")
    compact.set_defaults(run=run_compact)
    retain = actions.add_parser(
        "retain",
        help="delete expired data",
        description="Delete expired data that is compacted. A running collector does this every hour with the same "
        "--keep options. With SQLite, stop the collector first.",
        epilog="example: leadline collector retain --keep-raw 730d --dry-run",
    )
    add_retention_options(retain)
    retain.add_argument("--dry-run", action="store_true", help="only print what would be deleted")
    retain.add_argument("--json", action="store_true", help="print the result as JSON")
    retain.set_defaults(run=run_retain)
    return [compact, retain]


def run_compact(args: argparse.Namespace) -> int:
    """Build all pending rollups; return 1 if one failed."""
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
        print(f"{done.hours} site-days updated, {done.days} compacted completely; "
              f"{done.left} left, {done.failed} failed")  # fmt: skip
    return 1 if done.failed else 0


def _show_progress(done: int, count: int) -> None:
    if sys.stderr.isatty():
        print(f"\rcompacting: {done:,} of {count:,} site-days", end="", file=sys.stderr, flush=True)


def run_retain(args: argparse.Namespace) -> int:
    """Delete expired data, or print what would be deleted."""
    config = read_collector_config(args)
    from leadline.clock import SystemClock
    from leadline_collector.rollup.retention import apply_retention
    from leadline_collector.server.serve import open_store

    with open_store(config) as store:
        deleted_rows = apply_retention(
            store, config.retention, SystemClock().wall_ns() // 1_000_000_000, dry_run=args.dry_run
        )
    if args.json:
        print(json.dumps([asdict(entry) for entry in deleted_rows]))
        return 0
    action = "would be deleted" if args.dry_run else "deleted"
    for entry in deleted_rows:
        print(f"{entry.table:12} before {format_time(entry.before_s)}: {entry.rows:,} {action}")
    return 0
