"""``leadline collector``: run and maintain the server.

The server package is imported only when a command runs, because agent hosts do not have it.
"""

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
    parser = commands.add_parser(
        "collector",
        help="store and evaluate the measurements of agents",
        description="Run and maintain the server that stores and evaluates measurements.",
        epilog="example: leadline collector serve --port 8427",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    serve = actions.add_parser(
        "serve",
        help="run the collector",
        description="Run the collector until SIGTERM or Ctrl-C. It prints its URL when it accepts connections.",
        epilog="example: leadline collector serve --port 8427",
    )
    add_database_options(serve)
    _add_network_options(serve)
    add_retention_options(serve)
    serve.set_defaults(run=run_serve)
    migrate = actions.add_parser(
        "migrate",
        help="upgrade the database schema to this version",
        description="Upgrade the database schema to this version. The collector upgrades SQLite files at its start.",
        epilog="example: LEADLINE_DATABASE_URL=postgresql://leadline@db/leadline leadline collector migrate",
    )
    add_database_options(migrate)
    migrate.set_defaults(run=run_migrate)
    backup = actions.add_parser(
        "backup",
        help="copy a SQLite database to a file; the collector may run",
        description="Write a consistent, verified copy of the database to a new file. The collector may run. For "
        "PostgreSQL, print the command to use instead.",
        epilog="example: leadline collector backup /var/backups/leadline.sqlite",
    )
    backup.add_argument("file", metavar="FILE", type=Path, help="backup file to create")
    add_database_options(backup)
    backup.set_defaults(run=run_backup)
    restore = actions.add_parser(
        "restore",
        help="replace a SQLite database by a backup",
        description="Replace the database of a stopped collector by a backup. The replaced database stays in the same "
        "directory. Agents resend the batches of the last 48 hours that the backup lacks.",
        epilog="example: leadline collector restore /var/backups/leadline.sqlite",
    )
    restore.add_argument("file", metavar="FILE", type=Path, help="backup file of `leadline collector backup`")
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
        help="show the audit log",
        description="Show the audit log of a running collector, newest first: tokens, keys, meshes, refused requests.",
        epilog="example: leadline collector audit --limit 20",
    )
    audit.add_argument("--limit", type=int, default=100, help="maximum number of entries, 1 to 1000 (default 100)")
    audit.add_argument("--before", type=int, help="show only entries with a lower id")
    audit.add_argument("--json", action="store_true", help="print the entries as JSON")
    api_client.add_collector_options(audit)
    audit.set_defaults(run=run_audit)


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default=None, help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=None, help="port to listen on; 0 for any free port (default 8427)")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="TLS certificate chain (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="private key of the certificate (PEM)")
    parser.add_argument(
        "--behind-proxy", action="store_true", help="trust the headers of a reverse proxy that terminates TLS"
    )
    parser.add_argument(
        "--viewer-key-file", type=Path, metavar="FILE", help="require the key in this file for read access"
    )
    parser.add_argument(
        "--open-reading", action="store_true", help="allow read access without a key, also from other hosts"
    )
    parser.add_argument(
        "--metrics-key-file", type=Path, metavar="FILE", help="require the key in this file for /metrics"
    )
    parser.add_argument(
        "--key-ttl", metavar="DURATION",
        help="lifetime of agent keys, such as 90d; agents rotate their keys before they expire (default unlimited)",
    )  # fmt: skip


def run_serve(args: argparse.Namespace) -> int:
    """Run the collector until it is stopped."""
    config = read_collector_config(args)
    from leadline.clock import SystemClock
    from leadline_cli.log_format import log_to_stderr
    from leadline_collector.server.serve import serve

    log_to_stderr()
    serve(config, SystemClock(), lambda url: print(f"listening on {url}", flush=True))
    return 0


def run_migrate(args: argparse.Namespace) -> int:
    """Upgrade the schema and print the old and the new revision."""
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
    print(f"the schema is already at {head}" if before == head else f"schema {before or 'none'} -> {head}")
    return 0


def run_backup(args: argparse.Namespace) -> int:
    """Create a backup and print its size."""
    config = read_collector_config(args)
    from leadline_collector.db.backup import create_backup

    size = create_backup(config.database, args.file)
    print(f"{args.file}: {size:,} bytes")
    return 0


def run_restore(args: argparse.Namespace) -> int:
    """Restore a backup and print the path of the replaced database."""
    config = read_collector_config(args)
    from leadline.clock import SystemClock
    from leadline_collector.db.backup import restore_backup

    replaced = restore_backup(config.database, args.file, SystemClock().wall_ns() // 1_000_000_000)
    print(
        f"restored {config.database.database} from {args.file}"
        + (f"; replaced database: {replaced}" if replaced else "")
    )
    return 0


def run_audit(args: argparse.Namespace) -> int:
    """Print one line for each entry."""
    before = "" if args.before is None else f"&before={args.before}"
    response = api_client.send_admin_request(args, "GET", f"/api/v1/audit?limit={args.limit}{before}", b"", AuditPage)
    if args.json:
        print(codec.encode(response).decode())
        return 0
    for entry in response.entries:
        detail = " ".join(f"{name}={value}" for name, value in entry.detail.items())
        print(f"{entry.id:>6} {format_time(entry.at_s)} {entry.who}: {entry.what} {entry.subject} {detail}".rstrip())
    return 0
