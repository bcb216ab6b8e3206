"""``leadline collector``: the server that stores and judges. It is imported when it runs: an agent host lacks it."""

from __future__ import annotations

import argparse
from pathlib import Path

from leadline.wire import codec
from leadline.wire.admin import AuditPage
from leadline_cli import api_client
from leadline_cli.commands import (
    collector_grant_reader,
    collector_maintenance,
    collector_ready,
    collector_simulate,
    collector_verify,
)
from leadline_cli.commands.agent_keys import format_time
from leadline_cli.database_options import add_database_options, add_retention_options, read_collector_config


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``collector`` to the command line."""
    parser = commands.add_parser("collector", help="store and judge what agents measure", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    serve = actions.add_parser(
        "serve",
        help="run the collector",
        description="Run the collector until SIGTERM or Ctrl-C. Prints its address once it accepts connections.",
        epilog="example: leadline collector serve --port 8427",
    )
    add_database_options(serve)
    _add_network_options(serve)
    add_retention_options(serve)
    serve.set_defaults(run=run_serve)
    migrate = actions.add_parser(
        "migrate",
        help="bring the database to this version's schema",
        description="Bring the database to this version's schema. SQLite files are migrated at start by themselves.",
        epilog="example: LEADLINE_DATABASE_URL=postgresql://leadline@db/leadline leadline collector migrate",
    )
    add_database_options(migrate)
    migrate.set_defaults(run=run_migrate)
    backup = actions.add_parser(
        "backup",
        help="copy a SQLite database to a file, also while the collector runs",
        description="Copy the database to a new file: one moment of it, checked and durable. The collector may run "
        "meanwhile. For PostgreSQL it prints the command to use instead.",
        epilog="example: leadline collector backup /var/backups/leadline.sqlite",
    )
    backup.add_argument("file", metavar="FILE", type=Path, help="the file to make")
    add_database_options(backup)
    backup.set_defaults(run=run_backup)
    restore = actions.add_parser(
        "restore",
        help="put a backup in the place of a SQLite database",
        description="Put a backup in the place of the database of a collector that does not run. The replaced database "
        "is kept beside it. Agents send again what they delivered since, as far as they still keep it (48 hours).",
        epilog="example: leadline collector restore /var/backups/leadline.sqlite",
    )
    restore.add_argument("file", metavar="FILE", type=Path, help="what `leadline collector backup` made")
    add_database_options(restore)
    restore.set_defaults(run=run_restore)
    add_database_options(collector_verify.add_parser(actions))
    add_database_options(collector_simulate.add_parser(actions))
    add_database_options(collector_grant_reader.add_parser(actions))
    collector_ready.add_parser(actions)
    for parser in collector_maintenance.add_parsers(actions):
        add_database_options(parser)
    audit = actions.add_parser(
        "audit",
        help="show who did what",
        description="Show the audit of a running collector, newest first: tokens, keys, meshes, refusals.",
        epilog="example: leadline collector audit --limit 20",
    )
    audit.add_argument("--limit", type=int, default=100, help="entries at most, 1..1000 (default 100)")
    audit.add_argument("--before", type=int, help="only entries older than this id")
    audit.add_argument("--json", action="store_true", help="print the entries as JSON")
    api_client.add_collector_options(audit)
    audit.set_defaults(run=run_audit)


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default=None, help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=None, help="port to listen on; 0 takes a free one (default 8427)")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key (PEM)")
    parser.add_argument("--behind-proxy", action="store_true", help="a proxy in front does TLS; believe its headers")
    parser.add_argument("--viewer-key-file", type=Path, metavar="FILE", help="reading needs the key in this file")
    parser.add_argument("--open-reading", action="store_true", help="whoever can connect may read, also from outside")
    parser.add_argument("--metrics-key-file", type=Path, metavar="FILE", help="/metrics needs the key in this file")
    parser.add_argument(
        "--key-ttl", metavar="DURATION",
        help="how long an agent's key is good, such as 90d; `leadline agent rotate` gets a new one (default for ever)",
    )  # fmt: skip


def run_serve(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    config = read_collector_config(args)
    from leadline.clock import SystemClock
    from leadline_cli.log_format import log_to_stderr
    from leadline_collector.server.serve import serve

    log_to_stderr()
    serve(config, SystemClock(), lambda url: print(f"listening on {url}", flush=True))
    return 0


def run_migrate(args: argparse.Namespace) -> int:
    """Migrate, and say from where to where."""
    config = read_collector_config(args)
    from leadline_cli.log_format import log_to_stderr
    from leadline_collector.db import schema
    from leadline_collector.db.engine import Database

    log_to_stderr()
    database = Database(config.database)
    try:
        before = schema.get_current_revision(database)
        schema.upgrade(database)
    finally:
        database.close()
    head = schema.get_head_revision()
    print(f"the schema is at {head} already" if before == head else f"schema {before or 'none'} -> {head}")
    return 0


def run_backup(args: argparse.Namespace) -> int:
    """Back up, and say how much that was."""
    config = read_collector_config(args)
    from leadline_collector.db.backup import create_backup

    size = create_backup(config.database, args.file)
    print(f"{args.file}: {size:,} bytes")
    return 0


def run_restore(args: argparse.Namespace) -> int:
    """Restore, and say where the replaced database is."""
    config = read_collector_config(args)
    from leadline.clock import SystemClock
    from leadline_collector.db.backup import restore_backup

    replaced = restore_backup(config.database, args.file, SystemClock().wall_ns() // 1_000_000_000)
    print(f"{config.database.database} is what {args.file} holds" + (f"; before it: {replaced}" if replaced else ""))
    return 0


def run_audit(args: argparse.Namespace) -> int:
    """Print one line an entry."""
    before = "" if args.before is None else f"&before={args.before}"
    answer = api_client.send_admin_request(args, "GET", f"/api/v1/audit?limit={args.limit}{before}", b"", AuditPage)
    if args.json:
        print(codec.encode(answer).decode())
        return 0
    for entry in answer.entries:
        said = " ".join(f"{name}={value}" for name, value in entry.detail.items())
        print(f"{entry.id:>6} {format_time(entry.at_s)} {entry.who}: {entry.what} {entry.subject} {said}".rstrip())
    return 0
