"""``leadline collector grant-reader``: who may read the database's views, for Grafana."""

from __future__ import annotations

import argparse
from pathlib import Path

from leadline.errors import ConfigError
from leadline_cli.database_options import read_collector_config


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``grant-reader`` to ``leadline collector``."""
    parser = actions.add_parser(
        "grant-reader",
        help="let Grafana's user read the views of a PostgreSQL, and nothing else",
        description="Give the role leadline_reader the views, and make a user of it or change its password. "
        "Doing it again changes nothing.",
        epilog="example: leadline collector grant-reader grafana --password-file grafana.password",
    )
    parser.add_argument("user", metavar="NAME", nargs="?", help="the user Grafana logs in as; without it only the role")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="its password; needed with a name")
    parser.set_defaults(run=run_grant_reader)
    return parser


def run_grant_reader(args: argparse.Namespace) -> int:
    """Grant, and say what."""
    config = read_collector_config(args)
    from leadline_collector.db.engine import Database
    from leadline_collector.db.grafana_role import ROLE_NAME, grant_access

    if (args.user is None) != (args.password_file is None):
        raise ConfigError("--password-file", "a user needs a password, and a password a user: give both or none")
    password = None if args.password_file is None else _read_password(args.password_file)
    database = Database(config.database)
    try:
        views = grant_access(database, args.user, password)
    finally:
        database.close()
    print(f"{ROLE_NAME} reads {len(views)} views" + ("" if args.user is None else f"; {args.user} is one of it"))
    return 0


def _read_password(path: Path) -> str:
    try:
        password = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError("--password-file", f"{path}: {error.strerror}") from error
    if not password:
        raise ConfigError("--password-file", f"{path} is empty: put a password in it")
    return password
