"""``leadline collector grant-reader``: grant Grafana read access to the database views."""

from __future__ import annotations

import argparse
from pathlib import Path

from leadline.errors import ConfigError
from leadline_cli.database_options import read_collector_config


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``grant-reader`` to ``leadline collector``."""
    parser = actions.add_parser(
        "grant-reader",
        help="grant Grafana's PostgreSQL user read access to the views only",
        description="Grant the role leadline_reader read access to the views. With NAME, create a user with this role "
        "or change its password. Running it again changes nothing.",
        epilog="example: leadline collector grant-reader grafana --password-file grafana.password",
    )
    parser.add_argument(
        "user", metavar="NAME", nargs="?", help="database user of Grafana; without it, only the role is set up"
    )
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file with the password of the user; required with NAME"
    )
    parser.set_defaults(run=run_grant_reader)
    return parser


def run_grant_reader(args: argparse.Namespace) -> int:
    """Grant access and print the result."""
    config = read_collector_config(args)
    from leadline_collector.db.engine import Database
    from leadline_collector.db.grafana_role import ROLE_NAME, grant_access

    if (args.user is None) != (args.password_file is None):
        raise ConfigError("--password-file", "pass both NAME and --password-file, or neither")
    password = None if args.password_file is None else _read_password(args.password_file)
    database = Database(config.database)
    try:
        views = grant_access(database, args.user, password)
    finally:
        database.close()
    print(f"{ROLE_NAME} can read {len(views)} views" + ("" if args.user is None else f"; {args.user} has this role"))
    return 0


def _read_password(path: Path) -> str:
    try:
        password = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError("--password-file", f"{path}: {error.strerror}") from error
    if not password:
        raise ConfigError("--password-file", f"{path} is empty; it must contain the password")
    return password
