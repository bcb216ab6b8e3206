"""``leadline collector reader``: the login Grafana reads PostgreSQL with."""

from __future__ import annotations

import argparse
from pathlib import Path

from leadline_cli.storage import config_of


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``reader``; it still needs the options that name a database."""
    parser = actions.add_parser(
        "reader",
        help="make the login that Grafana reads with, or change its password",
        description="Make a login of PostgreSQL that may read the views for dashboards and nothing else, or give it "
        "another password. Asked for again with the same password it changes nothing.",
        epilog="example: leadline collector reader --password-file grafana.password",
    )
    parser.add_argument("--login", default="leadline_grafana", metavar="NAME", help="its name (default %(default)s)")
    parser.add_argument(
        "--password-file", required=True, type=Path, metavar="FILE", help="file with its password (mode 0600 is enough)"
    )
    parser.set_defaults(run=run_reader)
    return parser


def run_reader(args: argparse.Namespace) -> int:
    """Make it, and say what it may do."""
    config = config_of(args)
    from leadline_collector import reader_login
    from leadline_collector.config import secret_text
    from leadline_collector.db import Database

    password = secret_text("--password-file", args.password_file)
    database = Database(config.database)
    try:
        is_new = reader_login.make(database, args.login, password)
    finally:
        database.close()
    done = "made" if is_new else "has the password of the file"
    print(f"login {args.login} {done}; it reads the views that {reader_login.ROLE} may read")
    return 0
